"""Camera recordings, and objects with tonic's interface."""

import struct

import numpy as np
import pytest

from firstspike.data import load, load_recordings
from firstspike.data.aedat import from_tonic, read_aedat2, read_aedat3
from firstspike.data.binning import HalfOpen
from firstspike.data.event_sets import cifar10_dvs
from firstspike.data.images import CIFAR10
from firstspike.errors import UserError


def aedat2(*events):
    """(address, microseconds) -> bytes."""
    head = b"#!AER-DAT2.0\r\n# made for a test\r\n"
    return head + b"".join(struct.pack(">II", address, time) for address, time in events)


def aedat3(*packets):
    """Packets of (type, overflow, [(word, microseconds), ...]) -> bytes."""
    out = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
    for kind, overflow, events in packets:
        out += struct.pack("<hhiiiiii", kind, 1, 8, 4, overflow, len(events), len(events), len(events))
        out += b"".join(struct.pack("<II", word, time) for word, time in events)
    return out


def word(x, y, p, valid=1):
    return valid | p << 1 | y << 2 | x << 17


def test_aedat2(tmp_path):
    path = tmp_path / "a.aedat"
    path.write_bytes(aedat2((0, 2**31 + 5), (1 | 3 << 1 | 9 << 8, 2**31 + 8), (1 << 15, 2**31 + 9)))
    times, units = read_aedat2(path)
    assert times.tolist() == [0, 3]  # the third is no pixel's
    assert np.array_equal(np.unravel_index(units, (2, 128, 128)), [[1, 0], [127, 124], [127, 118]])


@pytest.mark.parametrize("content", [b"", b"no header", aedat2((0, 1))[:-3]])
def test_aedat2_damaged(tmp_path, content):
    (tmp_path / "a.aedat").write_bytes(content)
    with pytest.raises(UserError, match=r"a.aedat is not an AEDAT 2.0 file, or truncated"):
        read_aedat2(tmp_path / "a.aedat")


def test_aedat3(tmp_path):
    path = tmp_path / "a.aedat"
    events = [(word(5, 6, 1), 10), (word(1, 1, 1, valid=0), 11), (word(127, 0, 0), 12)]
    path.write_bytes(aedat3((1, 0, events), (0, 0, [(1, 1)]), (1, 1, [(word(0, 1, 0), 4)])))
    times, units = read_aedat3(path)
    assert times.tolist() == [10, 12, 2**31 + 4]
    assert units.tolist() == [5 + 128 * 6 + 128 * 128, 127, 128]
    for cut in (3, 20, 40):
        path.write_bytes(aedat3((1, 0, events))[:-cut])
        with pytest.raises(UserError, match="truncated"):
            read_aedat3(path)
    path.write_bytes(b"#!AER-DAT2.0\r\n")
    with pytest.raises(UserError, match=r"not an AEDAT 3\.1"):
        read_aedat3(path)


def make_gestures(root):
    events = [(word(n, 0, 0), 100 * n) for n in range(10)]
    (root / "user03_led.aedat").write_bytes(aedat3((1, 0, events)))
    (root / "user03_led_labels.csv").write_text(
        "class,startTime_usec,endTime_usec\n2,100,300\n11,300,400\n1,500,900\n"
    )
    for part in ("train", "test"):
        (root / f"trials_to_{part}.txt").write_text("user03_led.aedat\n\n")


def test_gestures(tmp_path):
    (tmp_path / "DvsGesture").mkdir()
    make_gestures(tmp_path / "DvsGesture")
    found = load_recordings("dvs-gesture", tmp_path)
    assert found.train.labels.tolist() == [1, 0]  # the other gesture is left out
    assert found.train.events(0)[0].tolist() == [0, 100]
    assert found.train.events(0)[1].tolist() == [1, 2]
    assert found.train.events(1)[1].tolist() == [5, 6, 7, 8]
    assert found.train.extra["speaker"].tolist() == [3, 3]
    assert found.classes == 10
    (tmp_path / "DvsGesture" / "user03_led_labels.csv").write_text("class,start,end\nx,1,2\n")
    with pytest.raises(UserError, match="not a list of class, start, end"):
        load_recordings("dvs-gesture", tmp_path)


def make_cifar10_dvs(root):
    for label, name in enumerate(CIFAR10):
        (root / "CIFAR10-DVS" / name).mkdir(parents=True)
        for n in range(10):
            content = aedat2((label << 1, 7), (label << 1 | n << 8, 1007))
            (root / "CIFAR10-DVS" / name / f"cifar10_{name}_{n}.aedat").write_bytes(content)
    return root / "CIFAR10-DVS"


def test_cifar10_dvs(tmp_path):
    folder = make_cifar10_dvs(tmp_path)
    data = load("cifar10-dvs", tmp_path, steps=4, cache=tmp_path / "cache")
    assert data.train_images.shape == (90, 2, 128, 128)
    assert data.test_labels.tolist() == list(range(10))
    first = data.train_images[0]
    assert first[1, 127, 127] == 0
    assert sorted(first[first < 255]) in ([0, 3], [0])
    assert load("cifar10-dvs", tmp_path, steps=4, image_size=32).train_images.shape == (90, 2, 32, 32)
    train, test = cifar10_dvs(tmp_path, HalfOpen(0.0005))
    assert train.batch(np.array([0, 5])).shape == (2, 3, 32768)
    assert train.batch(np.array([0, 5]), steps=4).sum() == 4
    assert len(test) == 10
    (folder / "cat" / "cifar10_cat_3.aedat").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"cifar10_cat_3.aedat is not an AEDAT"):
        load("cifar10-dvs", tmp_path, steps=4)
    skipping = load("cifar10-dvs", tmp_path, steps=4, skip_bad=True)
    assert (skipping.skipped, len(skipping.train_labels) + len(skipping.test_labels)) == (1, 99)


class Tonic:
    """The data set interface of tonic."""

    def __init__(self, sensor_size, items):
        self.sensor_size, self.items = sensor_size, items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def test_objects_with_tonics_interface():
    camera = np.array([(3, 2, 1, 50), (0, 1, 0, 60)], [("x", int), ("y", int), ("p", bool), ("t", int)])
    found = from_tonic(Tonic((5, 4, 2), [(camera, 1)]))
    assert found.shape == (2, 4, 5)
    assert found.events(0)[0].tolist() == [0, 10]
    assert found.events(0)[1].tolist() == [3 + 5 * 2 + 20, 5]
    audio = np.array([(3, 50, 1), (699, 60, 1)], [("x", int), ("t", int), ("p", int)])
    assert from_tonic(Tonic((700, 1, 1), [(audio, 4)])).units.tolist() == [3, 699]
    with pytest.raises(UserError, match="recording 0 of Tonic has its event 1 outside"):
        from_tonic(Tonic((600, 1, 1), [(audio, 4)]))
