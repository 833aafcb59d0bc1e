"""Layers on the CPU: weights laid out for the compiled kernels, and the kernels called on batches."""

from dataclasses import dataclass, replace

import numpy as np

from firstspike.errors import UserError
from firstspike.kernels import bits, conv, decision, final, joint, minibatch, shallow, spikes, winners
from firstspike.kernels.vector import padded
from firstspike.layers import RSTDP, STDP, BatchSTDP, Conv, Pool, Shape

IDENTITY = Pool(1)
LARGEST_SIDE, LARGEST_FAN_IN = 4095, 65535  # what the packed inputs and lists of the kernels hold
SETTLED = (
    1.0  # what the weights of a map may lie from 0 and 1 in all, on average, so that bits screen them well
)
CACHE_LINE = 64


def aligned(size: int, dtype: type) -> np.ndarray:
    """A flat array of zeros that begins with a cache line: no row of a table then lies in one more than it must."""
    raw = np.zeros(size * np.dtype(dtype).itemsize + CACHE_LINE, np.uint8)
    first = -raw.ctypes.data % CACHE_LINE
    return raw[first : first + raw.size - CACHE_LINE].view(dtype)


def geometry(layer: Conv, shape: Shape) -> conv.Geometry:
    """Sizes of a layer for an input (C, H, W); lanes are counted by `padded`."""
    (channels, height, width), (maps, rows, cols) = shape, layer.output(shape)
    if max(height, width) + 2 * layer.pad > LARGEST_SIDE or channels * layer.kernel**2 > LARGEST_FAN_IN:
        raise UserError(
            f"layer {layer.name}: input {channels}x{height}x{width} with kernel {layer.kernel} is larger than"
            f" {LARGEST_SIDE} pixels a side or {LARGEST_FAN_IN} weights a map: use smaller images"
        )
    return conv.Geometry(channels, height, width, layer.pad, layer.kernel, rows, cols, maps, padded(maps))


def plasticity(rule: STDP | RSTDP) -> conv.Plasticity:
    """Bounds and stabiliser of a rule as the kernels take them."""
    return conv.Plasticity(np.float32(rule.lower), np.float32(rule.upper), rule.stabilise)


def pooling(g: conv.Geometry, pool: Pool) -> spikes.Window:
    """Window of a pooling behind a layer."""
    _, rows, cols = pool.output((g.maps, g.rows, g.cols))
    return spikes.Window(pool.window, pool.step, pool.pad, rows, cols)


def unweighted(g: conv.Geometry) -> conv.Synapses:
    """Synapses whose weights are all 0."""
    fan_in = g.channels * g.kernel * g.kernel
    return conv.Synapses(
        np.zeros((g.maps, g.channels, g.kernel, g.kernel), np.float32),
        aligned(fan_in * g.lanes, np.int32),
        np.zeros(1),
        np.zeros(2, np.int64),
        np.zeros(g.maps, np.int64),
        np.arange(fan_in, dtype=np.int32).reshape(g.channels, -1).T.ravel(),
    )


