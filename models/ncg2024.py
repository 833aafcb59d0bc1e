"""Goupy et al. 2024, Neuronal Competition Groups with Supervised STDP for Spike-Based Classification (NeurIPS).

S2-STDP with neuronal competition groups on the first spikes of features; --list-presets names the published settings.
"""

from models import register
from readout_trainer import ReadoutTrainer


@register("ncg2024")
class NCG2024(ReadoutTrainer):
    """Five neurons a class, one of them non-target, two-compartment thresholds; 98.92 % of MNIST in the paper."""

    setting = "mnist/s2stdp+ncg"
