"""ParaLIF (NECOTIS, 2024): leaky neurons whose spikes do not reset them, in eleven modes, recurrent too.

Dense layers of them and an integrator, trained by Adamax whose rate halves every 25 epochs; `--neuron` LIF, LIF-LT or
ParaLIF-MODE.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from gradient_networks import DenseTrainer
from models import register

BEST: Mapping[str, Mapping[str, Any]] = {  # the published configurations; the neuron is chosen by --neuron
    "shd": {"batch_size": 64, "epochs": 200, "layers": 3, "data_augmentation": True},
    "ntidigits": {"batch_size": 64, "epochs": 300, "layers": 3},
    "dvs-gesture": {
        "window_size": 5e-3,
        "batch_size": 16,
        "epochs": 50,
        "layers": 2,
        "data_augmentation": True,
        "image_size": (64, 64),
    },
    "nmnist": {"window_size": 5e-3, "batch_size": 256, "epochs": 50, "layers": 2, "polarity": "first"},
}
RECURRENT = {
    "shd": 256,
    "ntidigits": 256,
    "dvs-gesture": 128,
    "nmnist": 128,
}  # units of the one recurrent layer


@register("paralif2024")
class ParaLIF2024(DenseTrainer):
    """No result files are published; the paper claims up to 200 times the speed of a LIF computed step by step."""

    own: ClassVar[Mapping[str, Any]] = {**DenseTrainer.own, "schedule": "halving"}
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **{f"{name}/feedforward": {**best, "dataset": name} for name, best in BEST.items()},
        **{
            f"{name}/recurrent": {
                **BEST[name], "dataset": name, "layers": 1, "hidden_size": (units,), "recurrent": True
            }
            for name, units in RECURRENT.items()
        },
        "yinyang": {"dataset": "yinyang", "window_size": 1e4, "batch_size": 64, "epochs": 20, "layers": 1},
        "shd/robustness": {"dataset": "shd", "epochs": 100, "schedule": "constant"},
    }  # fmt: skip
