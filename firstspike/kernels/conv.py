"""Event-driven convolution of neurons that fire at most once.

Legend: C channels, H, W input size, K kernel, M maps, L lanes (M padded to whole blocks), R, Q output rows and columns,
P = R * Q positions, F = K * K * C fan-in, T steps.

The inputs of an image are taken in time order, and each is appended to the list of every position that sees it; a
position then adds the weights of its list for all maps at once. Potentials are **screened** in integers,
``round(weight * scale)``: such a sum does not depend on the order of its inputs, and its error is bounded by the summed
rounding errors of a map. The scale is a power of two as large as int32 allows, so that large weights are represented
exactly and only small ones are rounded. Where the bound leaves a comparison open the potential is summed again in
float64, and where two such sums are too near for their order of summation not to matter, in the fixed order (channel,
row, column). So every threshold, inhibition and winner is decided as float64 decides it.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.jit import compiled
from firstspike.kernels.vector import LANES

ROOM = 2.0**31 - 2.0**20  # what the screened weights of a map may sum to
ALL_SILENT = np.uint64(2**64 - 1)  # eight latencies of 255
DOUBT = 1e-9  # two float64 sums of the same weights in different orders are much nearer than this


class Geometry(NamedTuple):
    """Sizes of one convolution: input, padding, kernel, output; ``lanes`` is ``maps`` padded to whole blocks."""

    channels: int
    height: int
    width: int
    pad: int
    kernel: int
    rows: int
    cols: int
    maps: int
    lanes: int


class Synapses(NamedTuple):
    """Weights of a layer, float32 (M, C, K, K), and their integer image.

    ``screen`` int32 (L / 32 * F * 32,): block after block of 32 maps, and in it row ``(i * K + j) * C + c`` of each;
    ``scale`` float64 (1,), units of the screen in a weight of 1; ``bounds`` int64 (2,): the largest screened weight,
    and the largest error of a screened potential, in units; ``index`` int32 (F,): where each row's
    weight stands in its map.
    """

    weight: np.ndarray
    screen: np.ndarray
    scale: np.ndarray
    bounds: np.ndarray
    index: np.ndarray


class Plasticity(NamedTuple):
    """Bounds of the weights and whether the update is stabilised by ``(w - lower) * (upper - w)``."""

    lower: np.float32
    upper: np.float32
    stabilise: bool


class Field(NamedTuple):
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
def make_field(g: Geometry, steps: int) -> Field:
    """Allocate the scratch memory of a layer."""
    inputs, places = g.channels * g.height * g.width + 1, g.rows * g.cols
    codes = np.empty(inputs - 1, np.int64)
    pack_inputs(g, codes)
    return Field(
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
def screen_map(g: Geometry, synapses: Synapses, m: int) -> bool:
    """Write map m's weights into the screen and widen the bounds to hold them; False if they don't fit the scale."""
    weights, screen, scale, bounds = (
        synapses.weight[m].ravel(),
        synapses.screen,
        synapses.scale[0],
        synapses.bounds,
    )
    index = synapses.index
    first = m // LANES * LANES * weights.size + m % LANES
    total, error, ceiling = 0.0, 0.0, 0.0
    for row in range(weights.size):
        exact = weights[index[row]] * scale
        unit = np.rint(exact)
        total += abs(unit)
        error += abs(unit - exact)
        ceiling = max(ceiling, unit)
        screen[first + row * LANES] = np.int32(unit)
    bounds[0] = max(bounds[0], np.int64(ceiling) + 1)
    # Weights of 0 and 1 are screened without error, and their potentials often lie exactly on the threshold.
    bounds[1] = max(bounds[1], np.int64(error) + 2 if error > 0 else 0)
    return total < ROOM


@compiled
def screen_all(g: Geometry, synapses: Synapses) -> None:
    """Write every map's weights into the screen, at the finest scale that holds them."""
    heaviest = 1e-9
    for m in range(g.maps):
        heaviest = max(heaviest, np.float64(np.abs(synapses.weight[m]).sum()))
    synapses.scale[0] = 2.0 ** min(30, np.floor(np.log2(ROOM / 1.25 / heaviest)))
    synapses.bounds[:] = 0
    for m in range(g.maps):
        screen_map(g, synapses, m)


@compiled
def sort_inputs(latency: np.ndarray, first: int, last: int, field: Field) -> None:
    """Counting sort of the inputs that fire from step `first` to before `last`.

    They stand in ``field.order``, those of step t at ``start[t] : start[t + 1]``. Eight silent inputs are passed over
    at once.
    """
    flat = latency.reshape(-1)
    codes, active, order, start = field.codes, field.active, field.order, field.start
    words = flat[: flat.size // 8 * 8].view(np.uint64)
    n = 0
    for word in range(words.size):
        if words[word] != ALL_SILENT:
            for index in range(8 * word, 8 * word + 8):
                active[n] = index
                n += first <= flat[index] < last
    for index in range(8 * words.size, flat.size):
        active[n] = index
        n += first <= flat[index] < last
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
def clear_lists(g: Geometry, field: Field) -> None:
    """Empty every position's list."""
    fan_in = g.kernel * g.kernel * g.channels
    for place in range(g.rows * g.cols):
        field.end[place] = place * fan_in
        field.summed[place] = place * fan_in


@compiled
def append_inputs(g: Geometry, field: Field, first: int, last: int) -> None:
    """Append the inputs ``order[first:last]`` to the list of every position that sees them."""
    lists, end, order = field.lists, field.end, field.order
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
def tally(g: Geometry, synapses: Synapses, field: Field, m: int, place: int) -> float:
    """Potential of one neuron in float64, summed in the order of its list: right to within ``DOUBT``."""
    weights, index = synapses.weight[m].ravel(), synapses.index
    total = 0.0
    for e in range(place * weights.size, field.summed[place]):
        total += weights[index[field.lists[e]]]
    return total


@compiled
def certify(latency: np.ndarray, g: Geometry, weight: np.ndarray, m: int, place: int, step: int) -> float:
    """Potential of one neuron at `step` in float64, summed in the fixed order (channel, row, column)."""
    top, left = place // g.cols - g.pad, place % g.cols - g.pad
    first_i, last_i = max(0, -top), min(g.kernel, g.height - top)
    first_j, last_j = max(0, -left), min(g.kernel, g.width - left)
    total = 0.0
    for c in range(g.channels):
        for i in range(first_i, last_i):
            for j in range(first_j, last_j):
                if latency[c, top + i, left + j] <= step:
                    total += weight[m, c, i, j]
    return total


@compiled
def exceeds(
    latency: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    field: Field,
    m: int,
    place: int,
    step: int,
    threshold: float,
) -> bool:
    """Whether a neuron's potential is larger than the threshold, decided in float64."""
    potential = tally(g, synapses, field, m, place)
    if abs(potential - threshold) < DOUBT:
        potential = certify(latency, g, synapses.weight, m, place, step)
    return potential > threshold
