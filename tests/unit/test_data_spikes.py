"""Spike recordings in HDF5."""

import gzip

import h5py
import numpy as np
import pytest

from firstspike.data import load_recordings
from firstspike.data.binning import HalfOpen, binned
from firstspike.data.spikes import read_ntidigits, read_shd
from firstspike.errors import UserError

TIMES = [[0.0, 0.5, 0.5], [0.25], [0.0, 1.0]]
UNITS = [[0, 699, 3], [5], [7, 7]]


def write_shd(path, times=TIMES, units=UNITS, labels=(0, 2, 1), dtype=np.float16, **extra):
    with h5py.File(path, "w") as file:
        for name, values, kind in (("times", times, dtype), ("units", units, np.int64)):
            data = file.create_dataset(f"spikes/{name}", (len(values),), h5py.vlen_dtype(kind))
            for n, value in enumerate(values):
                data[n] = np.array(value, kind)
        file["labels"] = np.array(labels, np.uint16)
        for name, value in extra.items():
            file[f"extra/{name}"] = value
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_reads_what_was_written(tmp_path, packed):
    path = write_shd(tmp_path / "a.h5", keys=np.array([b"a", b"b", b"c"]), speaker=np.array([4, 5, 4]))
    if packed:
        (tmp_path / "a.h5.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = tmp_path / "a.h5.gz"
    found, names = read_shd(path)
    assert names == ("a", "b", "c")
    assert found.labels.tolist() == [0, 2, 1]
    assert found.extra["speaker"].tolist() == [4, 5, 4]
    for n in range(3):
        times, units = found.events(n)
        assert times.tolist() == TIMES[n]
        assert units.tolist() == UNITS[n]


def test_half_precision_times_stay_exact(tmp_path):
    found, _ = read_shd(write_shd(tmp_path / "a.h5", times=[[0.1], [0.2], [0.3]], units=[[0]] * 3))
    assert np.array_equal(found.times, np.float16([0.1, 0.2, 0.3]).astype(np.float32))
    double, _ = read_shd(
        write_shd(tmp_path / "b.h5", times=[[0.1], [0.2], [0.3]], units=[[0]] * 3, dtype=np.float64)
    )
    assert double.times.tolist() == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"times": [[0.5, 0.25, 0.5], [0.25], [0, 1]]}, "recording 0 has its event 1 earlier"),
        ({"times": [[0, 0.5, 0.5], [-0.25], [0, 1]]}, "recording 1 has an impossible time at event 0"),
        ({"times": [[0, 0.5, 0.5], [np.nan], [0, 1]]}, "recording 1 has an impossible time"),
        ({"units": [[0, 700, 3], [5], [7, 7]]}, "recording 0 has its event 1 outside of the 700 units"),
        ({"units": [[0, 1, 3], [-1], [7, 7]]}, "recording 1 has its event 0 outside"),
        ({"units": [[0, 1], [5], [7, 7]]}, "recording 0 has 3 times but 2 units"),
        (
            {"times": [[0, 0.5, 0.5], [], [0, 1]], "units": [[0, 1, 3], [], [7, 7]]},
            "recording 1 holds no events",
        ),
    ],
)
def test_bad_recordings_are_named_or_skipped(tmp_path, change, says):
    path = write_shd(tmp_path / "a.h5", **change)
    with pytest.raises(UserError, match=says) as caught:
        read_shd(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    found, _ = read_shd(path, skip_bad=True)
    assert (len(found), found.skipped) == (2, 1)


def test_labels_outside_the_classes(tmp_path):
    path = write_shd(tmp_path / "a.h5", labels=(0, 1, 2), keys=np.array([b"a", b"b"]))
    with pytest.raises(UserError, match="labels from 0 to 2, but 2 classes"):
        read_shd(path)


def test_counts_that_disagree(tmp_path):
    with pytest.raises(UserError, match="2 labels, 3 times and 3 units"):
        read_shd(write_shd(tmp_path / "a.h5", labels=(0, 1)))


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("packed", [True, False])
def test_truncated_files(tmp_path, kept, packed):
    content = write_shd(tmp_path / "a.h5").read_bytes()
    content = gzip.compress(content) if packed else content
    path = tmp_path / ("b.h5.gz" if packed else "b.h5")
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match="not a readable recording file, or truncated") as caught:
        read_shd(path)
    assert "\n" not in str(caught.value)


def test_missing_parts_and_links_to_other_files(tmp_path):
    path = write_shd(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        del file["spikes/units"]
    with pytest.raises(UserError, match="there is no spikes/units"):
        read_shd(path)
    other = write_shd(tmp_path / "b.h5")
    with h5py.File(path, "a") as file:
        file["spikes/units"] = h5py.ExternalLink(other.name, "spikes/units")
    with pytest.raises(UserError, match="spikes/units is a link"):
        read_shd(path)


def test_ntidigits(tmp_path):
    path = tmp_path / "n.h5"
    names = ["man-im-a-7", "man-im-b-7557", "woman-xx-a-z", "man-yy-a-o"]
    with h5py.File(path, "w") as file:
        file["train_labels"] = np.array(names, "S20")
        for n, name in enumerate(names):
            file[f"train_timestamps/{name}"] = np.array([0.1, 0.2]) + n
            file[f"train_addresses/{name}"] = np.array([n, 63])
    found = read_ntidigits(path, "train")
    assert found.labels.tolist() == [7, 0, 10]
    assert found.extra["speaker_name"].tolist() == ["man-im", "woman-xx", "man-yy"]
    assert found.events(1)[0].tolist() == [2.1, 2.2]
    assert found.events(2)[1].tolist() == [3, 63]
    assert found.shape == (64,)
    with pytest.raises(UserError, match="there is no test_labels"):
        read_ntidigits(path, "test")


def test_a_name_without_a_digit(tmp_path):
    with h5py.File(tmp_path / "n.h5", "w") as file:
        file["train_labels"] = np.array(["man-im-a-x"], "S20")
        file["train_timestamps/man-im-a-x"] = np.array([0.1])
        file["train_addresses/man-im-a-x"] = np.array([1])
    with pytest.raises(UserError, match="man-im-a-x ends in no digit"):
        read_ntidigits(tmp_path / "n.h5", "train")


def test_fsdd_spikes(data_dir):
    found = load_recordings("fsdd-spikes", data_dir)
    assert (len(found.train), len(found.test)) == (2700, 300)
    assert found.class_names[9] == "nine"
    assert np.diff(found.train.offsets).min() == 497
    assert np.diff(found.test.offsets).max() == 2816
    assert np.bincount(found.train.extra["speaker"]).tolist() == [450] * 6
    store = binned(found.test, HalfOpen(0.01))
    assert store.batch(np.arange(300)).sum() == found.test.offsets[-1]
