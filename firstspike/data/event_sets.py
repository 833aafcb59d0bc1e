"""Event data sets by name: recordings for networks that run in time, latencies for the convolutional zoo."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from firstspike.data import aedat, spikes
from firstspike.data.binning import Rule, binned, first_event_latencies
from firstspike.data.cache import cached_array
from firstspike.data.dataset import DataMissing, Dataset
from firstspike.data.events import class_files, class_folders, read_nmnist
from firstspike.data.images import CIFAR10
from firstspike.data.recordings import Recordings, coarser
from firstspike.data.splits import split
from firstspike.data.table import Request, Row, default_root, register
from firstspike.errors import UserError


@dataclass(frozen=True, eq=False)
class RecordingSet:
    """A training and a test set of recordings, and what their classes are called."""

    name: str
    train: Recordings
    test: Recordings
    class_names: tuple[str, ...]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def skipped(self) -> int:
        """How many bad recordings were left out, in both parts."""
        return self.train.skipped + self.test.skipped


@dataclass(frozen=True)
class Source:
    """Where recordings lie below the data folder (the first place that exists), and how they are read."""

    name: str
    places: tuple[str, ...]
    read: Callable[[str, Path, bool], RecordingSet]
    origin: str


def _nmnist(name: str, folder: Path, skip_bad: bool) -> RecordingSet:
    train, test = (_either(folder, part) for part in ("Train", "Test"))
    names = class_folders(train)
    unknown = sorted(set(class_folders(test)) - set(names))
    if unknown:
        raise UserError(f"{test} has a class that {train} lacks: {unknown[0]}")
    return RecordingSet(name, *(read_nmnist(part, names, skip_bad=skip_bad) for part in (train, test)), names)


def _shd(stem: str, units: int, name: str, folder: Path, skip_bad: bool) -> RecordingSet:
    paths = [_first(folder, [f"{stem}_{part}.h5", f"{stem}_{part}.h5.gz"]) for part in ("train", "test")]
    (train, names), (test, more) = (spikes.read_shd(p, unit_count=units, skip_bad=skip_bad) for p in paths)
    return RecordingSet(name, train, test, max(names, more, key=len))


def _ntidigits(name: str, folder: Path, skip_bad: bool) -> RecordingSet:
    path = _first(folder, ["n-tidigits.hdf5", "n-tidigits.h5"])
    parts = (spikes.read_ntidigits(path, part, skip_bad=skip_bad) for part in ("train", "test"))
    return RecordingSet(name, *parts, spikes.NTIDIGITS_CLASSES)


def _gestures(name: str, folder: Path, skip_bad: bool) -> RecordingSet:
    parts = (aedat.read_gestures(folder, part, skip_bad=skip_bad) for part in ("train", "test"))
    return RecordingSet(name, *parts, aedat.GESTURES)


NMNIST_HOME = "https://www.garrickorchard.com/datasets/n-mnist"
NTIDIGITS_HOME = "https://docs.google.com/document/d/1Uxe7GsKKXcy6SlDUX4hoJVAC0-UkH-8kr5UXp0Ndi1M"
GESTURE_HOME = "https://research.ibm.com/interactive/dvsgesture"
_SOURCES = (
    Source("nmnist", ("NMNIST", "N-MNIST"), _nmnist, NMNIST_HOME),
    Source("nmnist-real", ("NMNIST-real",), _nmnist, NMNIST_HOME),
    Source("nmnist-sim", ("NMNIST-sim",), _nmnist, NMNIST_HOME),
    Source("shd", ("SHD",), partial(_shd, "shd", 700), "https://zenkelab.org/datasets"),
    Source("fsdd-spikes", ("FSDD-spikes",), partial(_shd, "fsdd", 700), "a simulation of FSDD's recordings"),
    Source("ntidigits", ("N-TIDIGITS",), _ntidigits, NTIDIGITS_HOME),
    Source("dvs-gesture", ("DvsGesture", "DVSGesture/DvsGesture"), _gestures, GESTURE_HOME),
)
SOURCES = {source.name: source for source in _SOURCES}


def list_recordings() -> list[str]:
    """Names that `load_recordings` takes; `events:PATH` comes on top of them."""
    return sorted(SOURCES)


def load_recordings(name: str, root: str | Path | None = None, *, skip_bad: bool = False) -> RecordingSet:
    """The recordings called `name` below `root` (default $FIRSTSPIKE_DATA, else `data`).

    `events:PATH` reads any folder of N-MNIST-format files. With `skip_bad` bad recordings are left out
    and counted. Raises DataMissing for absent files, UserError, naming file and recording, for bad ones.
    """
    if name.startswith("events:"):
        return _nmnist(name, Path(name.removeprefix("events:")).expanduser(), skip_bad)
    if name not in SOURCES:
        raise UserError(
            f"unknown recordings {name!r}; there are {', '.join(list_recordings())} and events:PATH"
        )
    source, root = SOURCES[name], Path(root).expanduser() if root is not None else default_root()
    folders = [root / place for place in source.places if (root / place).is_dir()]
    try:
        if folders:
            return source.read(name, folders[0], skip_bad)
    except DataMissing as error:
        raise _missing(source, root, str(error)) from error
    raise _missing(source, root, f"looked for {' or '.join(source.places)} in {root}")


def _missing(source: Source, root: Path, reason: str) -> DataMissing:
    return DataMissing(
        f"data set {source.name}: {reason}; put the files (from {source.origin}) into "
        f"{root / source.places[0]}, or name the folder with it by --data-dir or $FIRSTSPIKE_DATA, or take "
        "--dataset digits, which needs no files"
    )


def _first(folder: Path, names: list[str]) -> Path:
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise DataMissing(f"looked for {' or '.join(names)} in {folder}")
    return found


def _either(folder: Path, name: str) -> Path:
    found = next((f for f in (folder / name, folder / name.lower()) if f.is_dir()), None)
    if found is None:
        raise DataMissing(f"looked for {name}/ or {name.lower()}/ in {folder}")
    return found


def latency_set(request: Request) -> Dataset:
    """First-event latencies of a set of recordings with pixels, for the convolutional zoo."""
    recordings = load_recordings(request.name, request.root, skip_bad=request.skip_bad)
    parts = [(_pixels(part, request), part.labels) for part in (recordings.train, recordings.test)]
    return Dataset(
        request.name,
        *parts[0],
        *parts[1],
        recordings.class_names,
        latency_steps=request.steps,
        skipped=recordings.skipped,
    )


def _pixels(recordings: Recordings, request: Request) -> np.ndarray:
    if request.image_size is not None:
        recordings = coarser(recordings, request.image_size)
    return first_event_latencies(recordings, request.steps)


@dataclass(frozen=True, eq=False)
class OnDemand:
    """Recordings that are read from their files batch by batch, where all of them do not fit into memory."""

    files: list[Path]
    labels: np.ndarray
    read: Callable[[list[Path], np.ndarray], Recordings]
    rule: Rule

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: np.ndarray, *, steps: int | None = None, dtype: type = np.float32) -> np.ndarray:
        """Counts (len(indices), T, U), as `Binned.batch` gives them."""
        chosen = binned(self.read([self.files[i] for i in indices], self.labels[indices]), self.rule)
        return chosen.batch(np.arange(len(chosen)), steps=steps, dtype=dtype)


def cifar10_dvs(root: Path, rule: Rule) -> tuple[OnDemand, OnDemand]:
    """Training and test part of CIFAR10-DVS: none is published, a fixed stratified tenth is the test set."""
    files, labels = _cifar10_dvs_files(root)
    parts = split(labels, 0.1, seed=0)
    train, test = (
        OnDemand([files[i] for i in part], labels[part], aedat.read_cifar10_dvs, rule) for part in parts
    )
    return train, test


def _cifar10_dvs_files(root: Path) -> tuple[list[Path], np.ndarray]:
    folder = next((root / name for name in ("CIFAR10-DVS", "CIFAR10DVS") if (root / name).is_dir()), None)
    if folder is None:
        raise DataMissing(
            f"data set cifar10-dvs: looked for CIFAR10-DVS/<class>/*.aedat in {root}; put the files (from "
            "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671) there, or take --dataset digits"
        )
    return class_files(folder, CIFAR10, (".aedat",))


def read_cifar10_dvs(request: Request) -> Dataset:
    """First-event latencies of CIFAR10-DVS, some files at a time, kept in `request.cache` if there is one."""
    files, labels = _cifar10_dvs_files(request.root)
    about = [f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    images = cached_array(
        f"cifar10-dvs {request.steps} {request.skip_bad} {hashlib.sha256(repr(about).encode()).hexdigest()}",
        (len(files), 2, *(request.image_size or aedat.SHAPE[1:])),
        np.uint8,
        lambda rows: _latencies_of(files[rows], labels[rows], request),
        folder=request.cache,
        name="cifar10-dvs",
    )
    good = np.flatnonzero((images != 255).any(axis=(1, 2, 3)))
    train, test = (good[part] for part in split(labels[good], 0.1, seed=0))
    parts = (images[train], labels[train], images[test], labels[test])
    skipped = len(files) - len(good)
    return Dataset("cifar10-dvs", *parts, CIFAR10, latency_steps=request.steps, skipped=skipped)


def _latencies_of(files: list[Path], labels: np.ndarray, request: Request) -> np.ndarray:
    """Latencies of some recordings; those that were skipped are silent, as no other one is."""
    recordings = aedat.read_cifar10_dvs(files, labels, skip_bad=request.skip_bad)
    found = _pixels(recordings, request)
    out = np.full((len(files), *found.shape[1:]), 255, np.uint8)
    out[recordings.extra["index"]] = found
    return out


for _name in ("nmnist", "nmnist-real", "nmnist-sim", "dvs-gesture", "events:"):
    register(Row(_name, latency_set))
register(Row("cifar10-dvs", read_cifar10_dvs))
