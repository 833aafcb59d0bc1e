"""plif_net (Fang et al. 2021), with the neurons of ParaLIF in it, on frames of N-MNIST and DVS-Gesture.

`--neuron` LIF, PLIF (its own, with learnt time constants) or ParaLIF-MODE.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from gradient_networks import PlifTrainer
from models import register

BEST = {
    "tau_mem": 0.0,
    "tau_init": "original",
    "tau_syn": 0.0,
    "learn_tau": True,
    "lr": 1e-3,
    "schedule": "cosine",
    "test_every": 10,
    "drop_last": True,
    "data_augmentation": True,
    "shift": 0.15,
    "scale": 0.0,
}


@register("plif2021", "plif_net")
class Plif2021(PlifTrainer):
    """Its best configuration starts all time constants at a decay of one half and learns them, one a channel."""

    dataset: ClassVar[str] = "nmnist"
    own: ClassVar[Mapping[str, Any]] = {
        **PlifTrainer.own,
        "batch_size": 16,
        "epochs": 1024,
        "optimiser": "adam",
        "lr": 1e-4,
        "time_steps": 10,
    }
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "nmnist": {**BEST, "dataset": "nmnist", "batch_size": 64, "epochs": 100},
        "dvs-gesture": {
            **BEST, "dataset": "dvs-gesture", "time_steps": 20, "layers": 5, "batch_size": 3, "epochs": 250
        },
    }  # fmt: skip
