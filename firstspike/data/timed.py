"""Data sets as samples in time: recordings binned, images coded, Yin-Yang made; a batch is dense only when asked for.

Letters: N samples, T steps, U units, P polarities, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from firstspike.data.batches import Source
from firstspike.data.binning import (
    Equal,
    Frames,
    HalfOpen,
    HalfPrecision,
    HalfPrecisionCeil,
    Nearest,
    Rule,
    binned,
)
from firstspike.data.event_sets import SOURCES, cifar10_dvs, load_recordings
from firstspike.data.images import CIFAR10
from firstspike.data.recordings import Recordings, coarser, grouped, merge_polarities, one_polarity
from firstspike.data.samples import Selection, chosen_rows
from firstspike.data.sequences import (
    YINYANG_CLASSES,
    LatencyCoded,
    Sequential,
    latency_table,
    yinyang_trains,
)
from firstspike.data.splits import split_groups, subset
from firstspike.data.table import default_root, list_datasets, load
from firstspike.errors import UserError

YINYANG, ON_DEMAND = "yinyang", "cifar10-dvs"
BINS = ("auto", "half-open", "original", "spsn-original", "frames", "equal", "whole-ticks", "nearest")
POLARITIES = ("both", "first", "merged")
HOLD_OUT = ("auto", "speaker", "sample")
IMAGES = ("latency", "rows", "columns", "pixels")


@dataclass(frozen=True)
class Coding:
    """How samples become steps in time.

    Recordings: `bins` names the rule (`binning.py`), "auto" being "half-open" for units in a line and "frames" for
    pixels; bins of `window` seconds, or `steps` of them ("equal", "whole-ticks", "nearest" of `dt` ms); `group`
    neighbouring units, or both polarities ("merged") count as one; `size` (H, W) coarsens a sensor. Images:
    `images` says how they are shown; one spike a pixel within `steps` at the time of `latency` (LATENCY_CODES), with
    `on_off` of dark ones too, in channels of their own; or row by row, then normalised as CIFAR-10's colours if
    `normalise`. Yin-Yang: `window` steps.
    """

    bins: str = "auto"
    window: float = 1e-3
    steps: int = 100
    dt: float = 1.0
    polarity: str = "both"
    group: int = 1
    images: str = "latency"
    latency: str = "fastsnn"
    on_off: bool = False
    normalise: bool = False
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("bins", BINS), ("polarity", POLARITIES), ("images", IMAGES)):
            if getattr(self, name) not in allowed:
                raise UserError(
                    f"option {name}: {getattr(self, name)!r} given; choose from {', '.join(allowed)}"
                )
        for name in ("window", "steps", "dt", "group"):
            if not getattr(self, name) > 0:
                raise UserError(f"option {name}: {getattr(self, name)} given; it must be above 0")
        if self.on_off and self.images != "latency":
            raise UserError(f"option on_off: of images that are coded by latency, not as {self.images}")


@dataclass(frozen=True, eq=False)
class Part:
    """Some samples of a source, `rows` (N,) of it, each (T, *shape)."""

    source: Source
    rows: np.ndarray
    shape: tuple[int, ...]
    copies: None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> np.ndarray:
        """Classes int64 (N,)."""
        return self.source.labels[self.rows]

    @property
    def lengths(self) -> np.ndarray | None:
        """Steps of each sample (N,); None where all have the same number."""
        lengths = getattr(self.source, "lengths", None)
        return None if lengths is None else lengths[self.rows]

    @property
    def events(self) -> Callable[..., Any]:
        """The same as `batch`, as the source's sparse batches; no attribute where the source has none."""
        read = self.source.events
        return lambda indices, **how: read(self.rows[indices], **how)

    def take(self, rows: slice | np.ndarray) -> Part:
        """Some samples of this part."""
        return replace(self, rows=self.rows[rows])

    def batch(self, indices: np.ndarray, **how: Any) -> np.ndarray:
        """Samples (len(indices), T, *shape) float32; recordings take `steps`, else T is that of the longest."""
        x = self.source.batch(self.rows[indices], **how)
        return x.reshape(*x.shape[:2], *self.shape)


