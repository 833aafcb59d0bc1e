"""ExtractorTrainer: the one loop around a feature extractor that learns without labels, and a linear readout behind it.

net = create_model("stdpcsnn", in_channels=1, image_size=(28, 28))
net.train(images, validation)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from firstspike.data.samples import Samples
from firstspike.errors import UserError
from firstspike.readouts.events import Events
from firstspike.readouts.extractors import Extractor
from firstspike.readouts.linear import NAME as LINEAR
from network_trainer import Keeper, NetworkTrainer

FEATURES = "features"  # the folder of a run that keeps what the extractor makes of its images


class ExtractorTrainer(NetworkTrainer):
    """An extractor with the zoo's loop: its own phase, then a linear readout; a subclass makes the ``extractor``.

    Samples are images uint8 (N, C, H, W); ``device`` is one of torch's, where the extractor uses torch.
    """

    shuffles: ClassVar[bool] = (
        False  # whether the extractor's own phase sees its images in an order drawn anew
    )
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
        if phase == LINEAR or self.shuffles:
            return super().sequence(total, phase, epoch)
        return np.arange(total)

    def _seen(self, phase: str, samples: Samples, keeper: Keeper) -> np.ndarray | Events:
        """What the phase sees of all samples; the features are kept in the run."""
        if keeper.folder is not None:
            self.place = Path(keeper.folder) / FEATURES
        return self.inputs(phase, samples.take(slice(None)))


def rebuilt(
    trainer: type[ExtractorTrainer], made: Mapping[str, Any], state: dict[str, np.ndarray]
) -> Extractor:
    """The extractor of a checkpoint."""
    channels, *size = made["shape"]
    net = trainer(in_channels=channels, image_size=tuple(size), classes=made["classes"], **made["options"])
    net.load_state_dict(state)
    return net.engine
