"""Lateral inhibition of spikes: at each place the first maps to fire keep the others from firing.

N images, M maps, R rows, Q columns.
"""

import numpy as np

from firstspike.kernels.jit import compiled


@compiled
def closing(latency: np.ndarray, first: int, steps: int, counts: np.ndarray, last: np.ndarray) -> None:
    """The step after which each place of one image (M, P) stays silent: that in which its `first` map fires.

    ``last`` int64 (P,), the last step where fewer maps fire; ``counts`` int64 (T, P) is scratch memory.
    """
    counts[:] = 0
    for m in range(len(latency)):
        for place in range(latency.shape[1]):
            step = latency[m, place]
            if step < steps:
                counts[step, place] += 1
    last[:] = steps - 1
    for place in range(latency.shape[1]):
        fired = 0
        for step in range(steps):
            fired += counts[step, place]
            if fired >= first:
                last[place] = step
                break


@compiled
def inhibit(latencies: np.ndarray, first: int, steps: int, out: np.ndarray) -> None:
    """Spikes uint8 (N, M, R, Q) that come no later than the `first` map of their place, dated back from the end.

    The step in which the last of them come becomes the last step of all, T - 1: what is left of the time says by how
    much a map was ahead of the inhibition. Maps that fire in the same step are treated alike.
    """
    images, maps = latencies.shape[:2]
    flat, written = latencies.reshape(images, maps, -1), out.reshape(images, maps, -1)
    counts, last = np.empty((steps, flat.shape[2]), np.int64), np.empty(flat.shape[2], np.int64)
    for n in range(images):
        closing(flat[n], first, steps, counts, last)
        for m in range(maps):
            for place in range(flat.shape[2]):
                step = flat[n, m, place]
                in_time = step <= last[place]
                written[n, m, place] = step + (steps - 1 - last[place]) if in_time else 255
