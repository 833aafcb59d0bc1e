"""What the trainer tells its callbacks, and the rows of a run's history."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Progress:
    """Where an epoch stands: `done` of `total` images after `seconds`; right, silent: 0 in STDP phases."""

    phase: str
    epoch: int
    epochs: int
    done: int
    total: int
    seconds: float
    right: int = 0
    silent: int = 0


@dataclass(frozen=True)
class EpochRecord:
    """One finished epoch (counted from 0); fractions are None in phases that make no decision.

    `rates` holds the learning rates in force at its end, `convergence` each layer's mean w (1 - w), which
    falls to 0 as weights settle at 0 or 1 (Kheradpisheh et al. 2018). `best`: the best on validation so far.
    `figures`: whatever else a network tells, by name.
    """

    phase: str
    epoch: int
    images: int
    seconds: float
    images_per_second: float
    accuracy: float | None = None
    loss: float | None = None
    silent: float | None = None
    validation_accuracy: float | None = None
    validation_silent: float | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    convergence: Mapping[str, float] = field(default_factory=dict)
    best: bool = False
    figures: Mapping[str, float] = field(default_factory=dict)


FAMILIES = {"rates": "rate.", "convergence": "convergence.", "figures": ""}  # of columns, and their prefix


def flat_rows(records: Iterable[EpochRecord]) -> tuple[list[str], list[dict[str, Any]]]:
    """Records as a table: column names and flat rows, with `rate.NAME` and `convergence.LAYER` as columns.

    Columns come in the order of the fields, those of each family in order of first appearance.
    """
    records = list(records)
    fixed = [name for name in EpochRecord.__dataclass_fields__ if name not in FAMILIES]
    families = [
        dict.fromkeys(f"{prefix}{name}" for record in records for name in getattr(record, family))
        for family, prefix in FAMILIES.items()
    ]
    return [*fixed, *chain.from_iterable(families)], [_flat(record) for record in records]


def _flat(record: EpochRecord) -> dict[str, Any]:
    row = dict(vars(record))
    for family, prefix in FAMILIES.items():
        row |= {f"{prefix}{name}": value for name, value in row.pop(family).items()}
    return row


@dataclass(frozen=True)
class Sample:
    """A few images to look at: uint8 (n, H, W[, 3]), their latencies uint8 (n, C, H, W), labels (n,)."""

    images: np.ndarray
    latencies: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Embedding:
    """What a hidden layer makes of images: features (N, D), labels (N,), thumbnails uint8 (N, H, W[, 3])."""

    features: np.ndarray
    labels: np.ndarray
    thumbnails: np.ndarray


ORDERED = ("rates", "convergence", "figures")  # fields of a record whose names have an order


@dataclass
class Position:
    """Where a run stands: what a checkpoint holds beside the network's state."""

    phase: int = 0
    epoch: int = 0
    best_phase: str = ""
    best_epoch: int = -1
    best_accuracy: float = -1.0
    records: list[EpochRecord] = field(default_factory=list)


def to_jsonable(position: Position) -> dict[str, Any]:
    """A position for a checkpoint's description, which sorts names: what has an order is written as pairs."""
    records = [asdict(record) for record in position.records]
    pairs = [{name: list(record[name].items()) for name in ORDERED} for record in records]
    return {**asdict(position), "records": [a | b for a, b in zip(records, pairs, strict=True)]}


def load_position(meta: Mapping[str, Any]) -> Position:
    """The position in a checkpoint's description."""
    records = [
        EpochRecord(**{**record, **{name: dict(record.get(name, ())) for name in ORDERED}})
        for record in meta["position"]["records"]
    ]
    return Position(**{**meta["position"], "records": records})
