"""A run as its callbacks see it: layers, their activity for a few images, what they learnt, an embedding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from firstspike.layers import Branches, Conv, Layer, Pool, convolutions
from firstspike.report.features import Chain, back_project, cropped, input_pictures, signed
from firstspike.report.records import Embedding, Sample
from firstspike.report.writer import Answers

WITHIN_CLASS = 20  # pictures a row of a decision layer


class Engine(Protocol):
    """What a run asks of the engine of a convolutional network."""

    layers: tuple[Layer, ...]
    shape: tuple[int, int, int]
    steps: int

    def weights(self, layer: str) -> np.ndarray:
        """Weights float32 (M, C, K, K)."""

    def features(self, latencies: np.ndarray, layer: str, as_: str = "latency") -> np.ndarray:
        """Activity of a layer."""

    def before(self, layer: str, latencies: np.ndarray) -> np.ndarray:
        """What a layer sees."""


@dataclass(frozen=True)
class Learner:
    """The learning layers of a network, from the input upwards, with their weights and rates."""

    engine: Any
    layers: tuple[str, ...]

    def weights(self, layer: str) -> np.ndarray:
        """Weights float32 (M, C, K, K)."""
        return self.engine.weights(layer)

    def rates(self, layer: str) -> Mapping[str, float]:
        """The learning rates in force."""
        return self.engine.layer_rates(layer).current()


@dataclass(frozen=True)
class ZooRun:
    """A run of a convolutional network.

    ``sample`` is watched while it learns; ``probe``, some more images, is embedded at the end. ``polarities``: one
    group of on channels and one of off channels for each colour.
    """

    one_pace: ClassVar[bool] = True

    engine: Engine
    settings: Mapping[str, Any]
    folder: Path
    plan: Mapping[str, int]
    sample: Sample
    probe: Sample
    polarities: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]]

    @cached_property
    def network(self) -> Learner:
        """The layers that learn."""
        learning = {name for phase in self.engine.phases.values() for name in phase.rules}
        return Learner(self.engine, tuple(name for name in self.engine.nodes if name in learning))

    @cached_property
    def layer_table(self) -> list[dict[str, Any]]:
        """One row a layer: what it sees, what it is, how many winners learn, by which rule."""
        return [
            self._row(layer, shape) for layer, shape in convolutions(self.engine.layers, self.engine.shape)
        ]

    def _row(self, layer: Conv, shape: tuple[int, int, int]) -> dict[str, Any]:
        rules = [
            type(p.rules[layer.name]).__name__ for p in self.engine.phases.values() if layer.name in p.rules
        ]
        return {
            "layer": layer.name,
            "input": "x".join(map(str, shape)),
            "kernel": layer.kernel,
            "output": "x".join(map(str, layer.output(shape))),
            "weights": layer.maps * shape[0] * layer.kernel**2,
            "threshold": "none" if layer.threshold is None else f"{layer.threshold:g}",
            "winners/radius": f"{layer.k}/{layer.radius}",
            "learns by": " + ".join(rules) or "nothing",
        }

    def activity(self, layer: str) -> np.ndarray:
        """Latencies uint8 (n, M, R, Q) of the sample in a layer."""
        return self.engine.features(self.sample.latencies, layer)

    def features(self, layer: str) -> np.ndarray:
        """What a layer learnt, drawn back into the input: signed (M, h, w[, colours])."""
        pictures = input_pictures(*self.polarities, channels=self.engine.shape[0])
        chain, _ = chain_to(self.engine, self.engine.layers, layer)
        return cropped(signed(back_project(chain, pictures)), *self.engine.shape[1:])

    def embedding(self) -> Embedding:
        """What the decision layer sees of the probe: how early each of its inputs fires, 0 = never."""
        seen = self.engine.before(self.engine.decision.heads[0], self.probe.latencies)
        ranks = self.engine.steps - np.minimum(seen, self.engine.steps).astype(np.float32)
        return Embedding(ranks.reshape(len(ranks), -1), self.probe.labels, self.probe.images)

    def drawings(self) -> dict[str, Any]:
        """Further figures of the report: none."""
        return {}

    def learnt(self) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """Features of every learning layer, and how many stand in a row."""
        features = {layer: self.features(layer) for layer in self.network.layers}
        heads = dict.fromkeys(self.engine.decision.heads, WITHIN_CLASS)
        return features, {name: per_row for name, per_row in heads.items() if name in features}


@dataclass(frozen=True)
class Outcome:
    """How a run ended, for the callbacks."""

    answers: Answers | None


def chain_to(engine: Engine, layers: tuple[Layer, ...], target: str) -> tuple[Chain, bool]:
    """The layers from the input up to the target, as ``features.back_project`` takes them; and whether it was met."""
    chain: list[tuple] = []
    for layer in layers:
        if isinstance(layer, Pool):
            chain.append(("pool", layer.window, layer.step))
        elif isinstance(layer, Conv):
            chain.append(("mean" if layer.threshold is None else "weights", engine.weights(layer.name)))
            if layer.name == target:
                return chain, True
        elif isinstance(layer, Branches):
            met = _through(engine, layer, target, chain)
            if met:
                return chain, True
    return chain, False


def _through(engine: Engine, branches: Branches, target: str, chain: list[tuple]) -> bool:
    """Append a branching to the chain: the one path that leads to the target, or all of them."""
    paths = []
    for path in branches.paths:
        part, met = chain_to(engine, path, target)
        if met:
            chain.extend(part)
            return True
        paths.append(part)
    if branches.join == "channels":
        chain.append(("branches", tuple(paths)))
    else:
        chain.extend(paths[0])
    return False
