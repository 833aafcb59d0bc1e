"""The recorded pieces of two STDP layers that learn in mini-batches, and the features that they give."""

from pathlib import Path

import numpy as np
import pytest

from models import create_model

with np.load(Path(__file__).parent / "stdp_svm.npz", allow_pickle=False) as file:
    GOLDEN = {key: file[key] for key in file.files}
BATCH = 64


def network(**options):
    net = create_model("shirsavar2022", **options)
    net.set_weights("conv1", GOLDEN["layer1_binary"])
    net.set_weights("conv2", GOLDEN["layer2_binary"])
    return net


def learn(net, phase, images, ltp, ltd):
    net.set_rates(phase, ltp=ltp, ltd=ltd)
    result = net.fit_phase(phase, GOLDEN["latency"][images], record=True)
    assert (result.rates[phase] == (ltp, ltd)).all()
    return result.winners[phase]


def test_two_batches_of_the_first_layer():
    net = network()
    net.set_weights("conv1", GOLDEN["layer1_w16"])
    slow = learn(net, "conv1", slice(0, BATCH), 0.004, -0.003)
    fast = learn(net, "conv1", slice(BATCH, None), 0.08, -0.06)
    np.testing.assert_array_equal(np.concatenate([slow, fast]), GOLDEN["layer1_winners"][..., :3])
    np.testing.assert_array_equal(net.weights("conv1"), GOLDEN["layer1_weights_after"])


def test_a_batch_of_the_second_layer():
    net = network()
    net.set_weights("conv2", GOLDEN["layer2_w16"])
    seen = net.inputs("conv2", GOLDEN["latency"][:BATCH])
    np.testing.assert_array_equal(np.minimum(seen, 15), GOLDEN["layer2_input_latency"])
    winners = learn(net, "conv2", slice(0, BATCH), 0.08, -0.06)
    np.testing.assert_array_equal(winners, GOLDEN["layer2_winners"][..., :3])
    weights = net.weights("conv2").reshape(100, -1).astype(np.float64)
    np.testing.assert_allclose(weights.sum(axis=1), GOLDEN["layer2_after_map_sums"], rtol=1e-12)
    np.testing.assert_allclose((weights**2).sum(axis=1), GOLDEN["layer2_after_map_squares"], rtol=1e-12)
    sample = weights.ravel()[GOLDEN["layer2_after_sample_index"]]
    np.testing.assert_array_equal(sample, GOLDEN["layer2_after_sample"])


@pytest.mark.parametrize(("lower", "upper"), [(0.0, 1.0), (0.49, 0.5)])
def test_features(lower, upper):
    """Binary layers hand on spikes by rounded weights."""
    net = network()
    for layer in ("conv1", "conv2"):
        net.set_weights(layer, np.where(net.weights(layer) > 0, upper, lower))
    seen = np.minimum(net.inputs("decision", GOLDEN["latency"][:BATCH]), 15)
    np.testing.assert_array_equal(15 - seen.reshape(BATCH, -1), GOLDEN["features"])


def test_rates_grow_with_the_batch_that_completes_a_period():
    net = network()
    images = np.arange(10 * BATCH) % len(GOLDEN["latency"])
    rates = net.fit_phase("conv1", GOLDEN["latency"][images], record=True).rates["conv1"]
    assert (rates[: 9 * BATCH] == (0.004, -0.003)).all()
    assert (rates[9 * BATCH :] == (0.008, -0.006)).all()


def test_a_batch_of_one_is_the_online_rule():
    together, alone = network(), network(update_batch=1)
    for net in (together, alone):
        net.set_weights("conv1", GOLDEN["layer1_w16"])
    shown = GOLDEN["latency"][:BATCH]
    alone.fit_phase("conv1", shown)
    for image in shown:
        together.fit_phase("conv1", image[None])
    np.testing.assert_array_equal(alone.weights("conv1"), together.weights("conv1"))
