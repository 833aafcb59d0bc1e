"""From event times to bins: rules, the sparse store of binned recordings, dense batches, first events.

A rule gives each event its bin once; a batch is then one pass of counting. A data set is dense at no time.
Letters: N recordings, E events, T bins, U units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from firstspike.data.event_batch import Events
from firstspike.data.recordings import Recordings
from firstspike.errors import UserError
from firstspike.kernels import events as kernel

MOST_BINS = 65_535  # bins are uint16, and the last value means "in no bin"
AT_ONCE = 2**20  # events binned at a time, so that intermediate arrays stay small

Rule = Callable[[Recordings], tuple[np.ndarray, np.ndarray]]  # -> bins uint16 (E,), lengths int64 (N,)


@dataclass(frozen=True, eq=False)
class Binned:
    """Recordings whose events know their bin: `bins` and `units` uint16 (E,), `lengths` (N,) in bins."""

    bins: np.ndarray
    units: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def batch(
        self,
        indices: np.ndarray,
        *,
        steps: int | None = None,
        dtype: type = np.float32,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Counts (len(indices), T, U) of the recordings `indices`, coinciding events added, zeros at the end.

        T is `steps`, else the longest of the batch; events in bins from T on are left out. `out`, if
        given, is overwritten and returned.
        """
        return self.events(indices, steps=steps).dense(dtype, out)

    def events(self, indices: np.ndarray, *, steps: int | None = None) -> Events:
        """The same as a view of the events: nothing is copied, nothing is dense."""
        indices = np.asarray(indices, np.int64)
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"recordings {indices.min()} to {indices.max()} of {len(self)}")
        longest = int(self.lengths[indices].max(initial=1)) if steps is None else steps
        inputs = int(np.prod(self.shape))
        return Events(self.bins, self.units, self.offsets, indices, longest, inputs)


def binned(recordings: Recordings, rule: Rule) -> Binned:
    """Bin all recordings by `rule`, about a million events at a time."""
    r = recordings
    bins = np.empty(len(r.times), np.uint16)
    lengths = np.ones(len(r), np.int64)
    for start, stop in _parts(r.offsets):
        bins[r.offsets[start] : r.offsets[stop]], lengths[start:stop] = rule(r.part(start, stop))
    return Binned(bins, r.units, r.offsets, lengths, r.labels, r.shape)


