"""Laws of readouts: kernels against their plain twin, batches against single samples, permutations."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from firstspike.kernels import readout as kernels
from firstspike.kernels.rows import peaks
from firstspike.readouts import (
    RSTDP,
    S2STDP,
    S4NN,
    SSTDP,
    Additive,
    Events,
    Free,
    Groups,
    Layer,
    Multiplicative,
    OneThreshold,
    Readout,
    ReadoutEngine,
    TwoThresholds,
    from_dense,
)
from firstspike.readouts.decision import rank, scores
from tests.property import readout_reference as plain

SETTINGS = settings(max_examples=60, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)


def random_sample(generator, inputs, *, late):
    """Events on a coarse grid (so groups abound), the last ones at or after max_time where `late`."""
    count = generator.integers(0, inputs + 1)
    times = np.sort(generator.integers(0, 10 if late else 8, count).astype(np.float32) / 8)
    return generator.permutation(inputs)[:count].astype(np.int32), times


def random_layer(generator, neurons, inputs, *, leaky):
    weights = generator.normal(0.3, 0.5, (neurons, inputs)).astype(np.float32)
    if generator.random() < 0.3:
        weights = np.round(weights * 4) / 4  # exact sums: ties and thresholds met exactly
    thresholds = generator.choice(np.float32([0.25, 0.5, 1, 1.5, 3, 8]), neurons)
    tau = generator.choice(np.float32([0, 0.25, 1]), neurons) if leaky else np.zeros(0, np.float32)
    return weights, thresholds, tau


def run(weights, thresholds, tau, index, times, compat):
    neurons = kernels.Neurons(weights, peaks(weights), tau, np.float32(1), compat)
    sample = kernels.open_pass.py_func(index, times, np.float32(1), compat)
    spikes, membranes = np.empty_like(thresholds), np.empty_like(thresholds)
    nobody, best = np.full(len(thresholds), -1), np.empty_like(thresholds)
    kernels.forward(neurons, thresholds, sample, nobody, best, spikes, membranes)
    return neurons, sample, spikes, membranes


@SETTINGS
@given(SEEDS, st.integers(1, 11), st.booleans(), st.booleans(), st.booleans())
def test_forward_is_its_plain_twin(seed, neurons, leaky, compat, late):
    generator = np.random.default_rng(seed)
    weights, thresholds, tau = random_layer(generator, neurons, 40, leaky=leaky)
    index, times = random_sample(generator, 40, late=late)
    before = [array.copy() for array in (weights, thresholds, tau, index, times)]
    _, _, spikes, membranes = run(weights, thresholds, tau, index, times, compat)
    expected = plain.forward(weights, index, times, thresholds, tau, np.float32(1), compat)
    np.testing.assert_array_equal(spikes, expected[0])
    np.testing.assert_allclose(membranes, expected[1], rtol=0, atol=2e-6 if leaky else 0)
    for array, copy in zip((weights, thresholds, tau, index, times), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@SETTINGS
@given(SEEDS, st.integers(1, 11), st.booleans(), st.booleans())
def test_input_by_input_is_the_same_and_stopping_early_decides_the_same(seed, neurons, compat, late):
    generator = np.random.default_rng(seed)
    weights, thresholds, tau = random_layer(generator, neurons, 40, leaky=False)
    index, times = random_sample(generator, 40, late=late)
    layer, sample, spikes, membranes = run(weights, thresholds, tau, index, times, compat)
    by_input = kernels.lay_out_by_input(weights)
    scratch = np.empty((3, by_input.shape[1]), np.float32)
    winner = plain.rank(spikes, membranes)[0]
    for only_first in (False, True):
        found = np.empty_like(spikes), np.empty_like(spikes)
        kernels.forward_by_input(by_input, layer, thresholds, sample, only_first, scratch, *found)
        if not only_first:
            np.testing.assert_array_equal(found[0], spikes)
            np.testing.assert_array_equal(found[1], membranes)
        assert winner == kernels.first_of(*found, 0, neurons) == rank(found[0][None], found[1][None])[0, 0]


@SETTINGS
@given(SEEDS, st.booleans())
def test_no_test_is_missed_with_large_numbers(seed, compat):
    """Long lists whose sums round at every event: the tests that are skipped are none that matter."""
    generator = np.random.default_rng(seed)
    weights = generator.normal(0, 1, (4, 3000)).astype(np.float32) * np.float32(
        10.0 ** generator.integers(-3, 4)
    )
    thresholds = np.float32(np.abs(weights).sum(axis=1) * generator.choice([1e-4, 1e-3, 1e-2, 0.05]))
    index = generator.permutation(3000).astype(np.int32)
    times = np.sort(generator.random(3000).astype(np.float32))
    layer, sample, spikes, membranes = run(weights, thresholds, np.zeros(0, np.float32), index, times, compat)
    expected = plain.forward(weights, index, times, thresholds, (), np.float32(1), compat)
    by_input, scratch = kernels.lay_out_by_input(weights), np.empty((3, 16), np.float32)
    found = np.empty_like(spikes), np.empty_like(spikes)
    kernels.forward_by_input(by_input, layer, thresholds, sample, False, scratch, *found)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(spikes, expected[0])
    np.testing.assert_array_equal(membranes, expected[1])


def random_data(generator, samples, inputs, classes):
    dense = generator.random((samples, inputs)).astype(np.float32)
    dense[dense > 0.7] = 1
    dense = np.round(dense * 16) / 16
    dense[:, 0] = 0.125  # every sample has a spike
    return dense, generator.integers(0, classes, samples)


def random_readout(generator):
    stdp = [Additive(), Additive(True), Multiplicative(1.5)][generator.integers(3)]
    rule = [
        S2STDP(0.1, 0.2, -0.1, stdp),
        SSTDP(0.1, 0.2, -0.1, stdp),
        RSTDP(0.05, -0.02, stdp=stdp),
        S4NN(0.1, 0.05),
    ][generator.integers(4)]
    groups = [Groups(), Groups(3, 1, inhibit=True), Groups(3, 0), Groups(2, 1, inhibit=True)][
        generator.integers(4)
    ]
    regulation = [Free(), TwoThresholds(0.3, 0.7), OneThreshold(0.3, 0.7)][generator.integers(3)]
    layer = Layer(3.0, mean=0.4, std=0.2, normalise=bool(generator.integers(2)))
    return Readout(layer, rule, groups, regulation, annealing=0.9)


@SETTINGS
@given(SEEDS)
def test_training_is_its_plain_twin(seed):
    """S2-STDP and SSTDP with groups, one epoch against numpy: weights to the bit, but for exponentials."""
    generator = np.random.default_rng(seed)
    multiplicative = bool(generator.integers(2))
    stdp = Multiplicative(1.5) if multiplicative else Additive()
    rule = [S2STDP, SSTDP][generator.integers(2)](0.1, 0.4, -0.2, stdp)
    groups = [Groups(), Groups(3, 1, inhibit=True), Groups(2, 0, inhibit=True)][generator.integers(3)]
    layer = Layer(3.0, mean=0.4, std=0.3, normalise=bool(generator.integers(2)))
    dense, labels = random_data(generator, 12, 20, 3)
    engine = ReadoutEngine(Readout(layer, rule, groups), inputs=20, classes=3, seed=seed)
    drawn = layer.draw(engine.neurons, 20, generator)
    engine.set_weights("readout", drawn)
    sums = [row.sum() if layer.normalise else None for row in drawn]
    weights = engine.weights()

    def form(wide, potentiating):
        return np.exp(-1.5 * (wide if potentiating else 1 - wide)) if multiplicative else 1.0

    fitted = engine.fit_phase("readout", dense, labels, record=True)
    events = from_dense(dense)
    loose = np.full(len(weights), layer.normalise)
    for s, label in enumerate(labels):
        own = slice(events.offsets[s], events.offsets[s + 1])
        thresholds = np.full(len(weights), 3, np.float32)
        spikes, membranes = plain.forward(
            weights, events.index[own], events.times[own], thresholds, (), np.float32(1), True
        )
        np.testing.assert_array_equal(fitted.trace.spikes[s], spikes)
        members = range(len(weights))
        if groups.inhibit:
            members = plain.class_winners(spikes, membranes, groups.per_class)
        errors = plain.s2stdp_errors(
            spikes, members, label, groups.per_class, groups.non_target, 1.0, 0.1, rule.ranges
        )
        for n, error in enumerate(errors.astype(np.float64)):
            if error:
                weights[n] = plain.stdp(weights[n], dense[s], spikes[n], (error * 0.4, error * -0.2), form)
            if error or loose[n]:
                weights[n] = plain.settle(weights[n], 0, 1, sums[n])
                loose[n] = layer.normalise and (weights[n].max() > 1 or weights[n].min() < 0)
    np.testing.assert_allclose(engine.weights(), weights, rtol=0, atol=1e-6 if multiplicative else 0)


@SETTINGS
@given(SEEDS)
def test_weights_stay_within_bounds_or_sums(seed):
    generator = np.random.default_rng(seed)
    readout = random_readout(generator)
    dense, labels = random_data(generator, 30, 20, 3)
    engine = ReadoutEngine(readout, inputs=20, classes=3, seed=seed)
    sums = np.abs(engine.weights()).sum(axis=1)
    engine.fit_phase("readout", dense, labels)
    weights = engine.weights()
    if readout.layer.normalise:
        np.testing.assert_allclose(np.abs(weights).sum(axis=1), sums, rtol=0.2)
        assert weights.min() >= 0
    else:
        assert weights.min() >= 0
        assert weights.max() <= 1


@SETTINGS
@given(SEEDS)
def test_scores_agree_with_the_decision_and_threads_with_one(seed):
    generator = np.random.default_rng(seed)
    readout = random_readout(generator)
    dense, labels = random_data(generator, 30, 20, 3)
    engine = ReadoutEngine(readout, inputs=20, classes=3, seed=seed)
    engine.fit_phase("readout", dense, labels)
    one = engine.predict(dense, threads=1)
    np.testing.assert_array_equal(engine.scores(dense).argmax(axis=1), one)
    for threads in (2, 8):
        np.testing.assert_array_equal(
            engine.predict(np.tile(dense, (20, 1)), threads=threads), np.tile(one, 20)
        )


@SETTINGS
@given(SEEDS)
def test_permuted_inputs_learn_permuted_weights(seed):
    """Distinct times: the order of the inputs does not matter at all."""
    generator = np.random.default_rng(seed)
    dense = generator.permutation(12 * 20).reshape(12, 20).astype(np.float32) / 300
    labels, order = generator.integers(0, 3, 12), generator.permutation(20)
    readout = Readout(Layer(3.0), S2STDP(0.1, 0.2, -0.1), Groups(2, inhibit=True))
    engines = [ReadoutEngine(readout, inputs=20, classes=3) for _ in range(2)]
    engines[1].set_weights("readout", engines[0].weights()[:, order])
    engines[0].fit_phase("readout", dense, labels)
    engines[1].fit_phase("readout", dense[:, order], labels)
    np.testing.assert_array_equal(engines[0].weights()[:, order], engines[1].weights())


@SETTINGS
@given(SEEDS)
def test_a_shift_in_time_shifts_the_answer(seed):
    generator = np.random.default_rng(seed)
    dense = np.round(generator.random((5, 20)) * 64).astype(np.float32) / 256
    engine = ReadoutEngine(Readout(Layer(3.0), S2STDP(0.1, 0.2, -0.1)), inputs=20, classes=3)
    spikes, membranes = engine.respond(dense)
    shifted, same = engine.respond(dense + np.float32(0.25))
    np.testing.assert_array_equal(np.where(spikes < 1, spikes + np.float32(0.25), spikes), shifted)
    np.testing.assert_array_equal(membranes, same)


@SETTINGS
@given(SEEDS, st.integers(1, 40))
def test_events_are_a_stable_sort(seed, inputs):
    generator = np.random.default_rng(seed)
    dense = generator.choice(np.float32([0, 0.25, 0.5, 0.9, 1, 2, np.inf]), (7, inputs))
    events = from_dense(dense)
    for s in range(7):
        order = np.argsort(dense[s], kind="stable")
        order = order[dense[s][order] < 1]
        own = slice(events.offsets[s], events.offsets[s + 1])
        np.testing.assert_array_equal(events.index[own], order)
        np.testing.assert_array_equal(events.times[own], dense[s][order])
    np.testing.assert_array_equal(events.dense(), np.minimum(dense, 1))
    chosen = generator.integers(0, 7, 5)
    np.testing.assert_array_equal(events.take(chosen).dense(), np.minimum(dense[chosen], 1))


@SETTINGS
@given(SEEDS)
def test_scores_keep_the_order_of_time(seed):
    generator = np.random.default_rng(seed)
    spikes = generator.choice(np.float32([0, 0.25, 0.5, 1]), (6, 5))
    membranes = generator.choice(np.float32([-1, 0, 1, 2]), (6, 5))
    found = scores(spikes, membranes, np.full(5, 2, np.float32), 1.0)
    np.testing.assert_array_equal(found.argmax(axis=1), rank(spikes, membranes)[:, 0])
    assert np.all(found[spikes < 1] >= 1)
    for row, times in zip(found, spikes, strict=True):
        earlier = times[:, None] < times[None, :]
        assert np.all(row[:, None][earlier.any(1)] >= row[None, :].min())
        assert np.all((row[:, None] > row[None, :])[earlier])


def test_empty_samples_are_silent():
    empty = Events(np.zeros(3, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), 20)
    engine = ReadoutEngine(Readout(Layer(3.0), S2STDP(0.1, 0.2, -0.1)), inputs=20, classes=3)
    spikes, membranes = engine.respond(empty)
    assert np.all(spikes == 1)
    assert not membranes.any()
    np.testing.assert_array_equal(engine.predict(empty), [0, 0])


@SETTINGS
@given(SEEDS, st.integers(4, 13), st.integers(1, 4), st.booleans())
def test_the_first_of_rivals_is_found_whoever_is_given_up(seed, neurons, groups, compat):
    generator = np.random.default_rng(seed)
    weights, thresholds, tau = random_layer(generator, neurons, 40, leaky=False)
    index, times = random_sample(generator, 40, late=False)
    layer, sample, spikes, membranes = run(weights, thresholds, tau, index, times, compat)
    rivals, best = generator.integers(-1, groups, neurons), np.empty(neurons, np.float32)
    hasty, partial = np.empty_like(spikes), np.empty_like(membranes)
    kernels.forward(layer, thresholds, sample, rivals, best, hasty, partial)
    free = rivals < 0
    np.testing.assert_array_equal(hasty[free], spikes[free])
    np.testing.assert_array_equal(partial[free], membranes[free])
    for group in range(groups):
        own = np.flatnonzero(rivals == group)
        if len(own):
            first = own[kernels.first_of(spikes[own], membranes[own], 0, len(own))]
            assert own[kernels.first_of(hasty[own], partial[own], 0, len(own))] == first
            assert (hasty[first], partial[first]) == (spikes[first], membranes[first])
