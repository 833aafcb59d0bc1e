"""A batch as its events: what a dense batch (N, T, U) holds, without its zeros.

Letters: N samples, T bins, U units, E events.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from firstspike.buffers import POOL
from firstspike.kernels import event_current, events


@dataclass(frozen=True, eq=False)
class Events:
    """Counts (N, T, U) as a view of a set's events: recordings `chosen` (N,), T = `steps`, U = `inputs`.

    `bins` and `units` (E,) unsigned, `offsets` where each recording starts; events in bins from T on do not count.
    """

    bins: np.ndarray
    units: np.ndarray
    offsets: np.ndarray
    chosen: np.ndarray
    steps: int
    inputs: int

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of the batch, were it dense."""
        return len(self.chosen), self.steps, self.inputs

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Bins, units, offsets and chosen recordings, as the kernels take them."""
        return self.bins, self.units, self.offsets, self.chosen

    @cached_property
    def count(self) -> int:
        """How many events there are."""
        return int(event_current.tally(*self.arrays, self.steps))

    def dense(self, dtype: type = np.float32, out: np.ndarray | None = None) -> np.ndarray:
        """The counts (N, T, U); `out`, if given, is overwritten and returned."""
        out = POOL.empty(self.shape, dtype) if out is None else out
        events.count(*self.arrays, out)
        return out
