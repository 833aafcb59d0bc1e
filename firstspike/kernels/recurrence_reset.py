"""The resetting recurrence: leaky integrate-and-fire, with refractoriness and feedback where asked.

    syn[t] = alpha syn[t-1] + x[t] + W f[t-1] + b                     f = spikes, or max(m, 0)
    u[t]   = beta m[t-1] + gain gate[t] syn[t]                        gate = 0 while refractory
    s[t]   = H(u[t] - theta)
    m[t]   = u[t] where s[t] = 0, else keep u[t] - drop               hard reset: keep 0, drop 0; subtractive: 1,
    theta

As in the linear recurrence, only the state before every block of STEPS is kept, and the way back computes blocks
again. Feedback crosses units, so with it a task holds whole rows: a span of units is one block of UNITS, or all of
them.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.lanes import UNITS, Unit, steps
from firstspike.kernels.recurrence_rows import (
    PACKED,
    STEPS,
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
SYN, MEM, COUNT = (UNITS * k for k in range(3))
"""Where a block's state lies in its packed array: current, membrane, refractory counter."""


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


class Trace(NamedTuple):
    """Where a pass writes, each holding nothing where it is not wanted: u and the gate, spikes, membranes after the
    reset, currents.
    """

    u: Rows
    gate: Rows
    spikes: Rows
    membranes: Rows
    currents: Rows


class Gradients(NamedTuple):
    """What a pass backwards reads and writes: at spikes and membranes (or nothing), at x, and sums (N or 0, 5, U)."""

    spikes: Rows
    membranes: Rows
    x: Rows
    sums: np.ndarray


class Place(NamedTuple):
    """An element of rows: sample, step and unit."""

    b: int
    t: int
    n: int


@compiled
def found(source: Rows, at: Place) -> int:
    """Return where an element lies."""
    return offset(source, at.b, at.t, at.n)


class Span(NamedTuple):
    """Working memory for units n0..n0+size-1 of one sample.

    `constants` and `state` are packed block by block (5 UNITS each). `trace` is a block of steps, unit n of step i at i
    * size + n, for the way back; `before` are its membranes and currents with those of the step before in front. `row`
    is a row of input, `fed` the activity that is fed back, `now` and `back` gradients: a row, and what feedback sends
    back.
    """

    n0: int
    size: int
    constants: np.ndarray
    state: np.ndarray
    trace: Trace
    before: tuple[np.ndarray, np.ndarray]
    row: np.ndarray
    fed: np.ndarray
    now: np.ndarray
    back: np.ndarray


