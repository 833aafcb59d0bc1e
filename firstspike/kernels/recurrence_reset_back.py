"""The resetting recurrence backwards, from what the way forward kept."""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.lanes import UNITS, Unit, steps
from firstspike.kernels.recurrence_reset import (
    FEED_SPIKES,
    NO_FEEDBACK,
    Lif,
    ResetTrace,
    Span,
    make_span,
    span_width,
)
from firstspike.kernels.recurrence_rows import (
    PACKED,
    Part,
    Rows,
    compiled,
    multiply,
    offset,
    put,
    unpack_sums,
)

CARRY_MEM, SUMS = UNITS, 2 * UNITS
"""Where a block's packed gradients at the membranes lie, behind those at the currents, and those of the constants."""

CARRIED = SUMS + PACKED
"""How long a block's packed gradients are."""


class ResetGradients(NamedTuple):
    """What a pass backwards reads and writes: at spikes and membranes (or nothing), at x, and sums (N or 0, 5, U)."""

    spikes: Rows
    membranes: Rows
    x: Rows
    sums: np.ndarray


class Back(NamedTuple):
    """Working memory of the way back: packed gradients; where there is feedback a row of gradients at spikes, and what
    the next step sends back.
    """

    carry: np.ndarray
    now: np.ndarray
    sent: np.ndarray


@steps(
    constants="alpha beta gain theta drop",
    state="at_syn at_mem d_alpha d_beta d_gain d_theta d_drop",
    numbers="keep lost attach peak linear square",
    reads="u gate at_spikes at_membranes syn syn_before u_before",
    ahead="u gate at_spikes at_membranes syn",
    writes="x",
)
def _retreat(unit: Unit) -> None:
    """One step back, from gradients at spikes and membranes to those at x and the step before.

    At z = u - theta: the slope times (g_s, less g_m (u - m) of the reset if attached); at u: that and g_m past the
    reset.
    """
    at_m, z = unit.at_mem + unit.at_membranes, unit.u - unit.theta
    d, fired = abs(z), z > 0
    at_s = unit.at_spikes - unit.attach * at_m * (unit.lost * unit.u + unit.drop)
    at_z = at_s * (unit.peak / (d * (d * unit.square + unit.linear) + 1))
    at_u = at_z + unit.where(fired, unit.keep * at_m, at_m)
    unit.driven = at_u
    with unit.when("gate"):
        unit.driven = unit.gate * at_u
    unit.x = unit.gain * unit.driven + unit.alpha * unit.at_syn
    unit.at_syn, unit.at_mem = unit.x, unit.beta * at_u
    with unit.when("syn"):
        unit.d_gain = unit.d_gain + unit.driven * unit.syn
        unit.d_theta = unit.d_theta - at_z
        unit.d_drop = unit.d_drop - unit.where(fired, at_m, 0)
    with unit.when("syn_before"):
        reset = unit.keep * unit.u_before - unit.drop
        mem_before = unit.where(unit.u_before > unit.theta, reset, unit.u_before)
        unit.d_alpha = unit.d_alpha + unit.x * unit.syn_before
        unit.d_beta = unit.d_beta + at_u * mem_before


@compiled(forceinline=True)
def _descend(
    w: Span,
    back: Back,
    f: Lif,
    kept: ResetTrace,
    at_spikes: Rows,
    read: int,
    g: ResetGradients,
    b: int,
    last: int,
    first: int,
    count: int,
) -> None:
    """Run the block of units that begins at `first` of the span backwards over `count` steps, from step `last` of
    sample b on; gradients at the spikes are read from `read` on. Step 0 has none before it.
    """
    reset, k, n, t = f.reset, first // UNITS, w.n0 + first, last
    numbers = (reset.keep, 1.0 - reset.keep, reset.attach, reset.peak, reset.linear, reset.square)
    c, carried = w.constants[k * PACKED : (k + 1) * PACKED], back.carry[k * CARRIED : (k + 1) * CARRIED]
    learn, none = g.sums.size > 0, w.row[:0]
    currents = kept.currents.data if learn else none
    syn_before, u_before = (currents, kept.u.data) if learn and t + 1 > count else (none, none)
    arrays = (
        kept.u.data,
        kept.gate.data,
        at_spikes.data,
        g.membranes.data,
        currents,
        syn_before,
        u_before,
        g.x.data,
    )
    starts = (offset(kept.u, b, t, n), offset(kept.gate, b, t, n), read + first, offset(g.membranes, b, t, n))
    starts = (*starts, offset(kept.currents, b, t, n), offset(kept.currents, b, t - 1, n))
    starts = (*starts, offset(kept.u, b, t - 1, n), offset(g.x, b, t, n))
    strides = (-kept.u.step, -kept.gate.step, -at_spikes.step, -g.membranes.step, -kept.currents.step)
    strides = (*strides, -kept.currents.step, -kept.u.step, -g.x.step)
    _retreat(c, carried, numbers, arrays, starts, strides, min(UNITS, w.size - first), count)


@compiled
def _descend_fed(w: Span, back: Back, f: Lif, kept: ResetTrace, g: ResetGradients, b: int) -> None:
    """Run a span with feedback backwards: step by step, what the next step's feedback sends back comes to the spikes,
    or to the membranes where they are above 0.
    """
    zero = back.now.dtype.type(0)
    back.sent[:] = 0
    for t in range(f.length - 1, -1, -1):
        back.now[:] = 0
        if g.spikes.data.size:
            put(back.now, g.spikes.data[offset(g.spikes, b, t, w.n0) :])
        membranes = offset(kept.membranes, b, t, w.n0)
        for n in range(w.size):
            if f.feedback.kind == FEED_SPIKES:
                back.now[n] += back.sent[n]
            elif kept.membranes.data[membranes + n] > zero:
                back.carry[n // UNITS * CARRIED + CARRY_MEM + n % UNITS] += back.sent[n]
        for first in range(0, w.size, UNITS):
            _descend(w, back, f, kept, Rows(back.now, 0, 0), 0, g, b, t, first, 1)
        start = offset(g.x, b, t, w.n0)
        multiply(f.feedback.outwards, g.x.data[start : start + w.size], back.sent)


@compiled
def backward(f: Lif, kept: ResetTrace, g: ResetGradients, part: Part) -> None:
    """Run the recurrence backwards: gradients of x and, where sums are given, of the units' constants."""
    width, learn, real = span_width(f, part), g.sums.shape[0] > 0, f.decay.alpha.dtype
    alone = min(f.length, 1) if learn else 0  # steps that none is before
    for n0 in range(part.n0, part.n1, width):
        w = make_span(f, n0, min(n0 + width, part.n1))
        blocks = w.constants.size // PACKED
        back = Back(np.zeros(blocks * CARRIED, real), np.empty(w.size, real), np.empty(blocks * UNITS, real))
        for b in range(part.b0, part.b1):
            back.carry[:] = 0
            if f.feedback.kind != NO_FEEDBACK:
                _descend_fed(w, back, f, kept, g, b)
            else:
                for first, end in ((alone, f.length), (0, alone)):
                    read = offset(g.spikes, b, end - 1, n0)
                    if end > first:
                        _descend(w, back, f, kept, g.spikes, read, g, b, end - 1, 0, end - first)
            for j in range(0, w.size if learn else 0, UNITS):
                sums = back.carry[j // UNITS * CARRIED + SUMS :]
                unpack_sums(sums, g.sums[b], n0 + j, min(n0 + j + UNITS, w.n0 + w.size))
