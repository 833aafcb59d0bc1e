"""N-MNIST files, the store of recordings, batches from it."""

import numpy as np
import pytest

from firstspike.data import DataMissing, load, load_recordings, split_groups
from firstspike.data.binning import Equal, Frames, HalfOpen, binned, first_event_latencies
from firstspike.data.event_sets import list_recordings
from firstspike.data.recordings import coarser, merge_polarities, one_polarity
from firstspike.errors import UserError


def event_bytes(*events):
    """(x, y, polarity, microseconds) -> the file's bytes."""
    return b"".join(bytes([x, y]) + ((p << 23) | t).to_bytes(3, "big") for x, y, p, t in events)


GOOD = [(0, 0, 0, 5), (33, 2, 1, 5), (1, 33, 1, 300_000)]


def make(root, files, parts=("Train", "Test")):
    for part in parts:
        for name, content in files.items():
            path = root / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


def test_reads_what_was_written(tmp_path):
    make(tmp_path, {"3/00001.bin": event_bytes(*GOOD), "7/00002.bin": event_bytes((4, 5, 0, 2**23 - 1))})
    found = load_recordings(f"events:{tmp_path}")
    assert found.class_names == ("3", "7")
    assert found.train.labels.tolist() == [0, 1]
    times, units = found.train.events(0)
    assert times.tolist() == [5, 5, 300_000]
    assert units.tolist() == [0, 33 + 34 * 2 + 1156, 1 + 34 * 33 + 1156]
    assert found.test.events(1)[0].tolist() == [2**23 - 1]


