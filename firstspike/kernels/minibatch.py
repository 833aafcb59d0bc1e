"""STDP in mini-batches: winners by the weights at a batch's start, changes one after the other.

Legend as in ``conv.py``.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.conv import Geometry, Synapses, screen_all
from firstspike.kernels.fields import make_fields
from firstspike.kernels.jit import compiled
from firstspike.kernels.winners import Competition, find_winners, make_candidates


class Growth(NamedTuple):
    """Growth of the rates: every `period` images ltp grows by `factor` up to `ceiling`, and ltd = ratio * ltp."""

    period: int
    factor: float
    ceiling: float
    ratio: float


class Bounds(NamedTuple):
    """Bounds of the weights and whether the change is stabilised by ``(w - lower) * (upper - w)``, in float64."""

    lower: float
    upper: float
    stabilise: bool


@compiled
def change(
    latency: np.ndarray,
    g: Geometry,
    weight: np.ndarray,
    winner: np.ndarray,
    ltp: float,
    ltd: float,
    bounds: Bounds,
) -> None:
    """STDP of the winner's map: ``w + rate * (w - lower) * (upper - w)`` in float64, clipped, stored as float32.

    The rate is `ltp` for inputs that fired no later than the winner, `ltd` for all others, padding among them.
    """
    m, top, left, step = winner[0], winner[1] - g.pad, winner[2] - g.pad, winner[3]
    for c in range(g.channels):
        for i in range(g.kernel):
            y = top + i
            for j in range(g.kernel):
                x = left + j
                before = 0 <= y < g.height and 0 <= x < g.width and latency[c, y, x] <= step
                w = np.float64(weight[m, c, i, j])
                factor = (w - bounds.lower) * (bounds.upper - w) if bounds.stabilise else 1.0
                w += (ltp if before else ltd) * factor
                weight[m, c, i, j] = np.float32(min(max(w, bounds.lower), bounds.upper))


@compiled
def grow(growth: Growth, images: int, rates: np.ndarray, seen: np.ndarray) -> None:
    """Count a mini-batch's images, and let the rates grow if they complete a period."""
    seen[0] += images
    while seen[0] >= growth.period:
        seen[0] -= growth.period
        rates[0] = min(growth.factor * rates[0], growth.ceiling)
        rates[1] = growth.ratio * rates[0]


@compiled
def learn_batches(
    latencies: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    rule: Competition,
    bounds: Bounds,
    growth: Growth,
    batch: int,
    rates: np.ndarray,
    seen: np.ndarray,
    winners: np.ndarray,
    history: np.ndarray,
) -> None:
    """One pass of STDP over images (N, C, H, W), `batch` at a time; a batch of 1 is the online rule.

    ``rates`` float64 (2,) and ``seen`` int64 (1,) go on from call to call: the mini-batch that completes a period
    already learns with the grown rates. ``winners`` int16 (N, k, 3) and ``history`` float64 (N, 2) are written.
    """
    fields, found = make_fields(g, rule.steps), make_candidates(g)
    chosen = np.empty((batch, winners.shape[1], 4), np.int64)
    counts = np.empty(batch, np.int64)
    for first in range(0, len(latencies), batch):
        n = min(batch, len(latencies) - first)
        for b in range(n):
            counts[b] = find_winners(latencies[first + b], g, synapses, rule, fields, found, chosen[b])
            winners[first + b] = chosen[b, :, :3]
        grow(growth, n, rates, seen)
        for b in range(n):
            history[first + b] = rates
            for a in range(counts[b]):
                change(latencies[first + b], g, synapses.weight, chosen[b, a], rates[0], rates[1], bounds)
        screen_all(g, synapses)
