"""Falez et al. 2019 and Goupy et al. 2024: features from one convolutional layer that learns by STDP on patches."""

from dataclasses import asdict, replace
from typing import Any

from extractor_trainer import ExtractorTrainer
from firstspike.errors import UserError
from firstspike.readouts.csnn import PUBLISHED, published
from firstspike.readouts.extractors import CSNNExtractor
from models import register


@register("stdpcsnn")
class STDPCSNNModel(ExtractorTrainer):
    """Adaptive thresholds, competition on random patches, multiplicative STDP, float spike times, 100 epochs."""

    @classmethod
    def known_options(cls) -> dict[str, Any]:
        """Every option and its default; those of the layer follow the ``preset``, by default the data set's."""
        return {"preset": "mnist", **asdict(PUBLISHED["mnist"])}

    @classmethod
    def for_dataset(cls, name: str, channels: int) -> dict[str, Any]:
        """The preset published for a data set."""
        return {"preset": published(name, channels)}

    def extractor(self) -> CSNNExtractor:
        """The layer with its options."""
        options = dict(self.options)
        name = options.pop("preset", "mnist")
        if name not in PUBLISHED:
            raise UserError(f"option preset: {name!r} given, {', '.join(PUBLISHED)} allowed")
        settings = replace(PUBLISHED[name], **options)
        return CSNNExtractor(settings, shape=self.shape, epochs=100, classes=self.classes, seed=self.seed)
