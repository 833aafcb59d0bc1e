"""Three decision layers that vote (aidinattar/snn, 2024)."""

from firstspike.layers import RSTDP, Branches, Conv, Decision, Phase
from models import register
from models.mozafari2018 import Mozafari2018
from network_trainer import NetworkTrainer

KERNELS = {"decision_1": 3, "decision_2": 5, "decision_3": 7}


@register("majority2024")
class Majority2024(NetworkTrainer):
    """mozafari2018 with heads of kernel 3, 5 and 7: two equal votes decide, else head 2, then 1, then 3."""

    layers = (
        *Mozafari2018.layers[:-1],
        Branches(tuple((Conv(name, 0, kernel, pad=2),) for name, kernel in KERNELS.items()), join="votes"),
    )
    plan = (*Mozafari2018.plan[:-1], Phase("decision", {name: RSTDP() for name in KERNELS}, epochs=100))
    decision = Decision(tuple(KERNELS), fallback=(1, 0, 2))
