"""From potentials to spikes and back, one step at a time: normalisations, spike functions and surrogate slopes.

The functions of a step work on the registers of `lanes`. Modes and formulas: Yarga and Wood, "Accelerating spiking
neural networks with parallelizable leaky integrate-and-fire neurons" (2025).
"""

import math
from typing import NamedTuple

import numpy as np
from llvmlite import ir

from firstspike.kernels.lanes import Unit
from firstspike.kernels.recurrence_rows import compiled
from firstspike.kernels.registers import Lanes

IDENTITY, SIGMOID, TANH, RELU_TANH, SILENCE = range(5)
POTENTIAL, RELU, THRESHOLD, DELTA, BERNOULLI, GUMBEL, FIRST = range(7)

MODE = "squashed sigmoid tanh rectified compares past once other bernoulli gumbel relu peak linear square"
"""The numbers by which a step knows its mode, in the order of `mode_of`: 0 for no."""

_LOG2E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.693145751953125, 1.4286068203094173e-06


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


@compiled
def mode_of(spike: Spike) -> tuple[float, ...]:
    """Return the numbers that MODE names."""
    norm, kind = spike.norm, spike.kind
    folded = norm in (TANH, RELU_TANH)
    compares = kind in (THRESHOLD, DELTA, FIRST)
    return (
        1.0 * (norm != IDENTITY),
        1.0 * (norm == SIGMOID),
        1.0 * folded,
        1.0 * (norm == RELU_TANH),
        1.0 * compares,
        1.0 * (kind == DELTA),
        1.0 * (kind == FIRST),
        1.0 * (not compares),
        1.0 * (kind == BERNOULLI),
        1.0 * (kind == GUMBEL),
        1.0 * (kind == RELU),
        spike.peak,
        spike.linear,
        spike.square,
    )


def split_exp(unit: Unit, x: Lanes) -> tuple[Lanes, Lanes]:
    """Return (s, q) with exp(x) = s (1 + q): s a power of two, q = expm1 of the rest, |rest| <= ln 2 / 2.

    Taylor's series behind Cody and Waite's reduction.
    """
    single = isinstance(x.value.type.element, ir.FloatType)
    low, high, terms = (-87.0, 88.0, 8) if single else (-708.0, 709.0, 14)
    x = unit.where(x > low, x, low)
    x = unit.where(x > high, high, x)
    k, power = x.nearest(_LOG2E)
    r = (-k).fused(_LN2_LOW, (-k).fused(_LN2_HIGH, x))
    tail = r.fused(1 / math.factorial(terms - 1), 1 / math.factorial(terms - 2))
    for n in range(terms - 3, 1, -1):
        tail = r.fused(tail, 1 / math.factorial(n))
    return power, (r * r).fused(tail, r)


def normalise(unit: Unit, v: Lanes) -> None:
    """Set `number` to v, sigmoid(v), tanh(v), max(tanh(v), 0) or, of silence against a spike, exp(-2v)."""
    unit.number = v
    with unit.when("squashed"):
        unit.exponent = -2 * v
        with unit.when("sigmoid"):
            unit.exponent = -v
        with unit.when("tanh"):
            unit.exponent = -2 * abs(v)
        s, q = split_exp(unit, unit.exponent)
        unit.number = q.fused(s, s)
        with unit.when("sigmoid"):
            unit.number = 1 / q.fused(s, 1 + s)
        with unit.when("tanh"):
            m = q.fused(s, s - 1)  # expm1(-2|v|), exact near zero
            t = -m / (m + 2)
            unit.number = unit.where(v > 0, t, (unit.rectified - 1) * t)


def fire(unit: Unit, before: Lanes) -> None:
    """Set `spikes`, and `read` to what the way back needs; `before` is the number of the step before.

    Threshold p > theta, delta p[t] - p[t-1] > theta, the first such step alone, Bernoulli u < p, Gumbel
    u > (1 - u) exp(-2v), relu max(p, 0). A single spike leaves no distance to the threshold to read from it on, Gumbel
    its soft choice u / (u + (1 - u) exp(-2v)).
    """
    unit.read, unit.spikes = unit.number, 0
    with unit.when("compares"):
        crossed = unit.number - unit.past * before - unit.theta > 0
        unit.spikes = unit.where(crossed, 1, 0)
        with unit.when("once"):
            unit.spikes = unit.silent * unit.spikes
            unit.silent = unit.silent - unit.spikes
            unit.read = unit.where(unit.silent > 0, unit.number, math.inf)
    with unit.when("other"):
        with unit.when("bernoulli"):
            unit.spikes = unit.where(unit.number > unit.draw, 1, 0)
        with unit.when("gumbel"):
            silence = (1 - unit.draw) * unit.number
            unit.spikes = unit.where(unit.draw > silence, 1, 0)
            unit.read = unit.draw / (unit.draw + silence)
        with unit.when("relu"):
            unit.spikes = unit.where(unit.number > 0, unit.number, 0)


def unfire(unit: Unit) -> None:
    """Set `back`, the gradient at v, from `out` at the outputs, by what was `read` and `read_before`; `at_z` is that at
    the distance to the threshold, if there is one, and `next` and the running sums are carried.

    Surrogate slope for threshold and delta, p itself for Bernoulli, 2 y (1 - y) for Gumbel's y, 1[p > 0] for relu. A
    single spike sends back the sum over silent j >= t of (j - t + 1) g[j], by two running sums that are 0 from the
    spike on. The normalisation's slope is p (1 - p), 1 - p^2 or 1[p > 0] (1 - p^2).
    """
    with unit.when("compares"):
        unit.back, unit.distance = unit.out, abs(unit.read - unit.past * unit.read_before - unit.theta)
        with unit.when("once"):
            still = math.inf > unit.read
            unit.after = unit.where(still, unit.after + unit.out, 0)
            unit.total = unit.where(still, unit.total + unit.after, 0)
            unit.back, unit.distance = unit.total, unit.where(still, unit.distance, 0)
        z = unit.distance
        unit.at_z = unit.back * unit.peak / z.fused(z.fused(unit.square, unit.linear), 1)
        unit.back, unit.next = unit.at_z - unit.past * unit.next, unit.at_z
    with unit.when("other"):
        with unit.when("bernoulli"):
            unit.back = unit.out * unit.read
        with unit.when("gumbel"):
            unit.back = unit.out * 2 * unit.read * (1 - unit.read)
        with unit.when("relu"):
            unit.back = unit.where(unit.read > 0, unit.out, 0)
    with unit.when("squashed"):
        with unit.when("sigmoid"):
            unit.back = unit.back * unit.read * (1 - unit.read)
        with unit.when("tanh"):
            unit.back = unit.back * (1 - unit.read * unit.read)
        with unit.when("rectified"):
            unit.back = unit.where(unit.read > 0, unit.back, 0)
