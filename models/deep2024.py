"""One STDP layer more than mozafari2018 (aidinattar/snn, 2024)."""

from firstspike.layers import RSTDP, STDP, Conv, Phase, Pool
from models import register
from network_trainer import NetworkTrainer

CONV1 = Conv("conv1", 30, kernel=5, threshold=15, pad=2, k=5, radius=3)
CONV2 = Conv("conv2", 150, kernel=3, threshold=10, pad=1, k=8, radius=1)
CONV3 = Conv("conv3", 250, kernel=3, threshold=50, pad=1, k=15, radius=1)
DECISION = Conv("decision", 0, kernel=5, pad=2)


@register("deep2024")
class Deep2024(NetworkTrainer):
    """Three STDP layers and a decision layer that learns by reward."""

    layers = (CONV1, Pool(2), CONV2, Pool(2), CONV3, Pool(3), DECISION)
    plan = (
        Phase("conv1", {"conv1": STDP()}, epochs=2),
        Phase("conv2", {"conv2": STDP()}, epochs=4),
        Phase("conv3", {"conv3": STDP()}, epochs=4),
        Phase("decision", {"decision": RSTDP()}, epochs=10),
    )
