"""The resetting recurrence backwards: block by block, from the states that the way forward kept."""

import numpy as np

from firstspike.kernels.lanes import UNITS, Unit, steps
from firstspike.kernels.recurrence_reset import (
    FEED_SPIKES,
    MEM,
    NO_FEEDBACK,
    SYN,
    Gradients,
    Lif,
    Place,
    Span,
    exchange,
    found,
    make_span,
    run_block,
)
from firstspike.kernels.recurrence_rows import (
    PACKED,
    STEPS,
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


@steps(
    constants="alpha beta gain theta drop",
    state="syn mem d_alpha d_beta d_gain d_theta d_drop",
    numbers="keep lost attach peak linear square",
    reads="u gate at_spikes at_membranes syn_before syn_now mem_before",
    writes="x",
    registers=4,
)
def _retreat(unit: Unit) -> None:
    """One step back, from gradients at spikes and membranes to those at x and the step before.

    At z = u - theta: the slope times (g_s, less g_m (u - m) of the reset if attached); at u: that and g_m past the
    reset.
    """
    at_m, z = unit.mem + unit.at_membranes, unit.u - unit.theta
    d, fired = abs(z), z > 0
    at_s = unit.at_spikes - unit.attach * at_m * (unit.lost * unit.u + unit.drop)
    at_z = at_s * (unit.peak / (d * (d * unit.square + unit.linear) + 1))
    at_u = at_z + unit.where(fired, unit.keep * at_m, at_m)
    unit.driven = at_u
    with unit.when("gate"):
        unit.driven = unit.gate * at_u
    unit.x = unit.gain * unit.driven + unit.alpha * unit.syn
    unit.syn, unit.mem = unit.x, unit.beta * at_u
    with unit.when("syn_now"):
        unit.d_alpha = unit.d_alpha + unit.x * unit.syn_before
        unit.d_beta = unit.d_beta + at_u * unit.mem_before
        unit.d_gain = unit.d_gain + unit.driven * unit.syn_now
        unit.d_theta = unit.d_theta - at_z
        unit.d_drop = unit.d_drop - unit.where(fired, at_m, 0)


@compiled
def _descend(
    w: Span,
    f: Lif,
    first: int,
    at_spikes: Rows,
    read: int,
    g: Gradients,
    at: Place,
    i: int,
    count: int,
    carry: np.ndarray,
) -> None:
    """Run the block of units that begins at `first` of the span backwards over `count` steps, from step i of the
    block of steps at `at` on; gradients at the spikes are read from `read` on.
    """
    reset, size, (membranes, currents) = f.reset, w.size, w.before
    numbers = (reset.keep, 1.0 - reset.keep, reset.attach, reset.peak, reset.linear, reset.square)
    k, own, here = first // UNITS, i * size + first, Place(at.b, at.t + i, at.n)
    c, carried = w.constants[k * PACKED : (k + 1) * PACKED], carry[k * CARRIED : (k + 1) * CARRIED]
    arrays = (w.trace.u.data, w.trace.gate.data, at_spikes.data, g.membranes.data)
    arrays = (*arrays, currents, currents, membranes, g.x.data)
    starts = (own, own, read + first, found(g.membranes, here) + first)
    starts = (*starts, own, own + size, own, found(g.x, here) + first)
    strides = (-size, -size, -at_spikes.step, -g.membranes.step, -size, -size, -size, -g.x.step)
    _retreat(c, carried, numbers, arrays, starts, strides, min(UNITS, size - first), count)


@compiled
def _descend_fed(w: Span, f: Lif, g: Gradients, at: Place, count: int, carry: np.ndarray) -> None:
    """Run a span with feedback backwards: step by step, what the next step's feedback sends back (w.back) comes to
    the spikes, or to the membranes where they are above 0.
    """
    zero = w.now.dtype.type(0)
    for k in range(count):
        i = count - 1 - k
        here = Place(at.b, at.t + i, at.n)
        w.now[:] = 0
        if g.spikes.data.size:
            put(w.now, g.spikes.data[found(g.spikes, here) :])
        for n in range(w.size):
            if f.feedback.kind == FEED_SPIKES:
                w.now[n] += w.back[n]
            elif w.trace.membranes.data[i * w.size + n] > zero:
                carry[n // UNITS * CARRIED + CARRY_MEM + n % UNITS] += w.back[n]
        for first in range(0, w.size, UNITS):
            _descend(w, f, first, Rows(w.now, 0, 0), 0, g, at, i, 1, carry)
        start = found(g.x, here)
        multiply(f.feedback.outwards, g.x.data[start : start + w.size], w.back)


@compiled
def _note_before(w: Span) -> None:
    """Write the state before a block to the front of its trace, where that holds anything."""
    membranes, currents = w.before
    for first in range(0, w.size if membranes.size else 0, UNITS):
        state, end = w.state[first // UNITS * PACKED :], min(first + UNITS, w.size)
        put(membranes[first:end], state[MEM:])
        put(currents[first:end], state[SYN:])


@compiled
def backward(f: Lif, marks: np.ndarray, g: Gradients, part: Part) -> None:
    """Run the recurrence backwards, block by block: gradients of x and, where sums are given, of the units'
    constants.
    """
    width = UNITS if f.feedback.kind == NO_FEEDBACK else max(part.n1 - part.n0, 1)
    for n0 in range(part.n0, part.n1, width):
        n1, learn = min(n0 + width, part.n1), g.sums.shape[0] > 0
        w = make_span(f, n0, n1, True, learn)
        carry = np.zeros(w.constants.size // PACKED * CARRIED, marks.dtype)
        for b in range(part.b0, part.b1):
            carry[:], w.back[:] = 0, 0
            for k in range(marks.shape[1]):
                m = marks.shape[1] - 1 - k
                at, count = Place(b, m * STEPS, n0), min(STEPS, f.length - m * STEPS)
                exchange(w, marks[b, m, :, n0:n1], False)
                _note_before(w)
                run_block(w, f, w.trace, Place(0, 0, 0), g, at, count)
                if f.feedback.kind == NO_FEEDBACK:
                    read = offset(g.spikes, b, at.t + count - 1, n0)
                    _descend(w, f, 0, g.spikes, read, g, at, count - 1, count, carry)
                else:
                    _descend_fed(w, f, g, at, count, carry)
            for j in range(0, w.size if learn else 0, UNITS):
                sums = carry[j // UNITS * CARRIED + SUMS :]
                unpack_sums(sums, g.sums[b], n0 + j, min(n0 + j + UNITS, n1))
