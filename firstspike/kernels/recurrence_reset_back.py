"""The resetting recurrence backwards: block by block, from the states that the way forward kept."""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.recurrence_reset import (
    FEED_SPIKES,
    MEM,
    NO_FEEDBACK,
    SYN,
    Lif,
    Reset,
    Span,
    exchange,
    make_span,
    record,
    run_block,
)
from firstspike.kernels.recurrence_rows import (
    ALPHA,
    BETA,
    DROP,
    GAIN,
    PACKED,
    STEPS,
    THETA,
    UNITS,
    Part,
    Rows,
    accumulate,
    compiled,
    offset,
    prefetch,
    put,
    read_block,
    unpack_sums,
    write_block,
)

CARRY_SYN, CARRY_MEM, AT_Z, AT_U, AT_M = (UNITS * k for k in range(5))
"""Where gradients lie in their packed array: carried to the step before, and this step's at z = u - theta, u, m."""


class Gradients(NamedTuple):
    """What a pass backwards reads and writes: at spikes and membranes (or nothing), at x, and sums (N or 0, 5, U)."""

    spikes: Rows
    membranes: Rows
    x: Rows
    sums: np.ndarray


@compiled
def _retreat(
    w: Span, c: np.ndarray, carry: np.ndarray, first: int, reset: Reset, i: int, learn: bool
) -> None:
    """Turn the gradients at step i's spikes (in w.g) and membranes (in carry) into those at its input and the step
    before.

    At z = u - theta: the slope times (g_s, less g_m (u - m) of the reset if attached); at u: that and g_m past the
    reset.
    """
    real = c.dtype.type
    one, zero, keep, attach = real(1), real(0), real(reset.keep), real(reset.attach)
    peak, linear, square = real(reset.peak), real(reset.linear), real(reset.square)
    o = np.uint64(i * w.size + first)
    h = o if reset.refractory > 0 else np.uint64(first)
    for j in range(np.uint64(min(UNITS, w.size - first))):
        u, g_m = w.u[o + j], carry[CARRY_MEM + j]
        z = u - c[THETA + j]
        d = abs(z)
        g_s = w.g[o + j] - attach * g_m * ((one - keep) * u + c[DROP + j])
        g_z = g_s * (peak / (one + d * (linear + square * d)))
        g_u = g_z + (keep * g_m if z > zero else g_m)
        g_syn = c[GAIN + j] * (w.gate[h + j] * g_u) + c[ALPHA + j] * carry[CARRY_SYN + j]
        if learn:
            carry[AT_M + j] = g_m if z > zero else zero
            carry[AT_Z + j] = g_z
            carry[AT_U + j] = g_u
        carry[CARRY_MEM + j] = c[BETA + j] * g_u
        carry[CARRY_SYN + j] = g_syn
        w.g[o + j] = g_syn


@compiled
def _collect(w: Span, carry: np.ndarray, first: int, reset: Reset, i: int, sums: np.ndarray) -> None:
    """Add a step's gradients of the constants to the packed sums; row i is the step before."""
    m, syn = w.trace.membranes.data, w.trace.currents.data
    before, now = np.uint64(i * w.size + first), np.uint64((i + 1) * w.size + first)
    h = before if reset.refractory > 0 else np.uint64(first)
    for j in range(np.uint64(min(UNITS, w.size - first))):
        sums[ALPHA + j] += carry[CARRY_SYN + j] * syn[before + j]
        sums[BETA + j] += carry[AT_U + j] * m[before + j]
        sums[GAIN + j] += carry[AT_U + j] * (w.gate[h + j] * syn[now + j])
        sums[THETA + j] -= carry[AT_Z + j]
        sums[DROP + j] -= carry[AT_M + j]


