"""The linear recurrence: a double-exponential filter, and the spike function that reads it.

    a[t] = alpha a[t-1] + x[t]        v[t] = beta v[t-1] + gain a[t]        s[t] = spike(v[t])

gain = 1 - beta for SPSN and ParaLIF, 1 for the single-spike family. Exact and causal: no wrap-around, silence stays
0. The way forward keeps the state (a, v) before every block of STEPS; the way back computes the block again from the
input, so nothing of size (N, T, U) is kept but the input itself.

Threshold, delta and single spikes of v itself come straight out of the loops over steps; any other output is made
from a block of potentials by `recurrence_spikes`.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.lanes import UNITS, Unit, steps
from firstspike.kernels.recurrence_draws import Noise, draw
from firstspike.kernels.recurrence_rows import (
    PACKED,
    STEPS,
    THETA,
    Decay,
    Part,
    Rows,
    add_block,
    compiled,
    offset,
    pack,
    put,
    read_block,
    unpack_sums,
    write_block,
)
from firstspike.kernels.recurrence_spikes import (
    BERNOULLI,
    DELTA,
    FIRST,
    GUMBEL,
    IDENTITY,
    POTENTIAL,
    THRESHOLD,
    Spike,
    fire,
    normalise,
    undelta,
    unfire,
    unnormalise,
)

CURRENT, MEMBRANE, SILENT = (UNITS * k for k in range(3))
"""Where the state lies in its packed array; SILENT is 1 until a unit's first spike."""

SUMS = 5 * UNITS
"""Where the constants' gradients begin in the packed array of what is carried back."""


class Filter(NamedTuple):
    """All that a pass reads: input, its delay (0 or 1 steps), its length, the units, the mode and the randomness."""

    x: Rows
    lag: int
    length: int
    decay: Decay
    spike: Spike
    noise: Noise


class Gradients(NamedTuple):
    """What a pass backwards reads and writes: at outputs and potentials (or nothing), at x, and sums (N or 0, 5, U)."""

    out: Rows
    potential: Rows
    x: Rows
    sums: np.ndarray


class Scratch(NamedTuple):
    """Working memory for units n0..: packed constants and state; blocks of steps (K, U) of distances z, of `still`, 1
    while a unit is silent, of noise and gradients, and with the step before in row 0 (K+1, U) of v, normalised p and
    currents a; or nothing where the mode has no use for them.
    """

    n0: int
    units: int
    c: np.ndarray
    state: np.ndarray
    v: np.ndarray
    p: np.ndarray
    a: np.ndarray
    z: np.ndarray
    still: np.ndarray
    noise: np.ndarray
    g: np.ndarray
    after: np.ndarray


@steps(
    constants="alpha beta gain theta",
    state="current membrane silent",
    numbers="past once",
    reads="x",
    ahead="at_spikes at_x",
    writes="v a z still spikes",
    registers=8,
)
def _integrate(unit: Unit) -> None:
    """One step: z = v - theta, less the v before for delta spikes; after its first spike a unit may be kept silent."""
    before = unit.membrane
    unit.current = unit.alpha * unit.current + unit.x
    unit.membrane = unit.beta * before + unit.gain * unit.current
    unit.z = unit.membrane - unit.past * before - unit.theta
    unit.spikes = unit.where(unit.z > 0, 1, 0)
    with unit.when("once"):
        unit.spikes = unit.silent * unit.spikes
        unit.silent = unit.silent - unit.spikes
    unit.v, unit.a, unit.still = unit.membrane, unit.current, unit.silent


@steps(
    constants="alpha beta gain",
    state="current membrane next after total d_alpha d_beta d_gain d_theta",
    numbers="past once peak linear square",
    reads="z still out potential a_before a_now v_before",
    writes="x",
    registers=4,
)
def _retreat(unit: Unit) -> None:
    """One step back, from gradients at outputs and potentials: l = g + beta l[t+1] at v, gain l + alpha q[t+1] at x.

    A single spike sends back the sum over silent j >= t of (j - t + 1) g[j], by two running sums that are 0 from the
    spike on. The constants' gradients are q a[t-1], l v[t-1], l a[t], and less the slope's at theta.
    """
    unit.at_v = unit.potential
    unit.at_z = 0
    with unit.when("z"):
        unit.at_s = unit.out
        with unit.when("once"):
            unit.after = (unit.after + unit.out) * unit.still
            unit.total = (unit.total + unit.after) * unit.still
            unit.at_s = unit.total
        z = abs(unit.z)
        unit.at_z = unit.at_s * unit.peak / (z * (z * unit.square + unit.linear) + 1)
        unit.at_v = unit.at_v + (unit.at_z - unit.past * unit.next)
        unit.next = unit.at_z
    unit.membrane = unit.at_v + unit.beta * unit.membrane
    unit.current = unit.gain * unit.membrane + unit.alpha * unit.current
    unit.x = unit.current
    with unit.when("a_now"):
        unit.d_alpha = unit.d_alpha + unit.current * unit.a_before
        unit.d_beta = unit.d_beta + unit.membrane * unit.v_before
        unit.d_gain = unit.d_gain + unit.membrane * unit.a_now
        unit.d_theta = unit.d_theta - unit.at_z


