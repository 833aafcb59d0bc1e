"""The linear recurrence: a double-exponential filter, and the spike function that reads it.

    a[t] = alpha a[t-1] + x[t]        v[t] = beta v[t-1] + gain a[t]        s[t] = spike(v[t])

gain = 1 - beta for SPSN and ParaLIF, 1 for the single-spike family. Exact and causal: no wrap-around, silence stays
0. The way forward keeps the state (a, v) before every block of STEPS; the way back computes the block again from the
input, so nothing of size (N, T, U) is kept but the input itself.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.recurrence_draws import Noise, draw
from firstspike.kernels.recurrence_rows import (
    ALPHA,
    BETA,
    GAIN,
    PACKED,
    STEPS,
    THETA,
    UNITS,
    Decay,
    Part,
    Rows,
    add_block,
    compiled,
    offset,
    pack,
    prefetch,
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
    fire_first,
    normalise,
    still_silent,
    undelta,
    unfire,
    unfire_first,
    unnormalise,
)

CURRENT, MEMBRANE = 0, UNITS
"""Where the state lies in its packed array; on the way back, what is carried to the step before for a and v."""


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
    """Working memory for units n0..: packed constants and state; blocks of steps of v and normalised p (K+1, U) with
    the step before in row 0, of currents a likewise (or none), of noise and gradients (K, U); rows `silent`, 1 until
    a unit's first spike, and `after` and `total`, carried on the way back by delta and single spikes; the steps
    downwards.
    """

    n0: int
    c: np.ndarray
    state: np.ndarray
    v: np.ndarray
    p: np.ndarray
    a: np.ndarray
    noise: np.ndarray
    g: np.ndarray
    silent: np.ndarray
    after: np.ndarray
    total: np.ndarray
    ignored: np.ndarray
    order: np.ndarray


@compiled
def _scratch(f: Filter, n0: int, n1: int, learn: bool) -> Scratch:
    units, real = n1 - n0, f.decay.alpha.dtype
    v, p, a = (
        np.zeros((STEPS + 1, units), real),
        np.zeros((STEPS + 1, units), real),
        np.zeros((STEPS + 1, units if learn else 0), real),
    )
    noise, g = np.empty((STEPS, units), real), np.empty((STEPS, units), real)
    silent, after, total = np.ones(units, real), np.zeros(units, real), np.zeros(units, real)
    c, order = pack(f.decay, n0, n1), np.arange(STEPS - 1, -1, -1)
    return Scratch(
        n0, c, np.zeros(PACKED, real), v, p, a, noise, g, silent, after, total, np.zeros(units, real), order
    )


@compiled
def _plain(spike: Spike) -> bool:
    """Whether spikes are v > theta or v[t] - v[t-1] > theta: these come straight out of the filter's loop."""
    return spike.norm == IDENTITY and (spike.kind == THRESHOLD or spike.kind == DELTA)


@compiled
def _integrate(
    w: Scratch, f: Filter, b: int, t0: int, steps: int, keep: bool, g: Rows, read: int, out: Rows, write: int
) -> None:
    """Advance the state by a block; with `keep`, v (and a, if wanted) go to rows 1... Steps before the lag is over have
    no input, and v = 0.

    To `out`: the plain spikes H(z), z = v - theta or v[t] - v[t-1] - theta; or, where their gradients g are given,
    those at z.
    """
    c, state, x, units = w.c, w.state, f.x.data, np.uint64(w.v.shape[1])
    real = c.dtype.type
    zero, one, past = real(0), real(1), real(f.spike.kind == DELTA)
    peak, linear, square = real(f.spike.peak), real(f.spike.linear), real(f.spike.square)
    back, incoming = g.data.size > 0, g.data if g.data.size else w.after
    for i in range(steps):
        now, at = np.uint64(offset(f.x, b, t0 - f.lag + i, w.n0)), np.uint64(write + i * out.step)
        row, r = np.uint64(i + 1 if keep else 1), np.uint64(read + i * g.step)
        for j in range(units):
            before = state[MEMBRANE + j]
            potential = zero
            if t0 + i >= f.lag:
                current = c[ALPHA + j] * state[CURRENT + j] + x[now + j]
                potential = c[BETA + j] * before + c[GAIN + j] * current
                state[CURRENT + j] = current
                state[MEMBRANE + j] = potential
            w.v[row, j] = potential
            z = potential - past * before - c[THETA + j]
            if back:
                out.data[at + j] = incoming[r + j] * peak / (one + abs(z) * (linear + square * abs(z)))
            else:
                out.data[at + j] = one if z > zero else zero
        for j in range(w.a.shape[1]):
            w.a[i + 1, j] = state[CURRENT + j]


