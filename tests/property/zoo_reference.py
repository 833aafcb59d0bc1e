"""What the compiled layers are held to: random layers, potentials in a fixed order, learning image by image.

N images, T steps, C channels, M maps, H, W input, R, Q output, K kernel.
"""

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st

from firstspike import functional as f
from firstspike.coding import NEVER
from firstspike.layers import RSTDP, STDP, Conv

KINDS = ("grid", "coarse", "twins", "normal", "tiny", "wide", "halves", "settled", "mixed")


@dataclass(frozen=True)
class Case:
    """A layer, what it sees uint8 (N, C, H, W), its weights float32 (M, C, K, K), and the steps."""

    layer: Conv
    seen: np.ndarray
    weights: np.ndarray
    steps: int

    @property
    def shape(self):
        return self.seen.shape[1:]

    @property
    def padded(self):
        frame = ((0, 0), (0, 0), *((self.layer.pad,) * 2,) * 2)
        return np.pad(self.seen, frame, constant_values=NEVER)


def draw_weights(rng, kind, shape):
    """Weights float32; "grid", "coarse" and "twins" are exact in float16, so that float64 sums are exact."""
    if kind == "grid":
        return (rng.integers(0, 65, shape) / 64).astype(np.float32)
    if kind == "coarse":  # ties everywhere
        return rng.choice([0.0, 0.25, 0.5, 1.0], shape).astype(np.float32)
    if kind == "twins":  # maps that are copies of each other
        few = (rng.integers(0, 17, (2, *shape[1:])) / 16).astype(np.float32)
        return few[rng.integers(0, 2, shape[0])]
    if kind == "normal":
        return np.abs(rng.normal(0.8, 0.05, shape)).astype(np.float32)
    if kind == "halves":  # 256 levels from 0 to 1, and just below or above the middle between two of them
        levels = rng.integers(0, 255, shape[1:]) + rng.choice(
            [0.0, 0.49, 0.51], shape, p=rng.dirichlet((1, 1, 1))
        )
        levels.flat[:2] = 0, 255
        return (levels / 255).astype(np.float32)
    if kind == "settled":  # what STDP with a stabiliser ends in; one weight in fifty is still on its way
        values = rng.choice([0.0, 1e-42, 1e-30, 4e-16, 2e-15, 3e-9, 1 - 2**-24, 1.0], shape)
        return np.where(rng.random(shape) < 0.02, rng.random(shape), values).astype(np.float32)
    if kind == "mixed":  # most maps are screened exactly and have potentials on the threshold, some are not
        whole = rng.integers(0, 2, shape).astype(np.float32)
        loose = draw_weights(rng, "settled", shape)
        return np.where(rng.random((shape[0], 1, 1, 1)) < 0.3, loose, whole)
    if kind == "tiny":  # far below what the integer screen can hold, down to denormal numbers
        values = [0.0, 1e-42, 1e-38, 1e-30, 3e-17, 1e-12, 1e-9, 1e-7, 0.5, 0.8]
        return rng.choice(values, shape).astype(np.float32)
    return (10.0 ** rng.uniform(-8, 3, shape)).astype(np.float32)


def draw_latencies(rng, shape, steps, silent):
    """Latencies with a share of silent inputs, which are any number from `steps` on."""
    fired = rng.integers(0, steps, shape)
    mute = rng.choice(np.unique([steps, min(steps + 1, 255), 255]), shape)
    return np.where(rng.random(shape) < silent, mute, fired).astype(np.uint8)


