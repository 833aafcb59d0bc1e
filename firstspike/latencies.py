"""Operations on activity as latencies, uint8 (N, C, H, W), 255 = never."""

import numpy as np

from firstspike.kernels.inhibit import inhibit
from firstspike.layers import Inhibition, Pool

SILENT = 255


def pool_latency(latencies: np.ndarray, pool: Pool) -> np.ndarray:
    """Earliest spike of every window; latencies uint8 (N, C, H, W)."""
    _, rows, cols = pool.output(latencies.shape[1:])
    padded = np.pad(
        latencies, ((0, 0), (0, 0), (pool.pad, pool.pad), (pool.pad, pool.pad)), constant_values=SILENT
    )
    ends = (rows - 1) * pool.step + 1, (cols - 1) * pool.step + 1
    views = [
        padded[:, :, i : i + ends[0] : pool.step, j : j + ends[1] : pool.step]
        for i in range(pool.window)
        for j in range(pool.window)
    ]
    return np.minimum.reduce(views)


def shift(latencies: np.ndarray, down: int, right: int) -> np.ndarray:
    """Latencies (N, C, H, W) moved by so many places; what comes in is silent."""
    out = np.full_like(latencies, SILENT)
    height, width = latencies.shape[2:]
    (to_y, from_y), (to_x, from_x) = _overlap(down, height), _overlap(right, width)
    out[:, :, to_y, to_x] = latencies[:, :, from_y, from_x]
    return out


def _overlap(by: int, size: int) -> tuple[slice, slice]:
    """Where a line of places that is moved ends up, and where that came from."""
    by = max(-size, min(by, size))
    return slice(max(by, 0), size + min(by, 0)), slice(max(-by, 0), size - max(by, 0))


def inhibited(latencies: np.ndarray, inhibition: Inhibition, steps: int) -> np.ndarray:
    """Spikes that pass the lateral inhibition."""
    out = np.empty_like(latencies)
    inhibit(latencies, inhibition.first, steps, out)
    return out


def earliest_map(latencies: np.ndarray) -> np.ndarray:
    """Pointwise inhibition of spikes: the earliest map of each place stays, of several the lowest."""
    first = latencies.argmin(axis=1)[:, None]
    others = np.arange(latencies.shape[1])[:, None, None] != first
    return np.where(others, np.uint8(SILENT), latencies)
