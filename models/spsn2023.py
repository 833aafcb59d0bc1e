"""SPSN (NECOTIS, 2023): stochastic spiking neurons without reset, so that all steps are computed at once.

Dense layers of them and an integrator, trained by Adamax at a constant rate; `--neuron` LIF, SPSN-SB, SPSN-GS or
Non-Spiking.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from gradient_networks import DenseTrainer
from models import register

AUGMENTED = {"dataset": "shd", "data_augmentation": True}


@register("spsn2023")
class SPSN2023(DenseTrainer):
    """3 x 128 on SHD: 71.4 % as LIF, 77.2 % as SPSN-SB, 86.1 % augmented, 89.7 % with a bound on spikes (one run)."""

    neurons: ClassVar[Mapping[str, str]] = {"LIF": "SPSN-LIF"}
    own: ClassVar[Mapping[str, Any]] = {**DenseTrainer.own, "neuron": "SPSN-SB", "shift": 0.1, "scale": 0.3}
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "shd/lif": {"dataset": "shd", "neuron": "LIF"},
        "shd/lif+augmentation": {**AUGMENTED, "neuron": "LIF"},
        "shd/non-spiking": {"dataset": "shd", "neuron": "Non-Spiking"},
        "shd/spsn-sb": {"dataset": "shd"},
        "shd/spsn-sb+augmentation": AUGMENTED,
        "shd/spsn-sb+regularisation": {**AUGMENTED, "reg_thr": 0.4},
        "shd/spsn-gs": {"dataset": "shd", "neuron": "SPSN-GS"},
        "shd/spsn-gs+augmentation": {**AUGMENTED, "neuron": "SPSN-GS"},
        "shd/spsn-gs+regularisation": {**AUGMENTED, "neuron": "SPSN-GS", "reg_thr": 0.1},
    }
