"""Journé et al. 2023, Hebbian Deep Learning Without Feedback (ICLR): features from three soft Hebbian layers."""

from typing import TYPE_CHECKING, Any

from extractor_trainer import ExtractorTrainer
from models import register

if TYPE_CHECKING:
    from firstspike.readouts.softhebb_extractor import SoftHebbExtractor


@register("softhebb")
class SoftHebbModel(ExtractorTrainer):
    """96, 384 and 1,536 maps; all layers learn on the same pass, in one epoch, with the constants for CIFAR-10."""

    shuffles = True

    @classmethod
    def known_options(cls) -> dict[str, Any]:
        """Maps of the layers, and whether image axes are exchanged first, as published with the readouts."""
        return {"conv1_maps": 96, "conv2_maps": 384, "conv3_maps": 1536, "transpose": True}

    @classmethod
    def fills_a_gpu(cls, update_batch: int) -> bool:
        """Convolutions of small batches of whole images: a GPU is what they want."""
        return True

    def extractor(self) -> "SoftHebbExtractor":
        """The network with its options."""
        from firstspike.readouts.softhebb import SoftHebb
        from firstspike.readouts.softhebb_extractor import SoftHebbExtractor

        options = {**self.known_options(), **self.options}
        maps = (options["conv1_maps"], options["conv2_maps"], options["conv3_maps"])
        return SoftHebbExtractor(
            SoftHebb(transpose=options["transpose"]).with_maps(*maps),
            shape=self.shape,
            epochs=1,
            classes=self.classes,
            seed=self.seed,
            device=self.device,
        )
