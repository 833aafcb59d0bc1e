"""The compiled layers against plain torch and against the order of summation that the method asks for.

Weights on a grid of float16 make every float64 sum exact; others are compared with sums in the order
(channel, row, column), which decide where two potentials are too near for the order not to matter.
"""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from firstspike import functional as f
from firstspike.coding import NEVER
from firstspike.compiled import DecisionLayer, ThresholdLayer, learn_together, pooling
from firstspike.kernels import bits, final
from firstspike.kernels.joint import Turn
from firstspike.layers import RSTDP, STDP, Conv, Pool
from tests.property import zoo_reference as plain
from tests.property.zoo_reference import Case, cases

quick = settings(max_examples=40, deadline=None, derandomize=True)
EXACT = ("grid", "coarse", "twins")
RULES = (
    STDP(),
    STDP(stabilise=False, doubling_period=2),
    STDP(ltp=-0.1, ltd=0.05),
    STDP(lower=0.2, upper=0.8),
)


def threshold_layer(case):
    layer = ThresholdLayer(case.layer, case.shape)
    layer.weights = case.weights
    return layer


def decision_layer(case):
    layer = DecisionLayer(replace(case.layer, threshold=None), case.shape)
    layer.weights = case.weights
    return layer


def rates_of(rule):
    names = (
        ("ltp", "ltd") if isinstance(rule, STDP) else ("reward_ltp", "reward_ltd", "punish_ltp", "punish_ltd")
    )
    return np.array([getattr(rule, name) for name in names], np.float32)


@st.composite
def poolings(draw, case):
    """A pooling that fits the layer's output."""
    rows, cols = case.layer.output(case.shape)[1:]
    window, pad = draw(st.integers(1, 3)), draw(st.integers(0, 1))
    window = min(window, min(rows, cols) + 2 * pad)
    return Pool(window, draw(st.integers(1, 3)), pad if pad < window else 0)


def pooled(latency, pool):
    return f.pool_latency(f.pad_latency(latency, pool.pad), pool.window, stride=pool.step).numpy()


# --- first spikes -------------------------------------------------------------------------------------------


@quick
@given(st.data(), cases(images=2, kinds=EXACT))
def test_first_spikes_are_those_of_plain_torch(data, case):
    pool = data.draw(poolings(case))
    weights = torch.from_numpy(case.weights).double()
    v = f.potentials(torch.from_numpy(case.padded), weights, steps=case.steps)
    latency, _ = f.fire(v, case.layer.threshold)
    before = case.seen.copy()
    layer = threshold_layer(case)
    out = layer.propagate(case.seen, steps=case.steps, pool=pool)
    np.testing.assert_array_equal(out, pooled(latency, pool))
    untimed = layer.propagate(case.seen, steps=case.steps, pool=pool, timed=False)
    np.testing.assert_array_equal(untimed, np.where(out == NEVER, NEVER, case.steps - 1))
    np.testing.assert_array_equal(case.seen, before)
    np.testing.assert_array_equal(layer.weights, case.weights)


@quick
@given(cases(images=2, channels=12, maps=33))
def test_first_spikes_are_decided_by_ordered_sums(case):
    out = threshold_layer(case).propagate(case.seen, steps=case.steps)
    for n, padded in enumerate(case.padded):
        latency, _ = plain.spikes(padded, case.weights, case.steps, case.layer.threshold)
        np.testing.assert_array_equal(out[n], latency[0].numpy())


@settings(quick, max_examples=80)
@given(st.data(), cases(images=2, channels=12, maps=33, kinds=("settled", "tiny", "normal", "grid")))
def test_what_fires_at_all_is_decided_by_ordered_sums_whatever_screens_it(data, case):
    layer, window, threshold = threshold_layer(case), data.draw(poolings(case)), float(case.layer.threshold)
    g, weights = layer.geometry, layer.weights
    expected = np.stack(
        [
            pooled(plain.spikes(padded, case.weights, case.steps, threshold)[0], window)[0]
            for padded in case.padded
        ]
    )
    expected = np.where(expected == NEVER, NEVER, case.steps - 1)
    integers, patterns = np.empty_like(expected, np.uint8), np.empty_like(expected, np.uint8)
    how = case.steps, pooling(g, window)
    final.reach(case.seen, g, layer.synapses, threshold, *how, integers)
    np.testing.assert_array_equal(integers, expected)
    bits.reach(case.seen, g, weights, bits.make_patterns(g, weights, threshold), threshold, *how, patterns)
    np.testing.assert_array_equal(patterns, expected)


