"""The linear recurrence: a double-exponential filter, and the spike function that reads it.

    a[t] = alpha a[t-1] + x[t]        v[t] = beta v[t-1] + gain a[t]        s[t] = spike(v[t])

gain = 1 - beta for SPSN and ParaLIF, 1 for the single-spike family. Exact and causal: no wrap-around, silence stays
0. The way forward keeps what the spike function read, in place of the input, and for learnt constants v and a; so the
way back is one loop.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.lanes import Unit, steps
from firstspike.kernels.recurrence_draws import Noise, keyed, row_keys, uniform
from firstspike.kernels.recurrence_rows import (
    CONSTANTS,
    Decay,
    Part,
    Rows,
    compiled,
    offset,
    pack,
    room_of,
    unpack_sums,
)
from firstspike.kernels.recurrence_spikes import (
    DELTA,
    MODE,
    Spike,
    fire,
    mode_of,
    normalise,
    unfire,
)

STATE, CARRIED = 4, 5
"""How many numbers a unit has as state on the way forward, the third of them 1 until its first spike; and how many are
carried back, before the constants' gradients.
"""


class Filter(NamedTuple):
    """All that a pass reads: input, its delay (0 or 1 steps), its length, the units, the mode and the randomness."""

    x: Rows
    lag: int
    length: int
    decay: Decay
    spike: Spike
    noise: Noise


class FilterTrace(NamedTuple):
    """Where a pass writes, each holding nothing where it is not wanted: outputs, potentials, and for the way back what
    the spike function read, v and a.
    """

    out: Rows
    potential: Rows
    read: Rows
    v: Rows
    a: Rows


class FilterGradients(NamedTuple):
    """What a pass backwards reads and writes: at outputs and potentials (or nothing), at x, and sums (N or 0, 5, U)."""

    out: Rows
    potential: Rows
    x: Rows
    sums: np.ndarray


class Work(NamedTuple):
    """Working memory for units n0..n1-1: packed constants and state, or what is carried back; both halves of every
    step's key, or of one that is not read.
    """

    n0: int
    n1: int
    constants: np.ndarray
    state: np.ndarray
    low: np.ndarray
    high: np.ndarray


@steps(
    constants="alpha beta gain theta",
    state="current membrane silent number",
    numbers=f"{MODE} keyed",
    reads="x draw",
    ahead="x",
    spread="low high",
    writes="spikes potential read v a",
)
def _integrate(unit: Unit) -> None:
    """One step of the filter and its spike function."""
    before = unit.number
    with unit.when("keyed"):
        unit.draw = uniform(unit)
    unit.current = unit.alpha * unit.current + unit.x
    unit.membrane = unit.beta * unit.membrane + unit.gain * unit.current
    normalise(unit, unit.membrane)
    fire(unit, before)
    unit.potential, unit.v, unit.a = unit.membrane, unit.membrane, unit.current


@steps(
    constants="alpha beta gain theta",
    state="current membrane next after total d_alpha d_beta d_gain d_theta",
    numbers=MODE,
    reads="out potential read read_before a v",
    ahead="out potential read a v",
    writes="x",
    backwards=True,
)
def _retreat(unit: Unit) -> None:
    """One step back, from gradients at outputs and potentials: l = g + beta l[t+1] at v, q = gain l + alpha q[t+1] at
    x. The constants' gradients are q[t+1] a, l[t+1] v, l a, and less that at the distance to theta.
    """
    unit.back, unit.at_z = 0, 0
    with unit.when("out"):
        unfire(unit)
    with unit.when("a"):
        unit.d_alpha = unit.current.fused(unit.a, unit.d_alpha)
        unit.d_beta = unit.membrane.fused(unit.v, unit.d_beta)
    unit.membrane = unit.beta.fused(unit.membrane, unit.potential + unit.back)
    unit.current = unit.gain.fused(unit.membrane, unit.alpha * unit.current)
    unit.x = unit.current
    with unit.when("a"):
        unit.d_gain = unit.membrane.fused(unit.a, unit.d_gain)
        unit.d_theta = unit.d_theta - unit.at_z


@compiled
def _advance(w: Work, f: Filter, to: FilterTrace, b: int, t: int, count: int) -> None:
    """Run some steps of a sample and write its trace. Before the lag is over there is no input."""
    n, given, next_key = w.n0, f.noise.given, 1 if keyed(f.noise) else 0
    x = f.x.data if t >= f.lag else f.x.data[:0]
    written = (to.out.data, to.potential.data, to.read.data, to.v.data, to.a.data)
    arrays = (x, given.data, w.low, w.high, *written)
    inputs = (offset(f.x, b, t - f.lag, n), offset(given, b, t, n), t * next_key, t * next_key)
    outputs = (offset(to.out, b, t, n), offset(to.potential, b, t, n), offset(to.read, b, t, n))
    starts = (*inputs, *outputs, offset(to.v, b, t, n), offset(to.a, b, t, n))
    strides = (f.x.step, given.step, next_key, next_key, to.out.step, to.potential.step, to.read.step)
    strides, numbers = (*strides, to.v.step, to.a.step), (*mode_of(f.spike), 1.0 * next_key)
    _integrate(w.constants, w.state, numbers, arrays, starts, strides, w.n1 - n, count, room_of(w.n1 - n))


@compiled
def forward(f: Filter, to: FilterTrace, part: Part) -> None:
    """Filter, fire, and write what is wanted of the trace."""
    real, rows = f.decay.alpha.dtype, f.length if keyed(f.noise) else 1
    low, high = np.empty(rows, np.uint32), np.empty(rows, np.uint32)
    n0, n1, room = part.n0, part.n1, room_of(part.n1 - part.n0)
    w = Work(n0, n1, pack(f.decay, n0, n1), np.zeros(STATE * room, real), low, high)
    for b in range(part.b0, part.b1):
        w.state[:] = 0
        w.state[2 * room : 3 * room] = 1
        if keyed(f.noise):
            row_keys(f.noise.keys[b], n0, low, high)
        silent = min(f.lag, f.length)
        _advance(w, f, to, b, 0, silent)
        _advance(w, f, to, b, silent, f.length - silent)


@compiled
def _descend(
    w: Work, f: Filter, kept: FilterTrace, g: FilterGradients, b: int, first: int, count: int
) -> None:
    """Run some steps of a sample backwards down to step `first`; before step 0 nothing is read, and what goes to steps
    before it is dropped.
    """
    t, n0, none = first + count - 1, w.n0, w.state[:0]
    x, before = g.x.data if first >= f.lag else none, kept.read.data if first > 0 else none
    arrays = (g.out.data, g.potential.data, kept.read.data, before, kept.a.data, kept.v.data, x)
    starts = (offset(g.out, b, t, n0), offset(g.potential, b, t, n0), offset(kept.read, b, t, n0))
    starts = (*starts, offset(kept.read, b, t - 1, n0), offset(kept.a, b, t, n0), offset(kept.v, b, t, n0))
    starts = (*starts, offset(g.x, b, t - f.lag, n0))
    strides = (-g.out.step, -g.potential.step, -kept.read.step, -kept.read.step, -kept.a.step, -kept.v.step)
    strides = (*strides, -g.x.step)
    numbers, units = mode_of(f.spike), w.n1 - n0
    _retreat(w.constants, w.state, numbers, arrays, starts, strides, units, count, room_of(units))


@compiled
def backward(f: Filter, kept: FilterTrace, g: FilterGradients, part: Part) -> None:
    """Run the recurrence backwards: gradients of x and, where sums are given, of the units' constants."""
    real, learn = f.decay.alpha.dtype, g.sums.shape[0] > 0
    nobody = np.empty(0, np.uint32)
    alone = 1 if f.lag > 0 or f.spike.kind == DELTA else 0  # steps that something is missing for
    n0, n1, room = part.n0, part.n1, room_of(part.n1 - part.n0)
    carried = np.zeros((CARRIED + CONSTANTS) * room, real)
    w = Work(n0, n1, pack(f.decay, n0, n1), carried, nobody, nobody)
    begun = carried if learn else carried[: CARRIED * room]
    for b in range(part.b0, part.b1):
        begun[:] = 0
        if f.length > alone:
            _descend(w, f, kept, g, b, alone, f.length - alone)
        if alone and f.length:
            _descend(w, f, kept, g, b, 0, 1)
        for t in range(f.length - f.lag, f.length):
            start = offset(g.x, b, t, n0)
            g.x.data[start : start + n1 - n0] = 0
        if learn:
            unpack_sums(w.state[CARRIED * room :], g.sums[b], n0, n1)
