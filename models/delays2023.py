"""Learnt delays (Hammouamri et al. 2023), with the neurons of ParaLIF in it: each synapse learns how late it speaks.

`--kind` snn_delays, snn_delays_lr0 (fixed random delays) or snn (none); `--neuron` ParaLIF-T or LIF.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from gradient_networks import DelayTrainer
from models import register

SHD, DIGITS = {"dataset": "shd", "group": 5}, {"dataset": "ntidigits"}


@register("delays2023", "snn_delays")
class Delays2023(DelayTrainer):
    """The original picks its best epoch by the test set; here it is picked on validation."""

    own: ClassVar[Mapping[str, Any]] = {
        **DelayTrainer.own,
        "batch_size": 256,
        "epochs": 150,
        "optimiser": "adam",
        "lr": 1e-3,
        "weight_decay": 1e-5,
        "schedule": "one-cycle",
    }
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "shd/delays": SHD,
        "shd/fixed-delays": {**SHD, "kind": "snn_delays_lr0"},
        "shd/no-delays": {**SHD, "kind": "snn"},
        "ntidigits/delays": DIGITS,
        "ntidigits/fixed-delays": {**DIGITS, "kind": "snn_delays_lr0"},
        "ntidigits/no-delays": {**DIGITS, "kind": "snn"},
    }
