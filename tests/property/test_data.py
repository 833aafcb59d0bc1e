"""Laws of splits, orders and augmentation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.model_selection import StratifiedKFold

from firstspike.data import augment, order, split, split_groups, subset
from firstspike.data.splits import folds
from firstspike.errors import UserError

seeds = st.integers(0, 2**40)
labels = st.lists(st.integers(0, 5), min_size=1, max_size=200).map(np.array)


@given(labels, st.floats(0, 0.99), seeds)
def test_split_is_a_partition_in_proportion(labels, share, seed):
    train, held = split(labels, share, seed=seed)
    assert np.array_equal(np.sort(np.concatenate([train, held])), np.arange(len(labels)))
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(held) > 0)
    assert set(labels[train]) == set(labels)
    for label in set(labels.tolist()):
        size = np.sum(labels == label)
        assert abs(np.sum(labels[held] == label) - min(share * size, size - 1)) < 1 + 1e-6
    again = split(labels, share, seed=seed)
    assert np.array_equal(again[1], held)


@given(labels, seeds)
def test_share_0_holds_nothing_out(labels, seed):
    assert len(split(labels, 0.0, seed=seed)[1]) == 0


@given(st.lists(st.integers(0, 5), min_size=2, max_size=100), st.floats(0.01, 0.99), seeds)
def test_groups_are_held_out_whole(groups, share, seed):
    groups = np.array(groups)
    if len(set(groups.tolist())) < 2:
        with pytest.raises(UserError, match="only one speaker"):
            split_groups(groups, share, seed=seed)
        return
    train, held = split_groups(groups, share, seed=seed)
    assert np.array_equal(np.sort(np.concatenate([train, held])), np.arange(len(groups)))
    assert not set(groups[train]) & set(groups[held])
    assert len(train) > 0
    assert len(held) > 0
    assert len(split_groups(groups, 0.0, seed=seed)[1]) == 0


@pytest.mark.parametrize("seed", range(5))
def test_folds_are_scikit_learns(seed):
    labels = np.random.default_rng(seed).choice([7, 1, 4], 97, p=[0.5, 0.3, 0.2])
    found = folds(labels, 10)
    for f, (_, held_out) in enumerate(StratifiedKFold(10, shuffle=False).split(labels, labels)):
        np.testing.assert_array_equal(np.flatnonzero(found == f), held_out)
    with pytest.raises(UserError, match="smallest class has 2 samples"):
        folds(np.array([0, 0, 0, 1, 1]), 3)


def test_split_total_is_exact_and_seeds_differ():
    labels = np.arange(1000) % 7
    held = split(labels, 0.1, seed=0)[1]
    assert len(held) == 100
    assert not np.array_equal(held, split(labels, 0.1, seed=1)[1])


@given(st.integers(1, 300), st.floats(0.001, 1), st.floats(0.001, 1), seeds)
def test_subsets_are_nested(n, one, other, seed):
    small, large = (subset(n, r, seed=seed) for r in sorted((one, other)))
    assert set(small) <= set(large) <= set(range(n))
    assert len(large) == max(1, int(max(one, other) * n + 1e-9))
    assert np.all(np.diff(large) > 0)


def test_subset_counts_as_the_user_does():
    assert len(subset(100, 0.29, seed=0)) == 29
    assert len(subset(100, 1.0, seed=0)) == 100


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.01, float("nan")])
def test_ratio_must_be_a_share(ratio):
    with pytest.raises(UserError, match="above 0 and at most 1"):
        subset(10, ratio, seed=0)


@pytest.mark.parametrize("share", [1.0, -0.1, float("nan")])
def test_held_out_share_must_leave_something(share):
    with pytest.raises(UserError, match="below 1"):
        split(np.zeros(4, int), share, seed=0)


@given(st.integers(0, 200), seeds, st.text(max_size=8), st.integers(0, 1000))
def test_order_is_a_permutation_and_repeats(n, seed, phase, epoch):
    first = order(n, seed=seed, phase=phase, epoch=epoch)
    assert np.array_equal(np.sort(first), np.arange(n))
    assert np.array_equal(first, order(n, seed=seed, phase=phase, epoch=epoch))


def test_orders_differ_by_seed_phase_and_epoch():
    keys = [(0, "conv1", 0), (1, "conv1", 0), (0, "conv2", 0), (0, "conv1", 1)]
    orders = {order(100, seed=s, phase=p, epoch=e).tobytes() for s, p, e in keys}
    assert len(orders) == 4


def test_order_is_frozen():
    """A change here breaks every resumed run."""
    assert order(8, seed=3, phase="conv1", epoch=2).tolist() == [5, 0, 1, 7, 3, 6, 4, 2]


def test_negative_seeds_are_refused():
    with pytest.raises(UserError, match="0 or more"):
        order(3, seed=-1, phase="a", epoch=0)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 6),
    st.sampled_from([None, 1, 3]),
    st.integers(2, 12),
    st.integers(2, 12),
    seeds,
    st.booleans(),
)
def test_a_batch_is_what_its_images_give_alone(n, channels, rows, columns, seed, mirror):
    shape = (n, rows, columns) if channels is None else (n, channels, rows, columns)
    images = np.random.default_rng(seed).integers(1, 256, shape).astype(np.uint8)
    before, index = images.copy(), np.random.default_rng(seed).permutation(50)[:n]
    batch = augment(images, index, seed=seed, epoch=3, mirror=mirror, flip=mirror)
    loop = [
        augment(images[k : k + 1], index[k : k + 1], seed=seed, epoch=3, mirror=mirror, flip=mirror)
        for k in range(n)
    ]
    assert np.array_equal(batch, np.concatenate(loop))
    assert np.array_equal(images, before)
    assert set(np.unique(batch)) <= {0, *np.unique(images)}


def test_augment_depends_on_seed_epoch_and_index():
    images = np.random.default_rng(0).integers(0, 256, (1, 28, 28)).astype(np.uint8)
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    copies = {augment(images, [i], seed=s, epoch=e).tobytes() for s, e, i in keys}
    assert len(copies) == 4


def test_nothing_asked_changes_nothing():
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 9, 8)).astype(np.uint8)
    assert np.array_equal(augment(images, np.arange(5), seed=0, epoch=0, rotation=0, shift=0), images)


def test_mirror_and_flip_come_for_half_of_the_images():
    images = np.tile(np.arange(12, dtype=np.uint8).reshape(3, 4), (400, 1, 1))
    mirrored = augment(images, np.arange(400), seed=0, epoch=0, rotation=0, shift=0, mirror=True)
    changed = [not np.array_equal(a, b) for a, b in zip(mirrored, images, strict=True)]
    assert np.array_equal(mirrored[np.array(changed)][0], images[0][:, ::-1])
    assert 150 < sum(changed) < 250


def test_shifts_stay_within_their_bound():
    images = np.zeros((300, 11, 11), np.uint8)
    images[:, 5, 5] = 255
    places = np.argwhere(augment(images, np.arange(300), seed=0, epoch=0, rotation=0, shift=2))[:, 1:] - 5
    assert {tuple(p) for p in places.tolist()} == {(a, b) for a in range(-2, 3) for b in range(-2, 3)}


@pytest.mark.parametrize("angle", [-90.0, 90.0, 180.0, 17.0, -30.0])
def test_rotation_is_pillows(angle):
    from firstspike.kernels.augment import transform

    image = np.random.default_rng(1).integers(1, 256, (1, 1, 28, 28)).astype(np.uint8)
    ours = np.empty_like(image)
    transform(image, np.array([angle]), np.zeros((1, 2), np.int64), np.zeros((1, 2), bool), ours)
    theirs = np.asarray(Image.fromarray(image[0, 0]).rotate(angle, Image.Resampling.NEAREST))
    assert np.mean(ours[0, 0] != theirs) < 0.02  # Pillow rounds positions to 1/65536


def test_augment_refuses_an_index_that_does_not_fit():
    with pytest.raises(UserError, match="2 images but an index of shape"):
        augment(np.zeros((2, 4, 4), np.uint8), [1], seed=0, epoch=0)