def test_bits_screen_settled_weights_only_and_follow_them():
    layer = ThresholdLayer(Conv("layer", 2, 3, 2.0), (4, 6, 6))
    ones = np.ones((2, 4, 3, 3), np.float32)
    assert layer.patterns(0.8 * ones) is None
    kept = layer.patterns(ones)
    assert layer.patterns(ones) is kept
    ones[0, 0] = 0
    assert layer.patterns(ones) is not kept


@quick
@given(cases(images=4, channels=8, maps=20))
def test_a_batch_is_its_images_one_by_one(case):
    layer = threshold_layer(case)
    batch = layer.propagate(case.seen, steps=case.steps)
    alone = [layer.propagate(case.seen[n : n + 1], steps=case.steps) for n in range(len(case.seen))]
    np.testing.assert_array_equal(batch, np.concatenate(alone))
    head = decision_layer(case)
    batch = head.decide(case.seen, steps=case.steps)
    alone = [head.decide(case.seen[n : n + 1], steps=case.steps) for n in range(len(case.seen))]
    np.testing.assert_array_equal(batch, np.concatenate(alone))


# --- competition and STDP -----------------------------------------------------------------------------------


WIDE = cases(images=3, fewest=16, channels=24, maps=12, largest=9, kernel=4)  # fields of several words


@settings(quick, max_examples=80)
@given(cases(images=4, channels=8, maps=36, largest=6, kernel=5) | WIDE, st.sampled_from(RULES))
def test_winners_rates_and_weights_of_stdp(case, rule):
    expected = plain.learn_stdp(case, rule)
    layer, rates, seen = threshold_layer(case), rates_of(rule), np.zeros(1, np.int64)
    winners, used = layer.learn(case.seen, rule, rates, seen, steps=case.steps)
    np.testing.assert_array_equal(winners, expected[1])
    np.testing.assert_array_equal(used, expected[2])
    np.testing.assert_array_equal(layer.weights, expected[0])
    assert layer.weights.min() >= np.float32(rule.lower)
    assert layer.weights.max() <= np.float32(rule.upper)
    assert seen[0] == len(case.seen) % rule.doubling_period


@quick
@given(cases(images=6, channels=6, maps=20, largest=6), st.integers(1, 5))
def test_learning_in_pieces_is_learning_at_once(case, cut):
    rule = STDP(doubling_period=2, ltp=0.03, ltd=-0.0225)
    results = []
    for pieces in ([case.seen], [case.seen[:cut], case.seen[cut:]]):
        layer, rates, seen = threshold_layer(case), rates_of(rule), np.zeros(1, np.int64)
        parts = [layer.learn(piece, rule, rates, seen, steps=case.steps) for piece in pieces]
        results.append((layer.weights, *(np.concatenate(x) for x in zip(*parts, strict=True)), rates, seen))
    for whole, pieced in zip(*results, strict=True):
        np.testing.assert_array_equal(whole, pieced)


def test_a_neuron_on_its_threshold_is_not_fired_by_another_that_is_screened_too_large():
    """Map 0 stays just below the threshold but is rounded up above it; map 1 is exact, stronger, and on it."""
    weights = np.zeros((2, 257, 1, 1), np.float32)
    weights[0, :256], weights[0, 256] = 2.0**-7 - 2.0**-31, 1.5 * 2.0**-30
    weights[1, :2] = 1
    seen = np.zeros((1, 257, 1, 1), np.uint8)
    layer = threshold_layer(Case(Conv("layer", 2, 1, 2.0, k=1), seen, weights, 1))
    synapses = layer.synapses
    border = 2 * synapses.scale[0]
    assert synapses.screen.reshape(-1, 32)[:, 0].sum() > border
    assert synapses.screen.reshape(-1, 32)[:, 1].sum() == border
    assert synapses.errors[0] > 0 == synapses.errors[1]
    winners, _ = layer.learn(seen, STDP(), rates_of(STDP()), np.zeros(1, np.int64), steps=1)
    np.testing.assert_array_equal(winners[0], [[-1] * 3])
    np.testing.assert_array_equal(layer.propagate(seen, steps=1), np.full((1, 2, 1, 1), NEVER))


