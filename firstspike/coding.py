"""Images to latencies and latencies to waves: filters, thresholds, local normalisation, rank coding.

N images, C channels, H rows, W columns, T steps, K kernels of window n. A latency is the uint8 step of a
neuron's only spike, NEVER (255) if there is none. torch is imported where a function needs it, so the filters
cost no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firstspike.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

NEVER = 255
MAX_STEPS = 255


def latency_to_wave(latency: Tensor, *, steps: int) -> Tensor:
    """Cumulative wave of latencies: 1 from the step of the spike on.

    latency uint8 (..., C, H, W); any value >= steps is silent. Gives bool (..., T, C, H, W).
    """
    import torch

    clock = torch.arange(steps, device=latency.device).view(steps, 1, 1, 1)
    return latency.unsqueeze(-4) <= clock


def wave_to_latency(wave: Tensor) -> Tensor:
    """Latencies of a cumulative wave: T minus the number of steps above 0, NEVER where that number is 0.

    wave (..., T, C, H, W), any dtype. Gives uint8 (..., C, H, W). UserError if T > 255, which a byte cannot
    hold.
    """
    import torch

    steps = wave.shape[-4]
    if steps > MAX_STEPS:
        raise UserError(f"{steps} time steps: a latency is one byte, so use at most {MAX_STEPS}")
    count = (wave > 0).sum(-4)
    return torch.where(count > 0, steps - count, NEVER).to(torch.uint8)