@compiled
def _scratch(f: Filter, n0: int, n1: int, back: bool, learn: bool) -> Scratch:
    units, real, plain, kind = n1 - n0, f.decay.alpha.dtype, _plain(f.spike), f.spike.kind
    normal, noisy = f.spike.norm != IDENTITY, kind in (BERNOULLI, GUMBEL)
    v, p, a = (
        np.zeros((STEPS + 1, units if learn or not plain else 0), real),
        np.zeros((STEPS + 1, units if normal else 0), real),
        np.zeros((STEPS + 1, units if learn else 0), real),
    )
    z, still = (
        np.empty((STEPS, units if back and plain else 0), real),
        np.empty((STEPS, units if back and kind == FIRST else 0), real),
    )
    noise, g = (
        np.empty((STEPS, units if noisy else 0), real),
        np.empty((STEPS, units if back and not plain else 0), real),
    )
    state, after = np.zeros(3 * UNITS, real), np.zeros(units, real)
    return Scratch(n0, units, pack(f.decay, n0, n1), state, v, p, a, z, still, noise, g, after)


@compiled
def _plain(spike: Spike) -> bool:
    """Whether what is read is v itself, by a threshold, its rise, its first crossing, or not at all."""
    return spike.norm == IDENTITY and spike.kind in (THRESHOLD, DELTA, FIRST, POTENTIAL)


@compiled
def _reading(spike: Spike) -> tuple[float, float]:
    """Whether the step before counts, and whether a unit is silent after its first spike: 1 for yes, else 0."""
    return (1.0 if spike.kind == DELTA else 0.0), (1.0 if spike.kind == FIRST else 0.0)


@compiled
def _advance(
    w: Scratch,
    f: Filter,
    b: int,
    t0: int,
    count: int,
    g: Gradients,
    v: Rows,
    v_at: int,
    out: Rows,
    out_at: int,
) -> None:
    """Advance the state by a block; potentials go to v, spikes to out and what is kept for the way back to w, where
    these hold anything. Before the lag is over there is no input, and the state stays 0.
    """
    numbers, units = _reading(f.spike), w.units
    silent = min(max(f.lag - t0, 0), count)
    for i, end in ((0, silent), (silent, count)):
        x = f.x.data[:0] if i < silent else f.x.data
        arrays = (x, g.out.data, g.x.data, v.data, w.a, w.z, w.still, out.data)
        read, kept = offset(f.x, b, t0 - f.lag + i, w.n0), units * i
        soon, later = offset(g.out, b, t0 + i, w.n0), offset(g.x, b, t0 + i, w.n0)
        written = (v_at + i * v.step, kept + units, kept, kept, out_at + i * out.step)
        strides = (f.x.step, g.out.step, g.x.step, v.step, units, units, units, out.step)
        _integrate(w.c, w.state, numbers, arrays, (read, soon, later, *written), strides, units, end - i)


@compiled
def _normalised(w: Scratch, f: Filter, t0: int, count: int) -> np.ndarray:
    """Return the block's normalised potentials, of which the one before step 0 is 0."""
    if f.spike.norm == IDENTITY:
        return w.v
    normalise(f.spike.norm, w.v, w.p, count + 1)
    if t0 == 0:
        w.p[0] = 0
    return w.p


@compiled
def _fire(w: Scratch, f: Filter, b: int, t0: int, count: int, out: Rows) -> None:
    """Write the outputs of a block whose potentials are in w.v."""
    p = _normalised(w, f, t0, count)
    if w.noise.size:
        draw(f.noise, b, t0, count, w.n0, w.noise)
    fire(f.spike, p, w.c[THETA:], w.noise, count, out, offset(out, b, t0, w.n0))


@compiled
def _exchange(w: Scratch, marks: np.ndarray, save: bool) -> None:
    """Keep the state before a block in marks (2 or 3, units), or take it back, to row 0 of v and a as well."""
    for k in range(marks.shape[0]):
        own = w.state[k * UNITS : k * UNITS + w.units]
        if save:
            put(marks[k], own)
        else:
            put(own, marks[k])
    put(w.a[0], w.state[CURRENT:])
    put(w.v[0], w.state[MEMBRANE:])


