"""SoftHebb: shapes, silence, seeds, state."""

import json

import numpy as np
import pytest

from firstspike.errors import UserError
from firstspike.readouts.softhebb import Block, SoftHebb, SoftHebbEngine, spike_times

SMALL = SoftHebb((Block(4, 5, 1.0, 0.7, "max", 0.08), Block(6, 3, 0.25, 1.0, "average", 0.01)))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (25, 12, 12), np.uint8)


def test_published_shapes():
    engine = SoftHebbEngine(SoftHebb())
    for side, count in ((28, 13824), (32, 24576)):
        assert engine.features(np.zeros((1, side, side), np.uint8)).shape == (1, count)
    assert engine.weights("conv3").shape == (1536, 384, 3, 3)


def test_a_resumed_run_is_equal_to_the_bit(images):
    through, first, second = (SoftHebbEngine(SMALL, seed=1) for _ in range(3))
    for _ in range(2):
        through.fit_phase("hebbian", images)
    first.fit_phase("hebbian", images)
    arrays, counters = first.state()
    second.load_state(arrays, json.loads(json.dumps(counters)))
    second.fit_phase("hebbian", images)
    np.testing.assert_array_equal(through.features(images), second.features(images))
    with pytest.raises(UserError, match="belongs to another network"):
        SoftHebbEngine(SMALL, channels=3).load_state(arrays, counters)


def test_seeds_draw_weights_and_order(images):
    one, same, other = SoftHebbEngine(SMALL), SoftHebbEngine(SMALL), SoftHebbEngine(SMALL, seed=1)
    assert not np.array_equal(one.weights("conv1"), other.weights("conv1"))
    one.fit_phase("hebbian", images)
    same.fit_phase("hebbian", images)
    np.testing.assert_array_equal(one.weights("conv2"), same.weights("conv2"))
    assert one.rates("conv1")["lr"] > 0


def test_axes_are_exchanged(images):
    plain = SoftHebbEngine(SoftHebb(SMALL.blocks, transpose=False))
    exchanged = SoftHebbEngine(SMALL)
    np.testing.assert_array_equal(plain.features(images.swapaxes(1, 2)), exchanged.features(images))


def test_features_as_times():
    times = spike_times(np.float32([[0, 1, 4], [0, 0, 0]]))
    np.testing.assert_array_equal(times, np.float32([[1, 0.75, 0], [1, 1, 1]]))


def test_events_are_the_times_of_the_features(images):
    engine = SoftHebbEngine(SMALL)
    np.testing.assert_array_equal(engine.events(images).dense(), spike_times(engine.features(images)))


def test_wrong_names(images):
    engine = SoftHebbEngine(SMALL)
    with pytest.raises(UserError, match="no layer 'conv9' in SoftHebb; it has conv1, conv2"):
        engine.weights("conv9")
    with pytest.raises(UserError, match="it has 'hebbian'"):
        engine.fit_phase("conv1", images)
    with pytest.raises(UserError, match="expected"):
        engine.set_weights("conv1", np.zeros(3))
