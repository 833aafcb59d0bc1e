"""A run of a network that runs in time, as its callbacks see it: hidden layers, their spikes, what they weigh.

n samples, T steps, U units of a layer, P polarities or colours, H and W rows and columns of pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from matplotlib.figure import Figure

from firstspike.data.timed import Part
from firstspike.report.activation import NEVER
from firstspike.report.plots import full_rows, mosaic, stacked
from firstspike.report.rasters import Raster, rasters
from firstspike.report.records import Embedding, Sample
from firstspike.report.run import Learner

if TYPE_CHECKING:  # torch takes a second to import
    from firstspike.neurons.loop import TrainedNetwork

LATEST = 254  # where a first spike at the last step is shown
SIDE = 56  # pixels of a thumbnail of a sample without pixels of its own, at most
DRAWN = 3  # samples whose spikes are drawn


@dataclass(frozen=True)
class TimedLearner(Learner):
    """The hidden layers, with their weights and the learning rates that they share."""

    def rates(self, layer: str) -> Mapping[str, float]:
        """The learning rates in force."""
        return self.engine.rates()


@dataclass(frozen=True)
class TimedRun:
    """A run of a network in time; `watched` are the samples seen while it learns, `probed` those embedded at the end,
    each with the names of their classes.
    """

    one_pace: ClassVar[bool] = True

    engine: "TrainedNetwork"
    settings: Mapping[str, Any]
    folder: Path
    plan: Mapping[str, int]
    watched: tuple[Part, np.ndarray]
    probed: tuple[Part, np.ndarray]
    class_names: tuple[str, ...]

    @cached_property
    def network(self) -> Learner:
        """The layers that learn."""
        return TimedLearner(self.engine, self.engine.layers)

    @cached_property
    def layer_table(self) -> list[dict[str, Any]]:
        """One row a hidden layer: what it weighs, which neurons it has."""
        rows = []
        for name, neuron in zip(self.engine.layers, self.engine.neurons, strict=True):
            weights = self.engine.weights(name)
            row = {
                "layer": name,
                "weights": "x".join(map(str, weights.shape)),
                "neuron": type(neuron).__name__,
            }
            mode = getattr(neuron, "mode", "")
            rows.append({**row, "mode": mode or "-", "recurrent": bool(getattr(neuron, "recurrent", None))})
        return rows

    @cached_property
    def sample(self) -> Sample:
        """The watched samples as pictures, and when their units fire first."""
        part, labels = self.watched
        x = part.batch(np.arange(len(part)))
        return Sample(thumbnails(x), first_spikes(x), labels)

    def activity(self, layer: str) -> np.ndarray:
        """When the sample's neurons fire first, uint8 (n, maps, h, w) in parts of the recording, 255 = never."""
        _, layers, _ = self.engine.activities(self.watched[0])
        return first_spikes(layers[self.engine.layers.index(layer)])

    def features(self, layer: str) -> np.ndarray:
        """Weights of each neuron at each pixel, mean over polarities: (U, H, W); else all weights as one picture."""
        weights, shape = self.engine.weights(layer), self.engine.shape
        if weights.ndim > 3:
            return weights.mean(axis=1)
        if layer == self.engine.layers[0] and len(shape) == 3:
            return weights.reshape(len(weights), -1, *shape[-2:]).mean(axis=1)
        return weights.reshape(1, len(weights), -1)

    def embedding(self) -> Embedding:
        """Spikes of each unit of the last hidden layer for the probe."""
        part, labels = self.probed
        x, layers, _ = self.engine.activities(part)
        counts = layers[-1].sum(axis=1).reshape(len(part), -1)
        return Embedding(counts, labels, thumbnails(x))

    def learnt(self) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """What the neurons of the first layer see, if the input has pixels."""
        first = self.engine.layers[0]
        seen = self.features(first)
        return ({first: seen} if len(seen) > 1 else {}), {}

    def drawings(self) -> dict[str, Figure]:
        """Further figures of the report: spikes of every layer for a few samples; weights of a layer without pixels."""
        part, labels = self.watched
        some = part.take(slice(DRAWN))
        x, layers, potentials = self.engine.activities(some)
        names, scores = ("input", *self.engine.layers), self.engine.scores(some)
        columns = [
            Raster(
                f"class {labels[n]}",
                {name: flat(spikes[n]) for name, spikes in zip(names, (x, *layers), strict=True)},
                potentials[n],
                scores[n],
            )
            for n in range(len(some))
        ]
        return {"rasters": rasters(columns, self.class_names), **self._matrix()}

    def _matrix(self) -> dict[str, Figure]:
        """All weights of the first layer in one picture, where they are not drawn neuron by neuron."""
        first = self.engine.layers[0]
        seen = self.features(first)
        if len(seen) > 1:
            return {}
        units, inputs = seen.shape[1:]
        return {"weights": stacked({f"{first}: {units} neurons (rows) weigh {inputs} inputs": mosaic(seen)})}


def flat(spikes: np.ndarray) -> np.ndarray:
    """Spikes of one sample (T, ...) as (T, U)."""
    return spikes.reshape(len(spikes), -1)


def first_spikes(spikes: np.ndarray) -> np.ndarray:
    """Spikes (n, T, U) or (n, T, P, H, W) as uint8 (n, maps, h, w): the first step in parts of T, 255 = never.

    Units in a line are folded into rows, filled up with silence.
    """
    fired, steps = spikes > 0, spikes.shape[1]
    first = (fired.argmax(axis=1) * LATEST // max(steps - 1, 1)).astype(np.uint8)
    first[~fired.any(axis=1)] = NEVER
    if first.ndim == 4:
        return first
    units = first[0].size
    columns = full_rows(units, aspect=1.0)
    rows = -(-units // columns)
    folded = np.full((len(first), rows * columns), NEVER, np.uint8)
    folded[:, :units] = flat(first)
    return folded.reshape(len(first), 1, rows, columns)


def thumbnails(x: np.ndarray) -> np.ndarray:
    """Samples (n, T, ...) as pictures uint8 (n, h, w): pixels, brighter the earlier and the more they fire, or units
    upwards over time.
    """
    if x.ndim == 5:
        early = np.linspace(1, 0.1, x.shape[1], dtype=np.float32)
        planes = np.einsum("ntphw,t->nhw", x, early)
    else:
        planes = shrunk(x.reshape(*x.shape[:2], -1).swapaxes(1, 2)[:, ::-1])
    peak = planes.max(axis=(1, 2), keepdims=True)
    return (255 * planes / np.where(peak > 0, peak, 1)).astype(np.uint8)


def shrunk(planes: np.ndarray) -> np.ndarray:
    """Pictures (n, h, w) brought to at most SIDE pixels a side: sums over blocks."""
    for axis in (1, 2):
        size = planes.shape[axis]
        starts = np.unique(np.linspace(0, size, min(size, SIDE), endpoint=False).astype(int))
        planes = np.add.reduceat(planes, starts, axis=axis)
    return planes