@dataclass
class ThresholdLayer:
    """A layer of neurons that fire when their potential exceeds the threshold; ``batch`` images learn at once."""

    layer: Conv
    shape: Shape
    batch: int = 1

    def __post_init__(self) -> None:
        self.geometry = geometry(self.layer, self.shape)
        self.synapses = unweighted(self.geometry)
        self._patterns: tuple[np.ndarray, bits.Patterns | None] | None = None

    @property
    def weights(self) -> np.ndarray:
        """Weights float32 (M, C, K, K); a copy."""
        return self.synapses.weight.copy()

    @weights.setter
    def weights(self, weights: np.ndarray) -> None:
        if weights.min() < 0:
            raise UserError(
                f"layer {self.layer.name}: weights below 0: a neuron that fires once needs potentials that never fall"
            )
        self.synapses.weight[:] = weights
        conv.screen_all(self.geometry, self.synapses)

    @property
    def answering(self) -> conv.Synapses:
        """The synapses that spikes are handed on by: those that learn, or a copy of them rounded to 0 and 1."""
        if not self.layer.binary:
            return self.synapses
        rounded = unweighted(self.geometry)
        rounded.weight[:] = self.layer.handing_on(self.synapses.weight)
        conv.screen_all(self.geometry, rounded)
        return rounded

    def competition(self, steps: int) -> winners.Competition:
        """How this layer finds its winners."""
        return winners.Competition(float(self.layer.threshold), steps, self.layer.radius)

    def propagate(
        self, latencies: np.ndarray, *, steps: int, pool: Pool = IDENTITY, timed: bool = True
    ) -> np.ndarray:
        """Pooled latencies uint8 (N, M, R, Q); untimed, a neuron that fires is dated to the last step."""
        window = pooling(self.geometry, pool)
        out = np.empty((len(latencies), self.geometry.maps, window.rows, window.cols), np.uint8)
        threshold, synapses = float(self.layer.threshold), self.answering
        patterns = None if timed else self.patterns(synapses.weight)
        if patterns:
            bits.reach(latencies, self.geometry, synapses.weight, patterns, threshold, steps, window, out)
        else:
            run = spikes.propagate if timed else final.reach
            run(latencies, self.geometry, synapses, threshold, steps, window, out)
        return out

    def patterns(self, weight: np.ndarray) -> bits.Patterns | None:
        """Weights as bits, if they have settled near 0 and 1; made anew when they have changed."""
        kept = self._patterns
        if kept is None or not np.array_equal(kept[0], weight):
            settled = np.abs(weight - (weight >= 0.5)).sum() <= SETTLED * len(weight)
            made = bits.make_patterns(self.geometry, weight, float(self.layer.threshold)) if settled else None
            kept = self._patterns = weight.copy(), made
        return kept[1]

    def learn(
        self, latencies: np.ndarray, rule: STDP, rates: np.ndarray, seen: np.ndarray, *, steps: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """One pass of STDP, image after image; returns winners int16 (N, k, 3) and the rates used, float64 (N, 2)."""
        chosen = np.empty((len(latencies), self.layer.k, 3), np.int16)
        used = np.empty((len(latencies), 2))
        schedule = winners.Schedule(
            rule.doubling_period, np.float32(rule.ltp_ceiling), np.float32(rule.ltd_per_ltp)
        )
        winners.learn(
            latencies,
            self.geometry,
            self.synapses,
            self.competition(steps),
            plasticity(rule),
            schedule,
            rates,
            seen,
            chosen,
            used,
        )
        return chosen, used

    def first(self, latencies: np.ndarray, *, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Earliest neuron of each image, map, row, column and step (N, 4), -1 where silent, and its potential (N,)."""
        won, potential = np.empty((len(latencies), 4), np.int64), np.empty(len(latencies))
        shallow.first_spikes(latencies, self.geometry, self.synapses, self.competition(steps), won, potential)
        return won, potential


class BatchLayer(ThresholdLayer):
    """A threshold layer whose images of a mini-batch compete with the same weights and change them one by one."""

    def learn(
        self, latencies: np.ndarray, rule: BatchSTDP, rates: np.ndarray, seen: np.ndarray, *, steps: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """One pass of STDP; returns winners int16 (N, k, 3) and the rates used, float64 (N, 2)."""
        chosen = np.empty((len(latencies), self.layer.k, 3), np.int16)
        used = np.empty((len(latencies), 2))
        minibatch.learn_batches(
            latencies,
            self.geometry,
            self.synapses,
            self.competition(steps),
            minibatch.Bounds(float(rule.lower), float(rule.upper), rule.stabilise),
            minibatch.Growth(
                rule.doubling_period, float(rule.growth), float(rule.ltp_ceiling), float(rule.ltd_per_ltp)
            ),
            self.batch,
            rates,
            seen,
            chosen,
            used,
        )
        return chosen, used


class FirstSpikeLayer(ThresholdLayer):
    """A threshold layer that answers by its first spike: of the earliest neurons the one of largest potential."""

    def part(self, maps: np.ndarray) -> ThresholdLayer:
        """A layer of some of the maps, with a copy of their weights."""
        part = ThresholdLayer(replace(self.layer, maps=len(maps)), self.shape)
        part.weights = self.synapses.weight[maps]
        return part

    def learn(
        self,
        latencies: np.ndarray,
        labels: np.ndarray,
        rule: RSTDP,
        rates: np.ndarray,
        *,
        steps: int,
        group: int,
        clipped: bool,
        kept: np.ndarray | None = None,
    ) -> tuple[np.ndarray, bool]:
        """One window of R-STDP among the maps `kept`; returns winners int64 (N, 3) and whether all maps are clipped."""
        kept = np.arange(self.geometry.maps) if kept is None else kept
        chosen = np.full((len(latencies), 3), -1, np.int64)
        if len(kept) == 0:
            return chosen, clipped
        part, weights = self.part(kept), self.weights
        changed = shallow.learn_reward(
            latencies,
            labels,
            part.geometry,
            part.synapses,
            part.competition(steps),
            kept // group,
            rates,
            plasticity(rule),
            clipped,
            chosen,
        )
        weights[kept] = part.weights
        self.weights = weights.clip(np.float32(rule.lower), np.float32(rule.upper)) if changed else weights
        chosen[:, 0] = np.where(chosen[:, 0] < 0, -1, kept[chosen[:, 0]])
        return chosen, changed

    def decide(self, latencies: np.ndarray, *, steps: int) -> np.ndarray:
        """Winners int64 (N, 3), -1 where silent."""
        return self.first(latencies, steps=steps)[0][:, :3]

    def scores(self, latencies: np.ndarray, *, steps: int, group: int) -> np.ndarray:
        """How near each class was to deciding, float32 (N, classes), 1 for the winner's, 0 where none of it fires.

        Steps left at the class's first spike, and of the last of them the share that its potential has of the largest.
        """
        maps = np.arange(self.geometry.maps).reshape(-1, group)
        firsts = [self.part(own).first(latencies, steps=steps) for own in maps]
        left = steps - np.stack([won[:, 3] for won, _ in firsts], axis=1)  # (N, classes)
        potential = np.stack([potential for _, potential in firsts], axis=1)
        fired = potential > 0
        share = potential / np.maximum(potential.max(axis=1, keepdims=True), 1e-9)
        near = np.where(fired, left - 1 + share, 0)
        return (near / np.maximum(near.max(axis=1, keepdims=True), 1e-9)).astype(np.float32)


@dataclass
class DecisionLayer:
    """A layer that looks at the potentials of the last step only; its winner is the answer."""

    layer: Conv
    shape: Shape

    def __post_init__(self) -> None:
        self.geometry = g = geometry(self.layer, self.shape)
        self.head = decision.Head(
            aligned(g.maps * g.kernel**2 * padded(g.channels), np.float32).reshape(
                g.maps, g.kernel, g.kernel, -1
            ),
            aligned(g.kernel * g.kernel * g.channels * g.lanes, np.uint8),
            np.zeros(2),
        )

    @property
    def weights(self) -> np.ndarray:
        """Weights float32 (M, C, K, K); a copy."""
        return np.ascontiguousarray(self.head.weight[..., : self.geometry.channels].transpose(0, 3, 1, 2))

    @weights.setter
    def weights(self, weights: np.ndarray) -> None:
        self.head.weight[..., : self.geometry.channels] = weights.transpose(0, 2, 3, 1)
        decision.screen_range(self.geometry, self.head)

    def learn(
        self,
        latencies: np.ndarray,
        labels: np.ndarray,
        rule: RSTDP,
        rates: np.ndarray,
        *,
        steps: int,
        group: int,
        clipped: bool,
    ) -> tuple[np.ndarray, bool]:
        """One window of R-STDP; returns winners int64 (N, 3) and whether the layer has been clipped."""
        chosen = np.empty((len(latencies), 3), np.int64)
        clipped = decision.learn_reward(
            latencies,
            labels,
            self.geometry,
            self.head,
            steps,
            group,
            rates,
            plasticity(rule),
            clipped,
            chosen,
        )
        return chosen, clipped

    def decide(self, latencies: np.ndarray, *, steps: int) -> np.ndarray:
        """Winners int64 (N, 3), -1 where silent."""
        chosen = np.empty((len(latencies), 3), np.int64)
        decision.decide_all(latencies, self.geometry, self.head, steps, chosen)
        return chosen

    def scores(self, latencies: np.ndarray, *, steps: int, group: int) -> np.ndarray:
        """How near each class was to deciding, float32 (N, classes), 1 for the winner's, 0 for silent images."""
        scores = np.empty((len(latencies), self.geometry.maps // group), np.float32)
        decision.score_all(latencies, self.geometry, self.head, steps, group, scores)
        return scores


def learn_together(
    lower: ThresholdLayer,
    upper: DecisionLayer,
    pool: Pool,
    latencies: np.ndarray,
    labels: np.ndarray,
    rules: tuple[RSTDP, RSTDP],
    turn: joint.Turn,
    *,
    steps: int,
    group: int,
) -> tuple[np.ndarray, np.ndarray]:
    """One window in which a threshold layer shares the reward; returns the winners of both layers."""
    below = joint.Lower(
        lower.geometry,
        lower.synapses,
        lower.competition(steps),
        plasticity(rules[0]),
        pooling(lower.geometry, pool),
    )
    above = joint.Upper(upper.geometry, upper.head, plasticity(rules[1]), group)
    lower_winners = np.empty((len(latencies), lower.layer.k, 3), np.int16)
    upper_winners = np.empty((len(latencies), 3), np.int64)
    joint.learn_together(latencies, labels, below, above, turn, lower_winners, upper_winners)
    return lower_winners, upper_winners
