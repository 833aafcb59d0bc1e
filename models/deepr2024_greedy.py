"""deepr2024 whose two reward-modulated layers take turns (aidinattar/snn, 2024: deepr2024_2)."""

from dataclasses import replace

from models import register
from models.deepr2024 import DeepR2024


@register("deepr2024_greedy", "deepr2024_2")
class DeepR2024Greedy(DeepR2024):
    """conv3 learns in even windows, the decision layer in odd ones.

    ``schedule="original"`` does as the original program: by turns in the first epoch, afterwards the decision layer.
    """

    plan = (*DeepR2024.plan[:-1], replace(DeepR2024.plan[-1], turns="alternate"))
