"""ExtractorTrainer: the one loop around a feature extractor that learns without labels, and a linear readout behind it.

net = create_model("stdpcsnn", in_channels=1, image_size=(28, 28))
net.train(images, validation)
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from firstspike.data.samples import Samples
from firstspike.errors import UserError
from firstspike.readouts.csnn import PUBLISHED, published
from firstspike.readouts.events import Events
from firstspike.readouts.extractors import CSNNExtractor, Extractor
from firstspike.readouts.linear import EPOCHS
from firstspike.readouts.linear import NAME as LINEAR
from network_trainer import Keeper, NetworkTrainer

FEATURES = "features"  # the folder of a run that keeps what the extractor makes of its images


class ExtractorTrainer(NetworkTrainer):
    """An extractor with the zoo's loop: its own phase, then a linear readout; a subclass makes the ``extractor``.

    Samples are images uint8 (N, C, H, W); ``device`` is one of torch's, where the extractor uses torch.
    """

    patience = EPOCHS  # the published classifier is trained to the end: its rate falls with the epochs
    place: Path | None = None  # where features are kept

    @classmethod
    def for_dataset(cls, name: str, channels: int) -> dict[str, Any]:
        """Options that a data set of this name and so many colours decides, where nobody states them."""
        return {}

    def extractor(self) -> Extractor:
        """The extractor with its options."""
        raise NotImplementedError

    def build(self) -> Extractor:
        """The extractor in the form that the loop knows."""
        if unknown := sorted(set(self.options) - set(self.known_options())):
            raise UserError(f"option {unknown[0]}: this network has {', '.join(self.known_options())}")
        return self.extractor()

    def made(self) -> dict[str, Any]:
        """What a checkpoint needs to say of the network: `open_extractor` makes it anew from this."""
        return {"options": dict(self.options), "shape": list(self.shape), "classes": self.classes}

    def rates(self, layer: str) -> dict[str, float]:
        """Learning rates in force, by name."""
        return self.engine.rates(layer)

    def inputs(self, phase: str, latencies: np.ndarray) -> np.ndarray | Events:
        """What the phase sees of images: the coded images, or the features."""
        if phase == LINEAR:
            return self.engine.events(latencies, folder=self.place)
        return self.engine.seen(latencies)

    def predict(self, latencies: np.ndarray) -> np.ndarray:
        """Answers of the linear readout to images, int64 (N,), -1 where it has not learnt."""
        return self.engine.linear.predict(self.inputs(LINEAR, latencies))

    def scores(self, latencies: np.ndarray) -> np.ndarray:
        """Probabilities of the classes by the linear readout, float32 (N, classes)."""
        return self.engine.linear.scores(self.inputs(LINEAR, latencies))

    def features(self, latencies: np.ndarray, layer: str, as_: str = "latency") -> np.ndarray:
        """When each neuron of a layer fires for images, float32 (N, maps, H, W), 1 = never."""
        if as_ != "latency":
            raise UserError(f"features as {as_!r}: an extractor gives latency")
        return np.moveaxis(self.engine.times(latencies, layer), -1, 1)

    def sequence(self, total: int, phase: str, epoch: int) -> np.ndarray:
        """The order of an epoch: drawn anew, or as stored where the extractor was published so."""
        if phase == LINEAR:
            return super().sequence(total, phase, epoch)
        return self.engine.sequence(total, epoch)

    def _seen(self, phase: str, samples: Samples, keeper: Keeper) -> np.ndarray | Events:
        """What the phase sees of all samples; the features are kept in the run."""
        if keeper.folder is not None:
            self.place = Path(keeper.folder) / FEATURES
        return self.inputs(phase, samples.take(slice(None)))


class CSNNTrainer(ExtractorTrainer):
    """STDP-CSNN; a subclass states the data set, ``setting``, whose published settings its options start from."""

    setting: ClassVar[str] = "mnist"
    published_epochs: ClassVar[int] = 100

    @classmethod
    def known_options(cls) -> dict[str, Any]:
        """Every option and its default; those of the layer follow the ``preset``, by default the data set's."""
        return {"preset": cls.setting, **asdict(PUBLISHED[cls.setting])}

    @classmethod
    def for_dataset(cls, name: str, channels: int) -> dict[str, Any]:
        """The preset published for a data set."""
        return {"preset": published(name, channels)}

    def extractor(self) -> Extractor:
        """The layer with its options."""
        options = dict(self.options)
        name = options.pop("preset", self.setting)
        if name not in PUBLISHED:
            raise UserError(f"option preset: {name!r} given, {', '.join(PUBLISHED)} allowed")
        settings = replace(PUBLISHED[name], **options)
        return CSNNExtractor(
            settings, shape=self.shape, epochs=self.published_epochs, classes=self.classes, seed=self.seed
        )


class SoftHebbTrainer(ExtractorTrainer):
    """SoftHebb; a subclass states how many ``maps`` its layers have."""

    maps: ClassVar[tuple[int, ...]]

    @classmethod
    def known_options(cls) -> dict[str, Any]:
        """Maps of the layers, and whether image axes are exchanged first, as published with the readouts."""
        return {f"conv{number}_maps": count for number, count in enumerate(cls.maps, 1)} | {"transpose": True}

    @classmethod
    def fills_a_gpu(cls, update_batch: int | None) -> bool:
        """Small batches through wide convolutions: a GPU is what they want."""
        return True

    def extractor(self) -> Extractor:
        """The network with its options."""
        from firstspike.readouts.softhebb import SoftHebb  # torch takes a second to import
        from firstspike.readouts.softhebb_extractor import SoftHebbExtractor

        options = {**self.known_options(), **self.options}
        transpose = options.pop("transpose")
        return SoftHebbExtractor(
            SoftHebb(transpose=transpose).with_maps(*options.values()),
            shape=self.shape,
            epochs=1,
            classes=self.classes,
            seed=self.seed,
            device=self.device,
        )


def rebuilt(
    trainer: type[ExtractorTrainer], made: Mapping[str, Any], state: dict[str, np.ndarray]
) -> Extractor:
    """The extractor of a checkpoint."""
    channels, *size = made["shape"]
    net = trainer(in_channels=channels, image_size=tuple(size), classes=made["classes"], **made["options"])
    net.load_state_dict(state)
    return net.engine
