"""ReadoutTrainer: the one loop around a readout of first-spike features that learns by supervised STDP.

net = create_model("ncg2024", in_channels=128, image_size=(6, 6), preset="mnist/s2stdp+ncg")
net.train(samples, validation)
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from extractor_trainer import FEATURES
from firstspike.data.dataset import Dataset
from firstspike.data.samples import Samples, Selection
from firstspike.engine import Engine
from firstspike.errors import UserError
from firstspike.readouts import sources
from firstspike.readouts.events import Events
from firstspike.readouts.extractors import Extractor
from firstspike.readouts.layer_features import LayerFeatures
from firstspike.readouts.network import ReadoutNetwork
from firstspike.readouts.presets import Preset, list_presets, preset
from firstspike.readouts.variants import options_of, variant
from firstspike.report.open_run import load_best, rebuilt
from network_trainer import Keeper, NetworkTrainer

OF_FEATURES = {
    "features": "stdpcsnn",
    "csnn_epochs": 100,
    "coding": "latency",
    "pool": 1,
}  # options that say where features come from


class ReadoutTrainer(NetworkTrainer):
    """A readout with the zoo's loop; a subclass states the published ``setting`` that its options start from.

    Samples come in stored order in every epoch, unless ``shuffle``. Training ends after ten epochs without a
    strictly better validation accuracy, as published (Goupy et al., NeurIPS 2024); unlike the published program,
    which reports the weights of the last epoch, the loop goes back to the best epoch.
    """

    setting: ClassVar[str] = ""
    later_wins_ties: ClassVar[bool] = False

    @classmethod
    def known_options(cls) -> dict[str, Any]:
        """Every option and its default; those of the readout follow the preset that is chosen."""
        return {
            "preset": cls.setting,
            **OF_FEATURES,
            "shuffle": False,
            "traces": False,
            **options_of(cls.setting),
        }

    @classmethod
    def presets(cls) -> list[str]:
        """Names of the published settings."""
        return list_presets()

    @classmethod
    def described(cls, options: Mapping[str, Any], classes: int) -> Preset:
        """The readout for so many classes with these options; UserError for what makes no sense."""
        if unknown := sorted(set(options) - set(cls.known_options())):
            raise UserError(f"option {unknown[0]}: this network has {', '.join(cls.known_options())}")
        changed = {name: value for name, value in options.items() if name in options_of(cls.setting)}
        return variant(options.get("preset", cls.setting), classes, changed)

    def describe(self) -> Preset:
        """The readout as data, for its classes, and how it is trained."""
        return self.described(self.options, self.classes)

    def build(self) -> ReadoutNetwork:
        """The readout in the form that the loop knows."""
        setting, (channels, rows, columns) = self.describe(), self.shape
        self.patience = (
            setting.patience - 1
        )  # the loop ends a phase behind as many stale epochs as this and one
        network = ReadoutNetwork(
            setting, shape=(rows, columns, channels), classes=self.classes, steps=self.steps, seed=self.seed
        )
        network.tracing = bool(self.options.get("traces"))
        return network

    def made(self) -> dict[str, Any]:
        """What a checkpoint says of the readout, as plain data."""
        readout = self.engine.readout
        return {
            "preset": self.options.get("preset", self.setting),
            "layer": asdict(readout.readout.layer),
            "groups": asdict(readout.readout.groups),
            "shape": list(self.engine.shape),
            "steps": self.steps,
        }

    def rates(self, layer: str) -> dict[str, float]:
        """Learning rates in force, by name."""
        return self.engine.readout.rates(layer)

    def set_rates(self, layer: str, **rates: float) -> None:
        """Set annealed rates, by name."""
        self.engine.readout.set_rates(layer, **rates)

    def inputs(self, phase: str, latencies: np.ndarray) -> Events:
        """What the readout sees: the features as events."""
        return self.engine.events(latencies)

    def features(self, latencies: np.ndarray, layer: str, as_: str = "latency") -> np.ndarray:
        """When each neuron fires, float32 (N, neurons), 1 = never."""
        if as_ != "latency":
            raise UserError(f"features as {as_!r}: a readout gives latency")
        return self.engine.spike_times(latencies)

    def sequence(self, total: int, phase: str, epoch: int) -> np.ndarray:
        """The order of an epoch: as stored, or drawn anew with ``shuffle``."""
        if self.options.get("shuffle"):
            return super().sequence(total, phase, epoch)
        return np.arange(total)

    def _seen(self, phase: str, samples: Samples, keeper: Keeper) -> Events:
        """The features of all samples as events."""
        return self.engine.events(samples.take(slice(None)))


Extractors = Callable[[Mapping[str, Any], dict[str, np.ndarray]], Extractor | None]


@dataclass(frozen=True)
class FeatureRequest:
    """What features are asked for: `options` of the command, of which samples, and where they are kept.

    `dataset(options)` loads the images that they are made of; `extractors` makes the feature extractor of a
    checkpoint, or None where it is of another network.
    """

    options: Mapping[str, Any]
    dataset: Callable[[Mapping[str, Any]], Dataset]
    selection: Selection
    place: sources.Place
    extractors: Extractors = lambda meta, state: None

    def find(self) -> sources.FeatureSet:
        """The features, of several sources side by side."""
        asked, setting = self.options["features"], self.options["preset"]
        if asked is None:
            asked = preset(setting).extractor if setting else OF_FEATURES["features"]
        return sources.side_by_side([self._of(source) for source in asked.split(",")])

    def _of(self, source: str) -> sources.FeatureSet:
        if source == "stdpcsnn":
            return sources.from_stdpcsnn(
                self.dataset(self.options), self.selection, self.place, epochs=self._epochs()
            )
        if source.endswith(".npz"):
            return sources.from_file(source, self.selection)
        if "@" in source:
            return self._of_run(source)
        first = " (train one with --model softhebb, then --features softhebb@RUN)"
        raise UserError(
            f"--features {source}: give stdpcsnn, a file FILE.npz, or MODEL:LAYER@RUN, or several, commas between"
            + (first if source == "softhebb" else "")
        )

    def _epochs(self) -> int:
        given = self.options["csnn_epochs"]
        epochs = OF_FEATURES["csnn_epochs"] if given is None else given
        if epochs < 0:
            raise UserError(f"option csnn_epochs: {epochs} given, a whole number from 0 needed")
        return epochs

    def _of_run(self, source: str) -> sources.FeatureSet:
        named, _, run = source.partition("@")
        model, _, layer = named.partition(":")
        state, meta = load_best(Path(run))
        if meta["model"] != model:
            raise UserError(f"--features {source}: this run is of {meta['model']}")
        extractor = self.extractors(meta, state)
        if extractor is None:
            return self._of_layer(source, layer, rebuilt(Path(run), state, meta), meta)
        if layer not in ("", extractor.layers[-1]):
            raise UserError(f"--features {source}: the features are those of {extractor.layers[-1]}")
        kept = replace(self.place, folder=Path(run) / FEATURES)
        return sources.from_extractor(self._images(meta), self.selection, kept, extractor)

    def _of_layer(
        self, source: str, layer: str, network: Engine, meta: Mapping[str, Any]
    ) -> sources.FeatureSet:
        if layer not in network.nodes:
            raise UserError(f"--features {source}: this run has the layers {', '.join(network.nodes)}")
        made = meta["network"]
        given = {name: self.options[name] for name in ("coding", "pool") if self.options[name] is not None}
        features = LayerFeatures(network, layer, made["encoder"].get("filters"), **given)
        images = self._images(meta)  # loaded when everything else is as it should be
        if made["shape"][1:] != list(images.image_size) and not made["encoder"]:
            raise UserError(
                f"--features {source}: made for {made['shape']}, {images.name} has {images.image_size}"
            )
        return sources.from_layer(images, self.selection, self.place, features)

    def _images(self, meta: Mapping[str, Any]) -> Dataset:
        """The data set asked for, else that of the run."""
        inherited = {name: meta["settings"].get(name) for name in ("dataset", "data_dir", "image_size")}
        missing = {name: value for name, value in inherited.items() if self.options[name] is None}
        return self.dataset({**self.options, **missing})
