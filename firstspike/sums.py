"""Potentials that do not depend on the order in which their inputs are summed, on any device.

Exact ties between neurons are common, and the rule for them is an order of neurons, not of rounding errors. On the CPU
float64 sums of float32 weights are exact. GPUs may be slow at float64 or lack it, and their convolutions choose among
algorithms that round differently: there each weight is split into float32 parts whose sums are exact.

Legend: N images, C channels, M maps, k kernel width, R rows, Q columns.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from firstspike import functional

PARTS = 3  # float32 numbers that a weight is split into
MANTISSA = 24  # bits of a float32

Potentials = Callable[
    [Tensor], Tensor
]  # how often each input has fired (N, C, H, W) -> potentials (N, M, R, Q)


def potentials_in_float64(weight: Tensor) -> Potentials:
    """Sums of weights (M, C, k, k) in float64."""
    wide = weight.double()
    return lambda counts: functional.convolve(counts, wide)


def potentials_in_parts(weight: Tensor) -> Potentials:
    """The same sums in float32, which GPUs are fast at: each weight is split into parts whose sums are exact."""
    parts = torch.cat([part.flatten(1) for part in split(weight)])
    kernel, wide = weight.shape[2:], torch.float32 if weight.device.type == "mps" else torch.float64

    def potentials(counts: Tensor) -> Tensor:
        fields = F.unfold(counts.to(weight.dtype), kernel)  # (N, C * k * k, R * Q)
        sums = (parts @ fields).unflatten(1, (PARTS, -1)).to(wide).sum(1)
        return sums.unflatten(2, [side - k + 1 for side, k in zip(counts.shape[2:], kernel, strict=True)])

    return potentials


def split(weight: Tensor) -> list[Tensor]:
    """Parts float32 (M, C, k, k) that add up to the weights and whose sums over a receptive field are exact.

    A part is a multiple of so coarse a step that no such sum, inputs counted up to twice, needs more than the 24 bits
    of a float32: whatever the order, nothing is rounded. The last step is 2^(3 room - 74) times the power of two
    above the largest weight, room = log2 of twice the fan-in; what lies below it is lost.
    """
    room = (2 * weight[0].numel() - 1).bit_length()
    exponent = torch.frexp(weight.abs().amax())[1]  # no weight exceeds 2^exponent
    parts, rest = [], weight
    for _ in range(PARTS):
        step = power_of_two(exponent + room - MANTISSA)
        parts.append(torch.round(rest / step) * step)
        rest = rest - parts[-1]
        exponent = exponent + room - MANTISSA - 1
    return parts


def power_of_two(exponent: Tensor) -> Tensor:
    """2^exponent as float32, exactly, for whole exponents from -126 to 127."""
    return (exponent.to(torch.int32) + 127).bitwise_left_shift(23).view(torch.float32)


def potentials_on(device: torch.device) -> Callable[[Tensor], Potentials]:
    """The faster of the two ways to sum on a device."""
    return potentials_in_float64 if device.type == "cpu" else potentials_in_parts
