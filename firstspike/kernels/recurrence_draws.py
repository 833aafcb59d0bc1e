"""Uniform draws that are a function of (key, step, unit): no stream to advance, so blocks and threads do not matter.

A row's key is a 64-bit mix of (sample key, step); a unit's draw is a 32-bit mix of the row's key and the unit's
number, two rounds of multiply and shift with the row's other half stirred in between (in the manner of counter-based
generators, Salmon et al. 2011). The draw keeps 23 bits, (k + 1/2) / 2^23: the same number in single and double
precision, never 0 or 1.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.lanes import Unit, steps
from firstspike.kernels.recurrence_rows import Rows, compiled
from firstspike.kernels.registers import Lanes, Words

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
def keyed(noise: Noise) -> bool:
    """Whether draws come from keys."""
    return noise.keys.size > 0 and noise.given.data.size == 0


@compiled
def mix64(z: np.uint64) -> np.uint64:
    """Stir 64 bits (the finaliser of SplitMix64)."""
    z = (z ^ (z >> _U64(30))) * _U64(MIX1)
    z = (z ^ (z >> _U64(27))) * _U64(MIX2)
    return z ^ (z >> _U64(31))


def uniform(unit: Unit) -> Lanes:
    """A unit's draw, from its place and both halves of its row's key."""

    def fold(h: Words, bits: int) -> Words:
        return h ^ (h >> bits)

    h = fold(unit.place * UNIT + unit.low, 16) * ROUND1 ^ unit.high
    h = fold(fold(h, 15) * ROUND2, 15) >> 9
    return h.as_numbers(unit.kind).fused(2.0**-23, 2.0**-24)


@steps(constants="", state="", spread="low high", writes="drawn")
def _draw(unit: Unit) -> None:
    unit.drawn = uniform(unit)


@compiled
def row_keys(key: np.uint64, n0: int, low: np.ndarray, high: np.ndarray) -> None:
    """Set both halves of the keys of rows 0, 1, .. of a sample, as units from n0 on add their places to the lower."""
    first = _U32(n0 * UNIT)
    for t in range(low.size):
        row = mix64(key + _U64(t + 1) * _U64(GOLDEN))
        low[t], high[t] = _U32(row) + first, _U32(row >> _U64(32))


@compiled
def uniforms(key: np.uint64, out: np.ndarray) -> None:
    """Fill (T, U) with the draws of a sample's first steps and units."""
    rows, units = out.shape
    low, high = np.empty(rows, _U32), np.empty(rows, _U32)
    row_keys(key, 0, low, high)
    none = np.empty(0, out.dtype)
    _draw(none, none, (), (low, high, out.reshape(-1)), (0, 0, 0), (1, 1, units), units, rows, 0)