@dataclass(frozen=True, eq=False)
class TimedSet:
    """A data set in time; `shape` of a sample's step is (U,), (P, H, W), (C, H, W) or (C, H).

    `speakers` (N,) tells who made each training sample, if known; `skipped` counts bad recordings left out.
    """

    name: str
    class_names: tuple[str, ...]
    train: Part
    test: Part
    speakers: np.ndarray | None = None
    skipped: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one step of a sample."""
        return self.train.shape

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def list_timed() -> list[str]:
    """Names that `load_timed` takes; `events:PATH` and `folder:PATH` come on top of them."""
    return sorted({*list_datasets(), *SOURCES, YINYANG})


def load_timed(
    name: str, coding: Coding, root: str | Path | None = None, *, skip_bad: bool = False, **how: Any
) -> TimedSet:
    """The data set called `name` in time; what else `table.load` takes goes to it for images.

    Errors: DataMissing for absent files; UserError for an unknown name, bad files, a coding that does not fit.
    """
    if ":" not in name and name not in list_timed():
        raise UserError(
            f"unknown data set {name!r}; there are {', '.join(list_timed())}, events:PATH, folder:PATH"
        )
    if name == YINYANG and round(coding.window) < 1:
        raise UserError(
            f"{YINYANG}: a window of {coding.window} given; --window-size is its number of steps, 100 say"
        )
    if coding.on_off and (name in (YINYANG, ON_DEMAND, *SOURCES) or name.startswith("events:")):
        raise UserError(f"option on_off: of images that are coded by latency; {name} has spikes of its own")
    if name == YINYANG:
        parts = [_whole(yinyang_trains(part, round(coding.window)), (4,)) for part in ("train", "test")]
        return TimedSet(name, YINYANG_CLASSES, *parts)
    if name == ON_DEMAND:
        return _on_demand(coding, Path(root).expanduser() if root is not None else default_root(), skip_bad)
    if name in SOURCES or name.startswith("events:"):
        return _recorded(name, coding, root, skip_bad)
    return _shown(load(name, root, image_size=coding.size, skip_bad=skip_bad, **how), coding)


def _whole(source: Source, shape: tuple[int, ...]) -> Part:
    return Part(source, np.arange(len(source.labels)), shape)


# --- recordings ----------------------------------------------------------------------------------------------------


def _recorded(name: str, coding: Coding, root: str | Path | None, skip_bad: bool) -> TimedSet:
    found = load_recordings(name, root, skip_bad=skip_bad)
    seen = [seen_by(part, coding) for part in (found.train, found.test)]
    sources = [binned(part, rule_of(coding, part)) for part in seen]
    parts = [_whole(source, source.shape) for source in sources]
    return TimedSet(name, found.class_names, *parts, found.train.extra.get("speaker"), found.skipped)


def seen_by(recordings: Recordings, coding: Coding) -> Recordings:
    """The recordings with the units that a coding leaves: a coarser sensor, one polarity, grouped units."""
    if len(recordings.shape) == 1:
        return recordings if coding.group == 1 else grouped(recordings, coding.group)
    if coding.group > 1:
        raise UserError(f"option group: {coding.group} given, but pixels are made coarser by --image-size")
    if coding.polarity == "merged":
        recordings = merge_polarities(recordings)
    elif coding.polarity == "first" and recordings.shape[0] > 1:
        recordings = one_polarity(recordings, 0)
    return recordings if coding.size is None else coarser(recordings, coding.size, nearest=True)


def rule_of(coding: Coding, recordings: Recordings) -> Rule:
    """The rule that bins recordings; "auto" looks whether they have pixels."""
    bins = coding.bins
    if bins == "auto":
        bins = "half-open" if len(recordings.shape) == 1 else "frames"
    rules: dict[str, Callable[[], Rule]] = {
        "half-open": lambda: HalfOpen(coding.window),
        "original": lambda: HalfPrecision(coding.window),
        "spsn-original": lambda: HalfPrecisionCeil(_longest(recordings)),
        "frames": lambda: Frames(coding.window),
        "equal": lambda: Equal(coding.steps),
        "whole-ticks": lambda: Equal(coding.steps, whole_ticks=True),
        "nearest": lambda: Nearest(coding.dt, coding.steps),
    }
    return rules[bins]()


def _longest(recordings: Recordings) -> int:
    """SPSN's largest index: trunc(half(t_max / half(1e-3))) + 1, t_max the latest event of the part."""
    latest = np.float32(recordings.times.max(initial=0)) * np.float32(recordings.tick)
    return int(np.float16(latest / np.float32(np.float16(1e-3)))) + 1


