"""deep2024 whose third layer shares the reward (aidinattar/snn, 2024)."""

from dataclasses import replace

from firstspike.layers import RSTDP, STDP, Phase, Pool
from models import register
from models.deep2024 import CONV1, CONV2, CONV3, DECISION
from network_trainer import NetworkTrainer

CONV3_FREE = replace(CONV3, radius=0)
CONV3_REWARD = RSTDP(
    reward_ltp=0.001, reward_ltd=-0.00075, punish_ltp=-0.001, punish_ltd=0.000125, lower=0.0, upper=1.0
)


@register("deepr2024")
class DeepR2024(NetworkTrainer):
    """conv3 learns by STDP without stabiliser, then by reward together with the decision layer."""

    layers = (CONV1, Pool(2), CONV2, Pool(2), CONV3_FREE, Pool(3), DECISION)
    plan = (
        Phase("conv1", {"conv1": STDP()}, epochs=2),
        Phase("conv2", {"conv2": STDP()}, epochs=4),
        Phase("conv3", {"conv3": STDP(stabilise=False)}, epochs=4),
        Phase("decision", {"conv3": CONV3_REWARD, "decision": RSTDP()}, epochs=10),
    )
