"""FastSNN (Taylor et al. 2022): neurons that fire at most once, found by sums over time instead of a loop.

Dense layers of them with skip connections, read out by the largest membrane; `--neuron` single-spike, or its
multi-spike twin LIF.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from gradient_networks import FastTrainer
from models import register


@register("fastsnn2022")
class FastSNN2022(FastTrainer):
    """89.05 % of Fashion-MNIST, 97.91 % of MNIST, 95.91 % of N-MNIST and 70.32 % of SHD in the paper."""

    dataset: ClassVar[str] = "fashion-mnist"
    own: ClassVar[Mapping[str, Any]] = {
        **FastTrainer.own,
        "batch_size": 128,
        "epochs": 150,
        "optimiser": "adam",
        "lr": 2e-4,
    }
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "fashion-mnist": {"dataset": "fashion-mnist"},
        "mnist": {"dataset": "mnist"},
        "nmnist": {"dataset": "nmnist", "time_steps": 300},
        "shd": {"dataset": "shd", "time_steps": 500, "dt": 2.0, "epochs": 200, "lr": 1e-3},
    }