def _parts(offsets: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of recordings with about AT_ONCE events each."""
    cuts = np.searchsorted(offsets, np.arange(0, offsets[-1] + AT_ONCE, AT_ONCE))
    cuts = np.unique(np.concatenate([[0], np.minimum(cuts, len(offsets) - 1), [len(offsets) - 1]]))
    return list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))


@dataclass(frozen=True)
class HalfOpen:
    """Bins [k width, (k + 1) width), `width` in seconds, from time 0 or from each recording's first event."""

    width: float
    from_first: bool = False

    def __call__(self, recordings: Recordings) -> tuple[np.ndarray, np.ndarray]:
        """Bins (E,) and lengths (N,), the last bin plus one."""
        width = _in_ticks(self.width, recordings.tick)
        latest = float(recordings.times.max(initial=0))
        if latest / width >= MOST_BINS:
            raise UserError(
                f"bins of {self.width} s: the latest event falls into bin {latest / width:.0f}; widen them"
            )
        bins = np.empty(len(recordings.times), np.uint16)
        kernel.half_open_bins(recordings.times, recordings.offsets, width, self.from_first, bins)
        return bins, _lengths(bins, recordings.offsets)


@dataclass(frozen=True)
class Frames:
    """Frames of `width` seconds from the first event on, an incomplete last one dropped (ParaLIF)."""

    width: float

    def __call__(self, recordings: Recordings) -> tuple[np.ndarray, np.ndarray]:
        """Bins (E,) and lengths (N,), F = max(1, floor((t_last - t_first - W) / W) + 1)."""
        bins, _ = HalfOpen(self.width, from_first=True)(recordings)
        width = _in_ticks(self.width, recordings.tick)
        first, last = _ends(recordings)
        frames = np.maximum(1, np.floor((last - first - width) / width) + 1).astype(np.int64)
        bins[bins >= np.repeat(frames, np.diff(recordings.offsets))] = kernel.DROPPED
        return bins, frames


@dataclass(frozen=True)
class Equal:
    """`steps` equal bins from the first event to one tick after the last: no event is lost.

    With `whole_ticks` a bin has floor((t_last - t_first) / T) ticks and what comes after the T-th is dropped
    (SpikingJelly's frames by equal time).
    """

    steps: int
    whole_ticks: bool = False

    def __call__(self, recordings: Recordings) -> tuple[np.ndarray, np.ndarray]:
        """Bins (E,) and lengths (N,), all `steps`."""
        if not 1 <= self.steps < MOST_BINS:
            raise UserError(f"{self.steps} time bins: must be 1 to {MOST_BINS - 1}")
        bins = np.empty(len(recordings.times), np.uint16)
        if self.whole_ticks:
            bins[:] = self._whole(recordings)
        else:
            tick = 1.0 if recordings.times.dtype.kind == "i" else 0.0
            kernel.equal_bins(recordings.times, recordings.offsets, self.steps, tick, bins)
        return bins, np.full(len(recordings), self.steps)

    def _whole(self, recordings: Recordings) -> np.ndarray:
        sizes = np.diff(recordings.offsets)
        first, last = _ends(recordings)
        width = np.maximum(1, (last - first) // self.steps)
        bins = (recordings.times - np.repeat(first, sizes)) // np.repeat(width, sizes)
        return np.where(bins < self.steps, bins, kernel.DROPPED)


@dataclass(frozen=True)
class HalfPrecision:
    """ParaLIF's binning of SHD: bin = trunc(half(float32(t) / float32(half(width))))."""

    width: float

    def __call__(self, recordings: Recordings) -> tuple[np.ndarray, np.ndarray]:
        """Bins (E,) and lengths (N,)."""
        bins = _in_half(recordings, self.width).astype(np.uint16)
        return bins, _lengths(bins, recordings.offsets)


@dataclass(frozen=True)
class HalfPrecisionCeil:
    """SPSN's binning of SHD: index = ceil(half(float32(t) / float32(half(1e-3)))), closed on the right.

    `longest` caps the index: trunc(half(t_max / half(1e-3))) + 1 with t_max the latest event of the split.
    """

    longest: int

    def __call__(self, recordings: Recordings) -> tuple[np.ndarray, np.ndarray]:
        """Bins (E,) and lengths (N,)."""
        bins = np.minimum(np.ceil(_in_half(recordings, 1e-3)), self.longest).astype(np.uint16)
        return bins, _lengths(bins, recordings.offsets)


@dataclass(frozen=True)
class Nearest:
    """FastSNN's binning: step = round_half_even(t 1000 / dt), t in s, `dt` in ms; from `steps` on dropped."""

    dt: float
    steps: int

    def __call__(self, recordings: Recordings) -> tuple[np.ndarray, np.ndarray]:
        """Bins (E,) and lengths (N,), all `steps`."""
        floating = recordings.times.dtype.kind == "f"  # as stored; ticks become float64 seconds
        seconds = recordings.times if floating else recordings.times * recordings.tick
        bins = np.rint(seconds * 1000 / self.dt)
        bins = np.where(bins < self.steps, bins, kernel.DROPPED).astype(np.uint16)
        return bins, np.full(len(recordings), self.steps)


def first_event_latencies(recordings: Recordings, steps: int) -> np.ndarray:
    """Latencies uint8 (N, *shape): the bin of each pixel's and polarity's first event, 255 where none is.

    The bins are `steps` equal ones over each recording's own duration (`Equal`).
    """
    if not 1 <= steps <= 254:
        raise UserError(f"{steps} steps: latencies have 1 to 254")
    out = np.full((len(recordings), recordings.unit_count), 255, np.uint8)
    for start, stop in _parts(recordings.offsets):
        piece = recordings.part(start, stop)
        bins, _ = Equal(steps)(piece)
        kernel.first_bins(bins, piece.units, piece.offsets, steps, out[start:stop])
    return out.reshape(len(recordings), *recordings.shape)


def _in_ticks(width: float, tick: float) -> float:
    """A width in seconds as ticks; a whole number of them where rounding is all that parts it from one."""
    if not width > 0:
        raise UserError(f"bins of {width} s: the width must be above 0")
    ticks = width / tick
    return round(ticks) if abs(ticks - round(ticks)) < 1e-9 * ticks and tick != 1.0 else ticks


def _in_half(recordings: Recordings, width: float) -> np.ndarray:
    seconds = recordings.times.astype(np.float32) * np.float32(recordings.tick)
    return (seconds / np.float32(np.float16(width))).astype(np.float16)


def _ends(recordings: Recordings) -> tuple[np.ndarray, np.ndarray]:
    """Times of the first and of the last event of each recording; 0 where there is none."""
    filled = np.diff(recordings.offsets) > 0
    first, last = (
        np.zeros(len(recordings), recordings.times.dtype),
        np.zeros(len(recordings), recordings.times.dtype),
    )
    first[filled] = recordings.times[recordings.offsets[:-1][filled]]
    last[filled] = recordings.times[recordings.offsets[1:][filled] - 1]
    return first, last


def _lengths(bins: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Last bin plus one of each recording, at least 1. Times ascend, and so do bins."""
    lengths = np.ones(len(offsets) - 1, np.int64)
    filled = np.diff(offsets) > 0
    lengths[filled] = bins[offsets[1:][filled] - 1].astype(np.int64) + 1
    return lengths
