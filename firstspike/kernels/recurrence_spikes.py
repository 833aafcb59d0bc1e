"""From potentials to spikes and back: normalisations, spike functions, surrogate slopes and keyed uniform draws.

All work on scratch blocks (K, U): K steps of one sample, U units. Modes and formulas: spec of ParaLIF, section 4.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from firstspike.kernels.recurrence_rows import Rows, compiled

IDENTITY, SIGMOID, TANH, RELU_TANH, SILENCE = range(5)
POTENTIAL, RELU, THRESHOLD, DELTA, BERNOULLI, GUMBEL, FIRST = range(7)

_LOG2E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.693145751953125, 1.4286068203094173e-06
_TAYLOR = tuple(float(1.0 / np.prod(np.arange(1.0, k + 1))) for k in range(14))
_F = np.float32


class Spike(NamedTuple):
    """How a potential becomes an output: normalisation, spike function and surrogate slope.

    The slope at distance z from the threshold is peak / (1 + |z| (linear + square |z|)); `surrogate` gives the
    numbers.
    """

    norm: int
    kind: int
    peak: float
    linear: float
    square: float


def surrogate(name: str, scale: float) -> tuple[float, float, float]:
    """Return (peak, linear, square) of 1/(k|z|+1)^2 ("fastsig") or (k/2)/(1+(pi/2 k z)^2) ("atan"), k the scale."""
    if name == "fastsig":
        return 1.0, 2.0 * scale, scale * scale
    return scale / 2.0, 0.0, (np.pi / 2.0 * scale) ** 2


@intrinsic
def _fma(typingctx: Any, a: Any, b: Any, c: Any) -> tuple:
    """Return a b + c rounded once: one instruction where two would be."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return a(a, a, a), codegen


@intrinsic
def _two_to(typingctx: Any, k: Any) -> tuple:
    """Return 2**k for a whole number k held as a float: its exponent bits, shifted into place."""
    bits, shift, bias = (types.int32, 23, 127) if k == types.float32 else (types.int64, 52, 1023)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integer = context.get_value_type(bits)
        exponent = builder.add(builder.fptosi(args[0], integer), integer(bias))
        return builder.bitcast(builder.shl(exponent, integer(shift)), args[0].type)

    return k(k), codegen


def _split_exp(x: float) -> tuple[float, float]:
    """Return (s, q) with exp(x) = s (1 + q): s a power of two, q = expm1 of the rest, |rest| <= ln 2 / 2.

    Written out (Taylor's series, Cody and Waite's reduction) because a call into the mathematics library would keep
    the loops around it from being vectorised.
    """
    raise NotImplementedError


@overload(_split_exp, strict=False)
def _split_exp_for(x: Any) -> Callable:
    if x == types.float32:
        low, high, log2e, half = _F(-87.0), _F(88.0), _F(_LOG2E), _F(0.5)
        ln2_high, ln2_low = _F(_LN2_HIGH), _F(_LN2_LOW)
        c2, c3, c4, c5, c6, c7 = (_F(c) for c in _TAYLOR[2:8])

        def single(x: float) -> tuple[float, float]:
            x = min(max(x, low), high)
            k = np.floor(x * log2e + half)
            r = _fma(-k, ln2_low, _fma(-k, ln2_high, x))
            tail = _fma(r, _fma(r, _fma(r, _fma(r, _fma(r, c7, c6), c5), c4), c3), c2)
            return _two_to(k), _fma(r * r, tail, r)

        return single
    c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13 = _TAYLOR[2:]

    def double(x: float) -> tuple[float, float]:
        x = min(max(x, -708.0), 709.0)
        k = np.floor(x * _LOG2E + 0.5)
        r = _fma(-k, _LN2_LOW, _fma(-k, _LN2_HIGH, x))
        tail = _fma(r, _fma(r, _fma(r, _fma(r, _fma(r, c13, c12), c11), c10), c9), c8)
        tail = _fma(r, _fma(r, _fma(r, _fma(r, _fma(r, _fma(r, tail, c7), c6), c5), c4), c3), c2)
        return _two_to(k), _fma(r * r, tail, r)

    return double


@compiled
def normalise(norm: int, v: np.ndarray, p: np.ndarray, steps: int) -> None:
    """p = v, sigmoid(v), tanh(v), max(tanh(v), 0) or, of silence against a spike, exp(-2v)."""
    one, two, zero = v.dtype.type(1), v.dtype.type(2), v.dtype.type(0)
    for i in range(steps):
        if norm == IDENTITY:
            for j in range(v.shape[1]):
                p[i, j] = v[i, j]
        elif norm == SIGMOID:
            for j in range(v.shape[1]):
                s, q = _split_exp(-v[i, j])
                p[i, j] = one / (one + s + s * q)
        elif norm == SILENCE:
            for j in range(v.shape[1]):
                s, q = _split_exp(-two * v[i, j])
                p[i, j] = s + s * q
        else:
            for j in range(v.shape[1]):
                s, q = _split_exp(-two * abs(v[i, j]))
                m = s * q + (s - one)  # expm1(-2|v|), exact near zero
                t = -m / (m + two)
                p[i, j] = t if v[i, j] > zero else (-t if norm == TANH else zero)


