"""Folders of N-MNIST event files: `<class>/*.bin`, five bytes an event.

Byte 0 is x (0..33, rightwards), byte 1 y (0..33, downwards), bytes 2 to 4 a big-endian word: its highest
bit is the polarity, the others the time in microseconds. Source: Orchard et al. 2015, Converting static
image datasets to spiking neuromorphic datasets using saccades. Units: x + 34 y + 1156 polarity.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from firstspike.data.recordings import Recordings, checked
from firstspike.errors import UserError
from firstspike.kernels import events as kernel

SHAPE = (2, 34, 34)  # polarity, row, column
MICROSECOND = 1e-6
EVENT_BYTES = 5
SUFFIXES = (".bin", ".bs2")
FILES_AT_ONCE = 1024


def read_nmnist(folder: Path, class_names: tuple[str, ...], *, skip_bad: bool = False) -> Recordings:
    """All recordings under `folder/<class>/`, in the order of classes and of file names.

    Raises UserError naming the file and the event where one is truncated, empty, out of order or beyond
    the sensor; with `skip_bad` such files are left out and counted.
    """
    files, labels = class_files(folder, class_names, SUFFIXES)
    sizes = np.array([file.stat().st_size for file in files], np.int64)
    whole = sizes % EVENT_BYTES == 0
    if not whole.all() and not skip_bad:
        cut = int(np.argmin(whole))
        raise UserError(
            f"{files[cut]} is truncated: {sizes[cut]} bytes are no whole number of five-byte events; "
            "fetch it again or skip such recordings (--skip-bad)"
        )
    kept = [file for file, good in zip(files, whole, strict=True) if good]
    offsets = np.concatenate([[0], np.cumsum(sizes[whole] // EVENT_BYTES)])
    times, units = _decode(kept, offsets)
    skipped = int((~whole).sum())
    recordings = Recordings(times, units, offsets, labels[whole], SHAPE, MICROSECOND, skipped=skipped)
    return checked(recordings, lambda n: str(kept[n]), skip_bad=skip_bad)


def _decode(files: list[Path], offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times int32 and units uint16 of all files, of which only some are in memory as bytes at a time."""
    times, units = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.uint16)
    for start in range(0, len(files), FILES_AT_ONCE):
        stop = min(start + FILES_AT_ONCE, len(files))
        rows = slice(offsets[start], offsets[stop])
        raw = np.empty(EVENT_BYTES * (rows.stop - rows.start), np.uint8)
        places = EVENT_BYTES * (offsets[start : stop + 1] - rows.start)
        for file, a, b in zip(files[start:stop], places[:-1], places[1:], strict=True):
            _fill(file, raw[a:b])
        kernel.decode_nmnist(raw, times[rows], units[rows])
    return times, units


def _fill(file: Path, raw: np.ndarray) -> None:
    try:
        with open(file, "rb", buffering=0) as stream:
            got = stream.readinto(raw)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    if got != len(raw):
        raise UserError(f"{file} changed while it was read: {got} bytes of {len(raw)}")


def class_files(
    folder: Path, class_names: tuple[str, ...], suffixes: tuple[str, ...]
) -> tuple[list[Path], np.ndarray]:
    """Files with one of the `suffixes` in `folder/<class>/`, sorted, and their labels int64."""
    files, labels = [], []
    for label, name in enumerate(class_names):
        found = sorted(f for f in (folder / name).glob("*") if f.suffix in suffixes)
        if not found and (folder / name).is_dir():
            raise UserError(f"the class folder {folder / name} holds no {' or '.join(suffixes)} files")
        files += found
        labels += [label] * len(found)
    if not files:
        raise UserError(f"{folder} holds no {' or '.join(suffixes)} files in class folders")
    return files, np.array(labels, np.int64)


def class_folders(folder: Path) -> tuple[str, ...]:
    """Names of the sub-folders, sorted: the classes."""
    names = tuple(sorted(f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith(".")))
    if not names:
        raise UserError(f"{folder} holds no class folders")
    return names
