"""Falez et al. 2019 and Goupy et al. 2024: features from one convolutional layer that learns by STDP on patches."""

from extractor_trainer import CSNNTrainer
from models import register


@register("stdpcsnn")
class STDPCSNN(CSNNTrainer):
    """Adaptive thresholds, competition on random patches, multiplicative STDP, float spike times, 100 epochs."""

    setting = "mnist"
