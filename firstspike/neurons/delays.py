"""Learnable delays: a convolution in time whose kernels say where in the past a synapse listens.

Source: Hammouamri, Khalfaoui-Hassani and Masquelier, "Learning delays in spiking neural networks using dilated
convolutions with learnable spacings" (2023). N samples, T steps, I inputs, O outputs, K taps.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from firstspike.errors import UserError

VERSIONS = ("gauss", "max")


def delay_kernels(
    weight: torch.Tensor, position: torch.Tensor, width: torch.Tensor | float, taps: int, version: str
) -> torch.Tensor:
    """Return kernels (O, I, K): weight (O, I) spread about tap position + (K - 1) / 2.

    "gauss" e = exp(-((k - c) / (|width| + 0.27))^2 / 2), "max" e = max(|width| + 1 - |k - c|, 0); K = w e / (sum e +
    1e-7).
    """
    if version not in VERSIONS:
        raise UserError(f"unknown delay kernel {version!r}; choose from {', '.join(VERSIONS)}")
    k = torch.arange(taps, dtype=weight.dtype, device=weight.device)
    width = torch.as_tensor(width, dtype=weight.dtype, device=weight.device).abs()
    away = k - (position + (taps - 1) // 2)[..., None]
    shape = (
        torch.exp(-0.5 * (away / (width + 0.27)).square())
        if version == "gauss"
        else torch.relu(width + 1 - away.abs())
    )
    return weight[..., None] * shape / (shape.sum(-1, keepdim=True) + 1e-7)


class DelayConv(nn.Module):
    """out[t] = sum_k K[k] in[t + k - (K - 1)] over (N, T, I); tap k is a delay of K - 1 - k steps, no bias.

    The sequence grows by (K - 1) / 2 steps. `width` is no parameter but a number that the training schedule lowers;
    in evaluation it is 0, the version "max" and positions are rounded: whole delays. `learn_position=False` keeps the
    delays as they were drawn, rounded.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        generator: torch.Generator,
        *,
        taps: int = 25,
        learn_position: bool = True,
    ) -> None:
        super().__init__()
        if taps < 1 or taps % 2 == 0:
            raise UserError(f"{taps} taps: an odd number is needed, so that there is a middle one")
        self.taps, self.reach = taps, (taps - 1) // 2
        bound = math.sqrt(6.0 / inputs)
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound, generator=generator))
        drawn = torch.empty(outputs, inputs).uniform_(-self.reach - 1, self.reach, generator=generator)
        drawn = drawn.clamp(-self.reach, self.reach)
        self.position = nn.Parameter(drawn if learn_position else drawn.round(), requires_grad=learn_position)
        self.register_buffer("width", torch.tensor(float(self.reach)))

    def kernels(self) -> torch.Tensor:
        """Return the kernels (O, I, K) in force."""
        if self.training and self.position.requires_grad:
            return delay_kernels(self.weight, self.position, self.width, self.taps, "gauss")
        whole = self.position.detach().round().clamp(-self.reach, self.reach)
        return delay_kernels(self.weight, whole, 0.0, self.taps, "max")

    def clamp(self) -> None:
        """Bring positions back into their range, as is done after every training batch."""
        with torch.no_grad():
            self.position.clamp_(-self.reach, self.reach)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, T + (K - 1) / 2, O)."""
        padded = functional.pad(x, (0, 0, self.taps - 1, self.reach))
        return functional.conv1d(padded.transpose(1, 2), self.kernels()).transpose(1, 2)


def width_at(epoch: int, epochs: int = 150, start: float = 12.0, end: float = 0.23) -> float:
    """Return the kernels' width after so many epochs: a geometric fall to `end` in the first quarter, then constant."""
    quarter = max(epochs // 4, 1)
    return max(start * (end / start) ** (min(epoch, quarter) / quarter), end)
