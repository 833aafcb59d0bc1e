"""Feature files: spike times and labels in one .npz, dense or as lists of spikes.

Dense: `times` (S, ...), real numbers, `max_time` or later = silent, and `labels` (S,), whole numbers.
As lists: `offsets`, `index`, `times` and `inputs` (see `events.Events`) in place of dense times. Optional in
both: `max_time` (1 where absent), and a test set of the same form under names that begin with `test_`.
"""

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firstspike.errors import UserError
from firstspike.files import atomic_write
from firstspike.readouts.decision import label_ranks
from firstspike.readouts.events import CHUNK, Events, from_dense

MOST_BYTES = 64 * 2**30  # of one array: beyond it the header of a file is taken for damaged
READ_AT_ONCE = 2**26  # bytes
KEYS = {"times", "labels", "offsets", "index", "inputs"}


@dataclass(frozen=True)
class Features:
    """Spike-time features: training and test events, with labels 0 ... C - 1, and the labels' own names.

    `classes` holds the C distinct labels of the training set, sorted; `test` and `test_labels` are None where
    the file has none.
    """

    train: Events
    labels: np.ndarray
    test: Events | None
    test_labels: np.ndarray | None
    classes: np.ndarray


def load_features(path: str | os.PathLike[str]) -> Features:
    """Read and check a feature file; UserError says what is wrong with it."""
    arrays = read_arrays(Path(path))
    unknown = sorted(set(arrays) - KEYS - {f"test_{key}" for key in KEYS} - {"max_time"})
    if unknown:
        raise UserError(f"{path}: array {unknown[0]!r} has no meaning in a feature file; it takes {_help()}")
    max_time = float(_scalar(path, arrays, "max_time")) if "max_time" in arrays else 1.0
    try:
        train, labels = _part(path, arrays, "", max_time)
        classes, ranks = label_ranks(labels)
        if not any(name.startswith("test_") for name in arrays):
            return Features(train, ranks, None, None, classes)
        test, test_labels = _part(path, arrays, "test_", max_time)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if test.inputs != train.inputs:
        raise UserError(
            f"{path}: {train.inputs} inputs in training, {test.inputs} in test; expected the same"
        )
    if strange := sorted(set(test_labels) - set(classes)):
        raise UserError(f"{path}: test label {strange[0]} does not occur in training")
    return Features(train, ranks, test, np.searchsorted(classes, test_labels), classes)


def save_features(
    path: str | os.PathLike[str],
    events: Events,
    labels: np.ndarray,
    *,
    test: Events | None = None,
    test_labels: np.ndarray | None = None,
) -> None:
    """Write features as lists of spikes, atomically."""
    arrays = {"max_time": np.float64(events.max_time), **_lists("", events, labels)}
    if test is not None:
        arrays |= _lists("test_", test, test_labels)
    with atomic_write(path) as file:
        np.savez(file, **arrays)


def convert(
    times: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    max_time: float = 1.0,
    test: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
) -> Features:
    """Make a feature file of dense .npy pairs, spike times (S, ...) and labels (S,); give it as read back."""
    train = _pair(times, labels, max_time)
    held_out = (None, None) if test is None else _pair(*test, max_time)
    save_features(path, *train, test=held_out[0], test_labels=held_out[1])
    return load_features(path)


def _pair(
    times: str | os.PathLike[str], labels: str | os.PathLike[str], max_time: float
) -> tuple[Events, np.ndarray]:
    try:
        dense = np.load(times, mmap_mode="r", allow_pickle=False)
        found = np.load(labels, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{times}, {labels}: {error}; expected two .npy files of numbers") from error
    try:
        return from_dense(dense, max_time=max_time), _labels(found, len(dense))
    except UserError as error:
        raise UserError(f"{times}, {labels}: {error}") from error


def _help() -> str:
    return "times and labels, or offsets, index, times, inputs and labels; test_..., max_time"


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read every array of an .npz; UserError if it is none, is damaged, or claims more than it holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {}
            for member in archive.infolist():
                if member.file_size > MOST_BYTES:
                    raise UserError(f"{path}: {member.filename} claims {member.file_size} bytes")
                with archive.open(member) as file:
                    arrays[member.filename.removesuffix(".npy")] = _array(file, member)
            return arrays
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: {error}; expected an .npz with {_help()}") from error


def _array(file: zipfile.ZipExtFile, member: zipfile.ZipInfo) -> np.ndarray:
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"array format {version}")
    shape, fortran, dtype = read_header(file)
    count = int(np.prod(shape, dtype=object))
    if dtype.kind not in "fiub" or count * dtype.itemsize != member.file_size - file.tell():
        raise ValueError(f"{member.filename}: {dtype} {shape} does not fit its {member.file_size} bytes")
    flat = np.empty(count, dtype)
    plain = flat.view(np.uint8)
    for start in range(0, len(plain), READ_AT_ONCE):  # arrays may be so large that a copy has no room
        some = plain[start : start + READ_AT_ONCE]
        if file.readinto(some) != len(some):
            raise ValueError(f"{member.filename} is truncated")
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _scalar(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], name: str) -> float:
    if arrays[name].size != 1:
        raise UserError(f"{path}: {name} has shape {arrays[name].shape}; expected one number")
    return arrays[name].item()


