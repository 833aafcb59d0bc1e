"""Learning in mini-batches as functions of tensors, over ``functional.py``: any device, nothing copied to the host.

The changes of the N images of a mini-batch are computed with the same weights and summed; N = 1 is the online rule. No
function loops over images.

Legend: N images, C channels, M maps, R rows, Q columns, K winners. Activity is uint8 latencies (N, C, H, W).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from firstspike import functional
from firstspike.coding import NEVER
from firstspike.kernels.joint import Turn
from firstspike.layers import RSTDP, STDP, Conv, Pool
from firstspike.sums import Potentials

# --- what a layer answers to a mini-batch --------------------------------------------------------------------------


class Response(NamedTuple):
    """Padded input latencies, output latencies before and after inhibition, winners int64 (N, K, 3), -1 where none."""

    seen: Tensor
    fired: Tensor
    inhibited: Tensor
    won: Tensor


@dataclass(frozen=True)
class Neurons:
    """A layer, how its potentials are summed, and the number of steps."""

    layer: Conv
    sums: Callable[[Tensor], Potentials]
    steps: int

    def first_spikes(self, seen: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Latency and potential (N, M, R, Q) at the first spike, from padded inputs: `fire` step by step."""
        potentials, shape = self.sums(weight), [len(seen), len(weight)]
        shape += [side - k + 1 for side, k in zip(seen.shape[2:], weight.shape[2:], strict=True)]
        fired, potential = seen.new_full(shape, NEVER), weight.new_zeros(shape)
        for step in range(self.steps):
            now = potentials(seen <= step)
            fires = (fired == NEVER) & (now > self.layer.threshold)
            fired, potential = torch.where(fires, step, fired), torch.where(fires, now, potential)
        return fired, potential

    def last_spikes(self, seen: Tensor, weight: Tensor) -> Tensor:
        """Latencies of the neurons that fire at all, dated to the last step."""
        fires = self.sums(weight)(seen < self.steps) > self.layer.threshold
        return torch.where(fires, self.steps - 1, NEVER).to(torch.uint8)

    def compete(self, latencies: Tensor, weight: Tensor) -> Response:
        """Pointwise inhibition and k winners of a threshold layer."""
        seen = functional.pad_latency(latencies, self.layer.pad)
        fired, potential = self.first_spikes(seen, weight)
        inhibited, potential = functional.inhibit(fired, potential)
        won = functional.winners(inhibited, potential, k=self.layer.k, radius=self.layer.radius)
        return Response(seen, fired, inhibited, won)

    def last_potentials(self, latencies: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Potentials (N, M, R, Q) of a decision layer, and what it sees: padded latencies 0 where an input has fired.

        latencies (N, C', H, W) with C' a multiple of C: where two layers are added, an input counts once for each.
        """
        padded = functional.pad_latency(latencies, self.layer.pad)
        counts = (padded < self.steps).unflatten(1, (-1, weight.shape[1])).sum(1)
        return self.sums(weight)(counts), torch.where(counts > 0, 0, NEVER).to(torch.uint8)

    def decide(self, latencies: Tensor, weight: Tensor) -> Response:
        """The one winner of a decision layer, which knows no time: all that fires, fires at step 0."""
        potential, seen = self.last_potentials(latencies, weight)
        fired, potential = functional.fire(potential.unsqueeze(1), None)
        return Response(seen, fired, fired, functional.winners(fired, potential, k=1, radius=0))


# --- learning ------------------------------------------------------------------------------------------------------


class Learner(NamedTuple):
    """The neurons of a layer and the rule that they learn by."""

    neurons: Neurons
    rule: STDP | RSTDP

    def learnt(self, weight: Tensor, response: Response, ltp: float, ltd: float) -> Tensor:
        """New weights after STDP."""
        bounds = {"lower": self.rule.lower, "upper": self.rule.upper, "stabilise": self.rule.stabilise}
        return functional.stdp(
            weight, response.seen, response.inhibited, response.won, ltp=ltp, ltd=ltd, **bounds
        )

    def reinforced(self, weight: Tensor, response: Response, outcome: Tensor, rates: np.ndarray) -> Tensor:
        """New weights after reward and punishment; ``rates`` (4,): ltp and ltd of each."""
        reward, punish = (tuple(map(float, pair)) for pair in (rates[:2], rates[2:]))
        bounds = {"lower": self.rule.lower, "upper": self.rule.upper, "stabilise": self.rule.stabilise}
        return functional.rstdp(
            weight,
            response.seen,
            response.inhibited,
            response.won,
            outcome,
            reward=reward,
            punish=punish,
            **bounds,
        )


def learn_stdp(
    weight: Tensor, latencies: Tensor, rates: np.ndarray, learner: Learner, *, batch: int
) -> tuple[Tensor, Tensor]:
    """New weights and winners (N, K, 3); ``rates`` (batches, 2) are ltp and ltd of each mini-batch."""
    chosen = []
    for part, (ltp, ltd) in zip(latencies.split(batch), rates, strict=True):
        response = learner.neurons.compete(part, weight)
        weight = learner.learnt(weight, response, float(ltp), float(ltd))
        chosen.append(response.won)
    return weight, torch.cat(chosen)


def learn_reward(
    weight: Tensor,
    latencies: Tensor,
    labels: Tensor,
    rates: np.ndarray,
    learner: Learner,
    *,
    batch: int,
    group: int,
) -> tuple[Tensor, Tensor]:
    """One window of R-STDP: new weights and winners (N, 1, 3); ``rates`` (4,), ``group`` maps a class."""
    chosen = []
    for part, told in zip(latencies.split(batch), labels.split(batch), strict=True):
        response = learner.neurons.decide(part, weight)
        weight = learner.reinforced(weight, response, outcome(response.won, told, group), rates)
        chosen.append(response.won)
    return weight, torch.cat(chosen)


def outcome(won: Tensor, labels: Tensor, group: int) -> Tensor:
    """1 where the winners (N, 1, 3) of a decision layer are right, -1 wrong, 0 silent."""
    return functional.outcome(functional.decide(won, maps_per_class=group), labels)


class Pair(NamedTuple):
    """A threshold layer and the decision layer above it, the pooling between them, and maps a class."""

    lower: Learner
    upper: Learner
    pool: Pool
    group: int


def learn_pair(
    weights: tuple[Tensor, Tensor], latencies: Tensor, labels: Tensor, turn: Turn, pair: Pair, *, batch: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """One window in which two layers share the reward: new weights and winners of both."""
    (low, high), chosen = weights, []
    for part, told in zip(latencies.split(batch), labels.split(batch), strict=True):
        below = pair.lower.neurons.compete(part, low)
        above = pair.upper.neurons.decide(pooled(below.fired, pair.pool), high)
        result = outcome(above.won, told, pair.group)
        if turn.lower_learns:
            low = pair.lower.reinforced(low, below, result, turn.lower_rates)
        if turn.upper_learns:
            high = pair.upper.reinforced(high, above, result, turn.upper_rates)
        chosen.append((below.won, above.won))
    lower, upper = zip(*chosen, strict=True)
    return (low, high), (torch.cat(lower), torch.cat(upper))


def pooled(latencies: Tensor, pool: Pool) -> Tensor:
    """Latencies behind a pooling."""
    return functional.pool_latency(functional.pad_latency(latencies, pool.pad), pool.window, stride=pool.step)


def advance(rule: STDP, rates: np.ndarray, seen: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Rates float32 (batches, 2) of consecutive mini-batches; ``rates`` (2,) and ``seen`` (1,) go on from call to call.

    The counter advances by a mini-batch's images, and all of them learn with the rates in force at its last one.
    """
    used = np.empty((len(sizes), 2), np.float32)
    for position, size in enumerate(sizes):
        doublings, seen[0] = divmod(int(seen[0]) + size, rule.doubling_period)
        for _ in range(doublings):
            rates[0] = min(np.float32(2) * rates[0], np.float32(rule.ltp_ceiling))
            rates[1] = np.float32(rule.ltd_per_ltp) * rates[0]
        used[position] = rates
    return used


def sizes(images: int, batch: int) -> list[int]:
    """Sizes of the mini-batches that images are cut into."""
    return [min(batch, images - first) for first in range(0, images, batch)]
