"""A readout's run as its callbacks see it: one layer over features, drawn on the grid of the features."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from firstspike.readouts.engine import NAME
from firstspike.readouts.events import Events
from firstspike.readouts.network import ReadoutNetwork
from firstspike.report.activation import NEVER
from firstspike.report.records import Embedding, Sample
from firstspike.report.run import Learner
from firstspike.report.traces import TRACES, read_traces, traces_figure

LATEST = 254  # where a spike at the end of the window is shown


@dataclass(frozen=True)
class ReadoutLearner(Learner):
    """The one layer, with its weights and rates."""

    def rates(self, layer: str) -> Mapping[str, float]:
        """The learning rates in force."""
        return self.engine.readout.rates(layer)


@dataclass(frozen=True)
class ReadoutRun:
    """A run of a readout; `watched` are the samples seen while it learns, `probed` those embedded at the end."""

    one_pace: ClassVar[bool] = True

    engine: ReadoutNetwork
    settings: Mapping[str, Any]
    folder: Path
    plan: Mapping[str, int]
    watched: tuple[Events, np.ndarray]
    probed: tuple[Events, np.ndarray]

    @cached_property
    def network(self) -> Learner:
        """The layer that learns."""
        return ReadoutLearner(self.engine, (NAME,))

    @cached_property
    def layer_table(self) -> list[dict[str, Any]]:
        """One row: what the layer sees, what it is, by which rule it learns."""
        readout = self.engine.readout
        groups = readout.readout.groups
        row = {
            "layer": NAME,
            "input": "x".join(map(str, self.engine.shape)),
            "neurons": f"{readout.neurons} ({groups.per_class} a class, {groups.non_target} non-target)",
            "weights": readout.neurons * readout.inputs,
            "threshold": f"{readout.readout.layer.threshold:g}",
            "learns by": type(readout.readout.rule).__name__,
            "regulation": type(readout.readout.regulation).__name__,
        }
        return [row]

    @cached_property
    def sample(self) -> Sample:
        """The watched samples as pictures of how early each place fires."""
        events, labels = self.watched
        return Sample(pictures(events, self.engine.shape), maps(events.dense(), self.engine.shape), labels)

    def activity(self, layer: str) -> np.ndarray:
        """When the sample's neurons fire, uint8 (n, 1, classes, neurons a class), 255 = never."""
        times = self.engine.spike_times(self.watched[0])
        return latencies(times).reshape(len(times), 1, self.engine.readout.classes, -1)

    def features(self, layer: str) -> np.ndarray:
        """Mean weight of each neuron at each place, from the mean over all places: signed (N, h, w)."""
        weights = grid(self.engine.weights(layer), self.engine.shape)
        return weights - weights.mean(axis=(1, 2), keepdims=True)

    def embedding(self) -> Embedding:
        """How early each feature of the probe fires, 0 = never."""
        events, labels = self.probed
        return Embedding(events.intensities(), labels, pictures(events, self.engine.shape))

    def drawings(self) -> dict[str, Any]:
        """Further figures of the report: the competition in each class, where it was traced."""
        traces, groups = read_traces(self.folder / TRACES), self.engine.readout.readout.groups
        return {TRACES: traces_figure(traces, groups)} if traces else {}

    def learnt(self) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """What the neurons learnt, and how many stand in a row: those of one class."""
        return {NAME: self.features(NAME)}, {NAME: max(5, self.engine.readout.readout.groups.per_class)}


def grid(values: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Values (n, I) of features of shape (X, Y, F) as pictures (n, X, Y), the mean over F.

    A single row of features has no places: it is folded into a square, filled up with its mean.
    """
    n, (rows, columns, _) = len(values), shape
    if rows > 1:
        return values.reshape(n, *shape).mean(axis=3)
    folded = values.reshape(n, columns, -1).mean(axis=2)
    side = int(np.ceil(np.sqrt(columns)))
    filled = np.repeat(folded.mean(axis=1, keepdims=True), side * side, axis=1)
    filled[:, :columns] = folded
    return filled.reshape(n, side, side)


def pictures(events: Events, shape: tuple[int, int, int]) -> np.ndarray:
    """Samples as pictures uint8 (n, h, w): the earlier the brighter."""
    return (255 * grid(events.intensities(), shape)).astype(np.uint8)


def latencies(times: np.ndarray) -> np.ndarray:
    """Spike times in [0, 1], 1 = never, as uint8 in 255 steps, 255 = never."""
    return np.where(times < 1, np.floor(times * LATEST), NEVER).astype(np.uint8)


def maps(times: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Spike times (n, I) as latencies uint8 (n, F, X, Y); a single row of features is folded into a square."""
    found, (rows, columns, _) = latencies(times).reshape(len(times), *shape), shape
    if rows > 1:
        return np.moveaxis(found, 3, 1)
    side = int(np.ceil(np.sqrt(columns)))
    filled = np.full((len(times), shape[2], side * side), NEVER, np.uint8)
    filled[:, :, :columns] = np.moveaxis(found[:, 0], 2, 1)
    return filled.reshape(len(times), shape[2], side, side)
