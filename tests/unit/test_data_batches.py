"""Made sequences, and batches made ahead."""

import threading
import time

import numpy as np
import pytest

from firstspike.data.augment import move_frames, move_spikes
from firstspike.data.batches import ahead, batches
from firstspike.data.sequences import (
    LATENCY_CODES,
    LatencyCoded,
    RateCoded,
    Sequential,
    latency_table,
    yinyang_trains,
)
from firstspike.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 5)).astype(np.uint8)


@pytest.mark.parametrize(("by", "shape"), [("rows", (4, 3, 5)), ("columns", (5, 3, 4)), ("pixels", (20, 3))])
def test_sequential_images(by, shape):
    batch = Sequential(IMAGES, np.arange(6), by).batch(np.array([4, 1]))
    assert batch.shape == (2, *shape)
    wanted = {"rows": IMAGES[4, :, 2, 3], "columns": IMAGES[4, :, 2, 3], "pixels": IMAGES[4, :, 2, 3]}[by]
    got = {"rows": lambda b: b[0, 2, :, 3], "columns": lambda b: b[0, 3, :, 2], "pixels": lambda b: b[0, 13]}[
        by
    ](batch)
    assert got == pytest.approx(wanted / 255)


def test_sequential_grey_images_and_unknown_ways():
    assert Sequential(IMAGES[:, 0], np.arange(6)).batch(np.arange(6)).shape == (6, 4, 1, 5)
    with pytest.raises(UserError, match="there are rows, columns, pixels"):
        Sequential(IMAGES, np.arange(6), "diagonals")


def test_latency_coded_images_have_one_spike_a_pixel():
    for code in LATENCY_CODES:
        table = latency_table(code)
        batch = LatencyCoded(IMAGES, np.arange(6), table, 100).batch(np.arange(6))
        assert batch.shape == (6, 100, 60)
        steps = table[IMAGES.reshape(6, -1)]
        assert np.array_equal(batch.sum(axis=1), steps >= 0)
        assert np.array_equal(batch.argmax(axis=1)[steps >= 0], steps[steps >= 0])
    assert latency_table("unit")[255] == 4
    assert latency_table("linear", steps=11)[[0, 1, 51, 204, 255]].tolist() == [-1, 10, 8, 2, 0]
    with pytest.raises(UserError, match="there are unit, fastsnn, linear"):
        latency_table("x")


def test_rate_code_is_a_function_of_seed_and_sample():
    values = np.array([[0.0, 1.0, 0.3], [0.5, 0.5, 0.5]])
    source = RateCoded(values, np.arange(2), 4000, 1)
    both, alone = source.batch(np.array([0, 1])), source.batch(np.array([1]))
    assert np.array_equal(both[1], alone[0])
    assert both[0].mean(axis=0) == pytest.approx([0, 1, 0.3], abs=0.04)
    assert not np.array_equal(both[1], RateCoded(values, np.arange(2), 4000, 2).batch(np.array([1]))[0])
    assert yinyang_trains("test", 7).batch(np.arange(3)).shape == (3, 7, 4)


def test_batches_cover_the_order_and_come_with_labels():
    source = Sequential(IMAGES, np.arange(6) * 10)
    found = list(batches(source, np.array([5, 0, 3, 1]), 3))
    assert [indices.tolist() for _, _, indices in found] == [[5, 0, 3], [1]]
    assert [labels.tolist() for _, labels, _ in found] == [[50, 0, 30], [10]]
    assert np.array_equal(found[0][0], source.batch(np.array([5, 0, 3])))
    assert [len(i) for _, _, i in batches(source, np.arange(6), 4, drop_last=True)] == [4]
    assert list(batches(source, np.arange(0), 4)) == []


def test_the_next_batch_is_made_while_one_is_used():
    started = [threading.Event() for _ in range(3)]

    def task(n):
        started[n].set()
        return n

    results = ahead([lambda n=n: task(n) for n in range(3)])
    assert next(results) == 0
    assert started[1].wait(5)
    time.sleep(0.05)
    assert not started[2].is_set()
    assert list(results) == [1, 2]


def test_errors_of_the_background_arrive():
    def fails():
        raise UserError("bad file")

    with pytest.raises(UserError, match="bad file"):
        list(ahead([lambda: 1, fails]))


def test_dark_pixels_spike_first_in_channels_of_their_own():
    images, table = IMAGES[:, :2], latency_table("linear", steps=8)
    both = LatencyCoded(images, np.arange(6), table, 8, on_off=True).batch(np.arange(6))
    for part, seen in ((both[..., :40], images), (both[..., 40:], 255 - images)):
        assert np.array_equal(part, LatencyCoded(seen, np.arange(6), table, 8).batch(np.arange(6)))


def test_moved_spikes_depend_on_seed_epoch_and_index_alone():
    counts = np.random.default_rng(0).integers(0, 3, (4, 20, 30)).astype(np.float32)
    index, lengths = np.array([7, 3, 9, 0]), np.array([20, 15, 10, 20])
    moved = move_spikes(counts, index, lengths, seed=0, epoch=2, shift=0.1)
    alone = move_spikes(counts[1:2], index[1:2], lengths[1:2], seed=0, epoch=2, shift=0.1)
    assert np.array_equal(moved[1], alone[0])
    assert not np.array_equal(moved, move_spikes(counts, index, lengths, seed=0, epoch=3, shift=0.1))
    assert moved[1, 15:].sum() == 0
    still = move_spikes(counts, index, np.full(4, 20), seed=0, epoch=2, shift=0, scale=0)
    assert np.array_equal(still, counts)


def test_moved_frames_move_alike():
    frames = np.zeros((50, 3, 2, 9, 9), np.float32)
    frames[:, :, :, 4, 4] = 1
    moved = move_frames(frames, np.arange(50), seed=0, epoch=0, shift=0.3, scale=0.0)
    assert np.all(moved.sum(axis=(3, 4)) == 1)
    places = moved.reshape(50, 6, 81).argmax(axis=2)
    assert np.all(places == places[:, :1])
    assert len(set(places[:, 0])) > 10


def test_frames_are_mirrored_with_chance_one_half():
    frames = np.random.default_rng(0).random((60, 2, 1, 5, 6)).astype(np.float32)
    index, how = np.arange(60), {"seed": 0, "epoch": 3, "shift": 0.2, "scale": 0.1}
    plain, mirrored = (move_frames(frames, index, mirror=mirror, **how) for mirror in (False, True))
    changed = np.array([not np.array_equal(a, b) for a, b in zip(plain, mirrored, strict=True)])
    assert 20 < changed.sum() < 40
    assert np.array_equal(np.where(changed[:, None, None, None, None], plain[..., ::-1], plain), mirrored)
