"""An extractor's run as its callbacks see it: what its layers see, are and have learnt, when they fire."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from firstspike.readouts.extractors import Extractor
from firstspike.report.features import back_project, cropped, input_pictures, signed
from firstspike.report.readout_run import latencies
from firstspike.report.records import Embedding, Sample
from firstspike.report.run import Learner


@dataclass(frozen=True)
class ExtractorLearner(Learner):
    """The layers of an extractor, with their weights and rates."""

    def rates(self, layer: str) -> Mapping[str, float]:
        """The learning rates in force."""
        return self.engine.rates(layer)


@dataclass(frozen=True)
class ExtractorRun:
    """A run of an extractor.

    `watched`: images uint8 (n, C, H, W) seen while it learns, as pictures too, and their labels; `probed`: those
    embedded at the end.
    """

    one_pace: ClassVar[bool] = False  # a linear readout follows

    engine: Extractor
    settings: Mapping[str, Any]
    folder: Path
    plan: Mapping[str, int]
    watched: tuple[np.ndarray, np.ndarray, np.ndarray]
    probed: tuple[np.ndarray, np.ndarray, np.ndarray]

    @cached_property
    def network(self) -> Learner:
        """The layers that learn."""
        return ExtractorLearner(self.engine, self.engine.layers)

    @cached_property
    def layer_table(self) -> list[dict[str, Any]]:
        """One row a layer, and one for the features."""
        rows = [self._row(layer, self.engine.weights(layer).shape) for layer in self.engine.layers]
        rows[-1]["features"] = "x".join(map(str, self.engine.features_shape))
        return rows

    def _row(self, layer: str, shape: tuple[int, ...]) -> dict[str, Any]:
        return {
            "layer": layer,
            "channels": shape[1],
            "kernel": shape[2],
            "maps": shape[0],
            "weights": int(np.prod(shape)),
            "learns by": type(self.engine).__name__.removesuffix("Extractor"),
            "features": "",
        }

    @cached_property
    def sample(self) -> Sample:
        """The watched images."""
        images, shown, labels = self.watched
        return Sample(shown, self._fired(images, "input"), labels)

    def activity(self, layer: str) -> np.ndarray:
        """When the neurons of a layer fire for the sample, uint8 (n, F, X, Y), 255 = never."""
        return self._fired(self.watched[0], layer)

    def _fired(self, images: np.ndarray, layer: str) -> np.ndarray:
        return np.moveaxis(latencies(self.engine.times(images, layer)), -1, 1)

    def features(self, layer: str) -> np.ndarray:
        """What a layer learnt, drawn back into the image: signed (F, h, w[, colours])."""
        channels = self.engine.times(self.watched[0][:1], "input").shape[-1]
        pictures = input_pictures(*self.engine.polarities(), channels=channels)
        drawn = signed(back_project(self.engine.chain(layer), pictures))
        return cropped(drawn, *self.engine.shape[1:])

    def embedding(self) -> Embedding:
        """How early each feature of the probe fires, 0 = never."""
        images, shown, labels = self.probed
        return Embedding(self.engine.extract(images).intensities(), labels, shown)

    def learnt(self) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """What every layer learnt."""
        return {layer: self.features(layer) for layer in self.engine.layers}, {}

    def drawings(self) -> dict[str, Any]:
        """Further figures of the report: none."""
        return {}
