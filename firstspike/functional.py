"""Every operation of the convolutional zoo in plain torch: any device, batched, in the dtype of its input.

The oracle that the compiled kernels are held to. N images, T steps, C channels, M maps, H rows, W columns, k
kernel width, K winners. A layer's activity is its latencies: uint8 (N, C, H, W), the step of the neuron's
only spike, NEVER (255) if it stays silent. No function loops over images, copies to the host or changes its
arguments.

Mozafari et al., Pattern Recognition 94 (2019), sections 2.2 to 2.5; STDP after Kheradpisheh et al., Neural
Networks 99 (2018), equation 3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from firstspike.coding import NEVER, latency_to_wave

Rate = float | Tensor


# --- space: padding and pooling -----------------------------------------------------------------------------


def pad_latency(latency: Tensor, pad: int) -> Tensor:
    """A frame of silent neurons, `pad` wide on all four sides."""
    return F.pad(latency, (pad, pad, pad, pad), value=NEVER)


def pool_latency(latency: Tensor, window: int, *, stride: int | None = None) -> Tensor:
    """The earliest spike of each window: min-pooling of latencies, which is max-pooling of the wave.

    No padding; rows and columns that fill no window are left out. stride = window if not given.
    """
    stride = stride or window
    return pool(latency, (window, window), stride=(stride, stride), pick=torch.minimum)


def pool(
    x: Tensor, window: tuple[int, int], *, stride: tuple[int, int], pick: Callable = torch.maximum
) -> Tensor:
    """Sliding maximum (or `pick`) over the last two axes: size n becomes (n - window) // stride + 1."""
    return _slide(_slide(x, -2, window[0], stride[0], pick), -1, window[1], stride[1], pick)


def _slide(x: Tensor, axis: int, window: int, stride: int, pick: Callable) -> Tensor:
    if window > x.shape[axis]:
        raise RuntimeError(f"pooling window {window} is larger than the input of {x.shape[axis]}")
    return reduce(pick, x.unfold(axis, window, stride).unbind(-1))


# --- time: potentials and spikes ----------------------------------------------------------------------------


def convolve(wave: Tensor, weight: Tensor) -> Tensor:
    """Cross-correlation of each step, stride 1, no padding: (..., C, H, W) with (M, C, k, k)."""
    steps = wave.to(weight.dtype).reshape(-1, *wave.shape[-3:])
    response = F.conv2d(steps, weight)
    return response.reshape(*wave.shape[:-3], *response.shape[-3:])


def potentials(latency: Tensor, weight: Tensor, *, steps: int) -> Tensor:
    """V[t] = sum of the weights of all inputs that have fired by step t; no leak, no reset.

    latency uint8 (N, C, H, W), already padded; weight (M, C, k, k). Gives (N, T, M, H', W') in the dtype of
    `weight`: float64 is exact, hence independent of the order of the sum, which the rule for ties needs.
    """
    return convolve(latency_to_wave(latency, steps=steps), weight)


def final_potential(latency: Tensor, weight: Tensor, *, steps: int) -> Tensor:
    """V at the last step alone, all that a decision layer looks at: (N, M, H', W')."""
    return convolve(latency < steps, weight)


def keep_above(potentials: Tensor, threshold: float | None) -> Tensor:
    """Potentials (..., T, C, H, W) where they are above the threshold (strictly), 0 elsewhere.

    threshold None keeps the last step as it is, negative potentials too, and nothing before it.
    """
    if threshold is not None:
        return torch.where(potentials > threshold, potentials, 0)
    kept = torch.zeros_like(potentials)
    kept[..., -1, :, :, :] = potentials[..., -1, :, :, :]
    return kept


