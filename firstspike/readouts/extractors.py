"""Feature extractors in the form in which the zoo's training loop, its checkpoints and its command know a network.

An extractor learns from images without labels; a linear readout behind it says how much of the classes is in its
features. N images uint8 (N, C, H, W); X, Y, F rows, columns, channels of the features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from firstspike.data.cache import array_digest
from firstspike.data.splits import order as drawn_order
from firstspike.errors import UserError
from firstspike.readouts import csnn
from firstspike.readouts.csnn import STDPCSNN, CSNNEngine
from firstspike.readouts.event_cache import cached_events
from firstspike.readouts.events import Events
from firstspike.readouts.linear import EPOCHS, LinearReadout
from firstspike.readouts.linear import NAME as LINEAR
from firstspike.readouts.preprocessing import (
    Coding,
    code_all,
    difference_of_gaussians,
    fit_coding,
    published_whitening,
)
from firstspike.threads import available

COLOURS = 3
Tell = Callable[[int, int, int], None]  # images more, right and silent among them


@dataclass(frozen=True)
class ExtractorPhase:
    """A phase: the extractor's own, without labels, or the linear readout's."""

    name: str
    epochs: int
    supervised: bool = False

    @property
    def number(self) -> str:
        """Name of the number of epochs that the phase follows."""
        return self.name


@dataclass(frozen=True)
class Result:
    """What one epoch gave: `counts` int64 (1, 3) right, wrong, silent, or None in a phase without labels."""

    counts: np.ndarray | None = None
    decisions: np.ndarray | None = None


class Extractor:
    """An extractor and its linear readout; a subclass states its engine, its layers and what its phase sees."""

    learns: ClassVar[str]  # name of the extractor's own phase
    shuffles: ClassVar[bool] = False  # whether that phase sees its images in an order drawn anew
    layers: tuple[str, ...]

    def __init__(
        self, engine: Any, *, shape: tuple[int, int, int], features: tuple[int, int, int], epochs: int,
        classes: int, seed: int,
    ) -> None:  # fmt: skip
        self.engine, self.shape, self.features_shape, self.workers = engine, shape, features, available()
        self.seed = seed
        self.linear = LinearReadout(int(np.prod(features)), classes, seed=seed)
        own, linear = ExtractorPhase(self.learns, epochs), ExtractorPhase(LINEAR, EPOCHS, supervised=True)
        self.phases = {phase.name: phase for phase in (own, linear)}

    # what a subclass gives

    def seen(self, images: np.ndarray) -> np.ndarray:
        """What the extractor's own phase learns from."""
        raise NotImplementedError

    def learn(self, seen: np.ndarray, order: np.ndarray, tell: Tell) -> None:
        """One epoch of the extractor's own phase."""
        raise NotImplementedError

    def extract(self, images: np.ndarray) -> Events:
        """The features of images as events; inputs are numbered in the order (row, column, channel)."""
        raise NotImplementedError

    def times(self, images: np.ndarray, layer: str) -> np.ndarray:
        """When each neuron of a layer fires for a few images, float32 (N, X, Y, F), 1 = never; "input": coded."""
        raise NotImplementedError

    def chain(self, layer: str) -> list[tuple]:
        """The layers up to this one, as `report.features` takes them."""
        raise NotImplementedError

    def polarities(self) -> tuple[list[list[int]], list[list[int]]]:
        """The channels of its input that stand for light, and those for dark, one group for each colour."""
        raise NotImplementedError

    def key(self) -> str:
        """A name for what the extractor has learnt."""
        return " ".join(array_digest(array) for array in self.engine.state()[0].values())

    # what the loop asks for

    def events(self, images: np.ndarray, *, folder: Path | None = None) -> Events:
        """The features of images; with a folder they are made once for each extractor and images."""
        key = f"{type(self).__name__} {self.key()} of {array_digest(images)}"
        return cached_events(key, lambda: self.extract(images), folder=folder)

    def phase(self, name: str) -> ExtractorPhase:
        """The phase of this name."""
        return self.phases[name]

    def learning(self, phase: str) -> list[str]:
        """The layers that learn in a phase."""
        return [LINEAR] if phase == LINEAR else list(self.layers)

    def convergence(self) -> dict[str, float]:
        """Nothing: the rates fall whether or not the weights have settled."""
        return {}

    def weights(self, layer: str) -> np.ndarray:
        """A copy of a layer's weights, float32 (F, C, K, K), or (classes, inputs + 1) of the linear readout."""
        return self.linear.weights.copy() if layer == LINEAR else self.engine.weights(layer)

    def rates(self, layer: str) -> dict[str, float]:
        """The learning rates in force."""
        return {"lr": self.linear.rate()} if layer == LINEAR else self.engine.rates(layer)

    def sequence(self, total: int, epoch: int) -> np.ndarray:
        """The order in which an epoch of the extractor's own phase sees its images: as published."""
        if self.shuffles:
            return drawn_order(total, seed=self.seed, phase=self.learns, epoch=epoch)
        return np.arange(total)

    def fit_phase(
        self,
        phase: str,
        seen: np.ndarray | Events,
        labels: np.ndarray | None = None,
        *,
        order: np.ndarray | None = None,
        from_inputs: bool = True,
        record: bool = False,
        progress: Callable[[int, int, int], None] | None = None,
    ) -> Result:
        """One epoch over what the phase sees; `progress(done, right, silent)` hears of its course."""
        order, done = np.arange(len(seen)) if order is None else order, 0

        def tell(more: int, right: int, silent: int) -> None:
            nonlocal done
            done += more
            if progress:
                progress(done, right, silent)

        if phase != LINEAR:
            self.learn(seen, order, tell)
            return Result()
        right = self.linear.fit(seen, labels, order, lambda more, hits: tell(more, hits, 0))
        return Result(np.array([[right, len(order) - right, 0]], np.int64))

    def answers_from(self, phase: str, seen: Events) -> np.ndarray:
        """Classes from features."""
        return self.linear.predict(seen)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that learning changes, by name; copies."""
        arrays, counters = self.engine.state()
        linear = {f"{LINEAR}.{name}": array for name, array in self.linear.state().items()}
        return arrays | linear | {"epochs": np.array(counters["epochs"], np.int64)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        if "epochs" not in state:
            raise UserError("extractor state: epochs are missing, so it belongs to another network")
        linear = {name.removeprefix(f"{LINEAR}."): a for name, a in state.items() if name.startswith(LINEAR)}
        self.engine.load_state(state, {"epochs": int(state["epochs"])})
        self.linear.load_state(linear)


class CSNNExtractor(Extractor):
    """STDP-CSNN: the coding of images is fitted to the first images that the phase is shown."""

    learns = csnn.NAME
    layers = (csnn.NAME,)

    def __init__(
        self, settings: STDPCSNN, *, shape: tuple[int, int, int], epochs: int, classes: int, seed: int
    ) -> None:
        colours, *size = shape
        channels = (*size, 2 * colours)
        side, deep = (9, COLOURS) if colours == COLOURS else (7, 1)
        blank = Coding(
            np.zeros((deep, side, side, deep), np.float32),
            *(np.zeros(channels, np.float32) for _ in range(2)),
        )
        engine = CSNNEngine(settings, blank, seed=seed)
        super().__init__(
            engine, shape=shape, features=engine.features_shape, epochs=epochs, classes=classes, seed=seed
        )

    def seen(self, images: np.ndarray) -> np.ndarray:
        """Spike times float32 (N, X, Y, Z); the first images decide how later ones are coded."""
        if not self.engine.coding.filters.any():
            colour = self.shape[0] == COLOURS
            filters = published_whitening(images) if colour else difference_of_gaussians()
            self.engine.coding = fit_coding(images, filters, threads=self.workers)
        return code_all(self.engine.coding, images, threads=self.workers)

    def learn(self, seen: np.ndarray, order: np.ndarray, tell: Tell) -> None:
        """One patch of each image."""
        self.engine.fit_phase(self.learns, seen, order=order)
        tell(len(order), 0, 0)

    def extract(self, images: np.ndarray) -> Events:
        """Earliest spikes of each pooling window."""
        return self.engine.events(images, threads=self.workers)

    def times(self, images: np.ndarray, layer: str) -> np.ndarray:
        """Spike times of the pooled layer, or of the coded images."""
        coded = self.engine.coding.times(images)
        return coded if layer == "input" else self.engine.infer(coded, threads=self.workers)

    def chain(self, layer: str) -> list[tuple]:
        """One layer of weights."""
        return [("weights", self.engine.weights(layer))]

    def polarities(self) -> tuple[list[list[int]], list[list[int]]]:
        """On and off channels in turn."""
        return tuple([[2 * colour + sign] for colour in range(self.shape[0])] for sign in (0, 1))