@st.composite
def cases(draw, *, images=1, kinds=KINDS, signed=False, fewest=1, channels=40, maps=70, largest=8, kernel=7):
    """A random layer whose threshold is often exactly one of its potentials."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    k, pad = draw(st.integers(1, kernel)), draw(st.integers(0, 3))
    least = max(1, k - 2 * pad)
    height, width = (draw(st.integers(least, max(largest, least))) for _ in range(2))
    c, m = draw(st.integers(fewest, channels)), draw(st.integers(1, maps))
    steps = draw(st.sampled_from([1, 2, 4, 15]))
    seen = draw_latencies(
        rng, (images, c, height, width), steps, draw(st.sampled_from([0.3, 0.8, 0.97, 1.0]))
    )
    weights = draw_weights(rng, draw(st.sampled_from(kinds)), (m, c, k, k))
    if signed:
        weights *= rng.choice([-1, 1], weights.shape).astype(np.float32)
    layer = Conv("layer", m, k, 0.0, pad, k=draw(st.integers(1, 9)), radius=draw(st.integers(0, 3)))
    case = Case(layer, seen, weights, steps)
    threshold = draw_threshold(rng, case)
    return Case(Conv("layer", m, k, threshold, pad, k=layer.k, radius=layer.radius), seen, weights, steps)


def draw_threshold(rng, case):
    potentials = ordered_potentials(case.padded[0], case.weights, case.steps)
    reached = potentials[potentials > 0]
    if not reached.size or rng.random() < 0.2:
        return float(rng.choice([0.0, 0.25, 3.0]))
    return float(rng.choice(reached)) * float(rng.choice([1.0, 1.0, 0.4]))


def ordered_potentials(padded, weights, steps):
    """V (T, M, R, Q) in float64, each summed in the order (channel, row, column)."""
    maps, channels, k, _ = weights.shape
    rows, cols = (side - k + 1 for side in padded.shape[1:])
    fired = padded[None] <= np.arange(steps, dtype=np.uint8)[:, None, None, None]  # (T, C, H, W)
    total = np.zeros((steps, maps, rows, cols))
    for c, i, j in np.ndindex(channels, k, k):
        w = weights[:, c, i, j].astype(np.float64)
        total += w[:, None, None] * fired[:, None, c, i : i + rows, j : j + cols]
    return total


def spikes(padded, weights, steps, threshold):
    """Latency and potential (1, M, R, Q) of one image's first spikes, as tensors."""
    return f.fire(torch.from_numpy(ordered_potentials(padded, weights, steps))[None], threshold)


def contest(case, n, weights):
    """Winners (1, K, 3) of one image and the inhibited latencies they come from."""
    kept = f.inhibit(*spikes(case.padded[n], weights, case.steps, case.layer.threshold))
    return f.winners(*kept, k=case.layer.k, radius=case.layer.radius), kept[0]


def learn_stdp(case, rule: STDP, rates=None, seen=0):
    """Weights, winners (N, K, 3), rates (N, 2) of one pass of STDP, image after image."""
    weights = case.weights
    ltp, ltd = np.float32(rule.ltp), np.float32(rule.ltd)
    winners, used = [], []
    for n in range(len(case.seen)):
        won, latency = contest(case, n, weights)
        seen += 1
        if seen % rule.doubling_period == 0:
            ltp = min(np.float32(2) * ltp, np.float32(rule.ltp_ceiling))
            ltd = np.float32(rule.ltd_per_ltp) * ltp
        weights = update(case, n, weights, latency, won, (ltp, ltd), rule)
        winners.append(won[0].numpy())
        used.append((ltp, ltd))
    return weights, np.array(winners), np.array(used, np.float64)


def update(case, n, weights, latency, won, rates, rule):
    """New weights after the winners of one image learnt."""
    padded = torch.from_numpy(case.padded[n : n + 1])
    ltp, ltd = (float(rate) for rate in rates)
    bounds = {"lower": rule.lower, "upper": rule.upper, "stabilise": rule.stabilise}
    return f.stdp(torch.from_numpy(weights), padded, latency, won, ltp=ltp, ltd=ltd, **bounds).numpy()


def answer(case, n, weights):
    """Winner (1, 1, 3) of a decision layer, and its latencies."""
    latency, potential = spikes(case.padded[n], weights, case.steps, None)
    return f.winners(latency, potential, k=1, radius=0), latency


def learn_reward(case, labels, rule: RSTDP, group):
    """Weights and winners (N, 3) of one window of R-STDP, image after image."""
    weights, winners = case.weights, []
    rates = [
        float(np.float32(x)) for x in (rule.reward_ltp, rule.reward_ltd, rule.punish_ltp, rule.punish_ltd)
    ]
    for n, label in enumerate(labels):
        won, latency = answer(case, n, weights)
        winners.append(won[0, 0].numpy())
        weights = f.rstdp(
            torch.from_numpy(weights),
            torch.from_numpy(case.padded[n : n + 1]),
            latency,
            won,
            f.outcome(f.decide(won, maps_per_class=group), torch.tensor([label])),
            reward=tuple(rates[:2]),
            punish=tuple(rates[2:]),
            lower=rule.lower,
            upper=rule.upper,
            stabilise=rule.stabilise,
        ).numpy()
    return weights, np.array(winners)
