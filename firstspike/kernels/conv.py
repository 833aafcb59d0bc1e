"""Event-driven convolution of neurons that fire at most once.

Legend: C channels, H, W input size, K kernel, M maps, L lanes (M padded to whole blocks), R, Q output rows and columns,
P = R * Q positions, F = K * K * C fan-in, T steps.

Only inputs that fire are looked at: in lists of what each position sees (``lists.py``), or as bits (``fields.py``).
Potentials are **screened** in integers, ``round(weight * scale)``: such a sum does not depend on the order of its
inputs, and its error is bounded by the summed rounding errors of a map. The scale is a power of two as large as int32
allows, so that large weights are represented exactly and only small ones are rounded. Where the bound leaves a
comparison open the potential is summed again in float64, in the fixed order (channel, row, column). So every threshold,
inhibition and winner is decided as float64 decides it.
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
    and the largest error of a screened potential, in units; ``errors`` int64 (M,): that of each map, 0 where all its
    weights are screened exactly; ``index`` int32 (F,): where each row's weight stands in its map.
    """

    weight: np.ndarray
    screen: np.ndarray
    scale: np.ndarray
    bounds: np.ndarray
    errors: np.ndarray
    index: np.ndarray


class Plasticity(NamedTuple):
    """Bounds of the weights and whether the update is stabilised by ``(w - lower) * (upper - w)``."""

    lower: np.float32
    upper: np.float32
    stabilise: bool


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
    synapses.errors[m] = np.int64(error) + 2 if error > 0 else 0
    bounds[1] = max(bounds[1], synapses.errors[m])
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
