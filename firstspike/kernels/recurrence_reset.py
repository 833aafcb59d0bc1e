"""The resetting recurrence: leaky integrate-and-fire, with refractoriness and feedback where asked.

    syn[t] = alpha syn[t-1] + x[t] + W f[t-1] + b                     f = spikes, or max(m, 0)
    u[t]   = beta m[t-1] + gain gate[t] syn[t]                        gate = 0 while refractory
    s[t]   = H(u[t] - theta)
    m[t]   = u[t] where s[t] = 0, else keep u[t] - drop               hard reset: keep 0, drop 0; subtractive: 1,
    theta

The way forward keeps u in place of the input, and what else the way back has a use for; so that is one loop. Feedback
crosses units, so with it samples go through the steps together: recurrence_feedback.py.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.lanes import Unit, steps
from firstspike.kernels.recurrence_rows import Decay, Part, Rows, compiled, offset, pack, room_of

NO_FEEDBACK, FEED_SPIKES, FEED_RELU = range(3)

STATE = 3
"""How many numbers a unit has as state: its current, its membrane and, while refractory, the steps that are left."""


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


def integrate(unit: Unit) -> None:
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


_integrate = steps(
    constants="alpha beta gain theta drop",
    state="syn mem count",
    numbers="keep refractory",
    reads="x",
    ahead="x",
    writes="spikes membranes u gate currents",
)(integrate)


@compiled
def _advance(constants: np.ndarray, state: np.ndarray, f: Lif, to: ResetTrace, part: Part) -> None:
    """Run units of one sample through all steps."""
    b, n = part.b0, part.n0
    arrays = (f.x.data, to.spikes.data, to.membranes.data, to.u.data, to.gate.data, to.currents.data)
    starts = (offset(f.x, b, 0, n), offset(to.spikes, b, 0, n), offset(to.membranes, b, 0, n))
    starts = (*starts, offset(to.u, b, 0, n), offset(to.gate, b, 0, n), offset(to.currents, b, 0, n))
    strides = (f.x.step, to.spikes.step, to.membranes.step, to.u.step, to.gate.step, to.currents.step)
    numbers = (f.reset.keep, f.reset.refractory)
    _integrate(
        constants, state, numbers, arrays, starts, strides, part.n1 - n, f.length, room_of(part.n1 - n)
    )


@compiled
def forward(f: Lif, to: ResetTrace, part: Part) -> None:
    """Run the recurrence without feedback and write what is wanted of the trace."""
    constants = pack(f.decay, part.n0, part.n1)
    state = np.zeros(STATE * room_of(part.n1 - part.n0), f.decay.alpha.dtype)
    for b in range(part.b0, part.b1):
        state[:] = 0
        _advance(constants, state, f, to, Part(b, b + 1, part.n0, part.n1))