@compiled
def fire(
    spike: Spike, p: np.ndarray, theta: np.ndarray, noise: np.ndarray, steps: int, out: Rows, start: int
) -> None:
    """Write the outputs of a block, step i at out.data[start + i * out.step]; row 0 of p is the step before the
    block.

    Threshold p > theta, delta p[t] - p[t-1] > theta, Bernoulli u < p, Gumbel u > (1 - u) exp(-2v), relu max(p, 0).
    """
    one, zero = p.dtype.type(1), p.dtype.type(0)
    units = np.uint64(p.shape[1])
    for i in range(steps):
        row = np.uint64(start + i * out.step)
        if spike.kind == THRESHOLD:
            for j in range(units):
                out.data[row + j] = one if p[i + 1, j] - theta[j] > zero else zero
        elif spike.kind == DELTA:
            for j in range(units):
                out.data[row + j] = one if p[i + 1, j] - p[i, j] - theta[j] > zero else zero
        elif spike.kind == BERNOULLI:
            for j in range(units):
                out.data[row + j] = one if noise[i, j] < p[i + 1, j] else zero
        elif spike.kind == GUMBEL:
            for j in range(units):
                out.data[row + j] = one if noise[i, j] > (one - noise[i, j]) * p[i + 1, j] else zero
        else:
            for j in range(units):
                out.data[row + j] = max(p[i + 1, j], zero)


@compiled
def unfire(
    spike: Spike, p: np.ndarray, theta: np.ndarray, noise: np.ndarray, steps: int, g: np.ndarray
) -> None:
    """Replace the gradients g at the outputs of a block by those at the distances z (or at p, where there is no z).

    Surrogate slope of z for threshold and delta, p itself for Bernoulli, 2 y (1 - y) for Gumbel
    with y = u / (u + (1 - u) exp(-2v)), 1[p > 0] for relu.
    """
    one, zero, two = p.dtype.type(1), p.dtype.type(0), p.dtype.type(2)
    peak, linear, square = p.dtype.type(spike.peak), p.dtype.type(spike.linear), p.dtype.type(spike.square)
    for i in range(steps):
        if spike.kind == THRESHOLD:
            for j in range(p.shape[1]):
                z = abs(p[i + 1, j] - theta[j])
                g[i, j] = g[i, j] * peak / (one + z * (linear + square * z))
        elif spike.kind == DELTA:
            for j in range(p.shape[1]):
                z = abs(p[i + 1, j] - p[i, j] - theta[j])
                g[i, j] = g[i, j] * peak / (one + z * (linear + square * z))
        elif spike.kind == BERNOULLI:
            for j in range(p.shape[1]):
                g[i, j] = g[i, j] * p[i + 1, j]
        elif spike.kind == GUMBEL:
            for j in range(p.shape[1]):
                y = noise[i, j] / (noise[i, j] + (one - noise[i, j]) * p[i + 1, j])
                g[i, j] = g[i, j] * two * y * (one - y)
        else:
            for j in range(p.shape[1]):
                g[i, j] = g[i, j] if p[i + 1, j] > zero else zero


@compiled
def undelta(g: np.ndarray, steps: int, after: np.ndarray) -> None:
    """Turn gradients at p[t] - p[t-1] into gradients at p, g[t] - g[t+1]; `after` is carried from block to block."""
    first = g[0].copy()
    for i in range(steps - 1):
        now, later = g[i], g[i + 1]
        for j in range(g.shape[1]):
            now[j] -= later[j]
    last = g[steps - 1]
    for j in range(g.shape[1]):
        last[j] -= after[j]
    after[:] = first


@compiled
def unnormalise(norm: int, p: np.ndarray, steps: int, g: np.ndarray) -> None:
    """Carry gradients from p to v: times p (1 - p), 1 - p^2 or 1[p > 0] (1 - p^2)."""
    one, zero = p.dtype.type(1), p.dtype.type(0)
    for i in range(steps):
        if norm == SIGMOID:
            for j in range(p.shape[1]):
                g[i, j] = g[i, j] * p[i + 1, j] * (one - p[i + 1, j])
        elif norm == TANH:
            for j in range(p.shape[1]):
                g[i, j] = g[i, j] * (one - p[i + 1, j] * p[i + 1, j])
        elif norm == RELU_TANH:
            for j in range(p.shape[1]):
                g[i, j] = g[i, j] * (one - p[i + 1, j] * p[i + 1, j]) if p[i + 1, j] > zero else zero
