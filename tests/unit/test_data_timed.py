"""Data sets in time: every one by its name, codings, parts."""

import numpy as np
import pytest

from firstspike.data.samples import Selection
from firstspike.data.timed import Coding, divided, in_turn, list_timed, load_timed
from firstspike.errors import UserError
from tests.unit.test_data_aedat import make_cifar10_dvs, make_gestures
from tests.unit.test_data_events import event_bytes, make
from tests.unit.test_data_spikes import write_shd


def made_shd(root, stem="shd"):
    """Twelve recordings of three classes and two speakers, sorted by class."""
    (root / stem.upper()).mkdir()
    labels, speakers = np.repeat([0, 1, 2], 4), np.tile([0, 0, 1, 1], 3)
    times, units = [[0.001 * n, 0.0205] for n in range(12)], [[n, 699 - n] for n in range(12)]
    for part in ("train", "test"):
        path = root / stem.upper() / f"{stem}_{part}.h5"
        write_shd(path, times, units, labels, np.float32, speaker=speakers, keys=np.array([b"a", b"b", b"c"]))
    return root


def test_shd(tmp_path):
    found = load_timed("shd", Coding(window=1e-2, group=5), made_shd(tmp_path))
    assert (found.shape, found.classes, len(found.train), len(found.test)) == ((140,), 3, 12, 12)
    x = found.train.batch(np.array([0, 11]), steps=4)
    assert x.shape == (2, 4, 140)
    assert np.argwhere(x[1]).tolist() == [[1, 2], [2, 137]]  # events at 11 and 20.5 ms, units 11 and 688
    assert found.train.lengths.tolist() == [3] * 12
    np.testing.assert_array_equal(found.train.events(np.array([0, 11]), steps=4).dense().reshape(x.shape), x)
    some = found.train.take(np.array([11, 2]))
    np.testing.assert_array_equal(some.batch(np.array([0]), steps=4)[0], x[1])
    assert some.labels.tolist() == [2, 0]


@pytest.mark.parametrize(
    "bins", ["half-open", "original", "spsn-original", "equal", "whole-ticks", "nearest"]
)
def test_rules_of_binning(bins, tmp_path):
    found = load_timed("shd", Coding(bins=bins, window=1e-3, steps=30), made_shd(tmp_path))
    x = found.train.batch(np.arange(12), steps=30)
    assert x.sum() == 24 if bins != "whole-ticks" else x.sum() <= 24


def test_speakers_are_held_out_whole(tmp_path):
    found = load_timed("shd", Coding(window=1e-2), made_shd(tmp_path))
    learn, held = divided(found, Selection(validation=0.5))
    speakers = [set(found.speakers[part.rows].tolist()) for part in (learn, held)]
    assert not speakers[0] & speakers[1]
    assert sorted([*learn.rows, *held.rows]) == list(range(12))
    learn, held = divided(found, Selection(validation=0.25), by="sample")
    assert sorted(held.labels.tolist()) == [0, 1, 2]
    learn, held = divided(found, Selection(fold="1/4"))
    assert sorted(held.labels.tolist()) == [0, 1, 2]
    with pytest.raises(UserError, match="by --fold; give sample"):
        divided(found, Selection(fold="1/4"), by="speaker")
    with pytest.raises(UserError, match="auto, speaker, sample"):
        divided(found, Selection(), by="name")


def test_the_first_samples_are_of_all_classes_and_speakers(tmp_path):
    found = load_timed("shd", Coding(window=1e-2), made_shd(tmp_path))
    learn, _ = divided(found, Selection(first=6, validation=0.0), by="sample")
    assert learn.rows.tolist() == [0, 2, 4, 6, 8, 10]
    assert in_turn(np.array([1, 1, 0, 1]), None).tolist() == [0, 2, 1, 3]


def test_frames(tmp_path):
    make(tmp_path / "NMNIST", {"0/1.bin": event_bytes((1, 2, 0, 0), (3, 4, 1, 5500), (3, 4, 1, 12000))})
    both = load_timed("nmnist", Coding(window=5e-3), tmp_path)
    assert both.shape == (2, 34, 34)
    assert np.argwhere(both.train.batch(np.array([0]))[0]).tolist() == [
        [0, 0, 2, 1],
        [1, 1, 4, 3],
    ]  # tail dropped
    first = load_timed("nmnist", Coding(window=5e-3, polarity="first"), tmp_path)
    assert np.argwhere(first.train.batch(np.array([0]))[0]).tolist() == [[0, 0, 2, 1]]
    merged = load_timed("nmnist", Coding(bins="nearest", steps=10, polarity="merged"), tmp_path)
    assert np.argwhere(merged.train.batch(np.array([0]))[0]).tolist() == [[0, 0, 2, 1], [6, 0, 4, 3]]
    small = load_timed("nmnist", Coding(bins="equal", steps=3, size=(17, 17)), tmp_path)
    assert small.shape == (2, 17, 17)
    with pytest.raises(UserError, match="--image-size"):
        load_timed("nmnist", Coding(group=2), tmp_path)


def test_cameras(tmp_path):
    (tmp_path / "DvsGesture").mkdir()
    make_gestures(tmp_path / "DvsGesture")
    found = load_timed("dvs-gesture", Coding(bins="equal", steps=2, size=(64, 64)), tmp_path)
    assert (found.shape, found.classes, len(found.train)) == ((2, 64, 64), 10, 2)
    make_cifar10_dvs(tmp_path)
    found = load_timed(
        "cifar10-dvs", Coding(bins="equal", steps=4, polarity="merged", size=(32, 32)), tmp_path
    )
    assert found.train.batch(np.array([0])).shape == (1, 4, 1, 32, 32)
    with pytest.raises(UserError, match="--bins equal"):
        load_timed("cifar10-dvs", Coding(), tmp_path)
    with pytest.raises(UserError, match="--skip-bad"):
        load_timed("cifar10-dvs", Coding(bins="equal"), tmp_path, skip_bad=True)


@pytest.mark.parametrize(
    ("images", "shape", "steps"),
    [("latency", (1, 28, 28), 100), ("rows", (1, 28), 28), ("columns", (1, 28), 28), ("pixels", (1,), 784)],
)
def test_images(images, shape, steps):
    found = load_timed("digits", Coding(images=images))
    assert (found.shape, found.classes, found.speakers) == (shape, 10, None)
    assert found.train.batch(np.arange(2)).shape == (2, steps, *shape)


def test_yinyang():
    found = load_timed("yinyang", Coding(window=20))
    assert (len(found.train), len(found.test), found.class_names) == (5000, 1000, ("yin", "yang", "dot"))
    assert found.train.batch(np.arange(3)).shape == (3, 20, 4)
    with pytest.raises(UserError, match="number of steps"):
        load_timed("yinyang", Coding())


def test_names():
    assert {"shd", "ntidigits", "nmnist-real", "nmnist-sim", "dvs-gesture", "fsdd-spikes", "yinyang"} <= set(
        list_timed()
    )
    with pytest.raises(UserError, match="unknown data set 'x'; there are cifar10, cifar10-dvs"):
        load_timed("x", Coding())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"bins": "x"}, "auto, half-open"), ({"polarity": "x"}, "both"), ({"window": 0}, "above 0")],
)
def test_codings_that_make_no_sense(options, message):
    with pytest.raises(UserError, match=message):
        Coding(**options)
