"""The engine of a readout: state, resuming, dropout, orders, errors."""

import json
from dataclasses import replace

import numpy as np
import pytest

from firstspike.errors import UserError
from firstspike.readouts import (
    RSTDP,
    S2STDP,
    S4NN,
    SSTDP,
    Dropout,
    Free,
    Groups,
    Layer,
    OneThreshold,
    Readout,
    ReadoutEngine,
    TwoThresholds,
    decision,
    from_dense,
)

INPUTS, CLASSES = 30, 3
NCG = Readout(
    Layer(3.0, mean=0.4, std=0.1, normalise=True),
    S2STDP(0.1, 0.2, -0.1),
    Groups(3, 1, inhibit=True),
    TwoThresholds(0.3, 0.7),
    Dropout(0.1, 0.2),
    0.9,
)
ONE = Readout(Layer(3.0), RSTDP(0.05, -0.02), Groups(2), OneThreshold(0.1, 0.5), Dropout(0, 0.3), 0.9)


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    dense = generator.random((600, INPUTS)).astype(np.float32)
    labels = generator.integers(0, CLASSES, 600)
    dense[np.arange(600), labels] = 0.01  # learnable: the class's own input comes first
    dense[dense > 0.8] = 1
    return from_dense(dense), labels


def make(readout=NCG, seed=3):
    return ReadoutEngine(readout, inputs=INPUTS, classes=CLASSES, seed=seed)


def same_state(one, other):
    arrays, counters = one.state()
    others, other_counters = other.state()
    assert counters == other_counters
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, others[name])


@pytest.mark.parametrize("readout", [NCG, ONE])
def test_a_resumed_run_is_equal_to_the_bit(readout, data):
    through, first, second = make(readout), make(readout), make(readout, seed=3)
    for _ in range(3):
        through.fit_phase("readout", *data)
    first.fit_phase("readout", *data)
    arrays, counters = first.state()
    second.load_state(arrays, json.loads(json.dumps(counters)))
    for _ in range(2):
        second.fit_phase("readout", *data)
    same_state(through, second)


def test_state_is_a_copy(data):
    engine = make()
    arrays, _ = engine.state()
    before = arrays["weights"].copy()
    engine.fit_phase("readout", *data)
    np.testing.assert_array_equal(arrays["weights"], before)
    assert not np.array_equal(engine.weights(), before)


def test_a_foreign_state_is_refused(data):
    arrays, counters = make(ONE).state()
    with pytest.raises(UserError, match="belongs to another readout"):
        make().load_state(arrays, counters)
    arrays, counters = make().state()
    with pytest.raises(UserError, match="counters"):
        make().load_state(arrays, {**counters, "rates": [1.0]})


def test_learns(data):
    engine = make()
    engine.fit_phase("readout", *data)
    first = np.mean(engine.predict(data[0]) == data[1])
    for _ in range(4):
        epoch = engine.fit_phase("readout", *data)
    assert np.mean(engine.predict(data[0]) == data[1]) > max(0.8, first)
    assert epoch.counts.tolist() == [
        [np.sum(epoch.decisions == data[1]), np.sum(epoch.decisions != data[1]), 0]
    ]


def test_seeds_differ_and_repeat(data):
    weights = []
    for seed in (0, 0, 1):
        engine = make(seed=seed)
        engine.fit_phase("readout", *data)
        weights.append(engine.weights())
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_masks_depend_on_seed_epoch_and_block_alone():
    dropout = Dropout(0.25, 0.5)
    first = dropout.masks(1, 2, 3, 1000, 50)
    np.testing.assert_array_equal(first[0], dropout.masks(1, 2, 3, 1000, 50)[0])
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
        assert not np.array_equal(first[0], dropout.masks(*other, 1000, 50)[0])
    assert abs(first[0].mean() - 0.75) < 0.01
    assert abs(first[1].mean() - 0.5) < 0.02
    assert Dropout().masks(1, 2, 3, 1000, 50)[0].shape == (0, 1000)
    with pytest.raises(UserError, match="expected 0 <= rate < 1"):
        Dropout(1.0)


def test_dropped_outputs_are_silent_and_dropped_inputs_unseen(data):
    events, labels = data
    engine = make(Readout(Layer(3.0), S2STDP(0.1, 0.1, 0)))
    masks = np.ones((600, INPUTS), np.uint8), np.ones((600, CLASSES), np.uint8)
    masks[1][:, 1] = 0
    epoch = engine.fit_phase("readout", events, labels, masks=masks, record=True)
    assert np.all(epoch.trace.spikes[:, 1] == 1)
    assert not epoch.trace.membranes[:, 1].any()
    engine = make(Readout(Layer(3.0), RSTDP(0.1, 0.0)))
    masks[1][:] = 1
    masks[0][:, :3] = 0
    before = engine.weights()
    engine.fit_phase("readout", events, labels, masks=masks)
    changed = np.any(engine.weights() != before, axis=0)
    assert not changed[:3].any()
    assert changed[3:].all()


