"""Camera recordings: AEDAT 2.0 (CIFAR10-DVS) and 3.1 (DVS-Gesture), and data sets with tonic's interface.

AEDAT 2.0: lines that start with "#", then big-endian pairs of 32-bit words, address and microseconds;
DVS128's address has the polarity in bit 0, x in bits 1 to 7, y in bits 8 to 14, bit 15 set for what is no
pixel's event. AEDAT 3.1: a header that ends with "#!END-HEADER", then packets of a 28-byte little-endian
head and its events; a polarity event (type 1) is a word (valid, polarity, 15 bits y, 15 bits x, from the
lowest bit) and microseconds. Source: inivation, AEDAT file formats.
"""

from __future__ import annotations

import csv
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from firstspike.data.events import MICROSECOND
from firstspike.data.recordings import Recordings, checked, joined
from firstspike.errors import UserError
from firstspike.kernels.events import NOWHERE

SHAPE = (2, 128, 128)
GESTURES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter clockwise",
    "left arm clockwise",
    "left arm counter clockwise",
    "arm roll",
    "air drums",
    "air guitar",
)  # an eleventh, "other", is left out
POLARITY_EVENT = 1
PACKET_HEAD = struct.Struct("<hhiiiiii")  # type, source, size, time offset, overflow, capacity, number, valid
LARGEST_FILE = 2**31

Events = tuple[np.ndarray, np.ndarray]  # times in microseconds int64, units int64
Pair = tuple[np.ndarray, np.ndarray]  # the same as int32 and uint16


class TonicDataset(Protocol):
    """tonic's data set interface: items are (structured array with t, x, y, p; label)."""

    sensor_size: tuple[int, int, int]

    def __len__(self) -> int:
        """Number of recordings."""
        ...

    def __getitem__(self, index: int) -> tuple[np.ndarray, Any]:
        """Events and label."""
        ...


def from_tonic(dataset: TonicDataset, *, skip_bad: bool = False) -> Recordings:
    """Recordings of any object with tonic's interface; `sensor_size` is (columns, rows, polarities).

    Times are taken as microseconds, as in tonic. A sensor of one row and one polarity gives the shape
    (units,).
    """
    columns, rows, planes = dataset.sensor_size
    shape = (columns,) if rows == planes == 1 else (planes, rows, columns)
    items = [dataset[n] for n in range(len(dataset))]
    pairs = [_compact(*_tonic_events(events, columns, rows), math.prod(shape)) for events, _ in items]
    labels = np.array([label for _, label in items], np.int64)
    return _recordings(
        pairs, labels, shape, {}, lambda n: f"recording {n} of {type(dataset).__name__}", skip_bad
    )


def _tonic_events(events: np.ndarray, columns: int, rows: int) -> Events:
    fields = events.dtype.names or ()
    units = events["x"].astype(np.int64)
    if "y" in fields:
        units += columns * events["y"].astype(np.int64)
        if "p" in fields:
            units += columns * rows * events["p"].astype(np.int64)
    times = events["t"].astype(np.int64)
    return times - times[:1], units


def read_cifar10_dvs(files: list[Path], labels: np.ndarray, *, skip_bad: bool = False) -> Recordings:
    """Some recordings of CIFAR10-DVS (Li et al. 2017): all 10,000 hold more events than most memories.

    `extra["index"]` tells which of `files` each one is.
    """
    pairs = [_compact(*_read_or_skip(file, skip_bad), math.prod(SHAPE)) for file in files]
    extra = {"index": np.arange(len(files))}
    return _recordings(pairs, labels, SHAPE, extra, lambda n: str(files[n]), skip_bad)


def _read_or_skip(path: Path, skip_bad: bool) -> Events:
    try:
        return read_aedat2(path)
    except UserError:
        if not skip_bad:
            raise
        return np.empty(0, np.int64), np.empty(0, np.int64)  # left out and counted as one without events


def read_aedat2(path: Path) -> Events:
    """Events of a DVS128 recording: microseconds from the first on, units x + 128 y + 16384 polarity.

    The sensor stood on its side: column = 127 - y, row = 127 - x, and a 0 in its polarity bit means brighter.
    """
    data = _read(path)
    start = 0
    while data.startswith(b"#", start) and b"\n" in data[start : start + 1000]:
        start = data.index(b"\n", start) + 1
    if start == 0 or (len(data) - start) % 8:
        raise UserError(f"{path} is not an AEDAT 2.0 file, or truncated; fetch it again")
    words = np.frombuffer(data, ">u4", offset=start).astype(np.int64).reshape(-1, 2)
    address, times = words[words[:, 0] >> 15 == 0].T
    row, column, polarity = 127 - (address >> 1 & 127), 127 - (address >> 8 & 127), 1 - (address & 1)
    return times - times[:1], column + 128 * row + 128 * 128 * polarity


