"""A run as its callbacks see it: layers, activity, features drawn back, an embedding; for every network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firstspike.report.activation import ActivationMaps
from firstspike.report.records import Sample
from firstspike.report.run import Outcome, ZooRun, chain_to
from firstspike.report.tensorboard import TensorBoard
from firstspike.report.writer import Answers
from tests.zoo import SIDE, ZOO, fit_all, latencies, small


def sample(n=4):
    shown = latencies(n, blank=(1,))
    return Sample(np.zeros((n, SIDE, SIDE), np.uint8), shown, np.array(["a", "b", "a", "c"][:n]))


def run_of(name, folder=Path("nowhere")):
    net = small(name)
    fit_all(net, latencies(12), np.arange(12) % 3)
    on_off = [[0, 2, 4]], [[1, 3, 5]]
    return net, ZooRun(net.engine, {"model": name}, folder, net.epochs(), sample(), sample(), on_off)


@pytest.mark.parametrize("name", ZOO)
def test_the_layer_table_says_what_each_layer_is(name):
    net, run = run_of(name)
    assert [row["layer"] for row in run.layer_table] == list(net.engine.nodes)
    for row in run.layer_table:
        weights = net.weights(row["layer"])
        assert row["weights"] == weights.size
        assert row["input"].startswith(f"{weights.shape[1]}x")
        assert row["output"].startswith(f"{weights.shape[0]}x")
        assert row["kernel"] == weights.shape[2]
        assert (row["threshold"] == "none") == (row["layer"] in net.decision.heads)
    taught = {row["layer"]: row["learns by"] for row in run.layer_table}
    assert taught["conv1"].endswith("STDP")
    assert taught.get("skip", "nothing") == "nothing"
    if name.startswith("deepr"):
        assert taught["conv3"] == "STDP + RSTDP"
    assert all(taught[head].endswith("RSTDP") for head in net.decision.heads)


@pytest.mark.parametrize("name", ZOO)
def test_the_network_of_a_run_is_its_learning_layers(name):
    net, run = run_of(name)
    learning = [layer for layer in net.engine.nodes if layer != "skip"]
    assert list(run.network.layers) == learning
    for layer in learning:
        np.testing.assert_array_equal(run.network.weights(layer), net.weights(layer))
        assert run.network.rates(layer) == net.rates(layer)


@pytest.mark.parametrize("name", ZOO)
def test_activity_of_the_sample_in_every_layer(name):
    net, run = run_of(name)
    for layer in run.network.layers:
        np.testing.assert_array_equal(run.activity(layer), net.features(run.sample.latencies, layer))
        assert (run.activity(layer)[1] == 255).all()  # the blank image


@pytest.mark.parametrize("name", ZOO)
def test_features_of_every_learning_layer_are_drawn_into_the_image(name):
    net, run = run_of(name)
    features, per_row = run.learnt()
    assert list(features) == list(run.network.layers)
    assert per_row == dict.fromkeys(net.decision.heads, 20)
    for layer, pictures in features.items():
        assert len(pictures) == len(net.weights(layer))
        assert np.isfinite(pictures).all()
        assert np.abs(pictures).max() > 0
        assert max(pictures.shape[1:3]) <= SIDE


def test_on_channels_are_drawn_light_and_off_channels_dark():
    net, run = run_of("mozafari2018")
    for sign, channels in ((1, [0, 2, 4]), (-1, [1, 3, 5])):
        weights = np.zeros_like(net.weights("conv1"))
        weights[:, channels, 2, 2] = 1
        net.set_weights("conv1", weights)
        drawn = run.features("conv1")
        centre = tuple(side // 2 for side in drawn.shape[1:3])
        assert (sign * drawn[(slice(None), *centre)] > 0).all()
        assert (sign * drawn >= -1e-6).all()


def test_a_chain_goes_through_the_branch_that_leads_to_the_layer():
    net, _ = run_of("inception2024")
    chain, met = chain_to(net.engine, net.engine.layers, "conv3_2")
    assert met
    assert [step[0] for step in chain] == ["weights", "pool", "weights", "pool", "weights"]
    np.testing.assert_array_equal(chain[-1][1], net.weights("conv3_2"))
    chain, met = chain_to(net.engine, net.engine.layers, "decision")
    assert met
    assert [step[0] for step in chain] == ["weights", "pool", "weights", "pool", "branches", "pool", "mean"]
    assert len(chain[4][1]) == 3
    chain, met = chain_to(net.engine, net.engine.layers, "nowhere")
    assert not met


@pytest.mark.parametrize("name", ZOO)
def test_the_embedding_is_how_early_the_decision_layer_sees_each_input_fire(name):
    net, run = run_of(name)
    embedding = run.embedding()
    seen = net.engine.before(net.decision.heads[0], run.probe.latencies)
    assert embedding.features.shape == (4, seen[0].size)
    np.testing.assert_array_equal(embedding.features > 0, (seen < net.steps).reshape(4, -1))
    assert embedding.features.max() <= net.steps
    assert (embedding.features[1] == 0).all()
    np.testing.assert_array_equal(embedding.labels, run.probe.labels)


@pytest.mark.parametrize("name", ["majority2024", "resnet2024"])
def test_tensorboard_and_activation_maps_follow_every_network(name, tmp_path):
    net, run = run_of(name, tmp_path)
    run = replace(run, folder=tmp_path)
    callbacks = [TensorBoard(tmp_path / "tensorboard"), ActivationMaps(tmp_path / "activation_maps")]
    shown = latencies(6)
    answers = Answers(np.arange(6) % 3, net.predict(shown), net.scores(shown), ("a", "b", "c"))
    for callback in callbacks:
        callback.on_run_start(run)
        callback.on_phase_end("decision")
        callback.on_run_end(Outcome(answers))
    assert len(list((tmp_path / "activation_maps").glob("*.png"))) == 4
    assert list((tmp_path / "tensorboard").glob("events*"))
