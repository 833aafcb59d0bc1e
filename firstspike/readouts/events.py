"""Samples as lists of input spikes: the form in which a readout takes its features.

S samples, I inputs, L spikes of all samples together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from firstspike.errors import UserError

CHUNK = 512  # samples that are brought from dense to sparse at a time, to bound the memory
BLOCK = 4000  # images whose dense features are in memory at a time


@dataclass(frozen=True)
class Events:
    """Input spikes of S samples, at most one an input, in order of time, ties by ascending input.

    `offsets` int64 (S + 1,): sample s owns spikes offsets[s] ... offsets[s + 1]; `index` int32 (L,);
    `times` float32 (L,) in [0, max_time). Inputs without a spike are silent; `inputs` is their number in all.
    """

    offsets: np.ndarray
    index: np.ndarray
    times: np.ndarray
    inputs: int
    max_time: float = 1.0

    def __len__(self) -> int:
        """Give the number of samples."""
        return len(self.offsets) - 1

    def counts(self) -> np.ndarray:
        """Give the number of spikes of each sample, int64 (S,)."""
        return np.diff(self.offsets)

    def take(self, samples: Sequence[int] | np.ndarray) -> "Events":
        """Give the events of the chosen samples, in the order chosen; of neighbours in order without a copy."""
        samples = np.asarray(samples, np.int64)
        if _neighbours(samples):
            return self._stretch(samples[0], samples[-1] + 1)
        counts = self.counts()[samples]
        offsets = _offsets(counts)
        source = np.repeat(self.offsets[samples] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Events(offsets, self.index[source], self.times[source], self.inputs, self.max_time)

    def _stretch(self, start: int, stop: int) -> "Events":
        offsets = self.offsets[start : stop + 1]
        spikes = slice(offsets[0], offsets[-1])
        return Events(
            offsets - offsets[0], self.index[spikes], self.times[spikes], self.inputs, self.max_time
        )

    def dense(self) -> np.ndarray:
        """Give the spike times of every input, `max_time` where silent, float32 (S, I)."""
        out = np.full((len(self), self.inputs), self.max_time, np.float32)
        out[np.repeat(np.arange(len(self)), self.counts()), self.index] = self.times
        return out

    def intensities(self) -> np.ndarray:
        """Give max_time - time of every input, 0 where silent, float32 (S, I), for other classifiers."""
        return np.float32(self.max_time) - self.dense()


def _neighbours(samples: np.ndarray) -> bool:
    """Whether samples follow each other; where all of a data set do, a copy might not fit in memory."""
    return len(samples) > 0 and bool((np.diff(samples) == 1).all())


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def check_times(times: np.ndarray, max_time: float) -> None:
    """Refuse dense spike times that are no real numbers, not (S, ...), NaN or negative, naming the first."""
    if times.ndim < 2 or times.size == 0:
        raise UserError(
            f"spike times have shape {times.shape}; expected (samples, ...) with at least one of each"
        )
    if times.dtype.kind not in "fiu":
        raise UserError(f"spike times are of type {times.dtype}; expected real numbers")
    if not (np.isfinite(max_time) and max_time > 0):
        raise UserError(f"max_time is {max_time}; expected a positive number")
    for name, wrong in (("NaN", np.isnan), ("negative", lambda block: block < 0)):
        for start in range(0, len(times), CHUNK):
            found = np.argwhere(wrong(times[start : start + CHUNK]))
            if len(found):
                place = (int(found[0][0]) + start, *map(int, found[0][1:]))
                raise UserError(
                    f"spike time at {place} is {name}; expected 0 ... {max_time} ({max_time} = silent)"
                )


def from_dense(times: np.ndarray, *, max_time: float = 1.0, scale: float = 1.0) -> Events:
    """Make events from spike times (S, ...), flattened in C order; `max_time` or later means no spike.

    Times are float32(time / scale); ties keep the order of the inputs. Raises UserError for NaN, negative
    times or a shape that is not (S, ...).
    """
    times = np.asarray(times)
    check_times(times, max_time)
    inputs = int(np.prod(times.shape[1:]))
    parts = [
        _sort_rows(np.float32(times[s : s + CHUNK].reshape(-1, inputs) / scale), max_time)
        for s in range(0, len(times), CHUNK)
    ]
    counts, index, sorted_times = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Events(_offsets(counts), index, sorted_times, inputs, float(max_time))


def _sort_rows(times: np.ndarray, max_time: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give spikes per row, inputs and times of a dense block (S, I), row by row in order of (time, input)."""
    rows, inputs = np.nonzero(times < np.float32(max_time))
    moments = times[rows, inputs] + np.float32(0)  # -0.0 becomes 0.0: bits of floats from 0 up sort like them
    counts = np.bincount(rows, minlength=len(times))
    keys = moments.view(np.uint32).astype(np.uint64) << np.uint64(32) | inputs.astype(np.uint64)
    ends = np.cumsum(counts)
    for start, end in zip(ends - counts, ends, strict=True):
        keys[start:end].sort()
    index = (keys & np.uint64(0xFFFFFFFF)).astype(np.int32)
    return counts, index, (keys >> np.uint64(32)).astype(np.uint32).view(np.float32)


def join(parts: Sequence[Events]) -> Events:
    """Put the samples of several events one behind the other; they must agree in inputs and max_time."""
    if len({(part.inputs, part.max_time) for part in parts}) != 1:
        raise UserError("events to join differ in their number of inputs or their max_time")
    return Events(
        _offsets(np.concatenate([part.counts() for part in parts])),
        np.concatenate([part.index for part in parts]),
        np.concatenate([part.times for part in parts]),
        parts[0].inputs,
        parts[0].max_time,
    )


def in_blocks(make: Callable[[np.ndarray], Events], images: np.ndarray) -> Events:
    """Put together what `make` makes of images, a block at a time: dense features of all may not fit in memory."""
    return join([make(images[start : start + BLOCK]) for start in range(0, len(images), BLOCK)])


def check_training(events: Events) -> None:
    """Refuse a training sample without any spike: no rule could learn from it."""
    empty = np.flatnonzero(events.counts() == 0)
    if len(empty):
        raise UserError(
            f"{len(empty)} training samples have no spike, the first is number {empty[0]}; "
            "drop them, or code the features so that every sample spikes"
        )