def test_large_layers_have_no_favoured_map():
    """Equal maps over several blocks of lanes: the lowest wins, one winner a map and place."""
    seen = np.zeros((1, 40, 5, 5), np.uint8)
    layer = Conv("layer", 300, 5, 100.0, k=4)
    case = Case(layer, seen, np.full((300, 40, 5, 5), 0.5, np.float32), 2)
    winners, _ = threshold_layer(case).learn(seen, STDP(), rates_of(STDP()), np.zeros(1, np.int64), steps=2)
    np.testing.assert_array_equal(winners[0], [[0, 0, 0], [-1] * 3, [-1] * 3, [-1] * 3])


# --- decision and R-STDP ------------------------------------------------------------------------------------


@settings(quick, max_examples=60)
@given(cases(images=3, maps=60), st.sampled_from(["positive", "signed", "negative", "zero"]))
def test_the_largest_positive_potential_decides(case, sign):
    signs = np.random.default_rng(0).choice([-1, 1], case.weights.shape)
    factor = {"positive": 1, "signed": signs, "negative": -1, "zero": 0}[sign]
    case = replace(case, weights=(case.weights * factor).astype(np.float32))
    winners = decision_layer(case).decide(case.seen, steps=case.steps)
    expected = [plain.answer(case, n, case.weights)[0][0, 0].numpy() for n in range(len(case.seen))]
    np.testing.assert_array_equal(winners, expected)
    if sign in ("negative", "zero"):
        assert (winners == -1).all()


