"""Competition of one image's neurons: pointwise inhibition, lateral inhibition, the k winners; and their STDP.

Legend as in ``conv.py``.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.cells import CELLS, cells_above
from firstspike.kernels.conv import Geometry, Plasticity, Synapses, certify, screen_all, screen_map
from firstspike.kernels.fields import (
    WORD,
    Fields,
    advance,
    cells_of,
    lay_out,
    list_inputs,
    make_fields,
    stride_of,
)
from firstspike.kernels.jit import compiled
from firstspike.kernels.vector import LANES, add_rows, fill_lanes, lanes_at_least, lowest_one

MANY = 65535  # more inputs than this are in no receptive field: they are counted in 16 bits


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
    """Scratch memory of a competition: neurons that survived the inhibition at their position compete to be winners.

    Positions are named as in ``fields.py``, by cells.
    """

    cell: np.ndarray  # int64 (cells,)
    map: np.ndarray  # int64 (cells,)
    potential: np.ndarray  # int64 (cells,) screened
    taken: np.ndarray  # bool (M,) maps that have a winner already
    valid: np.ndarray  # uint32 (cells / 32,) cells that are positions, as bits
    open: np.ndarray  # uint32 (cells / 32,) positions that may still fire first
    free: np.ndarray  # uint32 (cells / 32,) positions outside the neighbourhoods of winners
    since: np.ndarray  # int64 (cells,) the first step that is not in the sums
    todo: np.ndarray  # int64 (cells,) positions with new inputs
    begin: np.ndarray  # int64 (cells + 1,) where the list of each of them begins
    lists: np.ndarray  # uint16 (P * F + some,) screen rows of the new inputs
    peak: np.ndarray  # int64 (cells,) their largest screened potentials
    sums: np.ndarray  # int32 (L / 32 * cells * 32,) screened potentials, block after block of 32 maps


@compiled
def make_candidates(g: Geometry) -> Candidates:
    """Allocate room for one candidate a position."""
    cells, width = cells_of(g), g.width + 2 * g.pad
    valid = np.zeros(cells // CELLS, np.uint32)
    for row in range(g.rows):
        for col in range(g.cols):
            put_bit(valid, row * width + col)
    return Candidates(
        np.empty(cells, np.int64),
        np.empty(cells, np.int64),
        np.empty(cells, np.int64),
        np.empty(g.maps, np.bool_),
        valid,
        valid.copy(),
        valid.copy(),
        np.empty(cells, np.int64),
        np.empty(cells, np.int64),
        np.empty(cells + 1, np.int64),
        np.empty(g.rows * g.cols * g.kernel * g.kernel * g.channels + CELLS, np.uint16),
        np.empty(cells, np.int64),
        np.empty(cells * g.lanes, np.int32),
    )


@compiled
def put_bit(bits: np.ndarray, cell: int) -> None:
    """Set the bit of a cell."""
    bits[cell // CELLS] |= np.uint32(1) << np.uint32(cell % CELLS)


@compiled
def clear_bit(bits: np.ndarray, cell: int) -> None:
    """Clear the bit of a cell."""
    bits[cell // CELLS] &= ~(np.uint32(1) << np.uint32(cell % CELLS))


@compiled
def has_bit(bits: np.ndarray, cell: int) -> bool:
    """Whether the bit of a cell is set."""
    return bits[cell // CELLS] >> np.uint32(cell % CELLS) & np.uint32(1) != 0


@compiled
def potential(latency: np.ndarray, g: Geometry, weight: np.ndarray, m: int, cell: int, step: int) -> float:
    """Potential of one neuron at a step, in float64 and in the fixed order."""
    width = g.width + 2 * g.pad
    return certify(latency, g, weight, m, cell // width * g.cols + cell % width, step)


@compiled
def comes_before(
    latency: np.ndarray, g: Geometry, weight: np.ndarray, step: int, m: int, cell: int, n: int, there: int
) -> bool:
    """Whether neuron (m, cell) beats (n, there): larger potential in float64, then lower (map, row, column)."""
    lead = potential(latency, g, weight, m, cell, step) - potential(latency, g, weight, n, there, step)
    return lead > 0 or (lead == 0 and (m, cell) < (n, there))


@compiled
def strongest_map(
    latency: np.ndarray, g: Geometry, synapses: Synapses, sums: np.ndarray, cell: int, step: int, largest: int
) -> int:
    """Pointwise inhibition: the map with the largest potential at a position, ties to the lowest map."""
    cells, limit, best = cells_of(g), largest - 2 * synapses.bounds[1], -1
    for block in range(g.lanes // LANES):
        lanes = lanes_at_least(sums, (block * cells + cell) * LANES, limit)
        while lanes != 0:
            m = block * LANES + lowest_one(lanes)
            lanes &= lanes - np.uint32(1)
            if m >= g.maps:
                break
            if best < 0 or comes_before(latency, g, synapses.weight, step, m, cell, best, cell):
                best = m
    return best


@compiled
def find_todo(g: Geometry, fields: Fields, need: int, step: int, found: Candidates) -> int:
    """Positions to look at in a step, and their new inputs; returns how many they are.

    An open position is looked at if more than `need` inputs have fired in it, since so few can't reach the threshold.
    """
    inputs, open_, since, todo, begin = fields.inputs, found.open, found.since, found.todo, found.begin
    lists, bits, origin = found.lists, fields.bits, fields.origin
    words, row, run = fields.times.size // WORD + 1, stride_of(g) // WORD, g.kernel * g.channels
    n, end = 0, 0
    for block in range(open_.size):
        cells = cells_above(inputs, block * CELLS, need) & open_[block]
        while cells != 0:
            cell = block * CELLS + lowest_one(cells)
            cells &= cells - np.uint32(1)
            todo[n], begin[n] = cell, end
            word, shift = divmod(origin[cell], WORD)
            then, now = since[cell] * words + word, (step + 1) * words + word
            end = list_inputs(bits, then, now, shift, g.kernel, row, run, lists, end)
            n += end > begin[n]
    begin[n] = end
    return n


@compiled
def sum_step(g: Geometry, synapses: Synapses, found: Candidates, n: int, step: int) -> None:
    """Add the new inputs of n positions to their sums.

    Blocks of maps come outermost, so that the weights of one stay in the first cache.
    """
    screen, places, fan_in = synapses.screen, cells_of(g), g.kernel * g.kernel * g.channels
    since, todo, begin, lists = found.since, found.todo, found.begin, found.lists
    peak, sums = found.peak, found.sums
    for block in range(g.lanes // LANES):
        for a in range(n):
            at = (block * places + todo[a]) * LANES
            if since[todo[a]] == 0:
                fill_lanes(sums, at, LANES, 0)
            largest = add_rows(sums, at, screen, block * fan_in * LANES, lists, begin[a], begin[a + 1])
            peak[a] = largest if block == 0 else max(peak[a], largest)
    for a in range(n):
        since[todo[a]] = step + 1


@compiled
def fire_step(
    latency: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    threshold: float,
    step: int,
    fields: Fields,
    found: Candidates,
) -> int:
    """Positions whose largest potential exceeds the threshold at this step become candidates; returns how many."""
    border = np.int64(np.floor(threshold * synapses.scale[0]))
    ceiling, slack = synapses.bounds
    todo, peak, sums, open_ = found.todo, found.peak, found.sums, found.open
    need = min(max(border // ceiling, 0), MANY)
    cells, count, n = cells_of(g), find_todo(g, fields, need, step, found), 0
    sum_step(g, synapses, found, count, step)
    for a in range(count):
        if peak[a] + slack <= border:
            continue
        cell = todo[a]
        best = strongest_map(latency, g, synapses, sums, cell, step, peak[a])
        if synapses.errors[best] == 0:  # its own sum is exact; the peak may be another's, rounded up
            fires = sums[(best // LANES * cells + cell) * LANES + best % LANES] > border
        else:
            fires = peak[a] - slack > border
            fires = fires or potential(latency, g, synapses.weight, best, cell, step) > threshold
        if not fires:
            continue
        clear_bit(open_, cell)
        found.cell[n], found.map[n], found.potential[n] = cell, best, peak[a]
        n += 1
    return n


@compiled
def best_candidate(
    latency: np.ndarray, g: Geometry, synapses: Synapses, step: int, found: Candidates, n: int
) -> int:
    """Index of the candidate with the largest potential, ties to the lowest (map, row, column); -1: none is left."""
    cells, maps, potentials, taken, free = found.cell, found.map, found.potential, found.taken, found.free
    leader = -1
    for a in range(n):
        if (
            (leader < 0 or potentials[a] > potentials[leader])
            and has_bit(free, cells[a])
            and not taken[maps[a]]
        ):
            leader = a
    best = leader
    for a in range(n):
        if a == best or potentials[a] < potentials[leader] - 2 * synapses.bounds[1]:
            continue
        if taken[maps[a]] or not has_bit(free, cells[a]):
            continue
        if comes_before(latency, g, synapses.weight, step, maps[a], cells[a], maps[best], cells[best]):
            best = a
    return best


@compiled
def bar(g: Geometry, cell: int, radius: int, found: Candidates) -> None:
    """Lateral inhibition: close the winner's neighbourhood to all maps; radius 0 closes nothing."""
    if radius == 0:
        return
    width = g.width + 2 * g.pad
    row, col, free, open_ = cell // width, cell % width, found.free, found.open
    for r in range(max(0, row - radius), min(g.rows, row + radius + 1)):
        for q in range(max(0, col - radius), min(g.cols, col + radius + 1)):
            clear_bit(free, r * width + q)
            clear_bit(open_, r * width + q)


@compiled
def find_winners(
    latency: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    rule: Competition,
    fields: Fields,
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
    found.open[:] = found.valid
    found.free[:] = found.valid
    found.since[:] = 0
    lay_out(latency, fields)
    k, width = 0, g.width + 2 * g.pad
    for step in range(rule.steps):
        advance(g, step, fields)
        n = fire_step(latency, g, synapses, rule.threshold, step, fields, found)
        while k < len(winners):
            best = best_candidate(latency, g, synapses, step, found, n)
            if best < 0:
                break
            m, cell = found.map[best], found.cell[best]
            winners[k, 0], winners[k, 1], winners[k, 2], winners[k, 3] = m, cell // width, cell % width, step
            found.taken[m] = True
            bar(g, cell, rule.radius, found)
            k += 1
        if k == len(winners) or not found.open.any():
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
    fields = make_fields(g, rule.steps)
    found = make_candidates(g)
    chosen = np.empty((winners.shape[1], 4), np.int64)
    for n in range(len(latencies)):
        count = find_winners(latencies[n], g, synapses, rule, fields, found, chosen)
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
