"""Lists of the inputs that each position of a layer sees, in time order. Legend as in ``conv.py``.

A position adds the weights of its list for all maps of a block at once. Where screened potentials leave a comparison
open they are summed again in float64 in the order of the list, and where two such sums are too near for their order not
to matter, in the fixed order.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.conv import ALL_SILENT, DOUBT, Geometry, Synapses, certify
from firstspike.kernels.jit import compiled


class InputLists(NamedTuple):
    """Scratch memory of one image in one layer; nothing in it outlives the image."""

    codes: np.ndarray  # int64 (C * H * W,) every input, packed: channel << 24 | row << 12 | column
    active: np.ndarray  # int64 (C * H * W + 1,) flat indices of the inputs that fire
    order: np.ndarray  # int64 (C * H * W + 1,) codes of those in time order
    start: np.ndarray  # int64 (T + 2,) where each step begins in `order`
    lists: np.ndarray  # uint16 (P * F,) screen rows of the inputs of each position, in time order
    end: np.ndarray  # int64 (P,) end of each position's list
    summed: np.ndarray  # int64 (P,) end of the part that is in the sums
    sums: np.ndarray  # int32 (L / 32 * P * 32,) screened potentials, block after block of 32 maps


@compiled
def pack_inputs(g: Geometry, codes: np.ndarray) -> None:
    """The inputs of a layer in flat order, packed as channel << 24 | row << 12 | column."""
    n = 0
    for c in range(g.channels):
        for y in range(g.height):
            for x in range(g.width):
                codes[n] = c << 24 | y << 12 | x
                n += 1


@compiled
def make_lists(g: Geometry, steps: int) -> InputLists:
    """Allocate the scratch memory of a layer."""
    inputs, places = g.channels * g.height * g.width + 1, g.rows * g.cols
    codes = np.empty(inputs - 1, np.int64)
    pack_inputs(g, codes)
    return InputLists(
        codes,
        np.empty(inputs, np.int64),
        np.empty(inputs, np.int64),
        np.empty(steps + 2, np.int64),
        np.empty(places * g.kernel * g.kernel * g.channels, np.uint16),
        np.empty(places, np.int64),
        np.empty(places, np.int64),
        np.empty(places * g.lanes, np.int32),
    )


@compiled
def sort_inputs(latency: np.ndarray, steps: int, seen: InputLists) -> None:
    """Counting sort of the inputs that fire.

    They stand in ``seen.order``, those of step t at ``start[t] : start[t + 1]``. Eight silent inputs are passed over
    at once.
    """
    flat = latency.reshape(-1)
    codes, active, order, start = seen.codes, seen.active, seen.order, seen.start
    words = flat[: flat.size // 8 * 8].view(np.uint64)
    n = 0
    for word in range(words.size):
        if words[word] != ALL_SILENT:
            for index in range(8 * word, 8 * word + 8):
                active[n] = index
                n += flat[index] < steps
    for index in range(8 * words.size, flat.size):
        active[n] = index
        n += flat[index] < steps
    start[:] = 0
    for e in range(n):
        start[flat[active[e]] + 2] += 1
    for t in range(2, start.size):
        start[t] += start[t - 1]
    for e in range(n):
        t = flat[active[e]] + 1
        order[start[t]] = codes[active[e]]
        start[t] += 1


@compiled
def clear_lists(g: Geometry, seen: InputLists) -> None:
    """Empty every position's list."""
    fan_in = g.kernel * g.kernel * g.channels
    for place in range(g.rows * g.cols):
        seen.end[place] = place * fan_in
        seen.summed[place] = place * fan_in


@compiled
def append_inputs(g: Geometry, seen: InputLists, first: int, last: int) -> None:
    """Append the inputs ``order[first:last]`` to the list of every position that sees them."""
    lists, end, order = seen.lists, seen.end, seen.order
    channels, pad, kernel, rows, cols = g.channels, g.pad, g.kernel, g.rows, g.cols
    for e in range(first, last):
        code = order[e]
        c, y, x = code >> 24, (code >> 12 & 4095) + pad, (code & 4095) + pad
        left, right = max(0, x - kernel + 1), min(cols, x + 1)
        for r in range(max(0, y - kernel + 1), min(rows, y + 1)):
            row = ((y - r) * kernel + x - left) * channels + c
            for place in range(r * cols + left, r * cols + right):
                lists[end[place]] = row
                end[place] += 1
                row -= channels


@compiled
def tally(g: Geometry, synapses: Synapses, seen: InputLists, m: int, place: int) -> float:
    """Potential of one neuron in float64, summed in the order of its list: right to within ``DOUBT``."""
    weights, index = synapses.weight[m].ravel(), synapses.index
    total = 0.0
    for e in range(place * weights.size, seen.summed[place]):
        total += weights[index[seen.lists[e]]]
    return total


@compiled
def exceeds(
    latency: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    seen: InputLists,
    m: int,
    place: int,
    step: int,
    threshold: float,
) -> bool:
    """Whether a neuron's potential is larger than the threshold, decided in float64."""
    potential = tally(g, synapses, seen, m, place)
    if abs(potential - threshold) < DOUBT:
        potential = certify(latency, g, synapses.weight, m, place, step)
    return potential > threshold
