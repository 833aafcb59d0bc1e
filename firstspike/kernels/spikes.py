"""First spikes of a whole layer, pooled: what a frozen layer hands to the next. Legend as in ``conv.py``."""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.conv import Geometry, Synapses
from firstspike.kernels.jit import compiled
from firstspike.kernels.lists import InputLists, append_inputs, clear_lists, exceeds, make_lists, sort_inputs
from firstspike.kernels.vector import LANES, add_rows, count_at_least, fill_lanes, mark_above, take_lower

SILENT = 255


class Window(NamedTuple):
    """A pooling: window, stride, padding, and the output's rows and columns."""

    size: int
    stride: int
    pad: int
    rows: int
    cols: int


class Spread(NamedTuple):
    """Scratch memory of a layer whose every map is followed."""

    stops: np.ndarray  # int64 (T, P) end of each position's list after each step
    marks: np.ndarray  # int32 (L / 32 * P * 32,) step of each first spike, laid out as the sums; SILENT: none
    pooled: np.ndarray  # int32 (32,) the earliest marks of one window in a block of maps


@compiled
def make_spread(g: Geometry, steps: int) -> Spread:
    """Allocate the scratch memory of a layer."""
    places = g.rows * g.cols
    return Spread(
        np.empty((steps, places), np.int64),
        np.empty(places * g.lanes, np.int32),
        np.empty(LANES, np.int32),
    )


@compiled
def mark_doubtful(
    latency: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    seen: InputLists,
    marks: np.ndarray,
    block: int,
    place: int,
    step: int,
    threshold: float,
    border: int,
    slack: int,
) -> None:
    """Decide in float64 the neurons of a block whose screened potential lies within `slack` of the border.

    Those of maps that are screened exactly need no other sum.
    """
    at, sums, errors = (block * g.rows * g.cols + place) * LANES, seen.sums, synapses.errors
    for lane in range(min(LANES, g.maps - block * LANES)):
        if abs(sums[at + lane] - border) > slack or marks[at + lane] <= step:
            continue
        m = block * LANES + lane
        fires = sums[at + lane] > border
        if errors[m] > 0:
            fires = exceeds(latency, g, synapses, seen, m, place, step, threshold)
        if fires:
            marks[at + lane] = step


@compiled
def fire_block(
    latency: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    threshold: float,
    seen: InputLists,
    spread: Spread,
    used: tuple[int, int],
    block: int,
) -> None:
    """First spikes of a block of maps at the positions of the first rows and columns.

    Arrays are taken out of their tuples once: doing so counts references, which costs more than a position's sums.
    """
    screen, lists, summed, sums = synapses.screen, seen.lists, seen.summed, seen.sums
    stops, marks = spread.stops, spread.marks
    ceiling, slack = synapses.bounds
    border = np.int64(np.floor(threshold * synapses.scale[0]))
    low, high, need = border - slack, border + slack, border // ceiling
    fan_in, cols, last = g.kernel * g.kernel * g.channels, g.cols, len(stops) - 1
    table, places = block * fan_in * LANES, g.rows * g.cols
    for row in range(used[0]):
        for place in range(row * cols, row * cols + used[1]):
            first, at = place * fan_in, (block * places + place) * LANES
            if stops[last, place] - first <= need:
                continue
            fill_lanes(sums, at, LANES, 0)
            begin = first
            for step in range(last + 1):
                end = stops[step, place]
                if end == begin or end - first <= need:
                    continue
                largest = add_rows(sums, at, screen, table, lists, begin, end)
                begin = end
                if largest <= low:
                    continue
                sure = count_at_least(sums, at, LANES, high + 1)
                if sure:
                    mark_above(marks, sums, at, LANES, high, step)
                if count_at_least(sums, at, LANES, low + 1) > sure:
                    summed[place] = end
                    mark_doubtful(
                        latency,
                        g,
                        synapses,
                        seen,
                        marks,
                        block,
                        place,
                        step,
                        threshold,
                        border,
                        slack,
                    )


@compiled
def used_part(g: Geometry, window: Window) -> tuple[int, int]:
    """Rows and columns that some window sees; what is left at the lower and right edge is never needed."""
    rows = (window.rows - 1) * window.stride - window.pad + window.size
    cols = (window.cols - 1) * window.stride - window.pad + window.size
    return min(g.rows, rows), min(g.cols, cols)


@compiled
def pool_block(
    g: Geometry,
    window: Window,
    marks: np.ndarray,
    pooled: np.ndarray,
    place: int,
    first: int,
    out: np.ndarray,
) -> None:
    """Earliest mark of every window in a block of maps from `first` on, whose marks begin at `place`.

    ``out`` uint8 (M, rows, cols).
    """
    for r in range(window.rows):
        for q in range(window.cols):
            fill_lanes(pooled, 0, LANES, SILENT)
            top, left = r * window.stride - window.pad, q * window.stride - window.pad
            for y in range(max(0, top), min(g.rows, top + window.size)):
                for x in range(max(0, left), min(g.cols, left + window.size)):
                    take_lower(pooled, 0, marks, (place + y * g.cols + x) * LANES, LANES)
            for m in range(first, min(first + LANES, g.maps)):
                out[m, r, q] = pooled[m - first]


@compiled
def spread_spikes(
    latency: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    threshold: float,
    steps: int,
    window: Window,
    seen: InputLists,
    spread: Spread,
    out: np.ndarray,
) -> None:
    """Latencies (C, H, W) of one image to the pooled latencies (M, rows, cols) of the layer's first spikes."""
    sort_inputs(latency, steps, seen)
    clear_lists(g, seen)
    for step in range(steps):
        append_inputs(g, seen, seen.start[step], seen.start[step + 1])
        spread.stops[step] = seen.end
    fill_lanes(spread.marks, 0, spread.marks.size, SILENT)
    used = used_part(g, window)
    for block in range(g.lanes // LANES):
        fire_block(latency, g, synapses, threshold, seen, spread, used, block)
        pool_block(g, window, spread.marks, spread.pooled, block * g.rows * g.cols, block * LANES, out)


@compiled
def propagate(
    latencies: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    threshold: float,
    steps: int,
    window: Window,
    out: np.ndarray,
) -> None:
    """Latencies (N, C, H, W) of a layer's input to the pooled latencies (N, M, rows, cols) of its first spikes."""
    seen, spread = make_lists(g, steps), make_spread(g, steps)
    for n in range(len(latencies)):
        spread_spikes(latencies[n], g, synapses, threshold, steps, window, seen, spread, out[n])
