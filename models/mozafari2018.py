"""Mozafari et al. 2019, Bio-inspired digit recognition using reward-modulated STDP in deep convolutional networks."""

from firstspike.layers import RSTDP, STDP, Conv, Phase, Pool
from models import register
from network_trainer import NetworkTrainer


@register("mozafari2018")
class Mozafari2018(NetworkTrainer):
    """Two STDP layers and a decision layer that learns by reward; 97.2 % on MNIST in the paper."""

    layers = (
        Conv("conv1", 30, kernel=5, threshold=15, pad=2, k=5, radius=3),
        Pool(2),
        Conv("conv2", 250, kernel=3, threshold=10, pad=1, k=8, radius=1),
        Pool(3),
        Conv("decision", 0, kernel=5, pad=2),
    )
    plan = (
        Phase("conv1", {"conv1": STDP()}, epochs=2),
        Phase("conv2", {"conv2": STDP()}, epochs=4),
        Phase("decision", {"decision": RSTDP()}, epochs=100),
    )
