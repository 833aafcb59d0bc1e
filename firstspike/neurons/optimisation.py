"""How a gradient-trained network learns: the recipe as data, its optimiser, and learning rates as functions of the
epoch.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from firstspike.errors import UserError
from firstspike.neurons.losses import LOSS_MODES

SCHEDULES = ("constant", "halving", "cosine", "one-cycle")
OPTIMISERS = ("adamax", "adam", "adamw", "sgd")
LOSSES = ("cross-entropy", "squared-error")


@dataclass(frozen=True)
class Recipe:
    """Batches, optimiser, schedule and loss; the defaults are SPSN's.

    `reg_thr` and `reg_thr_recurrent` bound spikes a step and unit (losses.py), 0 for no bound. `pad_to` fixes the
    length of every batch, which is else that of its longest sample. `position_lr` is the rate of learnt delays, which
    have an Adam of their own with a cosine schedule; `peak` is how far one-cycle rises above `lr`. One process works on
    a batch in `batch_parts`, one after the other, as so many processes would.
    """

    batch: int = 64
    epochs: int = 200
    optimiser: str = "adamax"
    lr: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: str = "constant"
    peak: float = 5.0
    position_lr: float = 0.1
    loss: str = "cross-entropy"
    loss_mode: str = "mean"
    smoothing: float = 0.0
    reg_thr: float = 0.0
    reg_thr_recurrent: float = 0.0
    drop_last: bool = False
    pad_to: int | None = None
    batch_parts: int = 1

    def __post_init__(self) -> None:
        choices = {"optimiser": OPTIMISERS, "schedule": SCHEDULES, "loss": LOSSES, "loss_mode": LOSS_MODES}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise UserError(f"unknown {name} {getattr(self, name)!r}; choose from {', '.join(allowed)}")
        for name in ("batch", "epochs", "batch_parts"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if not self.lr > 0:
            raise UserError(f"lr is {self.lr}; it must be above 0")


def rate_at(recipe: Recipe, epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 0.

    "halving" halves it every 25 epochs (ParaLIF); "cosine" falls to 0 after all epochs; "one-cycle" rises from peak
    lr / 25 to peak lr over 30 % of the epochs and falls to a 1e-4th of its start, along cosines (as torch's does, a
    step an epoch).
    """
    share = min(epoch / recipe.epochs, 1.0)
    if recipe.schedule == "halving":
        return recipe.lr * 0.5 ** (epoch // 25)
    if recipe.schedule == "cosine":
        return _cosine(recipe.lr, 0.0, share)
    if recipe.schedule == "one-cycle":
        return _one_cycle(recipe.peak * recipe.lr, epoch, recipe.epochs)
    return recipe.lr


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))


def _one_cycle(top: float, epoch: int, epochs: int) -> float:
    start, summit, last = top / 25, 0.3 * epochs - 1, epochs - 1
    if epoch <= summit:
        return _cosine(start, top, epoch / max(summit, 1e-9))
    return _cosine(top, start * 1e-4, min((epoch - summit) / max(last - summit, 1e-9), 1.0))


def optimiser_of(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """Make the optimiser; learnt delays are a group named "positions", normalisations take no weight decay."""
    positions = set(network.positions()) if hasattr(network, "positions") else set()
    norms = {
        p for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for p in m.parameters()
    }
    rest = [p for p in network.parameters() if p.requires_grad and p not in positions and p not in norms]
    groups = [
        {"name": "weights", "params": rest, "weight_decay": recipe.weight_decay},
        {"name": "norms", "params": [p for p in network.parameters() if p in norms], "weight_decay": 0.0},
        {
            "name": "positions",
            "params": [p for p in network.parameters() if p in positions],
            "weight_decay": 0.0,
        },
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)
    kinds = {"adamax": torch.optim.Adamax, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return kinds[recipe.optimiser](groups, lr=recipe.lr)


def set_rates(optimiser: torch.optim.Optimizer, recipe: Recipe, epoch: int) -> None:
    """Give every group its learning rate of this epoch."""
    for group in optimiser.param_groups:
        if group["name"] == "positions":
            group["lr"] = _cosine(recipe.position_lr, 0.0, min(epoch / recipe.epochs, 1.0))
        else:
            group["lr"] = rate_at(recipe, epoch)


def flat_state(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the optimiser's tensors as "group/parameter/field"; parameters are numbered within their group."""
    return {
        f"{place}/{key}": value
        for place, p in _places(optimiser)
        for key, value in optimiser.state[p].items()
    }


def load_flat_state(optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Take back what `flat_state` gave; parameters without entries start afresh. Raises UserError for foreign
    entries.
    """
    known = dict(_places(optimiser))
    optimiser.state.clear()
    for name, value in tensors.items():
        place, _, key = name.rpartition("/")
        if place not in known:
            raise UserError(f"the optimiser has no parameter {place!r}; the checkpoint is of another network")
        parameter = known[place]
        value = value.to(parameter.device if value.ndim else value.device).clone()
        optimiser.state[parameter][key] = value


def _places(optimiser: torch.optim.Optimizer) -> Iterable[tuple[str, nn.Parameter]]:
    for group in optimiser.param_groups:
        for k, parameter in enumerate(group["params"]):
            yield f"{group['name']}/{k}", parameter