def fire(potentials: Tensor, threshold: float | None) -> tuple[Tensor, Tensor]:
    """First step at which V > threshold (strictly), and V at that step.

    potentials (N, T, M, H, W). threshold None is a decision layer: it looks at the last step only, and fires
    there if V > 0. Gives latency uint8 (N, M, H, W), NEVER where silent, and potential (N, M, H, W), 0 where
    silent.
    """
    if threshold is None:
        return _fire_last(potentials)
    above = potentials > threshold
    first = above.to(torch.uint8).argmax(1, keepdim=True)
    fired = above.any(1)
    latency = torch.where(fired, first.squeeze(1), NEVER).to(torch.uint8)
    return latency, potentials.gather(1, first).squeeze(1) * fired


def _fire_last(potentials: Tensor) -> tuple[Tensor, Tensor]:
    last = potentials[:, -1]
    latency = torch.where(last > 0, potentials.shape[1] - 1, NEVER).to(torch.uint8)
    return latency, last.clamp(min=0)


# --- competition --------------------------------------------------------------------------------------------


def inhibit(latency: Tensor, potential: Tensor) -> tuple[Tensor, Tensor]:
    """Pointwise inhibition: at each place the earliest map survives, of several the one with the largest V.

    Equal potentials: the lowest map. Both (N, M, H, W); losers become NEVER and 0.
    """
    earliest = latency.amin(1, keepdim=True)
    best = _largest(potential, latency == earliest).argmax(1, keepdim=True)
    maps = torch.arange(latency.shape[1], device=latency.device).view(1, -1, 1, 1)
    keep = (maps == best) & (latency != NEVER)
    return torch.where(keep, latency, NEVER).to(latency.dtype), torch.where(keep, potential, 0)


