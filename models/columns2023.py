"""Sequential CIFAR-10 (Fang et al. 2023), with the neurons of ParaLIF in it: an image's columns are its steps.

`--neuron` LIF or ParaLIF-MODE, one neuron a channel.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from gradient_networks import ColumnTrainer
from models import register

PUBLISHED = {"dataset": "cifar10", "neuron": "ParaLIF-GS", "tau_mem": 5e-5, "tau_syn": 1e-3, "epochs": 300}


@register("columns2023", "sequential_cifar10")
class Columns2023(ColumnTrainer):
    """Two stages of three convolutions and a pool, dense layers, the mean over time; cosine schedule, labels mixed."""

    dataset: ClassVar[str] = "cifar10"
    own: ClassVar[Mapping[str, Any]] = {
        **ColumnTrainer.own,
        "batch_size": 128,
        "optimiser": "sgd",
        "lr": 0.1,
        "schedule": "cosine",
        "smoothing": 0.1,
        "test_every": 5,
    }
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cifar10/feedforward": PUBLISHED,
        "cifar10/recurrent": {**PUBLISHED, "recurrent": True},
        "cifar10/recurrent-relu": {**PUBLISHED, "recurrent": True, "recurrent_relu": True},
    }
