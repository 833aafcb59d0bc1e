"""SpykeTorch's functional module: operations on spike waves and potentials (T, C, H, W) or (N, T, C, H, W).

T steps, C maps, H rows, W columns, N images. Each function is a thin coat over firstspike.functional and
firstspike.coding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from firstspike import functional as core
from firstspike.coding import NEVER, lateral_inhibition, local_normalisation, wave_to_latency
from firstspike.errors import UserError
from firstspike.spyketorch.utils import to_pair

Winner = tuple[int, int, int]


def pad(input: Tensor, pad: Sequence[int], value: float = 0) -> Tensor:
    """Frame of `value`, pad = (left, right, top, bottom) wide; negative amounts crop. Any dtype."""
    return F.pad(input, tuple(pad), value=value)


def pooling(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
) -> Tensor:
    """Max-pooling of the last two axes, any dtype; padding never wins. stride = kernel_size if not given.

    RuntimeError if the kernel is larger than the padded input, or the padding than half the kernel.
    """
    kernel, margin = to_pair(kernel_size), to_pair(padding)
    if any(2 * m > k for m, k in zip(margin, kernel, strict=True)):
        raise RuntimeError(f"padding {margin} is more than half of the pooling kernel {kernel}")
    limits = torch.finfo(input.dtype) if input.is_floating_point() else torch.iinfo(input.dtype)
    framed = F.pad(input, (margin[1], margin[1], margin[0], margin[0]), value=limits.min)
    return core.pool(framed, kernel, stride=to_pair(kernel if stride is None else stride))


def fire(
    potentials: Tensor, threshold: float | None = None, return_thresholded_potentials: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """Spike wave of potentials: their sign where they are above the threshold (strictly), 0 elsewhere.

    threshold None fires at the last step only, and there also gives -1 for a negative potential, as
    SpykeTorch does: potentials are meant to be >= 0. With the flag, the pair (spikes, thresholded
    potentials).
    """
    kept = core.keep_above(potentials, threshold)
    return (kept.sign(), kept) if return_thresholded_potentials else kept.sign()


def fire_(potentials: Tensor, threshold: float | None = None) -> None:
    """`fire` in place."""
    potentials.copy_(fire(potentials, threshold))


def threshold(potentials: Tensor, threshold: float | None = None) -> Tensor:
    """Potentials where above the threshold (strictly), 0 elsewhere; None keeps the last step only."""
    return core.keep_above(potentials, threshold)


def threshold_(potentials: Tensor, threshold: float | None = None) -> None:
    """`threshold` in place."""
    potentials.copy_(core.keep_above(potentials, threshold))


def pointwise_inhibition(thresholded_potentials: Tensor) -> Tensor:
    """At each place only the map with the largest value at the place's first spike keeps its values.

    Ties: the lowest map. Input >= 0 and monotone in time: thresholded potentials, spike waves, or filter
    responses with T = 1.
    """
    waves = _batch(thresholded_potentials)
    steps, maps = waves.shape[1:3]
    first = (steps - (waves.amax(2) > 0).sum(1)).clamp(max=steps - 1)  # (N, H, W)
    value = waves.gather(1, first[:, None, None].expand(-1, 1, maps, -1, -1)).squeeze(1)
    fires = waves[:, -1].amax(1) > 0
    latency = torch.where(fires, 0, NEVER).to(torch.uint8).unsqueeze(1)  # one step for all maps of a place
    kept, _ = core.inhibit(latency.expand_as(value), value)
    return torch.where((kept != NEVER).unsqueeze(1), waves, 0).view_as(thresholded_potentials)


def feature_inhibition_(potentials: Tensor, inhibited_features: Sequence[int] | Tensor) -> None:
    """`feature_inhibition` in place."""
    maps = torch.as_tensor(inhibited_features, dtype=torch.int64, device=potentials.device).flatten()
    potentials.index_fill_(-3, maps, 0)


def feature_inhibition(potentials: Tensor, inhibited_features: Sequence[int] | Tensor) -> Tensor:
    """The listed maps, a list or an index tensor (n,) or (n, 1), set to 0 at all steps."""
    result = potentials.clone().detach()
    feature_inhibition_(result, inhibited_features)
    return result


def local_normalization(input: Tensor, normalization_radius: int, eps: float = 1e-12) -> Tensor:
    """Each cell divided by the mean of its map's square of that radius around it, zeros beyond the border."""
    return local_normalisation(input, normalization_radius, eps=eps)


def get_k_winners(
    potentials: Tensor, kwta: int = 1, inhibition_radius: int = 0, spikes: Tensor | None = None
) -> list[Winner] | list[list[Winner]]:
    """Up to `kwta` neurons (map, row, column): earliest, then largest potential then, then lowest index.

    A winner excludes its map and, with a radius > 0, its neighbourhood in all maps. Spikes are the sign of
    the potentials if not given. For a batch, a list for each image.
    """
    waves = _batch(potentials)
    latency = wave_to_latency(waves if spikes is None else _batch(spikes))  # (N, C, H, W)
    first = latency.clamp(max=waves.shape[1] - 1).long().unsqueeze(1)
    value = waves.gather(1, first).squeeze(1)
    best = torch.where(latency == NEVER, 0, value).flatten(1).amax(1)
    latency = latency.masked_fill((best <= 0).view(-1, 1, 1, 1), NEVER)  # nothing scores above silence
    k = min(kwta, latency.shape[1])
    won = core.winners(latency, value, k=k, radius=inhibition_radius).tolist() if k else [[] for _ in waves]
    chosen = [[tuple(winner) for winner in image if winner[0] >= 0] for image in won]
    return chosen if potentials.dim() == 5 else chosen[0]


def intensity_lateral_inhibition(intencities: Tensor, inhibition_kernel: Tensor) -> Tensor:
    """Each cell x becomes x (1 + sum of the kernel's factors over the weaker cells around).

    intencities (N, C, H, W); inhibition_kernel (k, k) or (1, 1, k, k), k odd, centre 0.
    """
    size = inhibition_kernel.shape[-2:]
    if size[0] != size[1] or size[0] % 2 == 0:
        raise UserError(f"inhibition kernel of {size[0]}x{size[1]}: it must be square with an odd side")
    return lateral_inhibition(intencities, inhibition_kernel.reshape(size))


def _batch(waves: Tensor) -> Tensor:
    """(T, C, H, W) or (N, T, C, H, W) as the latter."""
    if waves.dim() not in (4, 5):
        raise UserError(f"waves of shape {tuple(waves.shape)}: give (T, C, H, W) or (N, T, C, H, W)")
    return waves if waves.dim() == 5 else waves.unsqueeze(0)
