"""Kheradpisheh et al. 2018, STDP-based spiking deep convolutional neural networks (Neural Networks 99)."""

from firstspike.layers import LARGEST, STDP, WHOLE, Conv, Decision, LinearSVM, Phase, Pool
from models import register
from network_trainer import NetworkTrainer


@register("kheradpisheh2018")
class Kheradpisheh2018(NetworkTrainer):
    """Two STDP layers; a linear SVM sees which of their pooled neurons fire; 98.4 % on MNIST in the paper.

    As released: conv2 learns from inhibited spikes, with constant rates, and is read out without inhibition.
    """

    filters = "kheradpisheh"
    layers = (
        Conv("conv1", 32, kernel=5, threshold=10, pad=2, k=5, radius=2),
        Pool(2, 2, pad=1),
        Conv("conv2", 150, kernel=2, threshold=1, pad=1, k=8, radius=1),
        Pool(2, 2, pad=1),
        Conv("decision", 0, kernel=WHOLE),
    )
    plan = (
        Phase("conv1", {"conv1": STDP()}, epochs=2),
        Phase("conv2", {"conv2": STDP(doubling_period=LARGEST)}, epochs=20, exclusive=True),
        Phase("decision", {"decision": LinearSVM()}, epochs=1),
    )
    decision = Decision(group=1)
