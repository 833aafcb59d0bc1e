"""Competition of one image's neurons: pointwise inhibition, lateral inhibition, the k winners; and their STDP.

Legend as in ``conv.py``.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.conv import (
    DOUBT,
    Field,
    Geometry,
    Plasticity,
    Synapses,
    append_inputs,
    certify,
    clear_lists,
    exceeds,
    make_field,
    screen_all,
    screen_map,
    sort_inputs,
    tally,
)
from firstspike.kernels.jit import compiled
from firstspike.kernels.vector import LANES, add_rows, count_at_least, fill_lanes

EARLY = 5  # steps whose inputs are sorted first: most images have their winners by then


class Competition(NamedTuple):
    """How winners are found: firing threshold, steps, inhibition radius."""

    threshold: float
    steps: int
    radius: int


class Schedule(NamedTuple):
    """Doubling of the STDP rates: every `period` images ltp doubles up to `ceiling`, and ltd = ratio * ltp."""

    period: int
    ceiling: np.float32
    ratio: np.float32


class Candidates(NamedTuple):
    """Neurons that survived the inhibition at their position in one step; they compete to be winners."""

    place: np.ndarray  # int64 (P,)
    map: np.ndarray  # int64 (P,)
    potential: np.ndarray  # int64 (P,) screened
    taken: np.ndarray  # bool (M,) maps that have a winner already
    closed: np.ndarray  # bool (P,) positions that need no further sum
    barred: np.ndarray  # bool (P,) positions inside a winner's neighbourhood
    need: np.ndarray  # int64 (1,) inputs that a position must have more of to reach the threshold
    todo: np.ndarray  # int64 (P,) positions with new inputs
    peak: np.ndarray  # int64 (P,) their largest screened potentials


@compiled
def make_candidates(g: Geometry) -> Candidates:
    """Allocate room for one candidate a position."""
    n = g.rows * g.cols
    return Candidates(
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(g.maps, np.bool_),
        np.empty(n, np.bool_),
        np.empty(n, np.bool_),
        np.empty(1, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
    )


@compiled
def comes_before(
    latency: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    field: Field,
    step: int,
    m: int,
    place: int,
    n: int,
    there: int,
) -> bool:
    """Whether neuron (m, place) beats (n, there): larger potential in float64, then lower (map, row, column)."""
    lead = tally(g, synapses, field, m, place) - tally(g, synapses, field, n, there)
    if abs(lead) < DOUBT:
        lead = certify(latency, g, synapses.weight, m, place, step) - certify(
            latency, g, synapses.weight, n, there, step
        )
    return lead > 0 or (lead == 0 and (m, place) < (n, there))


@compiled
def strongest_map(
    latency: np.ndarray, g: Geometry, synapses: Synapses, field: Field, place: int, step: int, largest: int
) -> int:
    """Pointwise inhibition: the map with the largest potential at a position, ties to the lowest map."""
    sums, places = field.sums, g.rows * g.cols
    limit = largest - 2 * synapses.bounds[1]
    best = -1
    for block in range(g.lanes // LANES):
        at = (block * places + place) * LANES
        if count_at_least(sums, at, LANES, limit) == 0:
            continue
        for m in range(block * LANES, min((block + 1) * LANES, g.maps)):
            if sums[at + m % LANES] < limit:
                continue
            if best < 0 or comes_before(latency, g, synapses, field, step, m, place, best, place):
                best = m
    return best


@compiled
def sum_step(g: Geometry, synapses: Synapses, field: Field, found: Candidates) -> int:
    """Add the new inputs of every open position to its sums; returns how many positions may fire.

    A position is looked at only if its number of inputs times the largest weight can reach the threshold at all. Blocks
    of maps come outermost, so that the weights of one stay in the first cache.
    """
    screen, sums, places = synapses.screen, field.sums, g.rows * g.cols
    ends, lists, summed, todo, peak = field.end, field.lists, field.summed, found.todo, found.peak
    fan_in = g.kernel * g.kernel * g.channels
    n = 0
    for place in range(places):
        if (
            ends[place] - place * fan_in > found.need[0]
            and ends[place] > summed[place]
            and not found.closed[place]
        ):
            todo[n] = place
            peak[place] = 0
            n += 1
    for block in range(g.lanes // LANES):
        for a in range(n):
            place = todo[a]
            begin, at = summed[place], (block * places + place) * LANES
            if begin == place * fan_in:
                fill_lanes(sums, at, LANES, 0)
            largest = add_rows(sums, at, screen, block * fan_in * LANES, lists, begin, ends[place])
            peak[place] = max(peak[place], largest)
    return n


@compiled
def fire_step(
    latency: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    threshold: float,
    step: int,
    field: Field,
    found: Candidates,
) -> int:
    """Positions whose largest potential exceeds the threshold at this step become candidates; returns how many."""
    border = np.int64(np.floor(threshold * synapses.scale[0]))
    ceiling, slack = synapses.bounds
    found.need[0] = border // ceiling
    summed, ends, closed, todo, peak = field.summed, field.end, found.closed, found.todo, found.peak
    n = 0
    for a in range(sum_step(g, synapses, field, found)):
        place = todo[a]
        summed[place] = ends[place]
        if peak[place] + slack <= border:
            continue
        best = strongest_map(latency, g, synapses, field, place, step, peak[place])
        doubtful = peak[place] - slack <= border
        if doubtful and not exceeds(latency, g, synapses, field, best, place, step, threshold):
            continue
        closed[place] = True
        found.place[n], found.map[n], found.potential[n] = place, best, peak[place]
        n += 1
    return n


@compiled
def best_candidate(
    latency: np.ndarray, g: Geometry, synapses: Synapses, step: int, field: Field, found: Candidates, n: int
) -> int:
    """Index of the candidate with the largest potential, ties to the lowest (map, row, column); -1: none is left."""
    leader = -1
    for a in range(n):
        free = not found.taken[found.map[a]] and not found.barred[found.place[a]]
        if free and (leader < 0 or found.potential[a] > found.potential[leader]):
            leader = a
    best = leader
    for a in range(n):
        if found.taken[found.map[a]] or found.barred[found.place[a]] or a == best:
            continue
        if found.potential[a] >= found.potential[leader] - 2 * synapses.bounds[1] and comes_before(
            latency,
            g,
            synapses,
            field,
            step,
            found.map[a],
            found.place[a],
            found.map[best],
            found.place[best],
        ):
            best = a
    return best


@compiled
def bar(g: Geometry, place: int, radius: int, found: Candidates) -> None:
    """Lateral inhibition: close the winner's neighbourhood to all maps; radius 0 closes nothing."""
    if radius == 0:
        return
    row, col = place // g.cols, place % g.cols
    for r in range(max(0, row - radius), min(g.rows, row + radius + 1)):
        for q in range(max(0, col - radius), min(g.cols, col + radius + 1)):
            found.barred[r * g.cols + q] = True
            found.closed[r * g.cols + q] = True


