"""Uniform draws that are a function of (key, step, unit): no stream to advance, so blocks and threads do not matter.

A row's key is a 64-bit mix of (sample key, step); a unit's draw is a 32-bit mix of the row's key and the unit's
number, two rounds of multiply and shift with the row's other half stirred in between (in the manner of counter-based
generators, Salmon et al. 2011). The draw keeps 23 bits, (k + 1/2) / 2^23: the same number in single and double
precision, never 0 or 1.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic

from firstspike.kernels.recurrence_rows import Rows, compiled, offset, read_block

_U32, _U64 = np.uint32, np.uint64
GOLDEN, MIX1, MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
UNIT, ROUND1, ROUND2 = 0x9E3779B1, 0x21F0AAAD, 0x735A2D97


class Noise(NamedTuple):
    """Where draws come from: given (uniforms for Bernoulli, odds of silence for Gumbel) or, if empty, keys (N,)
    uint64.
    """

    given: Rows
    keys: np.ndarray


@compiled
def mix64(z: np.uint64) -> np.uint64:
    """Stir 64 bits (the finaliser of SplitMix64)."""
    z = (z ^ (z >> _U64(30))) * _U64(MIX1)
    z = (z ^ (z >> _U64(27))) * _U64(MIX2)
    return z ^ (z >> _U64(31))


@intrinsic
def _stir(typing_context: Any, unit: Any, low: Any, high: Any) -> tuple:
    """Return 23 bits for a unit from both halves of its row's key, in 32 bits: numba's own arithmetic takes 64."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        unit, low, high = arguments

        def fold(h: Any, bits: int) -> Any:
            return builder.xor(h, builder.lshr(h, h.type(bits)))

        h = builder.add(builder.mul(unit, unit.type(UNIT)), low)
        h = builder.xor(builder.mul(fold(h, 16), unit.type(ROUND1)), high)
        h = builder.mul(fold(h, 15), unit.type(ROUND2))
        return builder.lshr(fold(h, 15), unit.type(9))

    return types.int32(types.uint32, types.uint32, types.uint32), emit


@compiled
def uniforms(key: np.uint64, t0: int, steps: int, n0: int, out: np.ndarray) -> None:
    """Fill a block with the draws of steps t0.. and units n0.. of the sample with this key."""
    real = out.dtype.type
    scale, half = real(2.0**-23), real(0.5)
    units = np.empty(out.shape[1], _U32)
    for j in range(units.size):
        units[j] = _U32(n0 + j)
    for i in range(steps):
        row = mix64(key + _U64(t0 + i + 1) * _U64(GOLDEN))
        low, high = _U32(row), _U32(row >> _U64(32))
        for j in range(out.shape[1]):
            out[i, j] = (real(_stir(units[j], low, high)) + half) * scale


@compiled
def draw(noise: Noise, b: int, t0: int, steps: int, n0: int, out: np.ndarray) -> None:
    """Fill a block with uniforms: the given ones, else those of the sample's key."""
    if noise.given.data.size:
        read_block(noise.given, offset(noise.given, b, t0, n0), steps, out)
    else:
        uniforms(noise.keys[b], t0, steps, n0, out)
