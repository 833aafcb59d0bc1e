"""First spikes of a whole layer, pooled: what a frozen layer hands to the next. Legend as in ``conv.py``."""

from typing import NamedTuple

import numpy as np
from numba import njit

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
from firstspike.kernels.vector import add_rows, count_at_least, fill_lanes, mark_above, take_lower

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
    marks: np.ndarray  # int32 (P * L,) step of each neuron's first spike, SILENT where there is none
    pooled: np.ndarray  # int32 (L,) the earliest marks of one window


@njit(cache=True, nogil=True)
def make_spread(g: Geometry, looks: np.ndarray) -> Spread:
    """Allocate the scratch memory; spikes are dated to the first look at or after them."""
    places = g.rows * g.cols
    return Spread(
        looks,
        np.empty((looks.size, places), np.int64),
        np.empty(places * g.lanes, np.int32),
        np.empty(g.lanes, np.int32),
    )


@njit(cache=True, nogil=True)
def mark_doubtful(
    latency: np.ndarray,
    g: Geometry,
    weight: np.ndarray,
    field: Field,
    marks: np.ndarray,
    place: int,
    step: int,
    threshold: float,
    low: int,
    high: int,
) -> None:
    """Decide in float64 the neurons of a position whose screened potential lies in ``(low, high]``."""
    at = place * g.lanes
    for m in range(g.maps):
        doubtful = low < field.sums[at + m] <= high and marks[at + m] > step
        if doubtful and exceeds(latency, g, weight, field, m, place, step, threshold):
            marks[at + m] = step


@njit(cache=True, nogil=True)
def fire_all(
    latency: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    threshold: float,
    field: Field,
    spread: Spread,
    used_rows: int,
    used_cols: int,
) -> None:
    """First spikes of every map at the positions of the first rows and columns.

    Arrays are taken out of their tuples once: doing so counts references, which costs more than a position's sums.
    """
    screen, lanes = synapses.screen, g.lanes
    ceiling, slack = synapses.bounds
    border = np.int64(np.floor(threshold * synapses.scale[0]))
    low, high, need = border - slack, border + slack, border // ceiling
    fan_in, cols = g.kernel * g.kernel * g.channels, g.cols
    lists, summed, sums = field.lists, field.summed, field.sums
    looks, stops, marks = spread.looks, spread.stops, spread.marks
    last = looks.size - 1
    for row in range(used_rows):
        for place in range(row * cols, row * cols + used_cols):
            first, at = place * fan_in, place * lanes
            if stops[last, place] - first <= need:
                continue
            fill_lanes(sums, at, lanes, 0)
            begin = first
            for look in range(last + 1):
                end = stops[look, place]
                if end == begin or end - first <= need:
                    continue
                largest = add_rows(sums, at, screen, lanes, lists, begin, end)
                begin = end
                if largest <= low:
                    continue
                sure = count_at_least(sums, at, lanes, high + 1)
                if sure:
                    mark_above(marks, sums, at, lanes, high, looks[look])
                if count_at_least(sums, at, lanes, low + 1) > sure:
                    summed[place] = end
                    mark_doubtful(
                        latency, g, synapses.weight, field, marks, place, looks[look], threshold, low, high
                    )


@njit(cache=True, nogil=True)
def pool(g: Geometry, window: Window, marks: np.ndarray, pooled: np.ndarray, out: np.ndarray) -> None:
    """Earliest spike of every window; ``out`` uint8 (M, rows, cols)."""
    for r in range(window.rows):
        for q in range(window.cols):
            fill_lanes(pooled, 0, g.lanes, SILENT)
            top, left = r * window.stride - window.pad, q * window.stride - window.pad
            for y in range(max(0, top), min(g.rows, top + window.size)):
                for x in range(max(0, left), min(g.cols, left + window.size)):
                    take_lower(pooled, 0, marks, (y * g.cols + x) * g.lanes, g.lanes)
            for m in range(g.maps):
                out[m, r, q] = pooled[m]


@njit(cache=True, nogil=True)
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
    fire_all(latency, g, synapses, threshold, field, spread, used_rows, used_cols)
    pool(g, window, spread.marks, spread.pooled, out)


@njit(cache=True, nogil=True)
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