@compiled
def forward(f: Filter, out: Rows, potential: Rows, marks: np.ndarray, part: Part) -> None:
    """Filter, fire, write outputs and potentials; `marks` (N, blocks, 2 or 3, U) gets the state (a, v, silent)
    before each block.
    """
    plain, none = _plain(f.spike), Rows(f.x.data[:0], 0, 0)
    unasked = Gradients(none, none, none, np.zeros((0, 0, 0), marks.dtype))
    for n0 in range(part.n0, part.n1, UNITS):
        n1 = min(n0 + UNITS, part.n1)
        w = _scratch(f, n0, n1, False, False)
        inner = Rows(w.v.reshape(-1), 0, w.units)
        for b in range(part.b0, part.b1):
            w.state[:SILENT], w.state[SILENT:] = 0, 1
            for m in range(marks.shape[1]):
                t0, count = m * STEPS, min(STEPS, f.length - m * STEPS)
                _exchange(w, marks[b, m, :, n0:n1], True)
                at = offset(potential, b, t0, n0)
                if plain:
                    _advance(w, f, b, t0, count, unasked, potential, at, out, offset(out, b, t0, n0))
                else:
                    _advance(w, f, b, t0, count, unasked, inner, w.units, none, 0)
                    write_block(potential, at, count, w.v[1:])
                    if out.data.size:
                        _fire(w, f, b, t0, count, out)


@compiled
def _to_potentials(
    w: Scratch, f: Filter, b: int, t0: int, count: int, g: Gradients, sums: np.ndarray
) -> None:
    """Fill w.g with the gradients at the block's potentials w.v, from those at outputs and potentials."""
    read_block(g.out, offset(g.out, b, t0, w.n0), count, w.g)
    if g.out.data.size:
        p, compares = _normalised(w, f, t0, count), f.spike.kind == THRESHOLD or f.spike.kind == DELTA
        if f.spike.kind == GUMBEL:
            draw(f.noise, b, t0, count, w.n0, w.noise)
        unfire(f.spike, p, w.c[THETA:], w.noise, count, w.g)
        for i in range(count if sums.size and compares else 0):
            for j in range(w.units):
                sums[THETA + j] -= w.g[i, j]
        if f.spike.kind == DELTA:
            undelta(w.g, count, w.after)
        unnormalise(f.spike.norm, p, count, w.g)
    add_block(g.potential, offset(g.potential, b, t0, w.n0), count, w.g)


@compiled
def _descend(
    w: Scratch, f: Filter, b: int, t0: int, count: int, g: Gradients, carry: np.ndarray, inner: bool
) -> None:
    """Run a block of steps backwards; gradients at potentials are `inner` ones in w.g, or those that g holds. What
    goes to steps before the first is dropped.
    """
    spike, units, none = f.spike, w.units, f.x.data[:0]
    numbers = (*_reading(spike), spike.peak, spike.linear, spike.square)
    own = Rows(w.g.reshape(-1), 0, units) if inner else g.potential
    z = w.z.reshape(-1) if g.out.data.size and spike.kind != POTENTIAL else none
    dropped = min(max(f.lag - t0, 0), count)
    for first, end in ((dropped, count), (0, dropped)):
        i = end - 1
        x = g.x.data if first == dropped else none
        arrays = (z, w.still, g.out.data, own.data, w.a, w.a, w.v, x)
        out, target = offset(g.out, b, t0 + i, w.n0), offset(g.x, b, t0 - f.lag + i, w.n0)
        at = i * units if inner else offset(own, b, t0 + i, w.n0)
        kept = i * units
        starts = (kept, kept, out, at, kept, kept + units, kept, target)
        strides = (-units, -units, -g.out.step, -own.step, -units, -units, -units, -g.x.step)
        _retreat(w.c, carry, numbers, arrays, starts, strides, units, end - first)


@compiled
def backward(f: Filter, marks: np.ndarray, g: Gradients, part: Part) -> None:
    """Run the recurrence backwards, block by block: gradients of x and, where sums are given, of the units'
    constants.
    """
    plain, learn, none = _plain(f.spike), g.sums.shape[0] > 0, Rows(f.x.data[:0], 0, 0)
    needed = learn or (g.out.data.size > 0 and f.spike.kind != POTENTIAL)
    for n0 in range(part.n0, part.n1, UNITS):
        n1 = min(n0 + UNITS, part.n1)
        w, carry = _scratch(f, n0, n1, True, learn), np.zeros(SUMS + PACKED, marks.dtype)
        inner, sums = Rows(w.v.reshape(-1), 0, w.units), carry[SUMS : SUMS + (PACKED if learn else 0)]
        for b in range(part.b0, part.b1):
            carry[:], w.after[:] = 0, 0
            for k in range(marks.shape[1]):
                m = marks.shape[1] - 1 - k
                t0, count = m * STEPS, min(STEPS, f.length - m * STEPS)
                _exchange(w, marks[b, m, :, n0:n1], False)
                if needed:
                    _advance(w, f, b, t0, count, g, inner, w.units, none, 0)
                if not plain:
                    _to_potentials(w, f, b, t0, count, g, sums)
                _descend(w, f, b, t0, count, g, carry, not plain)
            for t in range(f.length - f.lag, f.length):
                start = offset(g.x, b, t, n0)
                g.x.data[start : start + w.units] = 0
            if learn:
                unpack_sums(sums, g.sums[b], n0, n1)
