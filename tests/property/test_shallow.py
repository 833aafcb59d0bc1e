"""Layers that answer by their first spike agree with plain torch, learning image by image."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from firstspike import functional as f
from firstspike.coding import NEVER
from firstspike.compiled import FirstSpikeLayer
from firstspike.layers import FlooredRSTDP
from tests.property.zoo_reference import Case, cases, spikes

quick = settings(max_examples=40, deadline=None)
RULE = FlooredRSTDP(0.05, -0.015, -0.05, 0.0005)
RATES = np.array([0.05, -0.015, -0.05, 0.0005], np.float32)


def made(case):
    layer = FirstSpikeLayer(case.layer, case.shape)
    layer.weights = case.weights
    return layer


def earliest(case, n, weights):
    """Winner (1, 1, 3), latencies and potentials of one image; no inhibition."""
    fired = spikes(case.padded[n], weights, case.steps, case.layer.threshold)
    return f.winners(*fired, k=1, radius=0), *fired


def taught(case, labels, classes):
    """Weights and winners (N, 3) after one window, image after image; `classes` of the maps."""
    weights, winners = case.weights, []
    for n, label in enumerate(labels):
        won, latency, _ = earliest(case, n, weights)
        winners.append(won[0, 0].numpy())
        answer = torch.tensor([classes[won[0, 0, 0]] if won[0, 0, 0] >= 0 else -1])
        weights = f.rstdp(
            torch.from_numpy(weights),
            torch.from_numpy(case.padded[n : n + 1]),
            latency,
            won,
            f.outcome(answer, torch.tensor([label])),
            reward=tuple(map(float, RATES[:2])),
            punish=tuple(map(float, RATES[2:])),
            lower=0.0,
            upper=1.0,
            stabilise=True,
        ).numpy()
    return weights, np.array(winners)


def small_cases():
    return cases(
        images=5, channels=6, maps=20, largest=6, kernel=5, kinds=("grid", "coarse", "twins", "normal")
    )


@quick
@given(small_cases(), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_a_window_of_reward_and_punishment(case, group, seed):
    maps = len(case.weights)
    labels = np.random.default_rng(seed).integers(0, -(-maps // group), len(case.seen))
    weights, winners = taught(case, labels, np.arange(maps) // group)
    layer, seen = made(case), case.seen.copy()
    chosen, clipped = layer.learn(seen, labels, RULE, RATES, steps=case.steps, group=group, clipped=False)
    np.testing.assert_array_equal(chosen, winners)
    np.testing.assert_array_equal(layer.weights, weights)
    assert clipped == (winners[:, 0] >= 0).any()
    np.testing.assert_array_equal(seen, case.seen)


@quick
@given(small_cases(), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_maps_that_are_left_out_neither_win_nor_learn(case, group, seed):
    """The window is that of a layer without them, but for the clipping of all weights."""
    rng, maps = np.random.default_rng(seed), len(case.weights)
    kept = np.flatnonzero(rng.random(maps) < 0.5)
    labels = rng.integers(0, -(-maps // group), len(case.seen))
    layer = made(case)
    chosen, clipped = layer.learn(
        case.seen, labels, RULE, RATES, steps=case.steps, group=group, clipped=False, kept=kept
    )
    assert set(chosen[:, 0]) <= {-1, *kept}
    if len(kept) == 0:
        assert not clipped
        np.testing.assert_array_equal(layer.weights, case.weights)
        return
    part = Case(case.layer, case.seen, case.weights[kept], case.steps)
    weights, winners = taught(part, labels, kept // group)
    np.testing.assert_array_equal(chosen[:, 1:], winners[:, 1:])
    np.testing.assert_array_equal(chosen[:, 0], np.where(winners[:, 0] < 0, -1, kept[winners[:, 0]]))
    others = np.setdiff1d(np.arange(maps), kept)
    np.testing.assert_array_equal(layer.weights[kept], weights)
    untouched = case.weights[others]
    np.testing.assert_array_equal(layer.weights[others], untouched.clip(0, 1) if clipped else untouched)


@quick
@given(small_cases(), st.integers(1, 4))
def test_answers_and_how_near_each_class_was(case, group):
    group = min(group, len(case.weights))
    classes = len(case.weights) // group
    whole = replace(case.layer, maps=classes * group)
    case = Case(whole, case.seen, case.weights[: whole.maps], case.steps)
    layer = made(case)
    chosen = layer.decide(case.seen, steps=case.steps)
    scores = layer.scores(case.seen, steps=case.steps, group=group)
    for n, (winner, near) in enumerate(zip(chosen, scores, strict=True)):
        won, latency, _ = earliest(case, n, case.weights)
        np.testing.assert_array_equal(winner, won[0, 0].numpy())
        times = latency[0].reshape(classes, -1).amin(1).numpy()
        assert ((near > 0) == (times != NEVER)).all()
        assert near.max() == (1.0 if (times != NEVER).any() else 0.0)
        order = np.argsort(-near, kind="stable")
        assert (np.diff(times[order].astype(int)) >= 0).all()
