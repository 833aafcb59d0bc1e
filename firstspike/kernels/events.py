"""Event streams: decode, check, bin, count, first event.

A set of recordings is flat: event e of recording n is one of `offsets[n]` .. `offsets[n + 1] - 1` in the
arrays of times, units and bins. Letters: N recordings, E events, T bins, U units.
"""

from __future__ import annotations

import numpy as np

from firstspike.kernels.jit import compiled

FINE, EMPTY, OUT_OF_RANGE, OUT_OF_ORDER, BAD_TIME = range(5)  # what `faults` reports
NOWHERE = 65535  # unit of an event whose place is not on the sensor
DROPPED = 65535  # bin of an event that belongs to none


@compiled
def decode_nmnist(raw: np.ndarray, times: np.ndarray, units: np.ndarray) -> None:
    """Five-byte events `raw` uint8 (5 E,) -> microseconds int32 and unit = x + 34 y + 1156 polarity (E,)."""
    for e in range(len(times)):
        x, y, high = raw[5 * e], raw[5 * e + 1], np.int32(raw[5 * e + 2])
        times[e] = ((high & 127) << 16) | (np.int32(raw[5 * e + 3]) << 8) | np.int32(raw[5 * e + 4])
        units[e] = np.int32(x) + 34 * np.int32(y) + 1156 * (high >> 7) if x < 34 and y < 34 else NOWHERE


@compiled
def faults(
    times: np.ndarray, units: np.ndarray, offsets: np.ndarray, unit_count: int, out: np.ndarray
) -> None:
    """The first fault of each recording: `out` int64 (N, 2) gets a code and the event's number within it."""
    for n in range(len(offsets) - 1):
        out[n, 0], out[n, 1] = EMPTY if offsets[n] == offsets[n + 1] else FINE, 0
        before = times[offsets[n]] if offsets[n] < offsets[n + 1] else times.dtype.type(0)
        for e in range(offsets[n], offsets[n + 1]):
            code = FINE
            if not 0 <= times[e] < np.inf:  # also NaN
                code = BAD_TIME
            elif times[e] < before:
                code = OUT_OF_ORDER
            elif units[e] >= unit_count:
                code = OUT_OF_RANGE
            if code != FINE:
                out[n, 0], out[n, 1] = code, e - offsets[n]
                break
            before = times[e]


@compiled
def half_open_bins(
    times: np.ndarray, offsets: np.ndarray, width: float, from_first: bool, out: np.ndarray
) -> None:
    """Bin of every event, floor((t - origin) / width) in float64: bins are [k width, (k + 1) width).

    `out` uint16 (E,); the origin is 0, or the recording's first event. Bins past 65,534 count as DROPPED.
    """
    for n in range(len(offsets) - 1):
        start, stop = offsets[n], offsets[n + 1]
        origin = np.float64(times[start]) if from_first and start < stop else 0.0
        for e in range(start, stop):
            out[e] = np.uint16(min((np.float64(times[e]) - origin) / width, 65535.0))


@compiled
def equal_bins(times: np.ndarray, offsets: np.ndarray, steps: int, tick: float, out: np.ndarray) -> None:
    """Bin of every event, the time from the first one to a `tick` after the last being cut into `steps`."""
    for n in range(len(offsets) - 1):
        start, stop = offsets[n], offsets[n + 1]
        if start < stop:
            origin = np.float64(times[start])
            span = max(np.float64(times[stop - 1]) - origin + tick, 1e-300)  # one event, no tick: bin 0
            for e in range(start, stop):
                # The minimum only guards against a quotient rounded up.
                out[e] = min(np.int64((np.float64(times[e]) - origin) * steps / span), steps - 1)


@compiled
def count(
    bins: np.ndarray, units: np.ndarray, offsets: np.ndarray, indices: np.ndarray, out: np.ndarray
) -> None:
    """Events in each cell of the recordings `indices`; bins from T on are left out. `out` (len(indices), T, U) is
    overwritten.

    A step's cells are cleared just before its first event, while they are near: events come in order of time.
    """
    steps = out.shape[1]
    for row in range(len(indices)):
        cleared = 0
        for e in range(offsets[indices[row]], offsets[indices[row] + 1]):
            if bins[e] < steps:
                while cleared <= bins[e]:
                    out[row, cleared] = 0
                    cleared += 1
                out[row, bins[e], units[e]] += 1
        while cleared < steps:
            out[row, cleared] = 0
            cleared += 1


@compiled
def first_bins(bins: np.ndarray, units: np.ndarray, offsets: np.ndarray, steps: int, out: np.ndarray) -> None:
    """The bin of each unit's first event, if below `steps`: `out` uint8 (N, U), which holds 255 before."""
    for n in range(len(offsets) - 1):
        for e in range(offsets[n], offsets[n + 1]):
            if bins[e] < steps:
                out[n, units[e]] = min(out[n, units[e]], np.uint8(bins[e]))
