"""The resetting recurrence: leaky integrate-and-fire, with refractoriness and feedback where asked.

    syn[t] = alpha syn[t-1] + x[t] + W f[t-1] + b                     f = spikes, or max(m, 0)
    u[t]   = beta m[t-1] + gain gate[t] syn[t]                        gate = 0 while refractory
    s[t]   = H(u[t] - theta)
    m[t]   = u[t] where s[t] = 0, else keep u[t] - drop               hard reset: keep 0, drop 0; subtractive: 1,
    theta

The way forward keeps u in place of the input, and what else the way back has a use for; so that is one loop. Feedback
crosses units, so with it a task holds whole rows: a span of units is one block of UNITS, or all of them.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.lanes import UNITS, Unit, steps
from firstspike.kernels.recurrence_rows import (
    PACKED,
    Decay,
    Part,
    Rows,
    accumulate,
    compiled,
    offset,
    pack_all,
    put,
)

NO_FEEDBACK, FEED_SPIKES, FEED_RELU = range(3)
MEM = UNITS
"""Where a block's membranes lie in its packed state."""


class Reset(NamedTuple):
    """What happens at a spike, and the surrogate slope peak / (1 + |z| (linear + square |z|)) of the way back.

    The membrane becomes keep u - drop; `attach` is 1 where gradients flow through the spike into the reset, else 0;
    `refractory` is in steps, 0 for none.
    """

    keep: float
    attach: float
    refractory: float
    peak: float
    linear: float
    square: float


class Feedback(NamedTuple):
    """What is fed back, its weights (in, out) for the way forward and (out, in) for the way back, its bias."""

    kind: int
    inwards: np.ndarray
    outwards: np.ndarray
    bias: np.ndarray


class Lif(NamedTuple):
    """All that a pass reads: input, its length, the units, the reset and the feedback."""

    x: Rows
    length: int
    decay: Decay
    reset: Reset
    feedback: Feedback


class ResetTrace(NamedTuple):
    """Where a pass writes, each holding nothing where it is not wanted: spikes, membranes after the reset, and for the
    way back u, the gate and the currents.
    """

    spikes: Rows
    membranes: Rows
    u: Rows
    gate: Rows
    currents: Rows


class Span(NamedTuple):
    """Working memory for units n0..n0+size-1: constants and state, packed block by block; a row of input, and the
    activity that is fed back.
    """

    n0: int
    size: int
    constants: np.ndarray
    state: np.ndarray
    row: np.ndarray
    fed: np.ndarray


@compiled
def make_span(f: Lif, n0: int, n1: int) -> Span:
    """Allocate a task's working memory and pack its constants."""
    constants, rows = pack_all(f.decay, n0, n1), np.zeros((2, n1 - n0), f.decay.alpha.dtype)
    return Span(n0, n1 - n0, constants, np.zeros_like(constants), rows[0], rows[1])


@compiled
def span_width(f: Lif, part: Part) -> int:
    """Units of a span."""
    return UNITS if f.feedback.kind == NO_FEEDBACK else max(part.n1 - part.n0, 1)


@steps(
    constants="alpha beta gain theta drop",
    state="syn mem count",
    numbers="keep refractory",
    reads="x",
    ahead="x",
    writes="spikes membranes u gate currents",
)
def _integrate(unit: Unit) -> None:
    """One step; a counter keeps the gate shut for some steps after a spike."""
    unit.syn = unit.alpha * unit.syn + unit.x
    unit.driven = unit.syn
    with unit.when("refractory"):
        unit.count = unit.count - 1
        unit.gate = unit.where(unit.count > 0, 0, 1)
        unit.driven = unit.gate * unit.syn
    unit.u = unit.beta * unit.mem + unit.gain * unit.driven
    fired = unit.u > unit.theta
    unit.mem = unit.where(fired, unit.keep * unit.u - unit.drop, unit.u)
    unit.spikes = unit.where(fired, 1, 0)
    with unit.when("refractory"):
        unit.count = unit.where(fired, unit.refractory, unit.count)
    unit.membranes, unit.currents = unit.mem, unit.syn


@compiled(forceinline=True)
def _advance(
    w: Span, f: Lif, x: Rows, read: int, to: ResetTrace, b: int, t: int, first: int, count: int
) -> None:
    """Advance the block of units that begins at `first` of the span by `count` steps: x from `read` on, the trace from
    step t of sample b on.
    """
    block, n = slice(first // UNITS * PACKED, (first // UNITS + 1) * PACKED), w.n0 + first
    arrays = (x.data, to.spikes.data, to.membranes.data, to.u.data, to.gate.data, to.currents.data)
    starts = (read + first, offset(to.spikes, b, t, n), offset(to.membranes, b, t, n), offset(to.u, b, t, n))
    starts = (*starts, offset(to.gate, b, t, n), offset(to.currents, b, t, n))
    strides = (x.step, to.spikes.step, to.membranes.step, to.u.step, to.gate.step, to.currents.step)
    numbers, units = (f.reset.keep, f.reset.refractory), min(UNITS, w.size - first)
    _integrate(w.constants[block], w.state[block], numbers, arrays, starts, strides, units, count)


@compiled
def _advance_fed(w: Span, f: Lif, to: ResetTrace, b: int) -> None:
    """Advance a span with feedback: every step adds what the step before feeds back, unit block by unit block."""
    zero = w.fed.dtype.type(0)
    w.fed[:] = 0
    for t in range(f.length):
        read = offset(f.x, b, t, w.n0)
        for n in range(w.size):
            w.row[n] = f.x.data[read + n] + f.feedback.bias[n]
        accumulate(f.feedback.inwards, w.fed, w.row)
        for first in range(0, w.size, UNITS):
            _advance(w, f, Rows(w.row, 0, 0), 0, to, b, t, first, 1)
        if f.feedback.kind == FEED_SPIKES:
            put(w.fed, to.spikes.data[offset(to.spikes, b, t, w.n0) :])
        else:
            for n in range(w.size):
                w.fed[n] = max(w.state[n // UNITS * PACKED + MEM + n % UNITS], zero)


@compiled
def forward(f: Lif, to: ResetTrace, part: Part) -> None:
    """Run the recurrence and write what is wanted of the trace."""
    width = span_width(f, part)
    for n0 in range(part.n0, part.n1, width):
        w = make_span(f, n0, min(n0 + width, part.n1))
        for b in range(part.b0, part.b1):
            w.state[:] = 0
            if f.feedback.kind == NO_FEEDBACK:
                _advance(w, f, f.x, offset(f.x, b, 0, n0), to, b, 0, 0, f.length)
            else:
                _advance_fed(w, f, to, b)
