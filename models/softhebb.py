"""Journé et al. 2023, Hebbian Deep Learning Without Feedback (ICLR): features from three soft Hebbian layers."""

from extractor_trainer import SoftHebbTrainer
from models import register


@register("softhebb")
class SoftHebb(SoftHebbTrainer):
    """Three layers that learn on the same pass, in one epoch, with the constants published for CIFAR-10."""

    maps = (96, 384, 1536)
