"""The recorded runs of supervised-STDP readouts: spikes, winners, thresholds and accuracies exactly."""

import json
from pathlib import Path

import numpy as np
import pytest

from firstspike.kernels import readout as kernels
from firstspike.kernels.rows import peaks
from firstspike.kernels.supervised import Samples, drop_outputs, seen_events
from firstspike.readouts import (
    RULES,
    SSTDP,
    Additive,
    Dropout,
    Events,
    Free,
    Layer,
    Multiplicative,
    OneThreshold,
    Readout,
    ReadoutEngine,
    TwoThresholds,
    groups_of,
)
from firstspike.readouts.decision import rank
from firstspike.readouts.engine import empty_trace

GOLDEN = np.load(Path(__file__).with_name("readouts.npz"), allow_pickle=False)
RUNS = sorted({name.split("/")[0] for name in GOLDEN.files if name.endswith("/config")})
EVENTS = sorted({name[: len("event/00")] for name in GOLDEN.files if name.startswith("event/")})
CLASSES, INPUTS = 10, 64


def recorded(run, name):
    return GOLDEN[f"{run}/{name}"]


def describe(config):
    stdp = Additive(config.get("ignore_silent", False))
    if config.get("stdp") == "multiplicative":
        stdp = Multiplicative(config["beta"], config["wmin"], config["wmax"])
    rule = RULES[config["rule"]]
    if config["rule"] == "s2stdp" and config.get("ranges"):
        rule = SSTDP
    names = {"t_gap", "ap", "am", "anti_ap", "anti_am", "lr"} & config.keys()
    options = {name: config[name] for name in names}
    if config["rule"] == "rstdp":
        options["adaptive"] = config.get("adaptive_lr", True)
    if config["rule"] != "s4nn":
        options["stdp"] = stdp
    regulation = Free()
    if "thr_lr" in config:
        form = TwoThresholds if config["two"] else OneThreshold
        regulation = form(config["thr_lr"], config["thr_anneal"])
    layer = Layer(
        config["thr"],
        leak=config.get("tau"),
        mean=config["wm"],
        low=config["wmin"],
        high=config["wmax"],
        normalise=config["w_norm"],
    )
    groups = groups_of(
        config["n"], CLASSES, non_target=config.get("nt", 0), inhibit=config.get("inhib", False)
    )
    dropout = Dropout(config.get("din", 0.0), config.get("dout", 0.0))
    return Readout(layer, rule(**options), groups, regulation, dropout, config["anneal"])


def samples(part, max_time):
    names = ("offsets", "indices", "times")
    offsets, index, times = (GOLDEN[f"{part}_{name}"] for name in names)
    return Events(offsets.astype(np.int64), index.astype(np.int32), times, INPUTS, float(max_time))


def masks(run, config):
    """The recorded masks of each epoch, (inputs, outputs), without rows where none are."""
    stored = []
    for name, width in (("mask_in", INPUTS), ("mask_out", config["n"])):
        if f"{run}/{name}" in GOLDEN.files:
            stored.append(np.unpackbits(recorded(run, name), axis=-1)[..., :width])
        else:
            stored.append(np.zeros((3, 0, width), np.uint8))
    return list(zip(*stored, strict=True))


@pytest.fixture(scope="module", params=RUNS)
def replay(request):
    """A recorded run and ours beside it, epoch by epoch."""
    run = request.param
    config = json.loads(str(recorded(run, "config")))
    max_time = config.get("max_time", 1)
    engine = ReadoutEngine(describe(config), inputs=INPUTS, classes=CLASSES, max_time=max_time)
    engine.set_weights("readout", recorded(run, "w_init").astype(np.float32))
    train, test = samples("train", max_time), samples("test", max_time)
    epochs = []
    for epoch in range(3):
        rates = list(engine.rates().values())
        given = masks(run, config)[epoch]
        fitted = engine.fit_phase("readout", train, GOLDEN["train_labels"], masks=given, record=True)
        spikes, membranes = engine.respond(test)
        epochs.append(
            (rates, fitted, engine.thresholds(), spikes, membranes, engine.weights(), engine.predict(test))
        )
    return run, config, epochs


