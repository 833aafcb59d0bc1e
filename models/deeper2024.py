"""Four STDP layers of kernel 3 (aidinattar/snn, 2024)."""

from firstspike.layers import RSTDP, STDP, Conv, Decision, Phase, Pool
from models import register
from network_trainer import NetworkTrainer


@register("deeper2024")
class Deeper2024(NetworkTrainer):
    """The original states a threshold of 128 for conv4 and fires at 1: the latter is the default here."""

    layers = (
        Conv("conv1", 30, kernel=3, threshold=15, pad=2, k=5, radius=3),
        Pool(2),
        Conv("conv2", 150, kernel=3, threshold=10, pad=1, k=8, radius=1),
        Pool(2),
        Conv("conv3", 250, kernel=3, threshold=50, pad=1, k=15, radius=1),
        Pool(3),
        Conv("conv4", 200, kernel=3, threshold=1, pad=2, k=20, radius=1),
        Pool(3),
        Conv("decision", 0, kernel=3, pad=2),
    )
    plan = (
        *(
            Phase(name, {name: STDP()}, epochs)
            for name, epochs in {"conv1": 2, "conv2": 4, "conv3": 4, "conv4": 4}.items()
        ),
        Phase("decision", {"decision": RSTDP()}, epochs=10),
    )
    decision = Decision(group=10)
