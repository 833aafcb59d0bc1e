"""STDP in mini-batches against plain loops, winner by winner."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstspike.compiled import BatchLayer
from firstspike.layers import BatchSTDP
from tests.property import zoo_reference as plain
from tests.property.zoo_reference import cases

quick = settings(max_examples=40, deadline=None)
RULES = [
    BatchSTDP(),
    BatchSTDP(0.3, -0.2, doubling_period=4, growth=1.5, ltp_ceiling=0.4),
    BatchSTDP(0.1, -0.05, stabilise=False, lower=0.2, upper=0.7, doubling_period=1, ltp_ceiling=0.2),
]


def layer_of(case, batch):
    layer = BatchLayer(case.layer, case.shape, batch)
    layer.weights = case.weights
    return layer


def changed(weights, seen, step, rate, rule):
    """One map's weights after a winner of it that fired at a step: in float64, stored as float32."""
    exact = weights.astype(np.float64)
    factor = (exact - rule.lower) * (rule.upper - exact) if rule.stabilise else 1.0
    exact += np.where(seen <= step, *rate) * factor
    return np.clip(exact, rule.lower, rule.upper).astype(np.float32)


def learn(case, rule, batch):
    """Weights, winners (N, K, 3) and rates (N, 2): the plain twin of ``kernels/minibatch.py``."""
    weights, rate, seen = case.weights.copy(), (rule.ltp, rule.ltd), 0
    winners, used = [], []
    for first in range(0, len(case.seen), batch):
        images = range(first, min(first + batch, len(case.seen)))
        contests = [plain.contest(case, n, weights) for n in images]
        seen += len(images)
        while seen >= rule.doubling_period:
            ltp = min(rule.growth * rate[0], rule.ltp_ceiling)
            rate, seen = (ltp, rule.ltd_per_ltp * ltp), seen - rule.doubling_period
        for n, (won, latency) in zip(images, contests, strict=True):
            winners.append(won[0].numpy())
            used.append(rate)
            for m, row, col in won[0].numpy():
                if m >= 0:
                    k = case.layer.kernel
                    field = case.padded[n][:, row : row + k, col : col + k]
                    weights[m] = changed(weights[m], field, int(latency[0, m, row, col]), rate, rule)
    return weights, np.array(winners), np.array(used)


@pytest.mark.parametrize("rule", RULES)
@quick
@given(
    case=cases(images=7, kinds=("grid", "coarse", "twins", "normal"), channels=6, maps=40, largest=6),
    batch=st.integers(1, 8),
)
def test_learning(rule, case, batch):
    layer, before = layer_of(case, batch), case.seen.copy()
    rates, seen = np.array([rule.ltp, rule.ltd]), np.zeros(1, np.int64)
    winners, used = layer.learn(case.seen, rule, rates, seen, steps=case.steps)
    expected = learn(case, rule, batch)
    np.testing.assert_array_equal(winners, expected[1])
    np.testing.assert_array_equal(used, expected[2])
    np.testing.assert_array_equal(layer.weights, expected[0])
    np.testing.assert_array_equal(case.seen, before)


@quick
@given(case=cases(images=6, channels=6, maps=20, largest=6), batches=st.integers(1, 2))
def test_learning_batch_by_batch_is_learning_at_once(case, batches):
    rule, results = RULES[1], []
    cut = 3 * batches
    for pieces in ([case.seen], [case.seen[:cut], case.seen[cut:]]):
        layer, rates, seen = layer_of(case, 3), np.array([rule.ltp, rule.ltd]), np.zeros(1, np.int64)
        parts = [layer.learn(piece, rule, rates, seen, steps=case.steps) for piece in pieces]
        results.append((layer.weights, *(np.concatenate(x) for x in zip(*parts, strict=True)), rates, seen))
    for whole, pieced in zip(*results, strict=True):
        np.testing.assert_array_equal(whole, pieced)


@quick
@given(case=cases(images=3, channels=6, maps=20, largest=6))
def test_a_binary_layer_hands_on_by_rounded_weights(case):
    learnt = BatchLayer(replace(case.layer, binary=True), case.shape)
    learnt.weights = case.weights
    rounded = layer_of(replace(case, weights=(case.weights >= 0.5).astype(np.float32)), 1)
    np.testing.assert_array_equal(
        learnt.propagate(case.seen, steps=case.steps), rounded.propagate(case.seen, steps=case.steps)
    )
    np.testing.assert_array_equal(learnt.weights, case.weights)
