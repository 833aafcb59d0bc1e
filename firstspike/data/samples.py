"""From a data set to what a network learns from: encoded once, split, a validation part held out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firstspike.data.augment import augment
from firstspike.data.cache import Encoder, latencies
from firstspike.data.dataset import Dataset
from firstspike.data.splits import one_of_folds, split, subset
from firstspike.errors import UserError


@dataclass(frozen=True)
class Samples:
    """Encoded images of one part of a data set, and where more of them come from.

    ``latencies`` uint8 (all, C, H, W) of the whole set, ``rows`` (N,) the images of this part, ``labels`` (N,) theirs.
    ``copies(epoch, rows)`` encodes altered copies of images of this part; with it an epoch has 2 N samples, the copies
    behind the images, drawn anew every epoch.
    """

    latencies: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    copies: Callable[[int, np.ndarray], np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.rows) * (2 if self.copies else 1)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the latencies."""
        return self.latencies.shape[1:]

    def take(self, rows: slice | np.ndarray) -> np.ndarray:
        """Latencies of some images of this part."""
        return self.latencies[self.rows[rows]]


class Altered:
    """What a phase sees in one epoch of augmented samples: indexing by rows gives arrays."""

    def __init__(self, plain: np.ndarray, copies: Callable[[np.ndarray], np.ndarray]) -> None:
        self._plain, self._copies = plain, copies

    def __len__(self) -> int:
        return 2 * len(self._plain)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), *self._plain.shape[1:]), self._plain.dtype)
        first = rows < len(self._plain)
        out[first] = self._plain[rows[first]]
        if not first.all():
            out[~first] = self._copies(rows[~first] - len(self._plain))
        return out


@dataclass(frozen=True)
class Source:
    """The latencies of an epoch's samples, altered copies behind the images: called with rows."""

    samples: Samples
    epoch: int

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Latencies uint8 (n, C, H, W) of some of the samples."""
        images = rows % len(self.samples.rows)
        latencies, altered = self.samples.take(images), rows >= len(self.samples.rows)
        if altered.any():
            latencies[altered] = self.samples.copies(self.epoch, images[altered])
        return latencies


@dataclass(frozen=True)
class Parts:
    """Training, validation and test samples."""

    train: Samples
    validation: Samples
    test: Samples


@dataclass(frozen=True)
class Selection:
    """Which images take part: the first so many, a share of those; altered copies or not.

    Held out is a share of them, drawn by the seed, or with ``fold`` = "F/K" fold F, from 0, of K stratified folds.
    """

    seed: int = 0
    ratio: float = 1.0
    validation: float = 0.1
    first: int | None = None
    augment: bool = False
    mirror: bool = False
    fold: str | None = None


def encoded(
    dataset: Dataset,
    encoder: Encoder,
    selection: Selection,
    *,
    cache: Path | None,
    memory_budget: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Parts:
    """Encode a data set once, and select from it; latency data sets are taken as they are."""
    parts = {}
    for part in ("train", "test"):
        images = getattr(dataset, f"{part}_images")
        if dataset.latency_steps is None:
            images = latencies(
                images,
                encoder,
                folder=cache,
                name=f"{dataset.name}-{part}",
                memory_budget=memory_budget,
                progress=progress,
            )
        parts[part] = images
    rows, held_rows = chosen_rows(dataset.train_labels, selection)
    altered = _copies(dataset, encoder, selection, rows) if selection.augment else None
    every = np.arange(len(dataset.test_labels))
    return Parts(
        Samples(parts["train"], rows, dataset.train_labels[rows], altered),
        Samples(parts["train"], held_rows, dataset.train_labels[held_rows]),
        Samples(parts["test"], every, dataset.test_labels),
    )


def chosen_rows(labels: np.ndarray, selection: Selection) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the training and of the validation images among all whose labels (N,) are given."""
    chosen = np.arange(len(labels))[: selection.first]
    chosen = chosen[subset(len(chosen), selection.ratio, seed=selection.seed)]
    if selection.fold is None:
        learn, held = split(labels[chosen], selection.validation, seed=selection.seed)
    else:
        learn, held = one_of_folds(labels[chosen], selection.fold)
    if len(learn) == 0:
        raise UserError(f"no training image is left of {len(chosen)}: raise --ratio or lower --validation")
    return chosen[learn], chosen[held]


def _copies(
    dataset: Dataset, encoder: Encoder, selection: Selection, rows: np.ndarray
) -> Callable[[int, np.ndarray], np.ndarray]:
    if dataset.latency_steps is not None:
        raise UserError(f"--augment: {dataset.name} holds events, not images: leave it out")
    mirror = selection.mirror or dataset.mirror

    def copies(epoch: int, part: np.ndarray) -> np.ndarray:
        index = rows[part]
        altered = augment(dataset.train_images[index], index, seed=selection.seed, epoch=epoch, mirror=mirror)
        return encoder(altered)

    return copies
