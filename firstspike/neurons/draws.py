"""Keyed draws: every uniform is a function of (sample key, step, unit), on any device the same.

A caller names the randomness by a seed: one number for a batch, or one a sample, which makes a sample's draws
independent of the batch that it is in. The plain torch twin of kernels/recurrence_draws.py lives here.
"""

import numpy as np
import torch

from firstspike.errors import UserError
from firstspike.kernels import recurrence_draws as kernel
from firstspike.kernels.recurrence_draws import GOLDEN, MIX1, MIX2, ROUND1, ROUND2, UNIT

Seed = int | torch.Tensor
_LOW32 = 0xFFFFFFFF


def _signed(value: int) -> int:
    """Wrap a 64-bit pattern into the signed range that torch computes in."""
    return (value + 2**63) % 2**64 - 2**63


def _shift(z: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift 64 bits right without the sign."""
    return (z >> bits) & (2 ** (64 - bits) - 1)


def mix64(z: torch.Tensor) -> torch.Tensor:
    """Stir 64 bits held in int64 (the finaliser of SplitMix64)."""
    z = (z ^ _shift(z, 30)) * _signed(MIX1)
    z = (z ^ _shift(z, 27)) * _signed(MIX2)
    return z ^ _shift(z, 31)


def sample_keys(seed: Seed, samples: int, stage: int = 0) -> torch.Tensor:
    """Return int64 keys (N,): of one seed and the place in the batch, or of one seed a sample; `stage` tells uses
    apart.
    """
    if isinstance(seed, torch.Tensor):
        if seed.shape != (samples,) or seed.is_floating_point():
            raise UserError(
                f"seed has shape {tuple(seed.shape)}; give one whole number, or one a sample: ({samples},)"
            )
        own = seed.to(torch.int64)
    else:
        own = _signed(seed) + torch.arange(samples, dtype=torch.int64) * _signed(MIX1)
    return mix64(mix64(own + _signed(GOLDEN)) ^ _signed(stage * UNIT + stage))


def fold(seed: Seed, number: int) -> Seed:
    """Return another seed for the part of this number (a layer, an epoch), of the same form."""
    if isinstance(seed, torch.Tensor):
        return mix64(seed.to(torch.int64) ^ _signed((number + 1) * GOLDEN))
    return int(mix64(torch.tensor(_signed(seed) ^ _signed((number + 1) * GOLDEN))))


def uniforms(keys: torch.Tensor, steps: int, units: int, dtype: torch.dtype) -> torch.Tensor:
    """Return the draws (N, T, U) in (0, 1) of these keys, multiples of 2**-23 plus a half: no 0, no 1."""
    t = torch.arange(1, steps + 1, device=keys.device, dtype=torch.int64)
    row = mix64(keys[:, None] + t * _signed(GOLDEN))[:, :, None]  # (N, T, 1)
    low, high = row & _LOW32, _shift(row, 32)
    h = torch.arange(units, device=keys.device, dtype=torch.int64) * UNIT + low & _LOW32  # (N, T, U)
    h = ((h ^ h >> 16) * ROUND1 & _LOW32) ^ high
    h = (h ^ h >> 15) * ROUND2 & _LOW32
    h = h ^ h >> 15
    return ((h >> 9).to(dtype) + 0.5) * 2.0**-23


def fast_uniforms(keys: torch.Tensor, steps: int, units: int, dtype: torch.dtype) -> torch.Tensor:
    """Return the same draws, bit for bit, by the compiled kernel where the keys lie on the CPU."""
    if keys.device.type != "cpu" or dtype not in (torch.float32, torch.float64):
        return uniforms(keys, steps, units, dtype)
    out = torch.empty(len(keys), steps, units, dtype=dtype)
    for key, block in zip(keys.numpy().view(np.uint64), out.numpy(), strict=True):
        kernel.uniforms(key, block)
    return out
