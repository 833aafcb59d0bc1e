"""Initial weights of the gradient-trained networks, drawn from an explicit generator."""

import math

import torch
from torch import nn


def uniform(linear: nn.Module, bound: float, bias: float, generator: torch.Generator) -> None:
    """Draw a map's weights from U(-bound, bound) and set its bias, if it has one."""
    with torch.no_grad():
        linear.weight.uniform_(-bound, bound, generator=generator)
        if linear.bias is not None:
            linear.bias.fill_(bias)


def kaiming(linear: nn.Module, generator: torch.Generator) -> None:
    """Draw weights from U(-sqrt(3 / fan_in), sqrt(3 / fan_in)), biases 0: SPSN's and ParaLIF's start."""
    uniform(linear, math.sqrt(3.0 / linear.weight[0].numel()), 0.0, generator)


def feedback_map(units: int, generator: torch.Generator) -> nn.Linear:
    """Return the map of a recurrent layer onto itself."""
    linear = nn.Linear(units, units)
    kaiming(linear, generator)
    return linear
