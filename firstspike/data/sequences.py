"""Samples in time that are made, not recorded: Yin-Yang, images shown row by row or as one spike a pixel.

Each has labels and `batch(indices)` (N, T, ...), as binned recordings do, and makes a batch only when asked.
Letters: N samples, T steps, U units, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from firstspike.data.event_batch import Events
from firstspike.data.splits import stream
from firstspike.errors import UserError

YINYANG_PARTS = {"train": (5000, 42), "test": (1000, 40)}  # samples, seed: those of the published set
CIFAR_MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32)
CIFAR_STD = np.array([0.2023, 0.1994, 0.2010], np.float32)
YINYANG_CLASSES = ("yin", "yang", "dot")


def yinyang(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of the Yin-Yang data set: values float64 (N, 4) = (x, y, 1 - x, 1 - y) and classes int64 (N,).

    Points of the circle of radius 1/2 about (1/2, 1/2), drawn until one has the class that was drawn
    before it. Source: Kriener et al. 2022, The Yin-Yang dataset; its generator is numpy's legacy one.
    """
    random = np.random.RandomState(seed)
    points = np.empty((count, 2))
    classes = np.empty(count, np.int64)
    for n in range(count):
        classes[n] = random.randint(3)
        points[n] = _point_of(classes[n], random)
    return np.concatenate([points, 1 - points], axis=1), classes


def _point_of(wanted: int, random: np.random.RandomState) -> np.ndarray:
    while True:
        x, y = point = random.rand(2) * 2 * 0.5
        if np.hypot(x - 0.5, y - 0.5) <= 0.5 and _yinyang_class(x, y) == wanted:
            return point


def _yinyang_class(x: float, y: float) -> int:
    right, left = np.hypot(x - 0.75, y - 0.5), np.hypot(x - 0.25, y - 0.5)
    if right < 0.1 or left < 0.1:
        return 2
    return int(right <= 0.1 or 0.1 < left <= 0.25 or (y > 0.5 and right > 0.25))


@dataclass(frozen=True, eq=False)
class RateCoded:
    """Values (N, U) in [0, 1] as independent Bernoulli spike trains of `steps` steps.

    The trains of sample n are a function of (seed, n): drawn once, as it were, but never stored.
    """

    values: np.ndarray
    labels: np.ndarray
    steps: int
    seed: int

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: np.ndarray) -> np.ndarray:
        """Spikes float32 (len(indices), T, U)."""
        out = np.empty((len(indices), self.steps, self.values.shape[1]), np.float32)
        for row, n in enumerate(indices):
            out[row] = stream(self.seed, "rate code", int(n)).random(out.shape[1:]) < self.values[n]
        return out


def yinyang_trains(part: str, steps: int) -> RateCoded:
    """The `train` (5,000) or `test` (1,000) points of Yin-Yang as spike trains of four units."""
    count, seed = YINYANG_PARTS[part]
    values, classes = yinyang(count, seed)
    return RateCoded(values, classes, steps, seed)


@dataclass(frozen=True, eq=False)
class Sequential:
    """Images uint8 (N, H, W) or (N, C, H, W) shown in time: by `rows`, by `columns`, or by `pixels`.

    With `normalise` the colours have CIFAR-10's mean 0 and deviation 1.
    """

    images: np.ndarray
    labels: np.ndarray
    by: str = "rows"
    normalise: bool = False

    def __post_init__(self) -> None:
        if self.by not in ("rows", "columns", "pixels"):
            raise UserError(f"sequential images by {self.by!r}; there are rows, columns, pixels")
        if self.normalise and self.images.shape[1:-2] != (3,):
            raise UserError("option normalise: these images have no three colours; give --no-normalise")

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: np.ndarray) -> np.ndarray:
        """Values float32 in [0, 1]: (N, H, C, W) by rows, (N, W, C, H) by columns, (N, H W, C) by pixels."""
        images = self.images[indices].astype(np.float32) / np.float32(255)
        images = images if images.ndim == 4 else images[:, None]  # (N, C, H, W)
        if self.normalise:
            images = (images - CIFAR_MEAN[:, None, None]) / CIFAR_STD[:, None, None]
        if self.by == "pixels":
            return np.ascontiguousarray(images.reshape(*images.shape[:2], -1).swapaxes(1, 2))
        order = (0, 2, 1, 3) if self.by == "rows" else (0, 3, 1, 2)
        return np.ascontiguousarray(images.transpose(order))


def _leaky(x: np.ndarray, milliseconds: float) -> np.ndarray:
    """When a leaky unit of time constant 20 and threshold 0.2 fires: 20 ln(x / (x - 0.2)), inf where it never does."""
    fires = x > 0.2
    time = np.full(len(x), np.inf)
    time[fires] = 20 * np.log(x[fires] / (x[fires] - 0.2)) * milliseconds
    return time


LATENCY_CODES: dict[str, Callable[[np.ndarray, int, float], np.ndarray]] = {
    "unit": lambda pixel, steps, dt: _leaky(pixel / 255.0, 1.0) / dt,
    "fastsnn": lambda pixel, steps, dt: _leaky(pixel / 1.0, 1000.0) / dt,
    "linear": lambda pixel, steps, dt: np.where(pixel > 0, (1 - pixel / 255.0) * (steps - 1), np.inf),
}
"""When a pixel of value 0 .. 255 spikes, in steps, by the name of the code; inf = never."""


def latency_table(code: str, *, steps: int = 100, dt: float = 1.0) -> np.ndarray:
    """The step at which a pixel of value 0 .. 255 spikes, int64 (256,), -1 = never.

    `unit`: the pixel / 255 drives a leaky unit, in ms. `fastsnn`: the raw pixel does, and the time counts as seconds,
    as in the published program (arXiv 2205.15286). `linear`: evenly over the steps, the brightest at the first; only
    black is silent.
    """
    if code not in LATENCY_CODES:
        raise UserError(f"latency code {code!r}; there are {', '.join(LATENCY_CODES)}")
    step = np.rint(LATENCY_CODES[code](np.arange(256), steps, dt))
    return np.where(step < steps, step, -1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class LatencyCoded:
    """Images uint8 (N, ...) as one spike a pixel, at the step that `table` (256,) gives its value.

    With `on_off` a second set of as many units sees 255 less the value: where they fire first, the image is dark.
    """

    images: np.ndarray
    labels: np.ndarray
    table: np.ndarray
    steps: int
    on_off: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: np.ndarray) -> np.ndarray:
        """Spikes float32 (len(indices), T, U), U pixels, or twice as many."""
        return self.events(indices).dense()

    def events(self, indices: np.ndarray, *, steps: int | None = None) -> Events:
        """The same as events, T being `steps` if given."""
        values = self.images[indices].reshape(len(indices), -1)  # (N, U)
        values = np.concatenate([values, 255 - values], axis=1) if self.on_off else values
        fires = (self.table >= 0) & (self.table < self.steps)
        rows, units = np.nonzero(fires[values])
        bins = self.table[values[rows, units]].astype(np.uint16)
        offsets = np.searchsorted(rows, np.arange(len(indices) + 1))
        units, chosen = units.astype(np.uint32), np.arange(len(indices))
        return Events(bins, units, offsets, chosen, steps or self.steps, values.shape[1])