@compiled
def _normalised(w: Scratch, f: Filter, t0: int, steps: int) -> np.ndarray:
    """Return the block's normalised potentials, of which the one before step 0 is 0."""
    if f.spike.norm == IDENTITY:
        return w.v
    normalise(f.spike.norm, w.v, w.p, steps + 1)
    if t0 == 0:
        w.p[0] = 0
    return w.p


@compiled
def _fire(w: Scratch, f: Filter, b: int, t0: int, steps: int, out: Rows, silent_mark: np.ndarray) -> None:
    """Write the outputs of a block whose potentials are in w.v."""
    p, start = _normalised(w, f, t0, steps), offset(out, b, t0, w.n0)
    if f.spike.kind == FIRST:
        put(silent_mark, w.silent)
        fire_first(p, w.c[THETA:], w.silent, steps, out, start)
        return
    if f.spike.kind == BERNOULLI or f.spike.kind == GUMBEL:
        draw(f.noise, b, t0, steps, w.n0, w.noise)
    fire(f.spike, p, w.c[THETA:], w.noise, steps, out, start)


@compiled
def forward(f: Filter, out: Rows, potential: Rows, marks: np.ndarray, part: Part) -> None:
    """Filter, fire, write outputs and potentials; `marks` (N, blocks, 2 or 3, U) gets the state (a, v, silent)
    before each block. Plain threshold and delta spikes come straight out of the filter's loop.
    """
    plain, none = _plain(f.spike), Rows(f.x.data[:0], 0, 0)
    keep = not plain or potential.data.size > 0
    for n0 in range(part.n0, part.n1, UNITS):
        n1 = min(n0 + UNITS, part.n1)
        w, units = _scratch(f, n0, n1, False), n1 - n0
        current, membrane = w.state[CURRENT : CURRENT + units], w.state[MEMBRANE : MEMBRANE + units]
        target = out if plain else Rows(w.ignored, 0, 0)
        for b in range(part.b0, part.b1):
            w.state[:], w.silent[:] = 0, 1
            for m in range(marks.shape[1]):
                t0, steps = m * STEPS, min(STEPS, f.length - m * STEPS)
                put(marks[b, m, 0, n0:n1], current)
                put(marks[b, m, 1, n0:n1], membrane)
                put(w.v[0], membrane)
                _integrate(
                    w, f, b, t0, steps, keep, none, 0, target, offset(target, b, t0, n0) if plain else 0
                )
                write_block(potential, offset(potential, b, t0, n0), steps, w.v[1:])
                if not plain and f.spike.kind != POTENTIAL:
                    _fire(w, f, b, t0, steps, out, marks[b, m, marks.shape[2] - 1, n0:n1])


@compiled
def _retreat(w: Scratch, c: np.ndarray, carry: np.ndarray, i: int, sums: np.ndarray) -> None:
    """Carry the gradients of step i (w.g) from v to the input: l = g + beta l[t+1], q = gain l + alpha q[t+1].

    Where sums hold anything, they get the constants' gradients: q a[t-1], l v[t-1] and l a[t].
    """
    units, i = np.uint64(w.g.shape[1]), np.uint64(i)
    for j in range(units):
        late = w.g[i, j] + c[BETA + j] * carry[MEMBRANE + j]
        early = c[GAIN + j] * late + c[ALPHA + j] * carry[CURRENT + j]
        carry[MEMBRANE + j] = late
        carry[CURRENT + j] = early
        w.g[i, j] = early
    if sums.size:
        now = i + np.uint64(1)
        for j in range(units):
            sums[ALPHA + j] += carry[CURRENT + j] * w.a[i, j]
            sums[BETA + j] += carry[MEMBRANE + j] * w.v[i, j]
            sums[GAIN + j] += carry[MEMBRANE + j] * w.a[now, j]


@compiled
def _to_distances(w: Scratch, f: Filter, b: int, t0: int, steps: int, p: np.ndarray) -> None:
    """Replace the gradients w.g at the outputs of a block by those at the distances z, or at p where there is no z."""
    if f.spike.kind == GUMBEL:
        draw(f.noise, b, t0, steps, w.n0, w.noise)
    if f.spike.kind == FIRST:
        still_silent(p, w.c[THETA:], w.silent, steps, w.noise)
        unfire_first(f.spike, p, w.c[THETA:], w.noise, w.order[STEPS - steps :], w.g, w.after, w.total)
    else:
        unfire(f.spike, p, w.c[THETA:], w.noise, steps, w.g)