@quick
@given(
    cases(images=5, channels=20, maps=36, largest=6, kernel=5),
    st.sampled_from(
        [RSTDP(), RSTDP(stabilise=True), RSTDP(lower=0.0, upper=1.0, reward_ltp=0.2, punish_ltp=-0.2)]
    ),
    st.integers(1, 4),
)
def test_winners_and_weights_of_reward_modulated_stdp(case, rule, group):
    maps = max(1, len(case.weights) // group) * group
    weights = np.resize(case.weights, (maps, *case.weights.shape[1:]))
    case = replace(case, weights=weights, layer=replace(case.layer, maps=maps))
    labels = np.arange(len(case.seen)) % (maps // group)
    expected, winners = plain.learn_reward(case, labels, rule, group)
    head, before = decision_layer(case), (case.seen.copy(), labels.copy())
    chosen, clipped = head.learn(
        case.seen, labels, rule, rates_of(rule), steps=case.steps, group=group, clipped=False
    )
    np.testing.assert_array_equal(chosen, winners)
    np.testing.assert_array_equal(head.weights, expected)
    assert clipped == (winners >= 0).any()
    np.testing.assert_array_equal(case.seen, before[0])
    np.testing.assert_array_equal(labels, before[1])
    again = head.decide(case.seen, steps=case.steps)  # the screen has followed the weights
    now = [plain.answer(case, n, head.weights)[0][0, 0].numpy() for n in range(len(case.seen))]
    np.testing.assert_array_equal(again, now)


@quick
@given(cases(images=3, maps=40, kinds=("grid", "normal", "coarse")), st.integers(1, 4))
def test_scores_follow_the_potentials(case, group):
    maps = max(1, len(case.weights) // group) * group
    weights = np.clip(np.resize(case.weights, (maps, *case.weights.shape[1:])), 0.2, 0.8)
    case = replace(case, weights=weights, layer=replace(case.layer, maps=maps))
    head = decision_layer(case)
    scores, winners = (
        head.scores(case.seen, steps=case.steps, group=group),
        head.decide(case.seen, steps=case.steps),
    )
    for n, winner in enumerate(winners):
        last = plain.ordered_potentials(case.padded[n], weights, case.steps)[-1]
        best = last.reshape(maps // group, -1).max(axis=1)
        if winner[0] < 0:
            assert (scores[n] == 0).all()
            continue
        np.testing.assert_allclose(scores[n], best / best.max(), rtol=0.015)
        assert scores[n, winner[0] // group] == 1
        assert scores[n].max() <= 1


@quick
@given(cases(images=3, channels=8, maps=20, kinds=EXACT))
def test_an_input_seen_twice_counts_twice(case):
    """Where two layers are added, the decision layer sees the maps of both and has weights for one."""
    twice = np.concatenate([case.seen, case.seen[::-1]], axis=1)
    winners = decision_layer(case).decide(twice, steps=case.steps)
    for n, winner in enumerate(winners):
        both = case.padded[n], case.padded[len(case.seen) - 1 - n]
        last = sum(plain.ordered_potentials(x, case.weights, case.steps)[-1] for x in both)
        expected = np.unravel_index(last.argmax(), last.shape) if last.max() > 0 else (-1, -1, -1)
        assert tuple(winner) == tuple(map(int, expected))


@st.composite
def stacks(draw):
    """A threshold layer, a pooling and a decision layer above them."""
    case = draw(cases(images=5, channels=6, maps=20, largest=8, kernel=3))
    pool = draw(poolings(case))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    shape = pool.output(case.layer.output(case.shape))
    kernel = draw(st.integers(1, 3))
    head = Conv("head", 6, kernel, pad=2)
    weights = plain.draw_weights(rng, draw(st.sampled_from(plain.KINDS)), (6, shape[0], kernel, kernel))
    return case, pool, head, shape, weights


LOWER = RSTDP(0.05, -0.04, -0.05, 0.01, lower=0.0, upper=1.0)
UPPER = RSTDP(0.02, -0.015, -0.02, 0.0025)


def learn_stack(stack, labels, learns):
    """Two layers that learn from one answer, image after image: weights and winners of both."""
    case, pool, head, _, upper = stack
    lower, winners = case.weights, ([], [])
    for n, label in enumerate(labels):
        won, kept = plain.contest(case, n, lower)
        latency, _ = plain.spikes(case.padded[n], lower, case.steps, case.layer.threshold)
        above = Case(head, pooled(latency, pool), upper, case.steps)
        answer, last = plain.answer(above, 0, upper)
        winners[0].append(won[0].numpy())
        winners[1].append(answer[0, 0].numpy())
        if winners[1][-1][0] < 0:
            continue
        right = winners[1][-1][0] // 2 == label
        if learns[0]:
            lower = plain.update(
                case, n, lower, kept, won, rates_of(LOWER)[:2] if right else rates_of(LOWER)[2:], LOWER
            )
        if learns[1]:
            upper = plain.update(
                above, 0, upper, last, answer, rates_of(UPPER)[:2] if right else rates_of(UPPER)[2:], UPPER
            )
    return lower, upper, *map(np.array, winners)


@settings(quick, max_examples=60)
@given(stacks(), st.sampled_from([(True, True), (True, False), (False, True)]))
def test_two_layers_learn_from_one_answer(stack, learns):
    """conv3 of the joint phase often has fewer winners than it could have; it learns all the same."""
    case, pool, head, shape, weights = stack
    labels = np.arange(len(case.seen)) % 3
    expected = learn_stack(stack, labels, learns)
    lower = threshold_layer(case)
    upper = DecisionLayer(head, shape)
    upper.weights = weights
    turn = Turn(*learns, rates_of(LOWER), rates_of(UPPER), np.zeros(2, np.bool_))
    winners = learn_together(
        lower, upper, pool, case.seen, labels, (LOWER, UPPER), turn, steps=case.steps, group=2
    )
    np.testing.assert_array_equal(winners[0], expected[2])
    np.testing.assert_array_equal(winners[1], expected[3])
    np.testing.assert_array_equal(lower.weights, expected[0])
    np.testing.assert_array_equal(upper.weights, expected[1])
    np.testing.assert_array_equal(turn.clipped, (expected[3][:, 0] >= 0).any() & np.array(learns))
