"""First spikes of a whole layer, pooled: what a frozen layer hands to the next. Legend as in ``conv.py``."""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.conv import (
    Field,
    Geometry,
    Synapses,
    append_inputs,
    clear_lists,
    exceeds,
    make_field,
    sort_inputs,
)
from firstspike.kernels.jit import compiled
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

    looks: np.ndarray  # int64 (n,) steps at which the layer is looked at, ascending; the last is T - 1
    stops: np.ndarray  # int64 (n, P) end of each position's list at each look
    marks: np.ndarray  # int32 (L / 32 * P * 32,) step of each first spike, laid out as the sums; SILENT: none
    pooled: np.ndarray  # int32 (32,) the earliest marks of one window in a block of maps


@compiled
def make_spread(g: Geometry, looks: np.ndarray) -> Spread:
    """Allocate the scratch memory; spikes are dated to the first look at or after them."""
    places = g.rows * g.cols
    return Spread(
        looks,
        np.empty((looks.size, places), np.int64),
        np.empty(places * g.lanes, np.int32),
        np.empty(LANES, np.int32),
    )


@compiled
def mark_doubtful(
    latency: np.ndarray,
    g: Geometry,
    weight: np.ndarray,
    field: Field,
    marks: np.ndarray,
    block: int,
    place: int,
    step: int,
    threshold: float,
    low: int,
    high: int,
) -> None:
    """Decide in float64 the neurons of a block whose screened potential lies in ``(low, high]``."""
    at = (block * g.rows * g.cols + place) * LANES
    for lane in range(min(LANES, g.maps - block * LANES)):
        doubtful = low < field.sums[at + lane] <= high and marks[at + lane] > step
        if doubtful and exceeds(latency, g, weight, field, block * LANES + lane, place, step, threshold):
            marks[at + lane] = step


@compiled
def fire_block(
    latency: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    threshold: float,
    field: Field,
    spread: Spread,
    used: tuple[int, int],
    block: int,
) -> None:
    """First spikes of a block of maps at the positions of the first rows and columns.

    Arrays are taken out of their tuples once: doing so counts references, which costs more than a position's sums.
    """
    screen, lists, summed, sums = synapses.screen, field.lists, field.summed, field.sums
    looks, stops, marks = spread.looks, spread.stops, spread.marks
    ceiling, slack = synapses.bounds
    border = np.int64(np.floor(threshold * synapses.scale[0]))
    low, high, need = border - slack, border + slack, border // ceiling
    fan_in, cols, last = g.kernel * g.kernel * g.channels, g.cols, looks.size - 1
    table, places = block * fan_in * LANES, g.rows * g.cols
    for row in range(used[0]):
        for place in range(row * cols, row * cols + used[1]):
            first, at = place * fan_in, (block * places + place) * LANES
            if stops[last, place] - first <= need:
                continue
            fill_lanes(sums, at, LANES, 0)
            begin = first
            for look in range(last + 1):
                end = stops[look, place]
                if end == begin or end - first <= need:
                    continue
                largest = add_rows(sums, at, screen, table, lists, begin, end)
                begin = end
                if largest <= low:
                    continue
                sure = count_at_least(sums, at, LANES, high + 1)
                if sure:
                    mark_above(marks, sums, at, LANES, high, looks[look])
                if count_at_least(sums, at, LANES, low + 1) > sure:
                    summed[place] = end
                    mark_doubtful(
                        latency,
                        g,
                        synapses.weight,
                        field,
                        marks,
                        block,
                        place,
                        looks[look],
                        threshold,
                        low,
                        high,
                    )


@compiled
def pool_block(
    g: Geometry, window: Window, marks: np.ndarray, pooled: np.ndarray, block: int, out: np.ndarray
) -> None:
    """Earliest spike of every window in a block of maps; ``out`` uint8 (M, rows, cols)."""
    first = block * LANES
    for r in range(window.rows):
        for q in range(window.cols):
            fill_lanes(pooled, 0, LANES, SILENT)
            top, left = r * window.stride - window.pad, q * window.stride - window.pad
            for y in range(max(0, top), min(g.rows, top + window.size)):
                for x in range(max(0, left), min(g.cols, left + window.size)):
                    take_lower(pooled, 0, marks, (block * g.rows * g.cols + y * g.cols + x) * LANES, LANES)
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
    field: Field,
    spread: Spread,
    out: np.ndarray,
) -> None:
    """Latencies (C, H, W) of one image to the pooled latencies (M, rows, cols) of the layer's first spikes."""
    sort_inputs(latency, steps, field)
    clear_lists(g, field)
    begin = 0
    for look in range(spread.looks.size):
        end = field.start[spread.looks[look] + 1]
        append_inputs(g, field, begin, end)
        spread.stops[look] = field.end
        begin = end
    fill_lanes(spread.marks, 0, spread.marks.size, SILENT)
    used_rows = min(g.rows, (window.rows - 1) * window.stride - window.pad + window.size)
    used_cols = min(g.cols, (window.cols - 1) * window.stride - window.pad + window.size)
    for block in range(g.lanes // LANES):
        fire_block(latency, g, synapses, threshold, field, spread, (used_rows, used_cols), block)
        pool_block(g, window, spread.marks, spread.pooled, block, out)


@compiled
def propagate(
    latencies: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    threshold: float,
    steps: int,
    looks: np.ndarray,
    window: Window,
    out: np.ndarray,
) -> None:
    """Latencies (N, C, H, W) of a layer's input to the pooled latencies (N, M, rows, cols) of its first spikes."""
    field, spread = make_field(g, steps), make_spread(g, looks)
    for n in range(len(latencies)):
        spread_spikes(latencies[n], g, synapses, threshold, steps, window, field, spread, out[n])