def _on_demand(coding: Coding, root: Path, skip_bad: bool) -> TimedSet:
    """CIFAR10-DVS, read file by file: all recordings have the same number of bins."""
    if coding.bins not in ("equal", "whole-ticks"):
        raise UserError(f"{ON_DEMAND} is read file by file: give --bins equal and the number of --steps")
    if skip_bad:
        raise UserError(
            f"--skip-bad: {ON_DEMAND} is read file by file while it is learnt from: remove bad files"
        )
    parts = []
    for part in cifar10_dvs(root, Equal(coding.steps, whole_ticks=coding.bins == "whole-ticks")):
        seen = replace(part, read=_seen_through(part.read, coding))
        shape = seen.read(seen.files[:1], seen.labels[:1]).shape
        parts.append(_whole(seen, shape))
    return TimedSet(ON_DEMAND, CIFAR10, *parts)


def _seen_through(read: Callable[..., Recordings], coding: Coding) -> Callable[..., Recordings]:
    return lambda files, labels: seen_by(read(files, labels), coding)


# --- images --------------------------------------------------------------------------------------------------------


def _shown(dataset: Any, coding: Coding) -> TimedSet:
    parts = []
    for part in ("train", "test"):
        images, labels = getattr(dataset, f"{part}_images"), getattr(dataset, f"{part}_labels")
        channels, rows, columns = dataset.channels, *dataset.image_size
        if coding.images == "latency":
            table = latency_table(coding.latency, steps=coding.steps, dt=coding.dt)
            source = LatencyCoded(images, labels, table, coding.steps, coding.on_off)
            shape = ((1 + coding.on_off) * channels, rows, columns)
        else:
            source = Sequential(images, labels, coding.images, normalise=coding.normalise)
            shape = {"rows": (channels, columns), "columns": (channels, rows), "pixels": (channels,)}[
                coding.images
            ]
        parts.append(_whole(source, shape))
    return TimedSet(dataset.name, dataset.class_names, *parts, skipped=dataset.skipped)


# --- parts ---------------------------------------------------------------------------------------------------------


def divided(found: TimedSet, selection: Selection, *, by: str = "auto") -> tuple[Part, Part]:
    """Training and validation part of the training set.

    By "speaker" whole speakers are held out, by "sample" every class in proportion; "auto" is by speaker where the
    data set knows them and no fold is asked for. The first samples are those of all classes and speakers in turn,
    since many sets are sorted by them.
    """
    if by not in HOLD_OUT:
        raise UserError(f"option hold_out: {by!r} given; choose from {', '.join(HOLD_OUT)}")
    if by == "speaker" and (found.speakers is None or selection.fold is not None):
        reason = (
            "does not tell who speaks" if found.speakers is None else "is cut into stratified folds by --fold"
        )
        raise UserError(f"option hold_out: {found.name} {reason}; give sample")
    chosen = np.sort(in_turn(found.train.labels, found.speakers)[: selection.first])
    if by == "sample" or found.speakers is None or selection.fold is not None:
        learn, held = chosen_rows(found.train.labels[chosen], replace(selection, first=None))
    else:
        chosen = chosen[subset(len(chosen), selection.ratio, seed=selection.seed)]
        learn, held = split_groups(found.speakers[chosen], selection.validation, seed=selection.seed)
    return found.train.take(chosen[learn]), found.train.take(chosen[held])


def in_turn(labels: np.ndarray, speakers: np.ndarray | None) -> np.ndarray:
    """Numbers (N,) of samples: the first of each class and speaker, then the second of each, and so on."""
    kinds = labels if speakers is None else np.stack([labels, speakers], axis=1)
    _, kind, sizes = np.unique(kinds, axis=0, return_inverse=True, return_counts=True)
    kind = kind.reshape(-1)
    by_kind = np.argsort(kind, kind="stable")
    rank = np.empty(len(labels), np.int64)
    rank[by_kind] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.argsort(rank, kind="stable")