@compiled
def make_span(f: Lif, n0: int, n1: int, back: bool, learn: bool) -> Span:
    """Allocate a task's working memory and pack its constants."""
    real, size, kind = f.decay.alpha.dtype, n1 - n0, f.feedback.kind
    block = STEPS * size
    later = block + size if back and (learn or kind == FEED_RELU) else 0
    membranes, currents = np.empty(later, real), np.empty(later, real)
    trace = Trace(
        Rows(np.empty(block if back else 0, real), 0, size),
        Rows(np.empty(block if back and f.reset.refractory > 0 else 0, real), 0, size),
        Rows(np.empty(block if back and kind == FEED_SPIKES else 0, real), 0, size),
        Rows(membranes[size:], 0, size),
        Rows(currents[size:], 0, size),
    )
    constants = pack_all(f.decay, n0, n1)
    rows, back = np.zeros((3, size), real), np.zeros(constants.size // PACKED * UNITS, real)
    state = np.zeros(constants.size, real)
    return Span(n0, size, constants, state, trace, (membranes, currents), rows[0], rows[1], rows[2], back)


@compiled
def exchange(w: Span, marks: np.ndarray, save: bool) -> None:
    """Keep the state of a span in marks (2 or 4, size), or take it back; counters and feedback only where there are
    any.
    """
    for first in range(0, w.size, UNITS):
        end, own = min(first + UNITS, w.size), w.state[first // UNITS * PACKED :]
        _copy(marks[0, first:end], own[SYN:], save)
        _copy(marks[1, first:end], own[MEM:], save)
        if marks.shape[0] > 2:
            _copy(marks[2, first:end], own[COUNT:], save)
            _copy(marks[3, first:end], w.fed[first:], save)


@compiled
def _copy(kept: np.ndarray, own: np.ndarray, save: bool) -> None:
    if save:
        put(kept, own)
    else:
        put(own[: kept.size], kept)


@steps(
    constants="alpha beta gain theta drop",
    state="syn mem count",
    numbers="keep refractory",
    reads="x",
    ahead="at_spikes at_x",
    writes="u gate spikes membranes currents",
    registers=8,
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
    fired = unit.u - unit.theta > 0
    unit.mem = unit.where(fired, unit.keep * unit.u - unit.drop, unit.u)
    unit.spikes = unit.where(fired, 1, 0)
    with unit.when("refractory"):
        unit.count = unit.where(unit.spikes > 0, unit.refractory, unit.count)
    unit.membranes, unit.currents = unit.mem, unit.syn


@compiled
def _advance(
    w: Span,
    f: Lif,
    first: int,
    x: Rows,
    read: int,
    out: Trace,
    to: Place,
    g: Gradients,
    at: Place,
    count: int,
) -> None:
    """Advance the block of units that begins at `first` of the span by `count` steps: x from `read` on, the trace to
    `to`; the gradients at `at` are called for.
    """
    block = slice(first // UNITS * PACKED, (first // UNITS + 1) * PACKED)
    arrays = (x.data, g.spikes.data, g.x.data, out.u.data, out.gate.data)
    arrays = (*arrays, out.spikes.data, out.membranes.data, out.currents.data)
    starts = (read + first, found(g.spikes, at) + first, found(g.x, at) + first)
    starts = (*starts, found(out.u, to) + first, found(out.gate, to) + first)
    starts = (*starts, found(out.spikes, to) + first, found(out.membranes, to) + first)
    starts = (*starts, found(out.currents, to) + first)
    strides = (x.step, g.spikes.step, g.x.step, out.u.step, out.gate.step)
    strides = (*strides, out.spikes.step, out.membranes.step, out.currents.step)
    numbers, units = (f.reset.keep, f.reset.refractory), min(UNITS, w.size - first)
    _integrate(w.constants[block], w.state[block], numbers, arrays, starts, strides, units, count)


@compiled
def _advance_fed(w: Span, f: Lif, out: Trace, to: Place, g: Gradients, at: Place, count: int) -> None:
    """Advance a span with feedback: every step adds what the step before feeds back, unit block by unit block."""
    zero = w.fed.dtype.type(0)
    for i in range(count):
        read, there = offset(f.x, at.b, at.t + i, at.n), Place(to.b, to.t + i, to.n)
        for n in range(w.size):
            w.row[n] = f.x.data[read + n] + f.feedback.bias[n]
        accumulate(f.feedback.inwards, w.fed, w.row)
        for first in range(0, w.size, UNITS):
            here = Place(at.b, at.t + i, at.n)
            _advance(w, f, first, Rows(w.row, 0, 0), 0, out, there, g, here, 1)
        if f.feedback.kind == FEED_SPIKES:
            put(w.fed, out.spikes.data[found(out.spikes, there) :])
        else:
            for n in range(w.size):
                w.fed[n] = max(w.state[n // UNITS * PACKED + MEM + n % UNITS], zero)


@compiled
def run_block(w: Span, f: Lif, out: Trace, to: Place, g: Gradients, at: Place, count: int) -> None:
    """Advance a span by a block of steps from `at` on and write its trace to `to`."""
    if f.feedback.kind == NO_FEEDBACK:
        _advance(w, f, 0, f.x, found(f.x, at), out, to, g, at, count)
    else:
        _advance_fed(w, f, out, to, g, at, count)


@compiled
def forward(f: Lif, spikes: Rows, membranes: Rows, marks: np.ndarray, part: Part) -> None:
    """Run the recurrence and write spikes and membranes; `marks` (N, blocks, 2 or 4, U) gets the state before a
    block.
    """
    width = UNITS if f.feedback.kind == NO_FEEDBACK else max(part.n1 - part.n0, 1)
    none = Rows(f.x.data[:0], 0, 0)
    out, unasked = Trace(none, none, spikes, membranes, none), Gradients(none, none, none, marks[0, :0])
    for n0 in range(part.n0, part.n1, width):
        n1 = min(n0 + width, part.n1)
        w = make_span(f, n0, n1, False, False)
        for b in range(part.b0, part.b1):
            w.state[:], w.fed[:] = 0, 0
            for m in range(marks.shape[1]):
                exchange(w, marks[b, m, :, n0:n1], True)
                at, count = Place(b, m * STEPS, n0), min(STEPS, f.length - m * STEPS)
                run_block(w, f, out, at, unasked, at, count)