def test_the_order_given_is_the_order_presented(data):
    events, labels = data
    order = np.random.default_rng(1).permutation(600)[:100]
    plain = Readout(NCG.layer, NCG.rule, NCG.groups, NCG.regulation)
    one, other = make(plain), make(plain)
    epoch = one.fit_phase("readout", events, labels, order=order)
    moved = other.fit_phase("readout", events.take(order), labels[order])
    same_state(one, other)
    np.testing.assert_array_equal(epoch.decisions[order], moved.decisions)
    assert np.all(np.delete(epoch.decisions, order) == -1)


def test_rates_by_name(data):
    engine = make()
    assert engine.rates("readout") == {"ap": 0.2, "am": -0.1}
    engine.set_rates("readout", ap=0.5)
    engine.fit_phase("readout", *data)
    assert engine.rates() == pytest.approx({"ap": 0.45, "am": -0.09})
    with pytest.raises(UserError, match="no rate lr in this readout; it has ap, am"):
        engine.set_rates("readout", lr=1)


def test_weights_in_bounds_are_taken_as_they_are():
    engine = make()
    weights = np.random.default_rng(0).random((9, INPUTS)).astype(np.float32)
    engine.set_weights("readout", weights)
    np.testing.assert_array_equal(engine.weights(), weights)
    with pytest.raises(UserError, match=r"expected finite numbers of shape \(9, 30\)"):
        engine.set_weights("readout", weights[:8])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "expected 600 whole numbers"),
        (np.zeros(600), "type float64"),
        (np.zeros(599, int), "shape"),
        (np.full(600, 3), "labels from 3 to 3; expected 0 ... 2"),
    ],
)
def test_wrong_labels(data, labels, words):
    with pytest.raises(UserError, match=words):
        make().fit_phase("readout", data[0], labels)


def test_wrong_features(data):
    events, labels = data
    with pytest.raises(UserError, match="features of 20 inputs"):
        make().predict(np.zeros((2, 20)))
    with pytest.raises(UserError, match="no phase or layer 'conv1'"):
        make().fit_phase("conv1", events, labels)
    empty = np.ones((2, INPUTS))
    empty[0, 0] = 0
    with pytest.raises(UserError, match="1 training samples have no spike, the first is number 1"):
        make().fit_phase("readout", empty, np.zeros(2, int))


def test_uniform_weights_and_threads(data):
    engine = make(Readout(Layer(3.0, std=None, low=0.2, high=0.6), S2STDP(0.1, 0.1, 0)))
    weights = engine.weights()
    assert (weights.min() >= 0.2, weights.max() <= 0.6, weights.std() > 0.1) == (True, True, True)
    one = engine.respond(data[0], threads=1)
    for threads in (2, 8):
        for a, b in zip(one, engine.respond(data[0], threads=threads), strict=True):
            np.testing.assert_array_equal(a, b)


def test_leaky_neurons_predict_like_they_respond(data):
    engine = make(Readout(Layer(2.0, leak=0.5), S2STDP(0.1, 0.1, 0)))
    engine.fit_phase("readout", *data)
    np.testing.assert_array_equal(engine.predict(data[0]), engine.scores(data[0]).argmax(1))


@pytest.mark.parametrize(
    "readout",
    [
        replace(NCG, dropout=Dropout(0.1)),
        replace(NCG, dropout=Dropout(), regulation=Free()),
        replace(NCG, dropout=Dropout(), regulation=OneThreshold(0.3, 0.7), rule=SSTDP(0.1, 0.2, -0.1)),
        replace(NCG, dropout=Dropout(), rule=S4NN(0.1, 0.1), groups=Groups(4, 0, inhibit=True)),
        replace(ONE, dropout=Dropout(), regulation=Free(), layer=Layer(4.0, std=0.2)),
        replace(ONE, dropout=Dropout()),
        replace(ONE, groups=Groups(2, inhibit=True)),
    ],
)
def test_giving_up_the_beaten_changes_nothing(readout, data):
    hasty, whole = make(readout), make(readout)
    for _ in range(2):
        epochs = [
            hasty.fit_phase("readout", *data),
            whole.fit_phase("readout", *data, record=True),  # which asks about every neuron
        ]
        np.testing.assert_array_equal(epochs[0].decisions, epochs[1].decisions)
    same_state(hasty, whole)


def test_leads_name_the_winner_and_compare_samples_that_decide_at_other_times():
    random = np.random.default_rng(0)
    times = random.uniform(0, 0.1, (200, 4)).astype(np.float32)
    labels = times.argmin(axis=1)
    late = times + random.uniform(0, 0.8, (200, 1)).astype(np.float32)
    found = decision.leads(decision.scores(late, np.zeros_like(late), np.ones(4), 1.0))
    np.testing.assert_array_equal(found.argmax(axis=1), labels)
    assert ((found > 0).sum(axis=1) == 1).all()
    for k in range(4):
        assert found[labels == k, k].min() > found[labels != k, k].max()


def test_leads_of_one_class_are_its_scores():
    np.testing.assert_array_equal(decision.leads(np.ones((3, 1), np.float32)), np.ones((3, 1)))
