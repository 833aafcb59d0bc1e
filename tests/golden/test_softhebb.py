"""The recorded run of SoftHebb: weights after every batch, running statistics, features, spike times."""

from pathlib import Path

import numpy as np
import pytest

from firstspike.readouts.softhebb import Block, SoftHebb, SoftHebbEngine, spike_times

GOLDEN = np.load(Path(__file__).with_name("softhebb.npz"), allow_pickle=False)
IMAGES = GOLDEN["images"].astype(np.float32)
TRAINING = 55
NETWORK = SoftHebb(
    (
        Block(8, 5, 1.0, 0.7, "max", 0.08),
        Block(12, 3, 0.65, 1.4, "max", 0.005),
        Block(16, 3, 0.25, 1.0, "average", 0.01),
    ),
    transpose=False,
)


def fresh():
    engine = SoftHebbEngine(NETWORK)
    for number in (1, 2, 3):
        engine.set_weights(f"conv{number}", GOLDEN[f"w{number}_init"])
    return engine


@pytest.fixture(scope="module")
def trained():
    engine = fresh()
    engine.fit_phase("hebbian", IMAGES[:TRAINING], order=np.arange(TRAINING))
    return engine


def test_each_batch():
    engine = fresh()
    for batch in range(6):
        for number, layer in enumerate(engine.layers, 1):
            np.testing.assert_allclose(layer.rates(), GOLDEN[f"eta{number}_batch"][batch], rtol=0, atol=1e-6)
        order = np.arange(batch * 10, min((batch + 1) * 10, TRAINING))
        engine.fit_phase("hebbian", IMAGES, order=order)
        for number in (1, 2, 3):
            expected = GOLDEN[f"w{number}_batch"][batch]
            np.testing.assert_allclose(engine.weights(f"conv{number}"), expected, rtol=0, atol=1e-5)


def test_running_statistics(trained):
    for number, layer in enumerate(trained.layers, 1):
        np.testing.assert_allclose(layer.mean, GOLDEN[f"bn{number}_mean"], rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(layer.variance, GOLDEN[f"bn{number}_var"], rtol=1e-4)


def test_features_and_times(trained):
    features = trained.features(IMAGES[TRAINING:])
    scale = GOLDEN["features"].max()
    np.testing.assert_allclose(features, GOLDEN["features"], rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(spike_times(features), GOLDEN["times"], rtol=0, atol=1e-5)
    found = trained.events(IMAGES[TRAINING:]).dense()
    np.testing.assert_allclose(found, GOLDEN["times"], rtol=0, atol=1e-5)
