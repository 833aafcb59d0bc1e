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

from firstspike.kernels.recurrence_rows import (
    ALPHA,
    BETA,
    DROP,
    GAIN,
    PACKED,
    STEPS,
    THETA,
    UNITS,
    Decay,
    Part,
    Rows,
    accumulate,
    compiled,
    offset,
    pack_all,
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
    """Where a pass writes spikes and, unless they hold nothing, membranes after the reset and currents."""

    spikes: Rows
    membranes: Rows
    currents: Rows


class Place(NamedTuple):
    """Where a run of steps begins in the input and in the trace, and in u, which moves on by `u_step` a step."""

    read: int
    spikes: int
    membranes: int
    currents: int
    u: int
    u_step: int


class Span(NamedTuple):
    """Working memory for units n0..n0+size-1 of one sample.

    `constants` and `state` are packed block by block (5 UNITS each). Flat blocks of steps, unit n of step i at i *
    size + n: u, gradient g and gate; spikes, membranes and currents one step later, after those of the step before.
    `row` is a row of input or gradient, `fed` the activity that is fed back, `order` the steps of a block downwards.
    """

    n0: int
    size: int
    constants: np.ndarray
    state: np.ndarray
    u: np.ndarray
    g: np.ndarray
    gate: np.ndarray
    trace: Trace
    row: np.ndarray
    fed: np.ndarray
    order: np.ndarray


@compiled
def make_span(f: Lif, n0: int, n1: int, learn: bool) -> Span:
    """Allocate a task's working memory and pack its constants."""
    real, size = f.decay.alpha.dtype, n1 - n0
    later, some = (STEPS + 1) * size, (STEPS + 1) * size if learn or f.feedback.kind == FEED_RELU else 0
    trace = Trace(
        Rows(np.empty(later, real), 0, size),
        Rows(np.empty(some, real), 0, size),
        Rows(np.empty(some, real), 0, size),
    )
    constants = pack_all(f.decay, n0, n1)
    state, gate = (
        np.zeros(constants.size, real),
        np.ones((STEPS if f.reset.refractory > 0 else 1) * size, real),
    )
    u, g, order = np.empty(STEPS * size, real), np.empty(STEPS * size, real), np.arange(STEPS - 1, -1, -1)
    return Span(
        n0, size, constants, state, u, g, gate, trace, np.zeros(size, real), np.zeros(size, real), order
    )


@compiled
def exchange(w: Span, marks: np.ndarray, save: bool) -> None:
    """Keep the state of a span in marks (2 or 4, size), or take it back; counters and feedback only where there are
    any.
    """
    for n in range(w.size):
        at = n // UNITS * PACKED + n % UNITS
        if save:
            marks[0, n], marks[1, n] = w.state[at + SYN], w.state[at + MEM]
        else:
            w.state[at + SYN], w.state[at + MEM] = marks[0, n], marks[1, n]
        if marks.shape[0] > 2 and save:
            marks[2, n], marks[3, n] = w.state[at + COUNT], w.fed[n]
        elif marks.shape[0] > 2:
            w.state[at + COUNT], w.fed[n] = marks[2, n], marks[3, n]


@compiled
def _close(state: np.ndarray, gate: np.ndarray, at: np.uint64, units: np.uint64) -> None:
    """Count down; the gate is shut where the counter is above 0."""
    zero, one = gate.dtype.type(0), gate.dtype.type(1)
    for j in range(units):
        state[COUNT + j] -= one
        gate[at + j] = zero if state[COUNT + j] > zero else one


@compiled
def _wind(state: np.ndarray, spikes: np.ndarray, at: np.uint64, units: np.uint64, refractory: float) -> None:
    """Set the counter of the units that have just fired."""
    zero = spikes.dtype.type(0)
    for j in range(units):
        if spikes[at + j] > zero:
            state[COUNT + j] = refractory


@compiled
def record(state: np.ndarray, where: int, target: np.ndarray, at: int, units: int) -> None:
    """Write a row of the state, if the target holds anything."""
    for j in range(units if target.size else 0):
        target[at + j] = state[where + j]


@compiled
def _advance(
    w: Span,
    c: np.ndarray,
    state: np.ndarray,
    first: int,
    reset: Reset,
    x: Rows,
    out: Trace,
    at: Place,
    steps: int,
) -> None:
    """Advance the block of units that begins at `first` of the span, constants c and state packed, by `steps` steps."""
    units = min(UNITS, w.size - first)
    zero, one, keep = c.dtype.type(0), c.dtype.type(1), c.dtype.type(reset.keep)
    for i in range(steps):
        r, s = np.uint64(at.read + i * x.step + first), np.uint64(at.spikes + i * out.spikes.step + first)
        o = np.uint64(at.u + i * at.u_step + first)
        g = o if reset.refractory > 0 else np.uint64(first)
        if reset.refractory > 0:
            _close(state, w.gate, g, np.uint64(units))
        for j in range(np.uint64(units)):
            current = c[ALPHA + j] * state[SYN + j] + x.data[r + j]
            potential = c[BETA + j] * state[MEM + j] + c[GAIN + j] * (w.gate[g + j] * current)
            fired = potential - c[THETA + j] > zero
            state[SYN + j] = current
            state[MEM + j] = keep * potential - c[DROP + j] if fired else potential
            w.u[o + j] = potential
            out.spikes.data[s + j] = one if fired else zero
        if reset.refractory > 0:
            _wind(state, out.spikes.data, s, np.uint64(units), reset.refractory)
        record(state, MEM, out.membranes.data, at.membranes + i * out.membranes.step + first, units)
        record(state, SYN, out.currents.data, at.currents + i * out.currents.step + first, units)


@compiled
def _advance_fed(w: Span, f: Lif, out: Trace, at: Place, steps: int) -> None:
    """Advance a span with feedback: every step adds what the step before feeds back, unit block by unit block."""
    zero = w.fed.dtype.type(0)
    for i in range(steps):
        for n in range(w.size):
            w.row[n] = f.x.data[at.read + i * f.x.step + n] + f.feedback.bias[n]
        accumulate(f.feedback.inwards, w.fed, w.row)
        now = Place(
            0,
            at.spikes + i * out.spikes.step,
            at.membranes + i * out.membranes.step,
            at.currents + i * out.currents.step,
            at.u + i * at.u_step,
            0,
        )
        for k in range(-(-w.size // UNITS)):
            block = slice(k * PACKED, (k + 1) * PACKED)
            _advance(
                w, w.constants[block], w.state[block], k * UNITS, f.reset, Rows(w.row, 0, 0), out, now, 1
            )
        for n in range(w.size):
            m = w.state[n // UNITS * PACKED + MEM + n % UNITS]
            w.fed[n] = out.spikes.data[now.spikes + n] if f.feedback.kind == FEED_SPIKES else max(m, zero)


@compiled
def run_block(w: Span, f: Lif, b: int, t0: int, steps: int, out: Trace, rewind: bool) -> None:
    """Advance a span by a block of steps and write its trace; `rewind` is a run over the span's own memory."""
    t, n = (1, 0) if rewind else (t0, w.n0)
    at = Place(
        offset(f.x, b, t0, w.n0),
        offset(out.spikes, b, t, n),
        offset(out.membranes, b, t, n),
        offset(out.currents, b, t, n),
        0,
        w.size if rewind or f.reset.refractory > 0 else 0,
    )
    if f.feedback.kind == NO_FEEDBACK:
        _advance(w, w.constants, w.state, 0, f.reset, f.x, out, at, steps)
    else:
        _advance_fed(w, f, out, at, steps)


@compiled
def forward(f: Lif, spikes: Rows, membranes: Rows, marks: np.ndarray, part: Part) -> None:
    """Run the recurrence and write spikes and membranes; `marks` (N, blocks, 2 or 4, U) gets the state before a
    block.
    """
    width = UNITS if f.feedback.kind == NO_FEEDBACK else max(part.n1 - part.n0, 1)
    out = Trace(spikes, membranes, Rows(marks.reshape(-1)[:0], 0, 0))
    for n0 in range(part.n0, part.n1, width):
        n1 = min(n0 + width, part.n1)
        w = make_span(f, n0, n1, False)
        for b in range(part.b0, part.b1):
            w.state[:], w.fed[:] = 0, 0
            for m in range(marks.shape[1]):
                exchange(w, marks[b, m, :, n0:n1], True)
                run_block(w, f, b, m * STEPS, min(STEPS, f.length - m * STEPS), out, False)
