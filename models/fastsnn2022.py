"""FastSNN (Taylor et al. 2022): neurons that fire at most once, found by sums over time instead of a loop.

Dense layers of them with skip connections, read out by the largest membrane; `--neuron` single-spike, or its
multi-spike twin LIF. `--convolutions 16 32` puts convolutions of 16 and 32 maps before them. The presets named `wide`,
`convolutional` and `larger` are not the paper's: they learn in fewer steps, by a wider surrogate, and are read out at
the last step. Nor is `recordings`: longer memories, and the mean of the readout. Those named `moved` shift and stretch
training images. In those named `mirrored` or `on-off` they are mirrored; in the latter dark pixels spike as bright ones
do, in a channel of their own.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from gradient_networks import FastTrainer
from models import register

WIDE = {
    "latency": "linear",
    "time_steps": 16,
    "hidden_size": (800,),
    "hidden_tau": 20.0,
    "readout_tau": 40.0,
    "bias": 0.05,
    "surrogate_scale": 4.0,
    "loss_mode": "last",
    "lr": 2e-3,
    "schedule": "cosine",
    "epochs": 15,
}
DECAY = {"optimiser": "adamw", "weight_decay": 0.3}
MOVED = {"optimiser": "adamw", "weight_decay": 0.1, "data_augmentation": True, "shift": 0.05, "scale": 0.1}
CONVOLUTIONAL = {"convolutions": (32, 64), "time_steps": 4, "hidden_size": (256,), "bias": 0.1, "epochs": 12}
MIRRORED = {"data_augmentation": True, "shift": 0.0, "scale": 0.0, "mirror": True}
ON_OFF = {"on_off": True, "epochs": 16, "dataset": "fashion-mnist", **MIRRORED}
LARGER = {**WIDE, **CONVOLUTIONAL, "convolutions": (64, 128), "hidden_size": (512,), "surrogate_scale": 2.0}


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
        "wide": WIDE,
        "wide-decay": {**WIDE, **DECAY},
        "wide-mirrored": {**WIDE, **DECAY, **MIRRORED, "epochs": 30},
        "wide-moved": {**WIDE, **MOVED, "epochs": 30},
        "convolutional": {**WIDE, **DECAY, **CONVOLUTIONAL, "dataset": "mnist"},
        "convolutional-on-off": {**WIDE, **DECAY, **CONVOLUTIONAL, **ON_OFF},
        "convolutional-moved": {**WIDE, **CONVOLUTIONAL, **MOVED, "epochs": 24, "dataset": "mnist"},
        "larger-on-off": {**LARGER, **DECAY, **ON_OFF, "epochs": 20},
        "larger-moved": {**LARGER, **MOVED, "epochs": 20, "dataset": "mnist"},
        "recordings": {
            "dataset": "nmnist",
            "time_steps": 300,
            "hidden_tau": 50.0,
            "readout_tau": 100.0,
            "surrogate_scale": 2.0,
            "loss_mode": "mean",
            "optimiser": "adamw",
            "lr": 5e-3,
            "schedule": "cosine",
            "epochs": 15,
        },
    }
