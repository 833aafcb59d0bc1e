"""Lateral inhibition, the decision layer that weighs early spikes more, and its rule, beside plain numpy."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from firstspike.graded import GradedLayer, strengths
from firstspike.latencies import SILENT, inhibited
from firstspike.layers import Graded, Inhibition, MarginRSTDP

quick = settings(max_examples=60, deadline=None)
STEPS = 7


def spikes(rng, *shape):
    """Latencies of which a part is silent, in either way of saying so."""
    return rng.choice(np.array([*range(STEPS), STEPS, SILENT], np.uint8), shape)


def left(latency, first):
    """One place (M,) behind the inhibition: those no later than the first maps, the last of them at the end."""
    fired = np.sort(latency[latency < STEPS])
    last = fired[first - 1] if len(fired) >= first else STEPS - 1
    return np.where(latency <= last, latency + (STEPS - 1 - int(last)), SILENT)


@quick
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_inhibition(first, maps, seed):
    seen = spikes(np.random.default_rng(seed), 2, maps, 3, 2)
    before = seen.copy()
    passed = inhibited(seen, Inhibition(first), STEPS)
    for n, row, col in np.ndindex(2, 3, 2):
        np.testing.assert_array_equal(passed[n, :, row, col], left(seen[n, :, row, col], first))
    np.testing.assert_array_equal(seen, before)


def made(rng, *, maps, channels, side, kernel, pad, power):
    """A layer with weights of an eighth, whose ties are many."""
    layer = GradedLayer(Graded("decision", maps, kernel, pad=pad, power=power), (channels, side, side))
    layer.weights = (rng.integers(0, 9, layer.weights.shape) / 8).astype(np.float32)
    return layer


def fields(latency, layer):
    """What each position of one image counts for, float32 (C, K, K) by (row, column); -1 marks silence."""
    k, pad = layer.layer.kernel, layer.layer.pad
    worth = np.append(strengths(layer.layer, STEPS), np.float32(-1))
    framed = np.pad(latency, ((0, 0), (pad, pad), (pad, pad)), constant_values=SILENT)
    rows, cols = (side - k + 1 for side in framed.shape[1:])
    return {
        (r, q): worth[np.minimum(framed[:, r : r + k, q : q + k], STEPS)] for r, q in np.ndindex(rows, cols)
    }


def summed(field, weight):
    """Potential of a map (C, K, K), added up input by input in float32."""
    total = np.float32(0)
    for x, w in zip(field.ravel(), weight.ravel(), strict=True):
        total += x * w if x >= 0 else np.float32(0)
    return total


def best(seen, weights, maps):
    """The first of some maps, by (map, row, column), with the largest potential; with the potential."""
    found = None
    for m in maps:
        for place, field in seen.items():
            potential = summed(field, weights[m])
            if found is None or potential > found[2]:
                found = m, place, potential
    return found


def changed(weight, field, ltp, ltd):
    """A map's weights after one change, within 0 and 1."""
    rate = np.where(field >= 0, np.float32(ltp) * field, np.float32(ltd))
    return np.clip(weight + rate.astype(np.float32), np.float32(0), np.float32(1))


def taught(weights, shown, labels, layer, rule, rates, group):
    """Weights and winners after one window, as the rule says, map by map."""
    weights, winners, every = weights.copy(), [], range(len(weights))
    for latency, label in zip(shown, labels, strict=True):
        seen = fields(latency, layer)
        own = [m for m in every if m // group == label]
        others = [m for m in every if m // group != label]
        winner, place, potential = best(seen, weights, every)
        winners.append((winner, *place) if potential > 0 else (-1, -1, -1))
        if potential <= 0:
            continue
        right = winner in own
        second = best(seen, weights, others if right else [m for m in every if m // group != winner // group])
        clear = second is None or potential - second[2] >= np.float32(rule.margin) * potential
        if right and clear:
            continue
        reward, punish = best(seen, weights, own), best(seen, weights, others)
        if right or rule.told:
            weights[reward[0]] = changed(weights[reward[0]], seen[reward[1]], *rates[:2])
        if not right or rule.told:
            weights[punish[0]] = changed(weights[punish[0]], seen[punish[1]], *rates[2:])
    return weights, np.array(winners)


@st.composite
def shapes(draw):
    """Sizes of a layer, some with several positions."""
    side, pad = draw(st.integers(1, 4)), draw(st.integers(0, 1))
    return {
        "maps": draw(st.sampled_from([2, 4, 6, 18])),
        "channels": draw(st.integers(1, 5)),
        "side": side,
        "kernel": draw(st.integers(max(1, side + 2 * pad - 1), side + 2 * pad)),
        "pad": pad,
        "power": draw(st.sampled_from([0.0, 0.5, 1.0])),
    }


@quick
@given(
    shapes(), st.booleans(), st.sampled_from([0.0, 0.02, 0.3]), st.integers(1, 2), st.integers(0, 2**32 - 1)
)
def test_a_window_of_learning(shape, told, margin, group, seed):
    rng = np.random.default_rng(seed)
    layer = made(rng, **shape)
    shown, before = spikes(rng, 6, shape["channels"], shape["side"], shape["side"]), layer.weights
    shown[1] = SILENT
    labels = rng.integers(0, shape["maps"] // group, 6)
    rule = MarginRSTDP(0.25, -0.125, -0.5, 0.0625, margin=margin, told=told)
    rates = np.array([0.25, -0.125, -0.5, 0.0625], np.float32)
    weights, winners = taught(before, shown, labels, layer, rule, rates, group)
    kept = shown.copy()
    chosen, _ = layer.learn(shown, labels, rule, rates, steps=STEPS, group=group, clipped=False)
    np.testing.assert_array_equal(chosen, winners)
    np.testing.assert_array_equal(layer.weights, weights)
    np.testing.assert_array_equal(shown, kept)


@quick
@given(shapes(), st.integers(0, 2**32 - 1))
def test_answers_and_scores(shape, seed):
    rng = np.random.default_rng(seed)
    layer, n = made(rng, **shape), 4
    shown = spikes(rng, n, shape["channels"], shape["side"], shape["side"])
    shown[2] = SILENT
    winners = layer.decide(shown, steps=STEPS)
    scores = layer.scores(shown, steps=STEPS, group=1)
    for image, winner, score in zip(shown, winners, scores, strict=True):
        m, place, potential = best(fields(image, layer), layer.weights, range(shape["maps"]))
        np.testing.assert_array_equal(winner, (m, *place) if potential > 0 else (-1, -1, -1))
        assert score[m] == (potential > 0)
        assert 0 <= score.min() <= score.max() <= 1
    alone = np.concatenate([layer.decide(image[None], steps=STEPS) for image in shown])
    np.testing.assert_array_equal(winners, alone)
