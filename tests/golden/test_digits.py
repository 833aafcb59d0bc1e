"""The recorded trajectories of six networks, winner by winner and weight by weight."""

from pathlib import Path

import numpy as np
import pytest

from models import create_model

FOLDER = Path(__file__).parent / "digits"
NETWORKS = sorted(path.stem for path in FOLDER.glob("*.npz"))
STDP_RATES = ("ltp", "ltd")
REWARD_RATES = ("reward_ltp", "reward_ltd", "punish_ltp", "punish_ltd")


def load(name):
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def network(name, golden):
    options = {
        "window": int(golden["decision_window"]),
        "doubling_period": int(golden["conv1_doubling_period"]),
    }
    if name == "deepr2024_greedy":
        options["schedule"] = "original"
    net = create_model(name, **options)
    for key, array in golden.items():
        if key.startswith("w0_"):
            net.set_weights(key[3:], array)
    return net


def check_weights(net, layer, golden, prefix):
    weights = net.weights(layer)
    if prefix in golden:
        np.testing.assert_array_equal(weights, golden[prefix])
        return
    flat = weights.reshape(len(weights), -1).astype(np.float64)
    np.testing.assert_allclose(flat.sum(axis=1), golden[f"{prefix}_map_sum"], rtol=1e-9)
    np.testing.assert_allclose((flat**2).sum(axis=1), golden[f"{prefix}_map_sumsq"], rtol=1e-9)
    np.testing.assert_array_equal(
        weights.ravel()[golden[f"{prefix}_sample_index"]], golden[f"{prefix}_sample_value"]
    )


def suffix(layer, golden):
    """Arrays of the decision phase carry a layer's name where it is not the only one."""
    return f"_{layer}" if f"decision_rates_{layer}" in golden else ""


@pytest.mark.parametrize("name", NETWORKS)
def test_recorded_run_is_reproduced(name):
    golden = load(name)
    net = network(name, golden)
    latency = golden["latency"]
    for phase in net.phases[:-1]:
        net.set_rates(phase, **dict(zip(STDP_RATES, golden[f"{phase}_rates_start"], strict=True)))
        result = net.fit_phase(phase, latency[golden[f"{phase}_image"]], record=True)
        np.testing.assert_array_equal(result.winners[phase], golden[f"{phase}_winners"])
        np.testing.assert_array_equal(result.rates[phase], golden[f"{phase}_rates"])
        check_weights(net, phase, golden, f"{phase}_w_end")
    replay_decision(net, golden)
    answers = net.predict(latency[golden["test_image"]])
    np.testing.assert_array_equal(answers, golden["test_class"])
    assert (answers == -1).sum() == 1
    scores = net.scores(latency[golden["test_image"]])
    np.testing.assert_array_equal(scores.argmax(axis=1)[answers >= 0], answers[answers >= 0])
    assert (scores[answers < 0] == 0).all()


def replay_decision(net, golden):
    layers = net.engine.learning("decision")
    for layer in layers:
        start = golden[f"decision_rates_start{suffix(layer, golden)}"]
        net.set_rates(layer, **dict(zip(REWARD_RATES, start, strict=True)))
    results = []
    for epoch in range(3):
        rows = golden["decision_image"][golden["decision_epoch"] == epoch]
        results.append(
            net.fit_phase("decision", golden["latency"][rows], golden["labels"][rows], record=True)
        )
    heads = [layer for layer in layers if layer.startswith("decision")]
    winners = np.concatenate([np.concatenate([r.winners[h] for h in heads], axis=1) for r in results])
    np.testing.assert_array_equal(winners, golden["decision_winners"])
    np.testing.assert_array_equal(np.concatenate([r.decisions for r in results]), golden["decision_class"])
    np.testing.assert_array_equal(np.concatenate([r.counts for r in results]), golden["decision_counts"])
    if "decision_winners_conv3" in golden:
        lower = np.concatenate([r.winners["conv3"] for r in results])
        np.testing.assert_array_equal(lower, golden["decision_winners_conv3"])
    for layer in layers:
        rates = np.concatenate([r.rates[layer] for r in results])
        np.testing.assert_array_equal(rates, golden[f"decision_rates{suffix(layer, golden)}"])
        check_weights(net, layer, golden, f"decision_w_end{suffix(layer, golden)}")
