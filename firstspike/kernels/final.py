"""Which neurons of a layer fire at all, pooled: what the decision layer needs of the layers below it.

Legend as in ``conv.py``. Without time the inputs are kept cell by cell, all channels of a cell together, so that what a
position sees in a row of its receptive field is one run of entries; nothing is appended to any list.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.conv import Geometry, Synapses, certify
from firstspike.kernels.jit import compiled
from firstspike.kernels.spikes import SILENT, Window, pool_block, used_part
from firstspike.kernels.vector import LANES, add_rows, count_at_least, fill_lanes, mark_above


class Cells(NamedTuple):
    """Scratch memory of one image without time."""

    entries: np.ndarray  # uint16 (C * H * W + 1,) inputs that fire, x * C + c, by padded row, then x, then c
    start: np.ndarray  # int64 (H + 2 pad, W + 2 pad + 1) where the entries of each cell begin
    sums: np.ndarray  # int32 (P * 32,) screened potentials of a block of maps
    marks: np.ndarray  # int32 (P * 32,) the last step where a neuron fires, else SILENT
    pooled: np.ndarray  # int32 (32,) the marks of one window


@compiled
def make_cells(g: Geometry) -> Cells:
    """Allocate the scratch memory of a layer."""
    places = g.rows * g.cols
    return Cells(
        np.empty(g.channels * g.height * g.width + 1, np.uint16),
        np.zeros((g.height + 2 * g.pad, g.width + 2 * g.pad + 1), np.int64),
        np.empty(places * LANES, np.int32),
        np.empty(places * LANES, np.int32),
        np.empty(LANES, np.int32),
    )


@compiled
def lay_out(latency: np.ndarray, g: Geometry, steps: int, cells: Cells) -> None:
    """Entries of the inputs (C, H, W) that fire, cell by cell; rows of padding stay empty."""
    entries, start, channels, pad = cells.entries, cells.start, g.channels, g.pad
    n = 0
    for y in range(g.height):
        begin = start[y + pad]
        begin[:pad] = n
        for x in range(pad, g.width + pad):
            begin[x] = n
            for c in range(channels):
                entries[n] = x * channels + c
                n += latency[c, y, x - pad] < steps
        begin[g.width + pad :] = n


@compiled
def reach_block(
    latency: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    threshold: float,
    steps: int,
    cells: Cells,
    used: tuple[int, int],
    block: int,
) -> None:
    """Mark the neurons of a block of maps that fire, at the positions of the first rows and columns."""
    screen, entries, start, sums, marks = synapses.screen, cells.entries, cells.start, cells.sums, cells.marks
    errors = synapses.errors
    ceiling, slack = synapses.bounds
    border = np.int64(np.floor(threshold * synapses.scale[0]))
    low, high, need = border - slack, border + slack, border // ceiling
    kernel, channels, last = g.kernel, g.channels, steps - 1
    table = block * kernel * kernel * channels * LANES
    fill_lanes(marks, 0, marks.size, SILENT)
    for row in range(used[0]):
        for col in range(used[1]):
            inputs = 0
            for i in range(kernel):
                inputs += start[row + i, col + kernel] - start[row + i, col]
            if inputs <= need:
                continue
            place, largest = row * g.cols + col, 0
            at = place * LANES
            fill_lanes(sums, at, LANES, 0)
            for i in range(kernel):
                begin, end = start[row + i, col], start[row + i, col + kernel]
                base = (i * kernel - col) * channels
                largest = add_rows(sums, at, screen, table + base * LANES, entries, begin, end)
            if largest <= low:
                continue
            mark_above(marks, sums, at, LANES, high, last)
            if count_at_least(sums, at, LANES, low + 1) > count_at_least(sums, at, LANES, high + 1):
                for lane in range(min(LANES, g.maps - block * LANES)):
                    if low < sums[at + lane] <= high:
                        m = block * LANES + lane
                        fires = sums[at + lane] > border  # right for maps that are screened exactly
                        if errors[m] > 0:
                            fires = certify(latency, g, synapses.weight, m, place, last) > threshold
                        if fires:
                            marks[at + lane] = last


@compiled
def reach_one(
    latency: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    threshold: float,
    steps: int,
    window: Window,
    cells: Cells,
    out: np.ndarray,
) -> None:
    """Latencies (C, H, W) of one image to marks (M, rows, cols): T - 1 where a neuron of the window fires, else 255."""
    lay_out(latency, g, steps, cells)
    used = used_part(g, window)
    for block in range(g.lanes // LANES):
        reach_block(latency, g, synapses, threshold, steps, cells, used, block)
        pool_block(g, window, cells.marks, cells.pooled, 0, block * LANES, out)


@compiled
def reach(
    latencies: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    threshold: float,
    steps: int,
    window: Window,
    out: np.ndarray,
) -> None:
    """The same for images (N, C, H, W)."""
    cells = make_cells(g)
    for n in range(len(latencies)):
        reach_one(latencies[n], g, synapses, threshold, steps, window, cells, out[n])
