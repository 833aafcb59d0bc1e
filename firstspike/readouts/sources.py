"""Where a readout's features come from: a file, STDP-CSNN on a data set's images, a layer of a finished network.

N images, S samples; X, Y, F rows, columns, channels of the features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from firstspike.data.cache import array_digest
from firstspike.data.dataset import Dataset
from firstspike.data.samples import Parts, Selection, chosen_rows
from firstspike.data.splits import split
from firstspike.errors import UserError
from firstspike.readouts.csnn import PUBLISHED, published
from firstspike.readouts.event_cache import cached_events
from firstspike.readouts.events import Events, check_training, from_dense, in_blocks
from firstspike.readouts.extractors import CSNNExtractor, Extractor
from firstspike.readouts.feature_file import load_features
from firstspike.readouts.layer_features import LayerFeatures
from firstspike.readouts.network import scaled
from firstspike.threads import available

TEST_SHARE = 0.2  # of a feature file without a test set


@dataclass(frozen=True)
class EventSamples:
    """Features of one part of a data set, in the form of `firstspike.data.samples.Samples`."""

    events: Events
    rows: np.ndarray
    labels: np.ndarray
    copies: None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: slice | np.ndarray) -> Events:
        """Features of some samples of this part."""
        return self.events.take(self.rows[rows])


@dataclass(frozen=True)
class FeatureSet:
    """Features of a data set: its name, the names of its classes, `shape` (X, Y, F) of one sample, its parts."""

    name: str
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    parts: Parts

    def __post_init__(self) -> None:
        train = self.parts.train
        if not train.events.counts()[train.rows].all():
            check_training(train.take(slice(None)))

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


@dataclass(frozen=True)
class Place:
    """Where features that are costly to make are kept, and how many threads make them."""

    folder: Path | None = None
    threads: int | None = None

    def keep(self, key: str, images: np.ndarray, make: Callable[[np.ndarray], Events]) -> Events:
        """What `make` makes of images, once for each key and images."""
        return cached_events(f"{key} of {array_digest(images)}", lambda: make(images), folder=self.folder)


def from_file(path: str, selection: Selection) -> FeatureSet:
    """Features of a file, see `feature_file`; where it has no test set, a fifth is held out as one."""
    found = load_features(path)
    train = scaled(found.train)
    names = tuple(map(str, found.classes.tolist()))
    if found.test is None:
        rest, tested = split(found.labels, TEST_SHARE, seed=selection.seed)
        test = EventSamples(train, tested, found.labels[tested])
    else:
        rest, test = np.arange(len(train)), _whole(scaled(found.test), found.test_labels)
    learn, held = (rest[rows] for rows in chosen_rows(found.labels[rest], selection))
    if len(test) == 0:
        raise UserError(f"{path}: no sample is left for a test set: add test_times and test_labels")
    parts = Parts(
        EventSamples(train, learn, found.labels[learn]), EventSamples(train, held, found.labels[held]), test
    )
    return FeatureSet(Path(path).stem, names, (1, train.inputs, 1), parts)


def from_stdpcsnn(dataset: Dataset, selection: Selection, place: Place, *, epochs: int = 100) -> FeatureSet:
    """Features of an STDP-CSNN that learns from the training images, held-out ones aside, as published."""
    if dataset.latency_steps is not None:
        raise UserError(
            f"features stdpcsnn: {dataset.name} holds events, not images: feed a zoo layer's latencies"
        )
    settings = PUBLISHED[published(dataset.name, dataset.channels)]
    made = CSNNExtractor(settings, epochs=epochs, **_of_dataset(dataset, selection))
    return _learnt_in_passing(dataset, selection, place, made, f"stdpcsnn {settings} {epochs} epochs")


def from_softhebb(dataset: Dataset, selection: Selection, place: Place) -> FeatureSet:
    """Features of a SoftHebb that learns from the training images, held-out ones aside, as published."""
    from firstspike.readouts.softhebb import SoftHebb  # torch takes a second to import
    from firstspike.readouts.softhebb_extractor import SoftHebbExtractor

    network = SoftHebb()
    made = SoftHebbExtractor(network, epochs=1, device="cpu", **_of_dataset(dataset, selection))
    return _learnt_in_passing(dataset, selection, place, made, f"softhebb {network} 1 epoch")


LEARNT_IN_PASSING = {"stdpcsnn": from_stdpcsnn, "softhebb": from_softhebb}  # by the extractor of a preset


def _of_dataset(dataset: Dataset, selection: Selection) -> dict[str, Any]:
    shape = (dataset.channels, *dataset.image_size)
    return {"shape": shape, "classes": dataset.classes, "seed": selection.seed}


def _learnt_in_passing(
    dataset: Dataset, selection: Selection, place: Place, extractor: Extractor, about: str
) -> FeatureSet:
    """Features of an extractor that learns where they are not kept yet; `about` names it and its settings."""
    learn, _ = chosen_rows(dataset.train_labels, selection)
    images = dataset.train_images[learn]

    @cache
    def learnt() -> Extractor:
        extractor.workers = place.threads or available()
        phase, seen = extractor.phase(extractor.learns), extractor.seen(images)
        for epoch in range(phase.epochs):
            extractor.fit_phase(phase.name, seen, order=extractor.sequence(len(seen), epoch))
        return extractor

    key = f"{about} seed={selection.seed} on {array_digest(images)}"

    def events(some: np.ndarray) -> Events:
        return learnt().extract(some)  # learns where it is needed first

    return _of_images(
        dataset, selection, extractor.features_shape, lambda some: place.keep(key, some, events)
    )


def from_extractor(dataset: Dataset, selection: Selection, place: Place, extractor: Extractor) -> FeatureSet:
    """Features of an extractor that has learnt already."""
    if extractor.shape != (dataset.channels, *dataset.image_size):
        raise UserError(
            f"features of images {extractor.shape}: {dataset.name} has {(dataset.channels, *dataset.image_size)}"
        )
    extractor.workers = place.threads or available()
    return _of_images(
        dataset,
        selection,
        extractor.features_shape,
        lambda images: extractor.events(planes(images), folder=place.folder),
    )


def planes(images: np.ndarray) -> np.ndarray:
    """Images with an axis of colours, (N, C, H, W)."""
    return images if images.ndim == 4 else images[:, None]


def from_layer(dataset: Dataset, selection: Selection, place: Place, source: LayerFeatures) -> FeatureSet:
    """Features of a layer of a network; the scale of potentials is that of the training images."""
    learn, _ = chosen_rows(dataset.train_labels, selection)
    source = replace(source, threads=place.threads)

    @cache
    def fitted() -> LayerFeatures:
        return source.fitted(lambda rows: planes(dataset.train_images[learn[rows]]), len(learn))

    shape = source.activity(planes(dataset.test_images[:1])).shape[1:]
    state = " ".join(array_digest(array) for array in source.network.state().values())
    scale = "" if source.coding == "latency" else array_digest(dataset.train_images[learn])
    key = f"{source.key()} {state} {scale}"

    def events(images: np.ndarray) -> Events:
        return fitted().events(planes(images))

    return _of_images(dataset, selection, shape, lambda some: place.keep(key, some, events))


def side_by_side(sets: Sequence[FeatureSet]) -> FeatureSet:
    """The features of several sources as inputs of one readout; UserError where they are not of the same samples."""
    if len(sets) == 1:
        return sets[0]
    names = ("train", "validation", "test")
    parts = [_joined([getattr(each.parts, name) for each in sets]) for name in names]
    return FeatureSet(sets[0].name, sets[0].class_names, (1, parts[0].events.inputs, 1), Parts(*parts))


def _joined(parts: Sequence[EventSamples]) -> EventSamples:
    first = parts[0]
    if any(not np.array_equal(part.labels, first.labels) for part in parts):
        raise UserError("--features: the sources hold different samples; take the same data set for all")
    if not len(first):
        empty = np.ones((1, sum(part.events.inputs for part in parts)))
        return EventSamples(from_dense(empty), first.rows, first.labels)

    def dense(rows: np.ndarray) -> Events:
        return from_dense(np.concatenate([part.take(rows).dense() for part in parts], axis=1))

    return _whole(in_blocks(dense, np.arange(len(first))), first.labels)


def _of_images(
    dataset: Dataset,
    selection: Selection,
    shape: Sequence[int],
    events: Callable[[np.ndarray], Events],
) -> FeatureSet:
    train, held = (
        _whole(events(dataset.train_images[rows]), dataset.train_labels[rows])
        if len(rows)
        else EventSamples(from_dense(np.ones((1, *shape))), rows, dataset.train_labels[rows])
        for rows in chosen_rows(dataset.train_labels, selection)
    )
    test = _whole(events(dataset.test_images), dataset.test_labels)
    return FeatureSet(dataset.name, tuple(dataset.class_names), tuple(shape), Parts(train, held, test))


def _whole(events: Events, labels: np.ndarray) -> EventSamples:
    return EventSamples(events, np.arange(len(events)), labels)