@compiled
def _from_distances(w: Scratch, f: Filter, steps: int, p: np.ndarray, sums: np.ndarray) -> None:
    """Carry the gradients w.g from distances to potentials; collect theta's where wanted."""
    compares = f.spike.kind == THRESHOLD or f.spike.kind == DELTA or f.spike.kind == FIRST
    for i in range(steps if sums.size and compares else 0):
        for j in range(w.g.shape[1]):
            sums[THETA + j] -= w.g[i, j]
    if f.spike.kind == DELTA:
        undelta(w.g, steps, w.after)
    unnormalise(f.spike.norm, p, steps, w.g)


@compiled
def _at_potentials(w: Scratch, f: Filter, b: int, t0: int, steps: int, g: Rows, sums: np.ndarray) -> None:
    """Run a block forward again, from w.state; into w.g go the gradients at its potentials that outputs send back."""
    units, read, none = w.g.shape[1], offset(g, b, t0, w.n0), Rows(f.x.data[:0], 0, 0)
    if _plain(f.spike) and g.data.size:
        _integrate(w, f, b, t0, steps, sums.size > 0, g, read, Rows(w.g.reshape(-1), 0, units), 0)
        _from_distances(w, f, steps, w.v, sums)
        return
    fires = f.spike.kind != POTENTIAL and g.data.size > 0
    if fires or sums.size:
        _integrate(w, f, b, t0, steps, True, none, 0, Rows(w.ignored, 0, 0), 0)
    read_block(g, read, steps, w.g)
    if fires:
        p = _normalised(w, f, t0, steps)
        _to_distances(w, f, b, t0, steps, p)
        _from_distances(w, f, steps, p, sums)


@compiled
def _back_block(
    w: Scratch, f: Filter, b: int, t0: int, steps: int, g: Gradients, carry: np.ndarray, sums: np.ndarray
) -> None:
    """Run a block of steps backwards, from w.state; the block before it is called for meanwhile."""
    _at_potentials(w, f, b, t0, steps, g.out, sums)
    add_block(g.potential, offset(g.potential, b, t0, w.n0), steps, w.g)
    units = w.g.shape[1]
    for k in range(steps):
        if t0 > 0:
            prefetch(f.x, offset(f.x, b, t0 - STEPS + k, w.n0), units)
            prefetch(g.out, offset(g.out, b, t0 - STEPS + k, w.n0), units)
            prefetch(g.potential, offset(g.potential, b, t0 - STEPS + k, w.n0), units)
        _retreat(w, w.c, carry, w.order[STEPS - steps + k], sums)
    first = max(f.lag - t0, 0)
    write_block(g.x, offset(g.x, b, t0 - f.lag + first, w.n0), steps - first, w.g[first:])


@compiled
def backward(f: Filter, marks: np.ndarray, g: Gradients, part: Part) -> None:
    """Run the recurrence backwards, block by block: gradients of x and, where sums are given, of the units'
    constants.
    """
    for n0 in range(part.n0, part.n1, UNITS):
        n1, learn = min(n0 + UNITS, part.n1), g.sums.shape[0] > 0
        w, units = _scratch(f, n0, n1, learn), n1 - n0
        carry, sums = np.zeros(PACKED, marks.dtype), np.zeros(PACKED if learn else 0, marks.dtype)
        for b in range(part.b0, part.b1):
            carry[:], sums[:], w.after[:], w.total[:] = 0, 0, 0, 0
            for k in range(marks.shape[1]):
                m = marks.shape[1] - 1 - k
                put(w.state[CURRENT : CURRENT + units], marks[b, m, 0, n0:n1])
                put(w.state[MEMBRANE : MEMBRANE + units], marks[b, m, 1, n0:n1])
                put(w.v[0], marks[b, m, 1, n0:n1])
                if f.spike.kind == FIRST:
                    put(w.silent, marks[b, m, 2, n0:n1])
                put(w.a[0], marks[b, m, 0, n0 : n0 + w.a.shape[1]])
                _back_block(w, f, b, m * STEPS, min(STEPS, f.length - m * STEPS), g, carry, sums)
            for t in range(f.length - f.lag, f.length):
                start = offset(g.x, b, t, n0)
                g.x.data[start : start + units] = 0
            if learn:
                unpack_sums(sums, g.sums[b], n0, n1)
