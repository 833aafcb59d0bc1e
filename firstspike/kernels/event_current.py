"""Currents of a dense map fed by events: work for each event, none for the silence between them.

    I[n, t, m] = bias[m] + sum over the events e of sample n in bin t of weights[unit[e], m]

Letters: N samples, T bins, U inputs, M outputs, E events. Recording r owns the events `offsets[r]` .. `offsets[r +
1] - 1`; `chosen` (N,) says which recordings a batch holds. A call fills outputs m0 .. m1 - 1, each a sum in the order
of the events, so a cut into calls changes no bit.
"""

import numpy as np

from firstspike.kernels.recurrence_rows import compiled


@compiled
def spread(
    bins: np.ndarray,
    units: np.ndarray,
    offsets: np.ndarray,
    chosen: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    steps: int,
    out: np.ndarray,
    m0: int,
    m1: int,
) -> None:
    """Currents `out` (N T M,) from weights (U M,) and bias (M,); events in bins from T on are left out."""
    width, wide = np.uint64(bias.size), np.uint64(m1 - m0)
    for row in range(chosen.size):
        start = np.uint64(row * steps) * width + np.uint64(m0)
        for t in range(np.uint64(steps)):
            at = start + t * width
            for j in range(wide):
                out[at + j] = bias[np.uint64(m0) + j]
        for e in range(offsets[chosen[row]], offsets[chosen[row] + 1]):
            if bins[e] < steps:
                at, w = start + np.uint64(bins[e]) * width, np.uint64(units[e]) * width + np.uint64(m0)
                for j in range(wide):
                    out[at + j] += weights[w + j]


@compiled
def collect(
    bins: np.ndarray,
    units: np.ndarray,
    offsets: np.ndarray,
    chosen: np.ndarray,
    g: np.ndarray,
    steps: int,
    g_weights: np.ndarray,
    g_bias: np.ndarray,
    m0: int,
    m1: int,
) -> None:
    """Add what gradients g (N T M,) at the currents send to weights (U M,) and bias (M,).

    The bias adds up sample by sample: one running sum over all steps would round too often.
    """
    width, wide = np.uint64(g_bias.size), np.uint64(m1 - m0)
    total = np.empty(m1 - m0, g.dtype)
    for row in range(chosen.size):
        start = np.uint64(row * steps) * width + np.uint64(m0)
        total[:] = 0
        for t in range(np.uint64(steps)):
            at = start + t * width
            for j in range(wide):
                total[j] += g[at + j]
        for j in range(wide):
            g_bias[np.uint64(m0) + j] += total[j]
        for e in range(offsets[chosen[row]], offsets[chosen[row] + 1]):
            if bins[e] < steps:
                at, w = start + np.uint64(bins[e]) * width, np.uint64(units[e]) * width + np.uint64(m0)
                for j in range(wide):
                    g_weights[w + j] += g[at + j]


@compiled
def tally(bins: np.ndarray, units: np.ndarray, offsets: np.ndarray, chosen: np.ndarray, steps: int) -> int:
    """How many events of the chosen recordings lie in bins below `steps`."""
    count = 0
    for row in range(chosen.size):
        for e in range(offsets[chosen[row]], offsets[chosen[row] + 1]):
            count += bins[e] < steps
    return count
