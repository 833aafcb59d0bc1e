"""Feature files and events: what is read is what was meant, and what is wrong is named."""

import zipfile

import numpy as np
import pytest

from firstspike.errors import UserError
from firstspike.readouts.events import Events, from_dense, join
from firstspike.readouts.feature_file import check_events, convert, load_features, save_features


@pytest.fixture
def dense():
    times = np.random.default_rng(0).random((12, 3, 5)).astype(np.float32) * 1.5
    return times, np.arange(12) % 3 * 2 + 4  # labels 4, 6, 8


def write(folder, **arrays):
    np.savez(folder / "features.npz", **arrays)
    return folder / "features.npz"


def test_dense_files(dense, tmp_path):
    times, labels = dense
    path = write(tmp_path, times=times, labels=labels, test_times=times[:2], test_labels=labels[:2])
    found = load_features(path)
    np.testing.assert_array_equal(found.train.dense(), np.minimum(times.reshape(12, 15), 1))
    np.testing.assert_array_equal(found.labels, np.arange(12) % 3)
    np.testing.assert_array_equal(found.classes, [4, 6, 8])
    np.testing.assert_array_equal(found.test_labels, [0, 1])
    assert load_features(write(tmp_path, times=times, labels=labels, max_time=2.0)).train.max_time == 2
    assert load_features(write(tmp_path, times=times, labels=labels)).test is None


def test_lists_come_back_as_written(dense, tmp_path):
    times, labels = dense
    events = from_dense(times, max_time=1.25)
    save_features(tmp_path / "f.npz", events, labels, test=events.take([3, 1]), test_labels=labels[[3, 1]])
    found = load_features(tmp_path / "f.npz")
    for ours, theirs in ((found.train, events), (found.test, events.take([3, 1]))):
        for name in ("offsets", "index", "times", "inputs", "max_time"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.npz"]


def test_npy_pairs(dense, tmp_path):
    times, labels = dense
    for name, array in (("x", times), ("y", labels), ("tx", times[:3]), ("ty", labels[:3])):
        np.save(tmp_path / f"{name}.npy", array)
    held_out = (tmp_path / "tx.npy", tmp_path / "ty.npy")
    found = convert(tmp_path / "x.npy", tmp_path / "y.npy", tmp_path / "f.npz", test=held_out)
    np.testing.assert_array_equal(found.test.dense(), np.minimum(times[:3].reshape(3, 15), 1))
    with pytest.raises(UserError, match=r"nothing\.npy"):
        convert(tmp_path / "nothing.npy", tmp_path / "y.npy", tmp_path / "f.npz")
    with pytest.raises(UserError, match="expected 3 whole numbers"):
        convert(tmp_path / "tx.npy", tmp_path / "y.npy", tmp_path / "f.npz")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"times": None}, "no array times"),
        ({"labels": None}, "no array labels"),
        ({"labels": np.zeros(11, int)}, "expected 12 whole numbers"),
        ({"labels": np.zeros(12)}, "type float64"),
        ({"times": np.zeros(12)}, r"shape \(12,\); expected \(samples, \.\.\.\)"),
        ({"times": np.full((12, 3), np.nan)}, r"spike time at \(0, 0\) is NaN"),
        ({"times": np.full((12, 3), -0.5)}, "is negative; expected 0 ... 1.0"),
        ({"times": np.zeros((12, 3), bool)}, "type bool; expected real numbers"),
        ({"max_time": np.ones(2)}, "expected one number"),
        ({"max_time": 0.0}, "expected a positive number"),
        ({"index": np.zeros(3)}, "no array inputs"),
        ({"weights": np.zeros(3)}, "array 'weights' has no meaning"),
        (
            {"test_times": np.zeros((2, 4)), "test_labels": np.array([4, 4])},
            "15 inputs in training, 4 in test",
        ),
        (
            {"test_times": np.zeros((2, 15)), "test_labels": np.array([4, 5])},
            "label 5 does not occur in training",
        ),
        ({"test_times": np.zeros((2, 15))}, "no array test_labels"),
    ],
)
def test_what_is_wrong_is_named(dense, tmp_path, change, words):
    arrays = {"times": dense[0], "labels": dense[1], **change}
    path = write(tmp_path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match=words) as found:
        load_features(path)
    assert str(path) in str(found.value)
    assert "\n" not in str(found.value)


def good():
    return Events(np.array([0, 2, 3]), np.int32([1, 0, 2]), np.float32([0.1, 0.1 + 0.2, 0.5]), 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"offsets": np.array([1, 2, 3])}, "offsets"),
        ({"offsets": np.array([0, 2, 1])}, "offsets"),
        ({"offsets": np.array([0, 2, 5])}, "expected 5 of each"),
        ({"index": np.int32([1, 0, 4])}, r"input outside 0 \.\.\. 3"),
        ({"times": np.float32([0.1, 0.2, 1.0])}, r"not in \[0, 1.0\)"),
        ({"times": np.float32([0.1, np.nan, 0.5])}, r"not in \[0, 1.0\)"),
        ({"times": np.float32([0.3, 0.2, 0.5])}, "out of order"),
        ({"times": np.float32([0.2, 0.2, 0.5])}, "out of order"),
        ({"index": np.int32([1, 1, 2])}, "spikes twice"),
        ({"max_time": float("nan")}, "positive number"),
    ],
)
def test_wrong_lists_are_refused(change, words):
    check_events(good())
    fields = {name: getattr(good(), name) for name in ("offsets", "index", "times", "inputs", "max_time")}
    with pytest.raises(UserError, match=words):
        check_events(Events(**{**fields, **change}))


def test_damaged_and_foreign_files(dense, tmp_path):
    path = write(tmp_path, times=dense[0], labels=dense[1])
    whole = path.read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"expected an \.npz"):
            load_features(path)
    np.savez(path, times=np.array([object()], dtype=object), labels=np.zeros(1, int))
    with pytest.raises(UserError, match="does not fit"):
        load_features(path)
    with zipfile.ZipFile(path, "w") as archive, archive.open("times.npy", "w") as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 10**6)}
        )
    with pytest.raises(UserError, match="does not fit"):
        load_features(path)


def test_latencies_are_times_on_a_grid():
    latencies = np.uint8([[[0, 14], [255, 3]], [[15, 1], [7, 255]]])
    events = from_dense(latencies, scale=15)
    np.testing.assert_array_equal(events.index, [0, 3, 1, 1, 2])
    np.testing.assert_array_equal(events.times, np.float32([0, 3, 14, 1, 7]) / np.float32(15))
    np.testing.assert_array_equal(events.counts(), [3, 2])


def test_joined_events(dense):
    events = from_dense(dense[0])
    both = join([events.take([0, 5]), events.take(range(1))])
    np.testing.assert_array_equal(both.dense(), events.dense()[[0, 5, 0]])
    np.testing.assert_array_equal(both.intensities(), 1 - both.dense())
    with pytest.raises(UserError, match="differ"):
        join([events, from_dense(dense[0], max_time=2)])


def test_neighbours_are_taken_without_a_copy(dense):
    times = np.minimum(dense[0].reshape(12, 15), 1)
    events, rows = from_dense(times), np.arange(12)
    for chosen in (rows, rows[2:5], rows[3:4]):
        part = events.take(chosen)
        np.testing.assert_array_equal(part.dense(), times[chosen])
        assert np.shares_memory(part.times, events.times)
    for chosen in (rows[::-1], rows[::2], rows[:0]):
        np.testing.assert_array_equal(events.take(chosen).dense(), times[chosen])
