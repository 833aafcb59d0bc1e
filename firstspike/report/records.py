"""What the trainer tells its callbacks, and the rows of a run's history."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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


def flat_rows(records: Iterable[EpochRecord]) -> tuple[list[str], list[dict[str, Any]]]:
    """Records as a table: column names and flat rows, with `rate.NAME` and `convergence.LAYER` as columns.

    Columns come in the order of the fields, those of rates and layers in order of first appearance.
    """
    rows = [_flat(record) for record in records]
    fixed = [name for name in EpochRecord.__dataclass_fields__ if name not in ("rates", "convergence")]
    seen = dict.fromkeys(name for row in rows for name in row)
    families = [[name for name in seen if name.startswith(prefix)] for prefix in ("rate.", "convergence.")]
    return [*fixed, *families[0], *families[1]], rows


def _flat(record: EpochRecord) -> dict[str, Any]:
    row = dict(vars(record))
    rates, convergence = row.pop("rates"), row.pop("convergence")
    row |= {f"rate.{name}": value for name, value in rates.items()}
    return row | {f"convergence.{layer}": value for layer, value in convergence.items()}


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