@compiled
def _feed_back(w: Span, kind: int, carry: np.ndarray, i: int) -> None:
    """Add what the next step's feedback sends back (w.row) to step i: to its spikes, or its membranes where above 0."""
    zero = w.row.dtype.type(0)
    for n in range(w.size):
        if kind == FEED_SPIKES:
            w.g[i * w.size + n] += w.row[n]
        elif w.trace.membranes.data[(i + 1) * w.size + n] > zero:
            carry[n // UNITS * PACKED + CARRY_MEM + n % UNITS] += w.row[n]


@compiled
def _back_block(
    w: Span, f: Lif, b: int, t0: int, steps: int, g: Gradients, carry: np.ndarray, sums: np.ndarray
) -> None:
    """Run a block of steps backwards over w.g; its u, gates and trace are in w, sums are collected if they hold
    anything.
    """
    for k in range(steps):
        i = w.order[STEPS - steps + k]
        if t0 > 0:
            prefetch(f.x, offset(f.x, b, t0 - STEPS + k, w.n0), w.size)
            prefetch(g.spikes, offset(g.spikes, b, t0 - STEPS + k, w.n0), w.size)
        if g.membranes.data.size:
            read = offset(g.membranes, b, t0 + i, w.n0)
            for n in range(w.size):
                carry[n // UNITS * PACKED + CARRY_MEM + n % UNITS] += g.membranes.data[read + n]
        if f.feedback.kind != NO_FEEDBACK:
            _feed_back(w, f.feedback.kind, carry, i)
        for first in range(0, w.size, UNITS):
            block = slice(first // UNITS * PACKED, (first // UNITS + 1) * PACKED)
            _retreat(w, w.constants[block], carry[block], first, f.reset, i, sums.size > 0)
            if sums.size:
                _collect(w, carry[block], first, f.reset, i, sums[block])
        if f.feedback.kind != NO_FEEDBACK:
            w.row[:] = 0
            accumulate(f.feedback.outwards, w.g[i * w.size : (i + 1) * w.size], w.row)


@compiled
def backward(f: Lif, marks: np.ndarray, g: Gradients, part: Part) -> None:
    """Run the recurrence backwards, block by block: gradients of x and, where sums are given, of the units'
    constants.

    A block's gradients are read and written in ascending order: a memory that is walked downwards is fetched too
    late.
    """
    width = UNITS if f.feedback.kind == NO_FEEDBACK else max(part.n1 - part.n0, 1)
    for n0 in range(part.n0, part.n1, width):
        n1, learn = min(n0 + width, part.n1), g.sums.shape[0] > 0
        w = make_span(f, n0, n1, learn)
        block = w.g.reshape(STEPS, w.size)
        carry, back = np.zeros(w.constants.size, marks.dtype), np.zeros(w.size, marks.dtype)
        sums = np.zeros(w.constants.size if learn else 0, marks.dtype)
        for b in range(part.b0, part.b1):
            carry[:], sums[:], back[:] = 0, 0, 0
            for k in range(marks.shape[1]):
                m = marks.shape[1] - 1 - k
                t0, steps = m * STEPS, min(STEPS, f.length - m * STEPS)
                exchange(w, marks[b, m, :, n0:n1], False)
                __record_before(w)
                run_block(w, f, b, t0, steps, w.trace, True)
                put(w.row, back)
                read_block(g.spikes, offset(g.spikes, b, t0, n0), steps, block)
                _back_block(w, f, b, t0, steps, g, carry, sums)
                write_block(g.x, offset(g.x, b, t0, n0), steps, block)
                put(back, w.row)
            for j in range(0, w.size if learn else 0, UNITS):
                unpack_sums(sums[5 * j : 5 * j + PACKED], g.sums[b], n0 + j, min(n0 + j + UNITS, n1))


@compiled
def __record_before(w: Span) -> None:
    """Write the state before a block to row 0 of its trace."""
    for first in range(0, w.size, UNITS):
        state, units = w.state[first // UNITS * PACKED :], min(UNITS, w.size - first)
        record(state, MEM, w.trace.membranes.data, first, units)
        record(state, SYN, w.trace.currents.data, first, units)
