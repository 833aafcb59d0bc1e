"""A decision layer whose earlier inputs count for more, and its rule: learn only while the answer is not clear.

Legend: N images, P positions, F inputs of a position (channel, row, column), M maps, L lanes (M padded to whole
registers), T steps. Potentials are float32 sums over the inputs in their order: the same bits for any number of images
or threads.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.conv import Plasticity
from firstspike.kernels.jit import compiled


class Seen(NamedTuple):
    """What the layer sees at one position, and its potentials; scratch memory."""

    active: np.ndarray  # int64 (F,) inputs that fire
    strength: np.ndarray  # float32 (F,) what each of these counts for
    potentials: np.ndarray  # float32 (P, L)


class Lesson(NamedTuple):
    """How a winner learns: maps a class, the lead below which it does, and whether the layer is told the class."""

    group: int
    margin: float
    told: bool


@compiled
def make_seen(weights: np.ndarray, places: int) -> Seen:
    """Allocate the scratch memory of a layer with weights (F, L)."""
    fan_in, lanes = weights.shape
    return Seen(
        np.empty(fan_in, np.int64), np.empty(fan_in, np.float32), np.empty((places, lanes), np.float32)
    )


@compiled
def add_up(latency: np.ndarray, strengths: np.ndarray, weights: np.ndarray, seen: Seen) -> None:
    """Potentials of one image (P, F).

    ``strengths`` float32 (T,) says what a spike of each step counts for, ``weights`` float32 (F, L).
    """
    active, strength, steps = seen.active, seen.strength, len(strengths)
    for place in range(len(latency)):
        count, potentials = 0, seen.potentials[place]
        for f in range(latency.shape[1]):
            if latency[place, f] < steps:
                active[count], strength[count] = f, strengths[latency[place, f]]
                count += 1
        potentials[:] = 0
        for i in range(count):
            row, x = weights[active[i]], strength[i]
            for lane in range(potentials.size):
                potentials[lane] += x * row[lane]


@compiled
def highest(potentials: np.ndarray, first: int, last: int) -> tuple[int, int]:
    """Map and position of the largest potential among maps first to before last, the lowest of several.

    The map is -1 where there is none.
    """
    best, where = -1, 0
    for m in range(first, last):
        for place in range(len(potentials)):
            if best < 0 or potentials[place, m] > potentials[where, best]:
                best, where = m, place
    return best, where


@compiled
def rival(potentials: np.ndarray, label: int, group: int, maps: int) -> tuple[int, int]:
    """Map and position of the largest potential outside a class; the map is -1 where there is no other class."""
    below, there = highest(potentials, 0, label * group)
    above, where = highest(potentials, (label + 1) * group, maps)
    if below < 0 or (above >= 0 and potentials[where, above] > potentials[there, below]):
        return above, where
    return below, there


@compiled
def change(
    latency: np.ndarray,
    strengths: np.ndarray,
    weights: np.ndarray,
    m: int,
    ltp: float,
    ltd: float,
    plasticity: Plasticity,
) -> None:
    """Change a map by what it sees (F,): `ltp` times its strength for every spike, `ltd` for silence; clipped."""
    lower, upper, stabilise = plasticity
    for f in range(latency.size):
        w = weights[f, m]
        rate = ltp * strengths[latency[f]] if latency[f] < len(strengths) else ltd
        w += rate * ((w - lower) * (upper - w) if stabilise else np.float32(1))
        weights[f, m] = min(max(w, lower), upper)


@compiled
def learn_margin(
    latencies: np.ndarray,
    labels: np.ndarray,
    strengths: np.ndarray,
    weights: np.ndarray,
    maps: int,
    lesson: Lesson,
    rates: np.ndarray,
    plasticity: Plasticity,
    winners: np.ndarray,
) -> None:
    """One window over images (N, P, F): the winner is rewarded when right, punished when wrong, unless it leads by far.

    A right winner that leads the best map of the other classes by `margin` of its own potential or more learns nothing.
    Told the class, the layer lets its best map have the reward and the best map of the others the punishment, whoever
    won. ``rates`` float32 (4,): reward ltp and ltd, punishment ltp and ltd; ``winners`` int64 (N, 2), map and position,
    -1 where silent.
    """
    seen, group = make_seen(weights, latencies.shape[1]), lesson.group
    potentials = seen.potentials
    for n in range(len(latencies)):
        add_up(latencies[n], strengths, weights, seen)
        winner, place = highest(potentials, 0, maps)
        winners[n] = -1
        if potentials[place, winner] <= 0:
            continue
        winners[n, 0], winners[n, 1] = winner, place
        label, answer = labels[n], winner // group
        other, there = rival(potentials, answer, group, maps)
        lead = potentials[place, winner] - potentials[there, other]
        if answer == label and (other < 0 or lead >= lesson.margin * potentials[place, winner]):
            continue
        if lesson.told or answer == label:
            best, at = highest(potentials, label * group, (label + 1) * group)
            change(latencies[n, at], strengths, weights, best, rates[0], rates[1], plasticity)
        if lesson.told or answer != label:
            worst, at = rival(potentials, label, group, maps)
            change(latencies[n, at], strengths, weights, worst, rates[2], rates[3], plasticity)


@compiled
def potentials_of(
    latencies: np.ndarray, strengths: np.ndarray, weights: np.ndarray, potentials: np.ndarray
) -> None:
    """Potentials float32 (N, M, P) of images (N, P, F)."""
    seen = make_seen(weights, latencies.shape[1])
    for n in range(len(latencies)):
        add_up(latencies[n], strengths, weights, seen)
        for place in range(latencies.shape[1]):
            potentials[n, :, place] = seen.potentials[place, : potentials.shape[1]]
