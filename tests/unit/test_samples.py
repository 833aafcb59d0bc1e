"""From a data set to samples: parts, shares, copies; test images never among those that are learnt from."""

import numpy as np
import pytest

from firstspike.data import Dataset, augment
from firstspike.data.samples import Samples, Selection, encoded
from firstspike.errors import UserError
from s1c1 import S1C1

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3


@pytest.fixture
def dataset():
    images = RNG.integers(0, 256, (75, 16, 16), np.uint8)
    return Dataset("tiny", images[:60], LABELS, images[60:], np.arange(15) % 3, ("a", "b", "c"))


def select(dataset, *, cache=None, **choices):
    return encoded(dataset, S1C1(), Selection(**choices), cache=cache)


def test_every_image_is_in_one_part(dataset):
    parts = select(dataset, validation=0.2)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (48, 12, 15)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([parts.train.rows, parts.validation.rows])), np.arange(60)
    )
    for part in (parts.train, parts.validation):
        np.testing.assert_array_equal(part.labels, LABELS[part.rows])
        np.testing.assert_array_equal(part.take(slice(None)), S1C1()(dataset.train_images[part.rows]))
        assert part.shape == (6, 16, 16)
    np.testing.assert_array_equal(parts.test.take(slice(None)), S1C1()(dataset.test_images))
    np.testing.assert_array_equal(np.bincount(parts.validation.labels), [4, 4, 4])


def test_nothing_held_out(dataset):
    parts = select(dataset, validation=0)
    assert len(parts.train) == 60
    assert len(parts.validation) == 0
    assert not parts.validation


def test_a_share_is_drawn_by_the_seed(dataset):
    rows = [np.sort(np.concatenate([p.train.rows, p.validation.rows])) for p in (
        select(dataset, ratio=0.5), select(dataset, ratio=0.5), select(dataset, ratio=0.5, seed=1), select(dataset)
    )]  # fmt: skip
    np.testing.assert_array_equal(rows[0], rows[1])
    assert len(rows[0]) == 30
    assert (rows[0] != rows[2]).any()
    assert len(rows[3]) == 60


def test_the_first_images_alone(dataset):
    parts = select(dataset, first=30, validation=0.1)
    assert (len(parts.train), len(parts.validation)) == (27, 3)
    assert max(parts.train.rows.max(), parts.validation.rows.max()) < 30
    assert len(parts.test) == 15


def test_folds_are_disjoint_parts_of_the_first_images(dataset):
    every = [select(dataset, first=40, fold=f"{f}/4", seed=f) for f in range(4)]
    held = np.concatenate([parts.validation.rows for parts in every])
    np.testing.assert_array_equal(np.sort(held), np.arange(40))
    for parts in every:
        both = np.concatenate([parts.train.rows, parts.validation.rows])
        np.testing.assert_array_equal(np.sort(both), np.arange(40))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"ratio": 0.0}, "ratio 0.0: must be above 0 and at most 1"),
        ({"ratio": 1.5}, "ratio 1.5: must be above 0 and at most 1"),
        ({"ratio": -0.5}, "ratio -0.5"),
        ({"ratio": float("nan")}, "ratio nan"),
        ({"validation": 1.0}, "held-out share 1.0: must be at least 0 and below 1"),
        ({"validation": -0.1}, "held-out share -0.1"),
        ({"validation": float("nan")}, "held-out share nan"),
        ({"seed": -1, "ratio": 0.5}, "seed -1: must be 0 or more"),
    ],
)
def test_shares_that_make_no_sense_are_refused(dataset, choices, message):
    with pytest.raises(UserError, match=message):
        select(dataset, **choices)


def test_copies_are_drawn_anew_each_epoch_and_follow_seed_epoch_and_index(dataset):
    train = select(dataset, augment=True, validation=0.2).train
    assert len(train) == 2 * len(train.rows)
    some = np.array([5, 0, 17])
    first, again, next_epoch = train.copies(0, some), train.copies(0, some), train.copies(1, some)
    np.testing.assert_array_equal(first, again)
    assert (first != next_epoch).any()
    np.testing.assert_array_equal(train.copies(0, some[1:]), first[1:])  # not of their place in the batch
    index = train.rows[some]
    expected = augment(dataset.train_images[index], index, seed=0, epoch=0, mirror=False)
    np.testing.assert_array_equal(first, S1C1()(expected))
    other = select(dataset, augment=True, validation=0.2, seed=1).train
    same = np.intersect1d(train.rows, other.rows)[:1]
    mine, theirs = (part.copies(0, np.flatnonzero(part.rows == same)) for part in (train, other))
    assert (mine != theirs).any()


def test_only_training_images_are_copied(dataset):
    parts = select(dataset, augment=True)
    assert parts.validation.copies is None
    assert parts.test.copies is None
    assert select(dataset).train.copies is None


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("allowed", [False, True])
def test_images_are_mirrored_only_where_that_is_sensible_or_asked_for(asked, allowed):
    images = np.zeros((40, 16, 16), np.uint8)
    images[:, 2:14, 2:5] = 255  # a bar on the left: mirrored ones have it on the right
    data = Dataset("bars", images, np.arange(40) % 2, images[:2], np.arange(2), ("a", "b"), mirror=allowed)
    train = select(data, augment=True, mirror=asked, validation=0).train
    copies = train.copies(0, np.arange(40))
    right = (copies[:, :, :, 10:] < 15).sum(axis=(1, 2, 3)) > (copies[:, :, :, :6] < 15).sum(axis=(1, 2, 3))
    assert right.any() == (asked or allowed)


def test_latencies_made_from_events_are_taken_as_they_are():
    spikes = RNG.integers(0, 9, (30, 2, 12, 12), np.uint8)
    data = Dataset(
        "events", spikes[:20], np.arange(20) % 2, spikes[20:], np.arange(10) % 2, ("a", "b"), latency_steps=9
    )
    parts = encoded(data, None, Selection(), cache=None)
    np.testing.assert_array_equal(parts.train.take(slice(None)), spikes[parts.train.rows])
    with pytest.raises(UserError, match="--augment: events holds events, not images: leave it out"):
        encoded(data, None, Selection(augment=True), cache=None)


def test_encoding_is_done_once(dataset, tmp_path, monkeypatch):
    first = select(dataset, cache=tmp_path)
    files = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    calls, encode = [], S1C1.__call__
    monkeypatch.setattr(
        S1C1, "__call__", lambda self, images: calls.append(len(images)) or encode(self, images)
    )
    second = select(dataset, cache=tmp_path, seed=3, ratio=0.5)
    assert max(calls, default=0) <= 1  # a blank image tells the shape
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    np.testing.assert_array_equal(second.train.latencies, first.train.latencies)


def test_a_part_without_images_is_refused():
    images = np.zeros((1, 16, 16), np.uint8)
    none = Dataset("none", images[:0], np.arange(0), images, np.arange(1), ("a",))
    with pytest.raises(UserError, match="no training image is left of 0"):
        select(none)


def test_samples_take_rows_of_the_whole_set():
    latencies = RNG.integers(0, 9, (10, 1, 3, 3), np.uint8)
    samples = Samples(latencies, np.array([7, 2, 5]), np.array([0, 1, 0]))
    np.testing.assert_array_equal(samples.take(np.array([2, 0])), latencies[[5, 7]])
    assert len(samples) == 3
