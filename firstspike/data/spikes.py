"""Spike recordings in HDF5: the layout of the Spiking Heidelberg Digits, and N-TIDIGITS.

SHD (Cramer et al. 2020): `spikes/times` and `spikes/units` of variable length, `labels`, `extra/speaker`,
`extra/keys`; the file may be packed by gzip as a whole. N-TIDIGITS (Anumula et al. 2018): `<part>_labels`
holds names such as `man-im-a-7`, under which `<part>_timestamps` and `<part>_addresses` hold the events.
"""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from firstspike.data.recordings import Recordings, checked, joined
from firstspike.errors import UserError
from firstspike.kernels.events import NOWHERE

if TYPE_CHECKING:
    import h5py

LARGEST = 8 * 2**30  # bytes of a file once unpacked
MOST_RECORDINGS = 2**24
RECORDINGS_AT_ONCE = 256
NTIDIGITS_CLASSES = (*"0123456789", "o")
NTIDIGITS_UNITS = 64

Pairs = list[tuple[np.ndarray, np.ndarray]]


def read_shd(
    path: Path, *, unit_count: int = 700, skip_bad: bool = False
) -> tuple[Recordings, tuple[str, ...]]:
    """The recordings of an SHD-like file, packed or not, with `extra["speaker"]` if it tells; class names.

    Times stay in seconds and as exact as stored. Raises UserError naming the file and the recording for
    anything that is missing, of the wrong kind, out of order or out of range.
    """
    with _open(path) as file:
        labels = _array(file, "labels", path).astype(np.int64)
        times, units = _dataset(file, "spikes/times"), _dataset(file, "spikes/units")
        if not len(labels) == len(times) == len(units) <= MOST_RECORDINGS:
            raise UserError(f"{path} has {len(labels)} labels, {len(times)} times and {len(units)} units")
        pairs = _pairs(times, units, file.id.get_filesize(), path)
        extra = {"speaker": _array(file, "extra/speaker", path)} if "extra/speaker" in file else {}
        names = [_text(key) for key in _array(file, "extra/keys", path)] if "extra/keys" in file else None
    classes = tuple(names or map(str, range(int(labels.max(initial=0)) + 1)))
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise UserError(
            f"{path} has labels from {labels.min()} to {labels.max()}, but {len(classes)} classes"
        )
    return _recordings(pairs, labels, unit_count, extra, path, skip_bad), classes


def read_ntidigits(path: Path, part: str, *, skip_bad: bool = False) -> Recordings:
    """The single digits of a part (train, test) of N-TIDIGITS, 64 units, classes 0 to 9 and `o`.

    Only names that end in "-" and one character are single digits; `z` is a zero, `o` the class 10.
    """
    with _open(path) as file:
        names = [_text(name) for name in _array(file, f"{part}_labels", path)]
        names = [name for name in names if len(name.rpartition("-")[2]) == 1]
        pairs = [
            (_dataset(file, f"{part}_timestamps/{name}")[:], _dataset(file, f"{part}_addresses/{name}")[:])
            for name in names
        ]
    labels = np.array([_digit(name, path) for name in names], np.int64)
    people, speakers = np.unique([name.rsplit("-", 2)[0] for name in names], return_inverse=True)
    extra = {"speaker": speakers, "speaker_name": people[speakers]} if names else {}
    return _recordings(pairs, labels, NTIDIGITS_UNITS, extra, path, skip_bad)


def _digit(name: str, path: Path) -> int:
    spoken = name[-1].replace("z", "0")
    if spoken not in NTIDIGITS_CLASSES:
        raise UserError(f"{path}: the name {name} ends in no digit, z or o")
    return NTIDIGITS_CLASSES.index(spoken)


def _recordings(
    pairs: Pairs,
    labels: np.ndarray,
    unit_count: int,
    extra: dict[str, np.ndarray],
    path: Path,
    skip_bad: bool,
) -> Recordings:
    for n, (times, units) in enumerate(pairs):
        if len(times) != len(units):
            if not skip_bad:
                raise UserError(f"{path}: recording {n} has {len(times)} times but {len(units)} units")
            pairs[n] = (times[:0], units[:0])  # an empty one is left out below
    times, units, offsets = joined(pairs)
    if times.dtype.kind != "f" or units.dtype.kind not in "iu":
        raise UserError(
            f"{path} has times of type {times.dtype} and units of type {units.dtype}; wanted float, int"
        )
    times = times.astype(np.result_type(times.dtype, np.float32))  # half precision is exact in float32
    units = np.where((units >= 0) & (units < unit_count), units, NOWHERE).astype(np.uint16)
    recordings = Recordings(times, units, offsets, labels, (unit_count,), 1.0, extra)
    return checked(recordings, lambda n: f"{path}: recording {n}", skip_bad=skip_bad)


def _pairs(times: h5py.Dataset, units: h5py.Dataset, size: int, path: Path) -> Pairs:
    """All recordings' times and units, read some at a time; together no larger than their file."""
    pairs, total = [], 0
    for start in range(0, len(times), RECORDINGS_AT_ONCE):
        rows = slice(start, start + RECORDINGS_AT_ONCE)
        chunk = list(zip(times[rows], units[rows], strict=True))
        total += sum(t.nbytes for t, _ in chunk)
        if total > size:  # many recordings may point to the same bytes
            raise UserError(f"{path} is damaged: its recordings are larger than the file itself")
        pairs += chunk
    return pairs


@contextlib.contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file for reading, unpacked in memory if its name ends in .gz; whatever fails names the file."""
    import h5py

    try:
        if path.suffix == ".gz":
            properties = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
            properties.set_fapl_core(backing_store=False)
            properties.set_file_image(_unpacked(path))
            handle = h5py.h5f.open(path.name.encode(), h5py.h5f.ACC_RDONLY, fapl=properties)
            with h5py.File(handle) as file:
                yield file
        else:
            with h5py.File(path, "r") as file:
                yield file
    except UserError:
        raise
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, zlib.error) as error:
        reason = str(error).strip("'\"").splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} is not a readable recording file, or truncated ({reason}); fetch it again"
        ) from error


def _unpacked(path: Path) -> bytes:
    with gzip.open(path, "rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise UserError(f"{path} unpacks to more than {LARGEST} bytes; unpack it yourself")
    return data


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """A data set that lies in the file itself: no link, no external storage, no view of other files."""
    import h5py

    group = file
    for step in name.split("/"):
        if not isinstance(group, h5py.Group) or step not in group:
            raise KeyError(f"there is no {name}")
        if not isinstance(group.get(step, getlink=True), h5py.HardLink):
            raise KeyError(f"{name} is a link")
        group = group[step]
    if not isinstance(group, h5py.Dataset) or group.ndim != 1 or group.external or group.is_virtual:
        raise KeyError(f"{name} is not a plain list")
    return group


def _array(file: h5py.File, name: str, path: Path) -> np.ndarray:
    found = _dataset(file, name)
    if len(found) > MOST_RECORDINGS:
        raise UserError(f"{path}: {name} has {len(found)} entries, more than {MOST_RECORDINGS}")
    return found[:]


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
