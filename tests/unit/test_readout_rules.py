"""What the recorded runs of the readouts do not separate, on samples small enough to work out by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np
import pytest

from firstspike.errors import UserError
from firstspike.kernels import rows
from firstspike.kernels.readout import first_of
from firstspike.kernels.readout_rules import RULE
from firstspike.readouts import (
    RSTDP,
    RULES,
    S2STDP,
    S4NN,
    SSTDP,
    Additive,
    Groups,
    Layer,
    Multiplicative,
    OneThreshold,
    Readout,
    ReadoutEngine,
    TwoThresholds,
    groups_of,
)

F = np.float32


def engine_of(rule, weights, *, layer=None, **parts):
    """An engine with these weights, one neuron a class unless `parts` has groups."""
    weights = np.asarray(weights, F)
    readout = Readout(layer or Layer(1.0), rule, **parts)
    classes = len(weights) // readout.groups.per_class
    engine = ReadoutEngine(readout, inputs=weights.shape[1], classes=classes)
    engine.set_weights("readout", weights)
    return engine


def test_weights_stop_at_the_lower_bound():
    engine = engine_of(
        RSTDP(0.1, -0.5, 0.0, -0.5), [[0.6, 0.2, 0.3], [0.1, 0.1, 0.1]], layer=Layer(0.5, low=0.05)
    )
    engine.fit_phase("readout", F([[0.1, 0.5, 0.9]]), np.array([0]))
    np.testing.assert_allclose(engine.weights()[0], F([0.65, 0.05, 0.05]), atol=1e-6)


def test_weights_are_clipped_before_they_are_scaled():
    layer = Layer(9.0, normalise=True)
    engine = engine_of(RSTDP(0.8, 0.0, adaptive=False), [[0.9, 0.1], [0.1, 0.1]], layer=layer)
    engine.fit_phase("readout", F([[0.1, 0.2]]), np.array([0]))  # silent, so both inputs gain 0.8
    np.testing.assert_allclose(engine.weights()[0], np.divide([1.0, 0.9], 1.9), rtol=1e-6)


def test_rows_above_the_bound_are_clipped_again_at_the_next_step():
    """Depression shrinks the row, scaling lifts a full weight over the bound; the next sample clips it."""
    layer = Layer(0.9, normalise=True)
    start = [[1.0, 0.4, 0.4, 0.2], [0.1] * 4]
    samples = F([[0.1, 0.2, 0.3, 0.4]])
    engine = engine_of(RSTDP(0.1, -0.1, 0, 0, adaptive=False), start, layer=layer)
    engine.fit_phase("readout", samples, np.array([0]))
    scaled = np.clip(F([1.1, 0.3, 0.3, 0.1]), 0, 1)
    scaled = scaled * F(F(2.0) / scaled.sum())
    assert scaled[0] > 1
    np.testing.assert_allclose(engine.weights()[0], scaled, rtol=1e-6)
    engine.fit_phase(
        "readout", samples, np.array([1])
    )  # the same neuron wins, punishment at rate 0 changes nothing
    again = np.clip(scaled, 0, 1)
    np.testing.assert_allclose(engine.weights()[0], again * F(F(2.0) / again.sum()), rtol=1e-6)


def test_row_sums_are_those_of_the_signed_draw():
    """Sum 0.6 with its signs, magnitudes 1.0: scaling shrinks the row at first, then -0.12 is clipped."""
    layer = Layer(10.0, normalise=True)
    engine = engine_of(RSTDP(0.0, 0.0), [[0.8, -0.2], [0.3, 0.3]], layer=layer)
    np.testing.assert_allclose(engine.weights(), [[0.48, 0.0], [0.3, 0.3]], rtol=1e-6)
    engine.fit_phase("readout", F([[0.1, 0.2]]), np.array([0]))
    np.testing.assert_allclose(engine.weights(), [[0.6, 0.0], [0.3, 0.3]], rtol=1e-6)


def test_a_row_of_zeros_stays():
    row = np.zeros(9, F)
    rows.normalise(row, F(2))
    np.testing.assert_array_equal(row, 0)


def test_desired_times_are_capped_before_the_end():
    """Both neurons fire at 0.98; with a gap of 0.2 the base is 1 - 0.1, not 0.98."""
    engine = engine_of(S2STDP(0.2, 0.1, 0.0), [[2.0, 0.0, 0.0], [2.0, 0.0, 0.0]], layer=Layer(1.0, high=3.0))
    fitted = engine.fit_phase("readout", F([[0.98, 0.99, 0.995]]), np.array([0]), record=True)
    np.testing.assert_allclose(fitted.trace.spikes, [[0.98, 0.98]], rtol=1e-6)
    gains = fitted.trace.gains.reshape(2, 2)[:, 0] / 0.1
    np.testing.assert_allclose(gains, [0.98 - (0.9 - 0.1), 0.98 - (0.9 + 0.1)], rtol=1e-5)


def test_sstdp_leaves_neurons_within_their_range():
    weights = [[0.0, 2.0, 0.0], [2.0, 0.0, 0.0]]
    samples = F([[0.2, 0.5, 0.9]])
    errors = {}
    for rule in (S2STDP, SSTDP):
        engine = engine_of(rule(0.2, 0.1, 0.0), weights, layer=Layer(1.0, high=3.0))
        fitted = engine.fit_phase("readout", samples, np.array([1]), record=True)
        errors[rule] = fitted.trace.gains.reshape(2, 2)[:, 0] / 0.1
    np.testing.assert_allclose(errors[S2STDP], [0.5 - 0.45, 0.2 - 0.25], rtol=1e-5)
    assert not errors[SSTDP].any()  # the target fires before 0.25, the other after 0.45


def test_silent_neurons_are_potentiated_on_silent_inputs_too():
    engine = engine_of(S2STDP(0.2, 0.5, -0.5), [[0.2, 0.2, 0.2], [0.2, 0.2, 0.2]])
    engine.fit_phase("readout", F([[0.1, 0.2, 1.0]]), np.array([0]))
    target, other = engine.weights()
    np.testing.assert_allclose(target, 0.2 + 0.5 * (1 - 0.8), rtol=1e-5)  # base 0.9, target 0.8
    np.testing.assert_allclose(other, 0.2, rtol=1e-5)  # desired at 1.0


def test_ignored_silent_inputs_are_not_depressed():
    for ignore, expected in ((False, 0.4 - 0.1), (True, 0.4)):
        rule = RSTDP(0.1, -0.1, stdp=Additive(ignore), adaptive=False)
        engine = engine_of(rule, [[0.4, 0.4, 0.4], [0.0, 0.0, 0.0]], layer=Layer(0.3))
        engine.fit_phase("readout", F([[0.1, 0.2, 1.0]]), np.array([0]))
        np.testing.assert_allclose(engine.weights()[0], [0.5, 0.3, expected], rtol=1e-5)


def test_multiplicative_steps_shrink_towards_the_bound():
    rule = RSTDP(0.1, -0.1, stdp=Multiplicative(2.0, 0.0, 1.0), adaptive=False)
    engine = engine_of(rule, [[0.4, 0.4], [0.0, 0.0]], layer=Layer(0.3))
    engine.fit_phase("readout", F([[0.1, 0.2]]), np.array([0]))
    expected = [0.4 + 0.1 * np.exp(-2 * 0.4), 0.4 - 0.1 * np.exp(-2 * 0.6)]
    np.testing.assert_allclose(engine.weights()[0], expected, rtol=1e-6)


def test_s4nn_errors_have_norm_one_and_leave_late_inputs():
    weights = [[0.0, 2.0, 0.5], [2.0, 0.0, 0.5]]
    engine = engine_of(S4NN(0.5, 0.1), weights, layer=Layer(1.0, high=3.0))
    fitted = engine.fit_phase("readout", F([[0.2, 0.5, 0.9]]), np.array([0]), record=True)
    errors = fitted.trace.gains.reshape(2, 2)[:, 0] / 0.1
    raw = np.array([0.5 - 0.2, 0.2 - 0.7])
    np.testing.assert_allclose(errors, raw / np.linalg.norm(raw), rtol=1e-5)
    assert np.all(engine.weights()[:, 2] == 0.5)


def test_adaptive_rates_follow_the_last_accuracy():
    engine = engine_of(RSTDP(0.4, -0.2), [[0.9, 0.1], [0.1, 0.2]], layer=Layer(0.5), annealing=0.5)
    np.testing.assert_allclose(list(engine.rates().values()), [0.2, -0.1, -0.2, 0.1])  # a = 1/2 at first
    engine.fit_phase("readout", F([[0.1, 0.2]] * 4), np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(
        list(engine.rates().values()), [0.05, -0.025, -0.15, 0.075]
    )  # a = 3/4, one annealing


def test_two_thresholds_part_and_come_together():
    groups = Groups(3, 1, inhibit=True)
    weights = np.repeat(F([[0.5, 0.4], [0.6, 0.4], [0.4, 0.4]]), 2, axis=0)[[0, 2, 4, 1, 3, 5]]
    engine = engine_of(S2STDP(0.1, 0.0, 0.0), weights, groups=groups, regulation=TwoThresholds(0.2, 0.5))
    fitted = engine.fit_phase("readout", F([[0.1, 0.2]] * 2), np.array([1, 1]), record=True)
    # the first target wins by its membrane: + 0.1, the other would fall below the floor
    np.testing.assert_allclose(fitted.trace.thresholds[0], [1, 1, 1, 1, 1.1, 1], rtol=1e-6)
    np.testing.assert_allclose(fitted.trace.thresholds[1], [1, 1, 1, 1, 1.2, 1], rtol=1e-6)
    np.testing.assert_array_equal(engine.thresholds()[1], 1)
    assert engine.regulation_rate == 0.1
    fitted = engine.fit_phase("readout", F([[0.1, 0.2]]), np.array([0]), record=True)
    np.testing.assert_allclose(
        fitted.trace.thresholds[0], [1, 1.05, 1, 1, 1, 1], rtol=1e-6
    )  # reset, half the rate


def test_one_threshold_is_kept_and_tested_with():
    groups = Groups(2, 0)
    engine = engine_of(
        S2STDP(0.1, 0.0, 0.0), [[0.5, 0.4], [0.6, 0.4]], groups=groups, regulation=OneThreshold(0.2, 1.0)
    )
    engine.fit_phase("readout", F([[0.1, 0.2]]), np.array([0]))
    for thresholds in engine.thresholds():
        np.testing.assert_allclose(thresholds, [0.9, 1.1], rtol=1e-6)


def test_without_compat_the_last_event_counts_and_leaks_come_after_the_test():
    for compat, expected in ((True, 1.0), (False, 0.5)):
        engine = engine_of(S2STDP(0.1, 0, 0), [[0.8, 0.8]] * 2, layer=Layer(1.0, compat=compat))
        assert engine.respond(F([[0.25, 0.5]]))[0][0, 0] == F(expected)
    for compat, expected in ((True, 1.0), (False, 0.25)):
        engine = engine_of(
            S2STDP(0.1, 0, 0), [[0.9, 0.1, 0.0]] * 2, layer=Layer(0.8, leak=0.5, compat=compat)
        )
        assert engine.respond(F([[0.25, 0.5, 0.75]]))[0][0, 0] == F(expected)


def test_pairwise_sum_is_numpys():
    generator = np.random.default_rng(0)
    for count in (1, 7, 8, 9, 100, 128, 129, 136, 1000, 4608, 6272):
        row = generator.normal(0, 1, count).astype(F)
        assert rows.sum_magnitudes(row, 0, count) == np.abs(row).sum()


def test_exponential_is_good_to_the_last_bits():
    for x in np.linspace(-100, 100, 4001):
        assert rows.exponential(x) == pytest.approx(np.exp(x), rel=5e-16)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: groups_of(25, 10), "25 neurons for 10 classes; expected a multiple of 10"),
        (lambda: groups_of(5, 10), "a multiple of 10"),
        (lambda: Groups(2, 2), "at least one target neuron"),
        (lambda: Layer(1.0, low=1, high=0), "expected low < high"),
        (lambda: Layer(np.nan), "expected a finite number"),
        (lambda: Multiplicative(-1.0), "expected 0 <= beta"),
        (
            lambda: ReadoutEngine(Readout(Layer(1, leak=(0.1, 0.2)), S2STDP(0, 0, 0)), inputs=3, classes=3),
            "or 3 of them",
        ),
        (
            lambda: ReadoutEngine(Readout(Layer(1, leak=0.0), S2STDP(0, 0, 0)), inputs=3, classes=3),
            "one positive",
        ),
    ],
)
def test_wrong_descriptions_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()


@numba.njit(RULE)
def error_driven(times, membranes, members, label, per_class, non_target, max_time, constants, rates, gains):
    """Potentiate the first neuron of the right class if another one decides."""
    winner = first_of(times, membranes, 0, times.shape[0])
    if winner // per_class != label:
        gains[label * per_class, 0] = rates[0]


@dataclass(frozen=True)
class ErrorDriven(RSTDP):
    """A rule of a stranger: one class and its kernel, no other file touched."""

    kernel: ClassVar[Callable] = staticmethod(error_driven)


def test_a_new_rule_is_one_class():
    engine = engine_of(ErrorDriven(0.1, 0.0, adaptive=False), [[0.4, 0.4], [0.5, 0.5]], layer=Layer(9.0))
    engine.fit_phase("readout", F([[0.1, 0.2]]), np.array([0]))
    np.testing.assert_allclose(engine.weights(), [[0.5, 0.5], [0.5, 0.5]], rtol=1e-6)
    engine.fit_phase(
        "readout", F([[0.1, 0.2]]), np.array([0])
    )  # decides right by now, the lower index of two
    np.testing.assert_allclose(engine.weights(), [[0.5, 0.5], [0.5, 0.5]], rtol=1e-6)


def test_rules_are_listed():
    assert set(RULES) == {"s2stdp", "sstdp", "rstdp", "s4nn"}