@compiled
def find_winners(
    latency: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    rule: Competition,
    field: Field,
    found: Candidates,
    winners: np.ndarray,
) -> int:
    """Winners of one image in order of selection; returns how many there are.

    ``winners`` int64 (k, 4) gets map, row, column and step, -1 where there is none. The earliest neuron first, then
    the largest potential, then the lowest flat index (Mozafari et al. 2019, section 2.3). The search ends with the
    step that gives the last winner, or as soon as no position is open.
    """
    winners[:] = -1
    found.taken[:] = False
    found.closed[:] = False
    found.barred[:] = False
    clear_lists(g, field)
    k = 0
    for step in range(rule.steps):
        if step == 0:
            sort_inputs(latency, 0, min(EARLY, rule.steps), field)
        if step == EARLY:
            sort_inputs(latency, EARLY, rule.steps, field)
        append_inputs(g, field, field.start[step], field.start[step + 1])
        n = fire_step(latency, g, synapses, rule.threshold, step, field, found)
        while k < len(winners):
            best = best_candidate(latency, g, synapses, step, field, found, n)
            if best < 0:
                break
            m, place = found.map[best], found.place[best]
            winners[k, 0], winners[k, 1], winners[k, 2], winners[k, 3] = (
                m,
                place // g.cols,
                place % g.cols,
                step,
            )
            found.taken[m] = True
            bar(g, place, rule.radius, found)
            k += 1
        if k == len(winners) or found.closed.all():
            break
    return k


@compiled
def stdp(
    latency: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    winner: np.ndarray,
    ltp: np.float32,
    ltd: np.float32,
    plasticity: Plasticity,
) -> None:
    """STDP of the winner's map, each operation rounded to float32, clipped to the bounds.

    ``w + rate * (w - lower) * (upper - w)`` with the stabiliser, ``w + rate`` without; the rate is `ltp` for inputs
    that fired no later than the winner, `ltd` for all others (Mozafari et al. 2019, equation 3).
    """
    m, top, left, step = winner[0], winner[1] - g.pad, winner[2] - g.pad, winner[3]
    lower, upper, stabilise = plasticity
    weight = synapses.weight
    for c in range(g.channels):
        for i in range(g.kernel):
            y = top + i
            for j in range(g.kernel):
                x = left + j
                before = 0 <= y < g.height and 0 <= x < g.width and latency[c, y, x] <= step
                w = weight[m, c, i, j]
                factor = (w - lower) * (upper - w) if stabilise else np.float32(1)
                w += (ltp if before else ltd) * factor
                weight[m, c, i, j] = min(max(w, lower), upper)
    if not screen_map(g, synapses, m):
        screen_all(g, synapses)


@compiled
def clip_all(g: Geometry, synapses: Synapses, plasticity: Plasticity) -> None:
    """Clip every weight of the layer: the first update of a pass does so for the maps that did not win as well."""
    flat = synapses.weight.ravel()
    for a in range(flat.size):
        flat[a] = min(max(flat[a], plasticity.lower), plasticity.upper)
    screen_all(g, synapses)


@compiled
def learn(
    latencies: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    rule: Competition,
    plasticity: Plasticity,
    schedule: Schedule,
    rates: np.ndarray,
    seen: np.ndarray,
    winners: np.ndarray,
    history: np.ndarray,
) -> None:
    """One pass of STDP over images (N, C, H, W), one after the other.

    ``rates`` float32 (2,) and ``seen`` int64 (1,) go on from call to call; ``winners`` int16 (N, k, 3) and
    ``history`` float64 (N, 2), the rates used for each image, are written.
    """
    field = make_field(g, rule.steps)
    found = make_candidates(g)
    chosen = np.empty((winners.shape[1], 4), np.int64)
    for n in range(len(latencies)):
        count = find_winners(latencies[n], g, synapses, rule, field, found, chosen)
        seen[0] += 1
        if seen[0] == schedule.period:
            seen[0] = 0
            rates[0] = min(np.float32(2) * rates[0], schedule.ceiling)
            rates[1] = schedule.ratio * rates[0]
        history[n] = rates
        winners[n] = chosen[:, :3]
        for a in range(count):
            stdp(latencies[n], g, synapses, chosen[a], rates[0], rates[1], plasticity)
        if n == 0:
            clip_all(g, synapses, plasticity)
