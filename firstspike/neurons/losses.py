"""Scores over time, losses, spike regularisation and what a network's spikes cost: pure functions.

N samples, T steps, C classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional

from firstspike.errors import UserError
from firstspike.neurons.base import Activity

LOSS_MODES = ("mean", "last", "max", "cumsum", "sum")


def reduce_time(potentials: torch.Tensor, mode: str) -> torch.Tensor:
    """Reduce readout potentials (N, T, C) to scores (N, C).

    mean over time, value at the last step, maximum (its first step gets the gradient), "cumsum" the sum over time of
    the softmax over classes, taken as logits (ParaLIF, section "score reduction"), or the plain "sum".
    """
    if mode == "mean":
        return potentials.mean(1)
    if mode == "last":
        return potentials[:, -1]
    if mode == "max":
        return potentials.max(1).values
    if mode == "cumsum":
        return potentials.softmax(2).sum(1)
    if mode == "sum":
        return potentials.sum(1)
    raise UserError(f"unknown loss mode {mode!r}; choose from {', '.join(LOSS_MODES)}")


def cross_entropy(scores: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Return each sample's cross-entropy (N,); labels are class indices (N,), or one-hot or mixed rows (N, C)."""
    return functional.cross_entropy(scores, labels, label_smoothing=smoothing, reduction="none")


def squared_error(scores: torch.Tensor, labels: torch.Tensor, steps: int) -> torch.Tensor:
    """Return each sample's mean squared error (N,) of spikes a step, scores / T, from the one-hot label (plif_net)."""
    wanted = functional.one_hot(labels, scores.shape[1]).to(scores.dtype)
    return (scores / steps - wanted).square().mean(1)


class Rates(NamedTuple):
    """Spikes a step, mean over samples and steps, summed over all firing units; those fed back; the number of units."""

    spikes: torch.Tensor
    fed_back: torch.Tensor
    units: int


def summed_rates(layers: Sequence[Activity]) -> Rates:
    """Return the rates of a network's hidden layers, differentiable; layers without feedback feed back nothing."""
    places = [max(layer.output.shape[:2].numel(), 1) for layer in layers]
    places = [max(layer.output.shape[:2].numel(), 1) for layer in layers]
    spikes = [layer.output.sum() / n for layer, n in zip(layers, places, strict=True)]
    hidden = [
        layer.hidden.sum() / n for layer, n in zip(layers, places, strict=True) if layer.hidden is not None
    ]
    units = sum(layer.output.shape[2:].numel() for layer in layers)
    fed_back = torch.stack(hidden).sum() if hidden else torch.zeros_like(spikes[0])
    return Rates(torch.stack(spikes).sum(), fed_back, units)


def excess(rate: torch.Tensor, threshold: float, units: int) -> torch.Tensor:
    """Return max(rate - threshold units, 0)^2: spikes beyond `threshold` a unit and step; 0 if that is 0."""
    if threshold <= 0:
        return torch.zeros_like(rate)
    return (rate - threshold * units).clamp(min=0).square()


def regularisation(rates: Rates, threshold: float, threshold_recurrent: float = 0.0) -> torch.Tensor:
    """Return the penalties on spikes and on fed back spikes (SPSN and ParaLIF, "spike regularisation")."""
    return excess(rates.spikes, threshold, rates.units) + excess(
        rates.fed_back, threshold_recurrent, rates.units
    )


def synaptic_operations(sources: Sequence[torch.Tensor], fan_out: Sequence[int]) -> torch.Tensor:
    """Return each sample's additions (N,): every event of every source (N, T, ...) times the synapses that it
    reaches.
    """
    return torch.stack([s.flatten(1).sum(1) * fan for s, fan in zip(sources, fan_out, strict=True)]).sum(0)