def winners(latency: Tensor, potential: Tensor, *, k: int, radius: int) -> Tensor:
    """The k neurons that may learn: earliest, then largest V, then lowest flat index (map, row, column).

    A winner excludes its whole map and, if radius > 0, the square of that radius around it in all maps.
    latency, potential (N, M, H, W). Gives int64 (N, k, 3) = map, row, column; -1 where none is left.
    """
    height, width = latency.shape[2:]
    chosen = []
    for _ in range(k):
        earliest = latency.flatten(1).amin(1)
        candidate = latency == earliest.view(-1, 1, 1, 1)
        flat = _largest(potential, candidate).flatten(1).argmax(1)
        winner = torch.stack((flat // (height * width), flat // width % height, flat % width), 1)
        chosen.append(torch.where((earliest != NEVER).unsqueeze(1), winner, -1))
        latency = latency.masked_fill(_excluded(winner, latency.shape, radius=radius), NEVER)
    return torch.stack(chosen, 1)


def _excluded(winner: Tensor, shape: torch.Size, *, radius: int) -> Tensor:
    """Neurons (N, M, H, W) that may not win after `winner` (N, 3): its map, and around it if radius > 0."""
    won_map, won_row, won_col = winner.view(-1, 3, 1, 1, 1).unbind(1)
    maps, rows, cols = (torch.arange(n, device=winner.device) for n in shape[1:])
    same_map = maps.view(-1, 1, 1) == won_map
    if radius == 0:
        return same_map.expand(shape)
    near_row = (rows.view(-1, 1) - won_row).abs() <= radius
    near_col = (cols - won_col).abs() <= radius
    return same_map | (near_row & near_col)


def _largest(potential: Tensor, candidate: Tensor) -> Tensor:
    return torch.where(candidate, potential, -torch.inf)


# --- learning -----------------------------------------------------------------------------------------------


def stdp(
    weight: Tensor,
    latency_in: Tensor,
    latency_out: Tensor,
    winners: Tensor,
    *,
    ltp: Rate,
    ltd: Rate,
    lower: float = 0.0,
    upper: float = 1.0,
    stabilise: bool = True,
) -> Tensor:
    """New weights after the winners learnt: w + rate (w - lower) (upper - w), or w + rate unless stabilised.

    The rate is `ltp` for inputs that fired no later than the winner, `ltd` for all others (later, never,
    padding). All weights of the layer are then clipped to the bounds, also those of maps that did not win and
    without any winner. The updates of N images are computed from the same weights and summed. Each operation
    rounds to the dtype of `weight`.

    weight (M, C, k, k); latency_in uint8 (N, C, H, W), padded; latency_out uint8 (N, M, H', W'), inhibited or
    not; winners int64 (N, K, 3), -1 where none. ltp, ltd: numbers, or tensors that broadcast to (N, K), a
    rate a winner.
    """
    maps = winners[..., 0]
    chosen = maps >= 0
    step = _rates(weight, latency_in, latency_out, winners.clamp(min=0), ltp=ltp, ltd=ltd)  # (N, K, C, k, k)
    if stabilise:
        step = step * ((weight - lower) * (upper - weight))[maps.clamp(min=0)]
    step = torch.where(chosen.view(*chosen.shape, 1, 1, 1), step, 0)
    change = torch.zeros_like(weight).index_add(0, maps.clamp(min=0).flatten(), step.flatten(0, 1))
    return (weight + change).clamp(lower, upper)


def _rates(
    weight: Tensor, latency_in: Tensor, latency_out: Tensor, winners: Tensor, *, ltp: Rate, ltd: Rate
) -> Tensor:
    """Learning rate of each synapse of each winner: (N, K, C, k, k)."""
    ltp, ltd = (_per_winner(rate, weight, winners.shape[:2]) for rate in (ltp, ltd))
    early = fired_in_time(latency_in, latency_out, winners, kernel=weight.shape[2:])
    return torch.where(early, ltp, ltd)


def fired_in_time(
    latency_in: Tensor, latency_out: Tensor, winners: Tensor, *, kernel: tuple[int, int]
) -> Tensor:
    """Whether each synapse's input fired no later than its neuron: bool (N, K, C, k, k); see `stdp`."""
    maps, rows, cols = winners.unbind(-1)
    images = torch.arange(len(winners), device=winners.device).unsqueeze(1)
    fields = latency_in.unfold(2, kernel[0], 1).unfold(3, kernel[1], 1)  # (N, C, H', W', k, k)
    inputs = fields[images, :, rows, cols]  # (N, K, C, k, k)
    output = latency_out[images, maps, rows, cols]
    return inputs <= output.view(*maps.shape, 1, 1, 1)


def _per_winner(rate: Rate, weight: Tensor, shape: torch.Size) -> Tensor:
    rate = torch.as_tensor(rate, dtype=weight.dtype, device=weight.device)
    return rate.expand(shape).view(*shape, 1, 1, 1)


def decide(winners: Tensor, *, maps_per_class: int) -> Tensor:
    """Class of each image's first winner, map // maps_per_class: int64 (N,), -1 = silent."""
    first = winners[:, 0, 0]
    return torch.where(first >= 0, first // maps_per_class, -1)


def outcome(decision: Tensor, labels: Tensor) -> Tensor:
    """1 where the decision is right, -1 where it is wrong, 0 where the network was silent."""
    return torch.where(decision == labels, 1, -1) * (decision >= 0)


def rstdp(
    weight: Tensor,
    latency_in: Tensor,
    latency_out: Tensor,
    winners: Tensor,
    outcome: Tensor,
    *,
    reward: tuple[float, float],
    punish: tuple[float, float],
    lower: float = 0.2,
    upper: float = 0.8,
    stabilise: bool = False,
) -> Tensor:
    """Reward-modulated STDP: the pair (ltp, ltd) is `reward` for a right answer and `punish` for a wrong one.

    outcome int (N,): 1 right, -1 wrong, 0 silent (see `outcome`). A silent image changes nothing; if all are
    silent there is not even the clipping. Everything else as in `stdp`.
    """
    told = outcome.unsqueeze(1)
    right, wrong = ((told > 0).to(weight.dtype), (told < 0).to(weight.dtype))
    ltp, ltd = (right * good + wrong * bad for good, bad in zip(reward, punish, strict=True))
    changed = stdp(
        weight,
        latency_in,
        latency_out,
        winners,
        ltp=ltp,
        ltd=ltd,
        lower=lower,
        upper=upper,
        stabilise=stabilise,
    )
    return torch.where((outcome != 0).any(), changed, weight)