def read_gestures(folder: Path, part: str, *, skip_bad: bool = False) -> Recordings:
    """A part (train, test) of DVS-Gesture (Amir et al. 2017), cut into trials as its label files say.

    `folder` holds `trials_to_<part>.txt`, and for each file it lists `X.aedat` and `X_labels.csv` (class
    from 1, start, end; half open). Class 11, "other", is left out. `extra["speaker"]` is the user's
    number.
    """
    listing = folder / f"trials_to_{part}.txt"
    names = [line.strip() for line in _read(listing).decode("utf-8", "replace").splitlines() if line.strip()]
    pairs, labels, users, places = [], [], [], []
    for name in names:
        path = folder / Path(name).name
        times, units = read_aedat3(path)
        for label, start, stop in _trials(path.with_name(f"{path.stem}_labels.csv")):
            rows = slice(*np.searchsorted(times, [start, stop]))
            pairs.append(_compact(times[rows] - start, units[rows], math.prod(SHAPE)))
            labels.append(label)
            users.append(_user(path))
            places.append(f"{path}, gesture {label + 1} from {start} us")
    extra = {"speaker": np.array(users, np.int64)}
    return _recordings(pairs, np.array(labels, np.int64), SHAPE, extra, lambda n: places[n], skip_bad)


def _user(path: Path) -> int:
    digits = "".join(c for c in path.stem.partition("_")[0] if c.isdigit())
    return int(digits) if digits else -1


def _trials(path: Path) -> list[tuple[int, int, int]]:
    """(label from 0, start, end) of each trial of one of the ten gestures."""
    try:
        rows = [
            [int(cell) for cell in row[:3]] for row in list(csv.reader(_read(path).decode().splitlines()))[1:]
        ]
        return [(c - 1, start, stop) for c, start, stop in rows if 1 <= c <= len(GESTURES)]
    except ValueError as error:
        raise UserError(f"{path} is not a list of class, start, end ({error})") from error


def read_aedat3(path: Path) -> Events:
    """Valid polarity events of an AEDAT 3.1 file: microseconds, units x + 128 y + 16384 polarity."""
    data = _read(path)
    marker = b"#!END-HEADER\r\n"
    place = data.find(marker, 0, 100_000) + len(marker)
    if not data.startswith(b"#!AER-DAT3") or place < len(marker):
        raise UserError(f"{path} is not an AEDAT 3.1 file; fetch it again")
    packets = []
    while place < len(data):
        place, words, overflow = _packet(data, place, path)
        if words is not None:
            packets.append(_polarity(words, overflow))
    times, units, _ = joined(packets)
    return times, units


def _packet(data: bytes, place: int, path: Path) -> tuple[int, np.ndarray | None, int]:
    """Where the next packet starts, and this one's words uint32 (events, 2) if they are polarity events."""
    if place + PACKET_HEAD.size > len(data):
        raise UserError(f"{path} is truncated within a packet's head at byte {place}; fetch it again")
    kind, _, size, _, overflow, _, number, _ = PACKET_HEAD.unpack_from(data, place)
    start, stop = place + PACKET_HEAD.size, place + PACKET_HEAD.size + size * number
    if size < 0 or number < 0 or stop > len(data):
        raise UserError(f"{path} is truncated or damaged in the packet at byte {place}; fetch it again")
    if kind != POLARITY_EVENT or size != 8:
        return stop, None, 0
    return stop, np.frombuffer(data, "<u4", 2 * number, start).reshape(-1, 2), overflow


def _polarity(words: np.ndarray, overflow: int) -> Events:
    word, low = words[words[:, 0] & 1 == 1].astype(np.int64).T
    x, y, polarity = word >> 17 & 0x7FFF, word >> 2 & 0x7FFF, word >> 1 & 1
    units = np.where((x < 128) & (y < 128), x + 128 * y + 128 * 128 * polarity, NOWHERE)
    return low + (overflow << 31), units


def _compact(times: np.ndarray, units: np.ndarray, unit_count: int) -> Pair:
    """int32 times and uint16 units; what does not fit becomes what the check refuses."""
    known = (units >= 0) & (units < unit_count)
    short = np.where(times < 2**31, times, -1).clip(-1)
    return short.astype(np.int32), np.where(known, units, NOWHERE).astype(np.uint16)


def _recordings(
    pairs: list[Pair],
    labels: np.ndarray,
    shape: tuple[int, ...],
    extra: dict[str, np.ndarray],
    where: Callable[[int], str],
    skip_bad: bool,
) -> Recordings:
    times, units, offsets = joined(pairs)
    return checked(
        Recordings(times, units, offsets, labels, shape, MICROSECOND, extra), where, skip_bad=skip_bad
    )


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(f"{path} is larger than {LARGEST_FILE} bytes")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