def test_training_outputs(replay):
    run, _, epochs = replay
    for epoch, (_, fitted, *_) in enumerate(epochs):
        np.testing.assert_array_equal(fitted.trace.spikes, recorded(run, "train_spikes")[epoch])
        np.testing.assert_array_equal(fitted.trace.winners, recorded(run, "train_winner")[epoch])
        np.testing.assert_allclose(
            fitted.trace.membranes, recorded(run, "train_pots")[epoch], rtol=0, atol=2e-5
        )


def test_test_outputs(replay):
    run, config, epochs = replay
    for epoch, (*_, spikes, membranes, _, predicted) in enumerate(epochs):
        winners = recorded(run, "test_winner")[epoch]
        np.testing.assert_array_equal(spikes, recorded(run, "test_spikes")[epoch])
        np.testing.assert_array_equal(rank(spikes, membranes)[:, 0], winners)
        np.testing.assert_array_equal(predicted, winners // (config["n"] // CLASSES))
        np.testing.assert_allclose(membranes, recorded(run, "test_pots")[epoch], rtol=0, atol=2e-5)


def test_thresholds(replay):
    run, _, epochs = replay
    for epoch, (_, fitted, (_, test_thresholds), *_) in enumerate(epochs):
        np.testing.assert_allclose(
            test_thresholds, recorded(run, "test_thresholds")[epoch], rtol=0, atol=1e-6
        )
        if f"{run}/train_thresholds" in GOLDEN.files:
            np.testing.assert_allclose(
                fitted.trace.thresholds, recorded(run, "train_thresholds")[epoch], rtol=0, atol=1e-6
            )


def test_accuracy_and_rates(replay):
    run, _, epochs = replay
    for epoch, (rates, fitted, *_, predicted) in enumerate(epochs):
        found = (
            np.mean(fitted.decisions == GOLDEN["train_labels"]),
            np.mean(predicted == GOLDEN["test_labels"]),
        )
        assert found == tuple(recorded(run, "accuracy")[epoch])
        assert fitted.counts[0, 0] == round(found[0] * len(GOLDEN["train_labels"]))
        stored = recorded(run, "learning_rates")[epoch]
        np.testing.assert_allclose(rates, stored[: len(rates)], rtol=0, atol=1e-6)


def test_weights(replay):
    """Bit for bit, but for rows that a run with normalisation scales again though nothing changed them."""
    run, config, epochs = replay
    for epoch, (*_, weights, _) in enumerate(epochs):
        stored = recorded(run, "w_epoch")[epoch]
        tolerance = 3e-6 if config["w_norm"] else 0
        np.testing.assert_allclose(weights, stored, rtol=0, atol=tolerance)


@pytest.mark.parametrize("run", RUNS)
def test_first_weights(run):
    config = json.loads(str(recorded(run, "config")))
    max_time = config.get("max_time", 1)
    train = samples("train", max_time)
    given = masks(run, config)[0]
    for stop in (1, 2, 20):
        engine = ReadoutEngine(describe(config), inputs=INPUTS, classes=CLASSES, max_time=max_time)
        engine.set_weights("readout", recorded(run, "w_init").astype(np.float32))
        engine.fit_phase("readout", train, GOLDEN["train_labels"], order=np.arange(stop), masks=given)
        stored = recorded(run, "w_first20")[stop - 1]
        tolerance = 3e-6 if config["w_norm"] else 0
        np.testing.assert_allclose(engine.weights(), stored, rtol=0, atol=tolerance)


def single_pass(index, times, weights, thresholds, tau, max_time, mask_in, mask_out):
    """Run one recorded pass; give the input times that a rule sees, spikes and membranes.

    The helpers run as plain Python: numba (0.68) crashes on the named tuple that a function returns when it
    is loaded from its cache after another cached function that contains it.
    """
    neurons = kernels.Neurons(weights, peaks(weights), tau, np.float32(max_time), True)
    sample = kernels.open_pass.py_func(index.astype(np.int32), times, np.float32(max_time), True)
    spikes, membranes = np.empty_like(thresholds), np.empty_like(thresholds)
    nobody, best = np.full(len(spikes), -1), np.empty_like(spikes)
    kernels.forward(neurons, thresholds, sample, nobody, best, spikes, membranes)
    drop_outputs(mask_out, np.float32(max_time), spikes, membranes)
    seen, moments = seen_events.py_func(sample.index, sample.times, sample.count, mask_in)
    dense = np.full(weights.shape[1], max_time, np.float32)
    dense[seen] = moments
    return dense, spikes, membranes


@pytest.mark.parametrize("event", EVENTS)
def test_named_pass(event):
    names = ("indices", "times", "weights", "thresholds", "tau", "max_time", "mask_in", "mask_out")
    given = [GOLDEN[f"{event}_{name}"] for name in names]
    dense, spikes, membranes = single_pass(*given)
    np.testing.assert_array_equal(dense, GOLDEN[f"{event}_in_spikes"])
    np.testing.assert_array_equal(spikes, GOLDEN[f"{event}_out_spikes"])
    np.testing.assert_allclose(membranes, GOLDEN[f"{event}_pots"], rtol=0, atol=4e-6)
    np.testing.assert_array_equal(rank(spikes[None], membranes[None])[0], GOLDEN[f"{event}_rank"])


def test_random_passes():
    stored = {
        name: GOLDEN[f"random_event/{name}"] for name in ("indices", "times", "weights", "thresholds", "tau")
    }
    for k in range(300):
        index, times, weights, thresholds, tau = (array[k] for array in stored.values())
        count = np.sum(index >= 0)
        tau = tau if tau.any() else tau[:0]
        mask_in, mask_out = GOLDEN["random_event/mask_in"][k], GOLDEN["random_event/mask_out"][k]
        dense, spikes, membranes = single_pass(
            index[:count], times[:count], weights, thresholds, tau, 1, mask_in, mask_out
        )
        np.testing.assert_array_equal(dense, GOLDEN["random_event/in_spikes"][k])
        np.testing.assert_array_equal(spikes, GOLDEN["random_event/out_spikes"][k])
        np.testing.assert_allclose(membranes, GOLDEN["random_event/pots"][k], rtol=0, atol=4e-6)
        order, expected = rank(spikes[None], membranes[None])[0], GOLDEN["random_event/rank"][k]
        if len(tau):  # exponentials differ in the last bit between libraries, and with them close ranks
            np.testing.assert_array_equal(spikes[order], spikes[expected])
            np.testing.assert_allclose(membranes[order], membranes[expected], rtol=0, atol=1e-6)
        else:
            np.testing.assert_array_equal(order, expected)


@pytest.mark.parametrize("run", [run for run in RUNS if json.loads(str(recorded(run, "config")))["w_norm"]])
def test_weights_to_the_bit_where_every_row_is_scaled(run):
    """As published, every row is scaled at every sample: so are rows marked as loose before it."""
    config = json.loads(str(recorded(run, "config")))
    max_time = config.get("max_time", 1)
    events = samples("train", max_time)
    engine = ReadoutEngine(describe(config), inputs=INPUTS, classes=CLASSES, max_time=max_time)
    engine.set_weights("readout", recorded(run, "w_init").astype(np.float32))
    labels = GOLDEN["train_labels"].astype(np.int64)
    everything = np.zeros((0, INPUTS), np.uint8), np.zeros((0, config["n"]), np.uint8)
    for k in range(len(events)):
        engine._bounds.loose[:] = 1
        order = np.array([k])
        one = Samples(events.offsets, events.index, events.times, labels, order, *everything)
        engine._train(one, empty_trace(1, 0))
    np.testing.assert_array_equal(engine.weights(), recorded(run, "w_epoch")[0])