BAD = {
    "truncated": (event_bytes(*GOOD)[:-2], "is truncated: 13 bytes"),
    "empty": (b"", "holds no events"),
    "order": (event_bytes((0, 0, 0, 9), (0, 0, 0, 8)), "event 1 earlier than the one before"),
    "range": (event_bytes((0, 0, 0, 1), (0, 34, 0, 2)), "event 1 outside of the 2312 units"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_named_or_skipped_and_counted(tmp_path, kind):
    content, says = BAD[kind]
    make(tmp_path, {"0/1.bin": event_bytes(*GOOD), "0/2.bin": content, "1/3.bin": event_bytes(*GOOD)})
    with pytest.raises(UserError, match=says) as caught:
        load_recordings(f"events:{tmp_path}")
    assert "2.bin" in str(caught.value)
    assert "--skip-bad" in str(caught.value)
    found = load_recordings(f"events:{tmp_path}", skip_bad=True)
    assert found.train.labels.tolist() == [0, 1]
    assert (found.train.skipped, found.skipped) == (1, 2)
    assert load(f"events:{tmp_path}", skip_bad=True).skipped == 2


def test_all_bad_is_an_error_even_when_skipping(tmp_path):
    with pytest.raises(UserError, match="holds no events"):
        load_recordings(f"events:{make(tmp_path, {'0/1.bin': b''})}", skip_bad=True)


def test_layouts(tmp_path):
    with pytest.raises(DataMissing, match=r"looked for Train/ or train/"):
        load_recordings(f"events:{tmp_path}")
    make(tmp_path, {"0/1.bin": event_bytes(*GOOD)}, parts=("train",))
    make(tmp_path, {"1/1.bin": event_bytes(*GOOD)}, parts=("test",))
    with pytest.raises(UserError, match=r"has a class that .* lacks: 1"):
        load_recordings(f"events:{tmp_path}")
    (tmp_path / "train" / "2").mkdir()
    (tmp_path / "train" / "1").mkdir()
    with pytest.raises(UserError, match=r"1 holds no .bin"):
        load_recordings(f"events:{tmp_path}")


@pytest.mark.parametrize("name", list_recordings())
def test_absent_recordings(name, tmp_path):
    with pytest.raises(DataMissing, match=f"data set {name}: looked for .*--data-dir"):
        load_recordings(name, tmp_path)
    with pytest.raises(UserError, match=r"unknown recordings 'x'; there are .*nmnist-real.* and events:PATH"):
        load_recordings("x", tmp_path)


def test_binned_batches(tmp_path):
    make(
        tmp_path,
        {"0/1.bin": event_bytes(*GOOD), "0/2.bin": event_bytes((0, 0, 0, 10_000), (0, 0, 0, 10_001))},
    )
    train = load_recordings(f"events:{tmp_path}").train
    store = binned(train, HalfOpen(0.01))
    assert store.lengths.tolist() == [31, 2]
    batch = store.batch([1])
    assert batch.shape == (1, 2, 2312)
    assert batch[0, 1, 0] == 2  # 10,000 us belongs to the second bin of 10 ms, and coinciding events add
    assert store.batch([0, 1]).shape == (2, 31, 2312)
    assert store.batch([0, 1], steps=5).sum() == 4
    assert np.array_equal(train.bins([1, 0], 31, 0.01), store.batch([1, 0]))
    buffer = np.full((1, 2, 2312), 7, np.uint8)
    assert store.batch([1], out=buffer) is buffer
    assert buffer.sum() == 2
    with pytest.raises(IndexError):
        store.batch([2])
    with pytest.raises(UserError, match="widen them"):
        binned(train, HalfOpen(1e-6))
    with pytest.raises(UserError, match="above 0"):
        binned(train, HalfOpen(0.0))


def test_frames_start_at_the_first_event_and_drop_the_tail(tmp_path):
    events = [(0, 0, 0, t) for t in (1000, 5999, 6000, 11_000, 15_999)]
    make(tmp_path, {"0/1.bin": event_bytes(*events), "0/2.bin": event_bytes((0, 0, 0, 3))})
    store = binned(load_recordings(f"events:{tmp_path}").train, Frames(0.005))
    assert store.lengths.tolist() == [2, 1]
    assert store.batch([0])[0, :, 0].tolist() == [2, 1]
    assert store.batch([1])[0, :, 0].tolist() == [1]


def test_equal_bins_in_whole_ticks_drop_what_is_left(tmp_path):
    events = [(0, 0, 0, t) for t in (10, 12, 13, 15, 16, 17)]  # (17 - 10) // 3 = 2 ticks a bin
    make(tmp_path, {"0/1.bin": event_bytes(*events)})
    train = load_recordings(f"events:{tmp_path}").train
    assert binned(train, Equal(3, whole_ticks=True)).batch([0])[0, :, 0].tolist() == [1, 2, 1]
    assert binned(train, Equal(3)).batch([0])[0, :, 0].tolist() == [2, 2, 2]


def test_first_events_are_latencies(tmp_path):
    events = [(3, 4, 0, 100), (5, 4, 1, 149), (3, 4, 0, 190), (6, 4, 1, 199)]
    make(tmp_path, {"0/1.bin": event_bytes(*events)})
    data = load(f"events:{tmp_path}", steps=10)
    assert data.train_images.shape == (1, 2, 34, 34)
    assert (data.latency_steps, data.channels, data.image_size) == (10, 2, (34, 34))
    image = data.train_images[0]
    assert (image[0, 4, 3], image[1, 4, 5], image[1, 4, 6]) == (0, 4, 9)
    assert (image == 255).sum() == image.size - 3
    small = load(f"events:{tmp_path}", steps=10, image_size=17).train_images[0]
    assert (small[0, 2, 1], small[1, 2, 2], small[1, 2, 3]) == (0, 4, 9)
    with pytest.raises(UserError, match="cannot be enlarged"):
        load(f"events:{tmp_path}", image_size=40)
    with pytest.raises(UserError, match="1 to 254"):
        load(f"events:{tmp_path}", steps=255)


def test_maps_of_units(tmp_path):
    make(tmp_path, {"0/1.bin": event_bytes(*GOOD)})
    train = load_recordings(f"events:{tmp_path}").train
    merged = merge_polarities(train)
    assert merged.units.tolist() == [0, 33 + 34 * 2, 1 + 34 * 33]
    assert merged.shape == (1, 34, 34)
    assert one_polarity(train, 0).units.tolist() == [0]
    assert one_polarity(train, 1).units.tolist() == [33 + 34 * 2, 1 + 34 * 33]
    assert len(coarser(train, (17, 17)).units) == 3
    assert len(coarser(train, (17, 17), nearest=True).units) == 1  # only even rows and columns are sampled


def test_real_and_simulated_recordings(data_dir):
    for name, sizes in (("nmnist-real", (300, 80)), ("nmnist-sim", (60, 20))):
        found = load_recordings(name, data_dir)
        assert (len(found.train), len(found.test)) == sizes
        assert found.classes == 10
        assert 280_000 < found.train.times.max() < 320_000
        assert 3500 < np.diff(found.train.offsets).mean() < 4500
        latencies = first_event_latencies(found.test, 15)
        assert set(np.unique(latencies)) == {*range(15), 255}


def test_speakers_are_held_out_whole(data_dir):
    train = load_recordings("fsdd-spikes", data_dir).train
    kept, held = split_groups(train.extra["speaker"], 0.2, seed=0)
    speakers = train.extra["speaker"]
    assert not set(speakers[kept]) & set(speakers[held])
    assert len(set(speakers[held])) == 1
    assert len(kept) + len(held) == len(train)