def _labels(labels: np.ndarray, samples: int) -> np.ndarray:
    if labels.shape != (samples,) or labels.dtype.kind not in "iu":
        raise UserError(
            f"labels of shape {labels.shape}, type {labels.dtype}; expected {samples} whole numbers"
        )
    return labels.astype(np.int64)


def _part(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], prefix: str, max_time: float
) -> tuple[Events, np.ndarray]:
    """Build the events and labels of the training (prefix "") or the test part."""
    given = {key: arrays[prefix + key] for key in KEYS if prefix + key in arrays}
    missing = {"times", "labels"} - given.keys()
    if {"offsets", "index", "inputs"} & given.keys():
        missing |= KEYS - given.keys()
    if missing:
        raise UserError(f"no array {prefix}{sorted(missing)[0]}; expected {_help()}")
    if "offsets" not in given:
        events = from_dense(given["times"], max_time=max_time)
    else:
        inputs = int(_scalar(path, given, "inputs"))
        events = Events(
            given["offsets"].astype(np.int64),
            given["index"].astype(np.int32),
            given["times"].astype(np.float32),
            inputs,
            max_time,
        )
        check_events(events)
    return events, _labels(given["labels"], len(events))


def check_events(events: Events) -> None:
    """Refuse lists of spikes that are not what `Events` promises; UserError names the fault."""
    offsets, index, times = events.offsets, events.index, events.times
    if offsets.ndim != 1 or len(offsets) < 2 or offsets[0] != 0 or np.any(np.diff(offsets) < 0):
        raise UserError("offsets; expected one more than samples, ascending from 0")
    if index.shape != (offsets[-1],) or times.shape != index.shape:
        raise UserError(f"{index.shape} indices, {times.shape} times; expected {offsets[-1]} of each")
    if not (np.isfinite(events.max_time) and events.max_time > 0):
        raise UserError(f"max_time is {events.max_time}; expected a positive number")
    if events.inputs < 1 or (index.size and (index.min() < 0 or index.max() >= events.inputs)):
        raise UserError(f"spike of an input outside 0 ... {events.inputs - 1}")
    if not np.all((times >= 0) & (times < np.float32(events.max_time))):
        raise UserError(f"spike time that is not in [0, {events.max_time})")
    sample = np.repeat(np.arange(len(events)), events.counts())
    same = sample[1:] == sample[:-1]
    if np.any(same & ((times[1:] < times[:-1]) | ((times[1:] == times[:-1]) & (index[1:] <= index[:-1])))):
        raise UserError("spikes out of order; expected ascending times, ties by ascending input")
    for start in range(0, len(events), CHUNK):
        part = events.take(np.arange(start, min(start + CHUNK, len(events))))
        fired = np.zeros((len(part), events.inputs), bool)
        fired[np.repeat(np.arange(len(part)), part.counts()), part.index] = True
        if np.count_nonzero(fired) != len(part.index):
            raise UserError("an input that spikes twice in one sample; expected once at most")


def _lists(prefix: str, events: Events, labels: np.ndarray) -> dict[str, np.ndarray]:
    return {
        f"{prefix}offsets": events.offsets,
        f"{prefix}index": events.index,
        f"{prefix}times": events.times,
        f"{prefix}inputs": np.int64(events.inputs),
        f"{prefix}labels": _labels(np.asarray(labels), len(events)),
    }
