"""Recordings of events, all in four flat arrays: times, units, where each recording starts, labels.

Letters: N recordings, E events, U units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from firstspike.errors import UserError
from firstspike.kernels import events as kernel


@dataclass(frozen=True, eq=False)
class Recordings:
    """Events of N recordings; recording n owns the events `offsets[n]` .. `offsets[n + 1] - 1`.

    `times` (E,): int32 ticks or float32, ascending within a recording, one unit of it lasting `tick`
    seconds; `units` uint16 (E,), below prod(`shape`); `offsets` int64 (N + 1,); `labels` int64 (N,);
    `extra`: further arrays (N,) by name, such as the speaker; `skipped`: how many bad recordings were
    left out when it was read.
    """

    times: np.ndarray
    units: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    shape: tuple[int, ...]
    tick: float
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def unit_count(self) -> int:
        """Number of units, U."""
        return math.prod(self.shape)

    def events(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Times and units of recording n."""
        rows = slice(self.offsets[n], self.offsets[n + 1])
        return self.times[rows], self.units[rows]

    def take(self, indices: np.ndarray) -> Recordings:
        """The recordings `indices` (or where a mask is true), in that order."""
        indices = np.arange(len(self))[indices]
        starts, sizes = self.offsets[indices], np.diff(self.offsets)[indices]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        rows = np.repeat(starts - offsets[:-1], sizes) + np.arange(offsets[-1])
        extra = {name: values[indices] for name, values in self.extra.items()}
        return replace(
            self,
            times=self.times[rows],
            units=self.units[rows],
            offsets=offsets,
            labels=self.labels[indices],
            extra=extra,
        )

    def part(self, start: int, stop: int) -> Recordings:
        """The recordings `start` .. `stop` - 1, without a copy."""
        offsets = self.offsets[start : stop + 1]
        rows = slice(offsets[0], offsets[-1])
        return replace(
            self,
            times=self.times[rows],
            units=self.units[rows],
            offsets=offsets - offsets[0],
            labels=self.labels[start:stop],
            extra={name: values[start:stop] for name, values in self.extra.items()},
        )

    def bins(self, indices: np.ndarray, steps: int, width: float, *, dtype: type = np.float32) -> np.ndarray:
        """Counts (len(indices), steps, U) in half-open bins of `width` seconds from time 0.

        For many batches bin once (`binning.binned`) and take batches from there.
        """
        from firstspike.data.binning import HalfOpen, binned

        chosen = binned(self.take(indices), HalfOpen(width))
        return chosen.batch(np.arange(len(chosen)), steps=steps, dtype=dtype)


def joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, units and offsets of recordings that come as pairs (times, units)."""
    sizes = np.array([len(times) for times, _ in parts], np.int64)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    if not parts:
        return np.empty(0, np.int32), np.empty(0, np.uint16), offsets
    return np.concatenate([t for t, _ in parts]), np.concatenate([u for _, u in parts]), offsets


def remapped(recordings: Recordings, table: np.ndarray, shape: tuple[int, ...]) -> Recordings:
    """Each event's unit u becomes `table[u]` (U,), in a sensor of `shape`; events with -1 are dropped."""
    units = table[recordings.units]
    kept = units >= 0
    offsets = np.concatenate([[0], np.cumsum(kept)])[recordings.offsets]
    times, units = recordings.times[kept], units[kept].astype(np.uint16)
    return replace(recordings, times=times, units=units, offsets=offsets, shape=shape)


def merge_polarities(recordings: Recordings) -> Recordings:
    """(2, H, W) -> (1, H, W): both polarities count as one."""
    planes, *size = recordings.shape
    table = np.arange(recordings.unit_count) % math.prod(size)
    return remapped(recordings, table, (1, *size)) if planes > 1 else recordings


def one_polarity(recordings: Recordings, polarity: int) -> Recordings:
    """(2, H, W) -> (1, H, W): events of the other polarity are dropped."""
    size = recordings.shape[1:]
    table = np.arange(recordings.unit_count) - polarity * math.prod(size)
    table[(table < 0) | (table >= math.prod(size))] = -1
    return remapped(recordings, table, (1, *size))


def coarser(recordings: Recordings, size: tuple[int, int], *, nearest: bool = False) -> Recordings:
    """(P, H, W) -> (P, *size): pixels fall together, no event is lost.

    With `nearest` only one pixel of each group counts, the one that a nearest-neighbour resize of frames
    takes.
    """
    planes, rows, columns = recordings.shape
    if size[0] > rows or size[1] > columns:
        raise UserError(f"events of {rows}x{columns} pixels cannot be enlarged to {size[0]}x{size[1]}")
    plane, row, column = np.unravel_index(np.arange(recordings.unit_count), recordings.shape)
    new_row, new_column = row * size[0] // rows, column * size[1] // columns
    table = np.ravel_multi_index((plane, new_row, new_column), (planes, *size))
    if nearest:
        sampled = (new_row * rows // size[0] == row) & (new_column * columns // size[1] == column)
        table = np.where(sampled, table, -1)
    return remapped(recordings, table, (planes, *size))


def grouped(recordings: Recordings, group: int) -> Recordings:
    """(U,) -> (ceil(U / group),): neighbouring units count as one."""
    table = np.arange(recordings.unit_count) // group
    return remapped(recordings, table, (int(table[-1]) + 1,))


def checked(recordings: Recordings, where: Callable[[int], str], *, skip_bad: bool) -> Recordings:
    """The recordings, if each has events, all on the sensor and in order of time.

    Raises UserError for the first that is bad, named by `where(n)`; with `skip_bad` the bad ones are left out
    and counted in `skipped`.
    """
    found = np.empty((len(recordings), 2), np.int64)
    r = recordings
    kernel.faults(r.times, r.units, r.offsets, r.unit_count, found)
    bad = found[:, 0] != kernel.FINE
    if not bad.any():
        return recordings
    if skip_bad and not bad.all():
        return replace(r.take(~bad), skipped=r.skipped + int(bad.sum()))
    n = int(np.argmax(bad))
    raise UserError(
        f"{where(n)} {_fault(*found[n], r.unit_count)}; repair it or skip such recordings (--skip-bad)"
    )


def _fault(code: int, event: int, unit_count: int) -> str:
    return {
        kernel.EMPTY: "holds no events",
        kernel.OUT_OF_RANGE: f"has its event {event} outside of the {unit_count} units",
        kernel.OUT_OF_ORDER: f"has its event {event} earlier than the one before",
        kernel.BAD_TIME: f"has an impossible time at event {event}",
    }[code]
