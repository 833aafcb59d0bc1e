"""Networks of our own: first spikes and local learning to the end, no gradient from above and no classifier beside.

Two layers learn by STDP in mini-batches and hand on spikes by weights of 0 and 1 (Rezghi Shirsavar & Dehaqani 2022).
At each place the first maps to fire silence the others; the decision layer weighs what passes, early spikes more, and
learns only from images whose answer is wrong or not clear.
"""

from firstspike.layers import WHOLE, BatchSTDP, Conv, Decision, Graded, Inhibition, MarginRSTDP, Phase, Pool
from models import register
from network_trainer import NetworkTrainer

STDP_PHASES = (
    Phase("conv1", {"conv1": BatchSTDP()}, epochs=1),
    Phase("conv2", {"conv2": BatchSTDP()}, epochs=1),
)
REWARDED = MarginRSTDP(0.016, punish_ltp=-0.016, margin=0.003, halving=100)
TOLD = MarginRSTDP(0.0125, punish_ltp=-0.0125, margin=0.015, halving=108, told=True)


@register("firstspike2026")
class Firstspike2026(NetworkTrainer):
    """One map a class, and the decision layer is told the class; all numbers were chosen on MNIST's training set."""

    filters = "log"
    update_batch = 64
    layers = (
        Conv("conv1", 50, kernel=5, threshold=16, pad=2, k=5, radius=3, mean=0.5, std=0.02, binary=True),
        Pool(2),
        Conv("conv2", 100, kernel=3, threshold=5, pad=1, k=8, radius=1, mean=0.5, std=0.02, binary=True),
        Inhibition(8),
        Pool(4, 2),
        Graded("decision", 0, kernel=WHOLE, mean=0.5, std=0.01),
    )
    plan = (*STDP_PHASES, Phase("decision", {"decision": TOLD}, epochs=8))
    decision = Decision(group=1)


@register("firstspike2026_reward")
class Firstspike2026Reward(Firstspike2026):
    """Twenty maps a class, and the decision layer hears of reward and punishment alone."""

    plan = (*STDP_PHASES, Phase("decision", {"decision": REWARDED}, epochs=10))
    decision = Decision(group=20)
