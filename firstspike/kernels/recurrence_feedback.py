"""The resetting recurrence with feedback, there and back: a few samples go through the steps together.

Every step adds what the step before feeds back, and on the way back what the next step sends: products with a matrix,
which is read once for as many samples as go AT_ONCE. What is carried from step to step lies block of UNITS by block,
in each sample by sample: number j of sample s in block k at (k * GROUP + s) * UNITS + j.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.lanes import UNITS, Unit, steps
from firstspike.kernels.recurrence_reset import FEED_SPIKES, Lif, ResetTrace, integrate
from firstspike.kernels.recurrence_reset_back import ResetGradients, numbers_of, retreat
from firstspike.kernels.recurrence_rows import CONSTANTS, Part, compiled, offset, pack, put, unpack_sums
from firstspike.kernels.sparse_rows import add_rows, add_to_rows, find_positive

AT_ONCE = 3
"""Samples of a matrix product: with eight registers each, as many sums as registers can hold."""

GROUP = 4 * AT_ONCE
"""Samples that go through the steps together."""

BLOCK = GROUP * UNITS

PACKED = CONSTANTS * UNITS
"""How far the packed constants of a block lie from the next block's."""

SUMS = PACKED + UNITS
"""The same for the sums of a block's gradients: those of its constants and, behind them, of the bias."""


class Group(NamedTuple):
    """Working memory of the samples b0..b1-1: packed constants and sums of their gradients, and what is carried: state
    (currents and membranes) or gradients (at x and u), refractory counters, what is fed back, what comes of it, and the
    gradient at x of the step that gets it; and a list of what is fed back above 0.
    """

    b0: int
    b1: int
    constants: np.ndarray
    sums: np.ndarray
    syn: np.ndarray
    mem: np.ndarray
    count: np.ndarray
    fed: np.ndarray
    got: np.ndarray
    at_next: np.ndarray
    live: np.ndarray
    by: np.ndarray


@compiled
def _make_group(f: Lif, b0: int, b1: int) -> Group:
    """Allocate a group's working memory and pack the constants."""
    units, real = f.decay.alpha.size, f.decay.alpha.dtype
    blocks = -(-units // UNITS)
    constants = np.empty(blocks * PACKED, real)
    for k in range(blocks):
        put(constants[k * PACKED : (k + 1) * PACKED], pack(f.decay, k * UNITS, min((k + 1) * UNITS, units)))
    carried = np.zeros((6, blocks * BLOCK), real)
    count = carried[2] if f.reset.refractory > 0 else carried[2, :0]
    sums = np.zeros(blocks * SUMS, real)
    listed = np.empty(units, np.int64), np.empty(units, real)
    fed, got, at_next = carried[3], carried[4], carried[5]
    return Group(b0, b1, constants, sums, carried[0], carried[1], count, fed, got, at_next, *listed)


@steps(
    constants="alpha beta gain theta drop",
    state="",
    numbers="keep refractory feeds_spikes",
    reads="x got syn_before mem_before count_before",
    writes="spikes membranes u gate currents syn_after mem_after count_after fed",
)
def _integrate(unit: Unit) -> None:
    """One step of a sample, from what it got of the step before to what it feeds back."""
    unit.x = unit.x + unit.got
    unit.syn, unit.mem, unit.count = unit.syn_before, unit.mem_before, unit.count_before
    integrate(unit)
    unit.syn_after, unit.mem_after, unit.count_after = unit.syn, unit.mem, unit.count
    unit.fed = unit.where(unit.mem > 0, unit.mem, 0)
    with unit.when("feeds_spikes"):
        unit.fed = unit.spikes


@compiled
def _advance(w: Group, f: Lif, to: ResetTrace, t: int, k: int) -> None:
    """Advance block k of all samples by a step."""
    b, n, own = w.b0, k * UNITS, k * BLOCK
    trace = (to.spikes.data, to.membranes.data, to.u.data, to.gate.data, to.currents.data)
    arrays = (f.x.data, w.got, w.syn, w.mem, w.count, *trace, w.syn, w.mem, w.count, w.fed)
    places = (offset(to.spikes, b, t, n), offset(to.membranes, b, t, n), offset(to.u, b, t, n))
    places = (*places, offset(to.gate, b, t, n), offset(to.currents, b, t, n))
    starts = (offset(f.x, b, t, n), own, own, own, own, *places, own, own, own, own)
    strides = (to.spikes.sample, to.membranes.sample, to.u.sample, to.gate.sample, to.currents.sample)
    strides = (f.x.sample, UNITS, UNITS, UNITS, UNITS, *strides, UNITS, UNITS, UNITS, UNITS)
    numbers = (f.reset.keep, f.reset.refractory, 1.0 * (f.feedback.kind == FEED_SPIKES))
    units, constants = min(UNITS, f.decay.alpha.size - n), w.constants[k * PACKED : (k + 1) * PACKED]
    _integrate(constants, w.constants[:0], numbers, arrays, starts, strides, units, w.b1 - w.b0, UNITS)


@compiled
def _fed(w: Group, units: int, s: int) -> int:
    """List what a sample feeds back; return how many units do."""
    found = 0
    for n in range(0, units, UNITS):
        own = (n // UNITS * GROUP + s) * UNITS
        found = find_positive(w.fed, own, min(UNITS, units - n), n, w.live, w.by, found)
    return found


@compiled
def _gather(w: Group, f: Lif) -> None:
    """Set what every sample got: the bias, and the rows of weights of what it feeds back."""
    units = f.feedback.bias.size
    for s in range(w.b1 - w.b0):
        found = _fed(w, units, s)
        for n in range(0, units, UNITS):
            own, width = (n // UNITS * GROUP + s) * UNITS, min(UNITS, units - n)
            put(w.got[own : own + width], f.feedback.bias[n : n + width])
            got, arrays = w.got[own : own + UNITS], (f.feedback.inwards.reshape(-1), w.by, w.live)
            add_rows(got, got, (), arrays, (n, 0, 0), (units, 1, 1), width, found, UNITS)


@compiled
def forward(f: Lif, to: ResetTrace, part: Part) -> None:
    """Run the recurrence and write what is wanted of the trace."""
    for b0 in range(part.b0, part.b1, GROUP):
        w = _make_group(f, b0, min(b0 + GROUP, part.b1))
        for t in range(f.length):
            _gather(w, f)
            for k in range(w.constants.size // PACKED):
                _advance(w, f, to, t, k)


@steps(
    constants="alpha beta gain theta drop",
    state="d_alpha d_beta d_gain d_theta d_drop d_bias",
    numbers="keep lost attach peak linear square feeds_spikes",
    reads="u gate at_spikes at_membranes syn got x_next u_next",
    writes="x x_now u_now fed at_next",
)
def _retreat(unit: Unit) -> None:
    """One step back of a sample; what it got from the next step comes to the spikes, or to the membranes where those
    that were fed back are above 0. With what was fed back goes the gradient at x of the next step, which got it.
    """
    unit.at_x, unit.at_u = unit.x_next, unit.u_next
    unit.at_next, fired = unit.x_next, unit.u > unit.theta
    after = unit.where(fired, unit.keep * unit.u - unit.drop, unit.u)
    unit.fed = unit.where(after > 0, after, 0)
    unit.at_after = unit.where(after > 0, unit.got, 0)
    with unit.when("feeds_spikes"):
        unit.fed, unit.at_after = unit.where(fired, 1, 0), 0
        unit.at_spikes = unit.at_spikes + unit.got
    unit.at_membranes = unit.at_membranes + unit.at_after
    retreat(unit)
    unit.x_now, unit.u_now, unit.d_bias = unit.at_x, unit.at_u, unit.d_bias + unit.at_x


@compiled
def _descend(w: Group, f: Lif, kept: ResetTrace, g: ResetGradients, t: int, k: int) -> None:
    """Run block k of all samples a step backwards."""
    b, n, own = w.b0, k * UNITS, k * BLOCK
    arrays = (kept.u.data, kept.gate.data, g.spikes.data, g.membranes.data, kept.currents.data)
    arrays = (*arrays, w.got, w.syn, w.mem, g.x.data, w.syn, w.mem, w.fed, w.at_next)
    starts = (offset(kept.u, b, t, n), offset(kept.gate, b, t, n), offset(g.spikes, b, t, n))
    starts = (*starts, offset(g.membranes, b, t, n), offset(kept.currents, b, t, n), own, own, own)
    starts = (*starts, offset(g.x, b, t, n), own, own, own, own)
    strides = (kept.u.sample, kept.gate.sample, g.spikes.sample, g.membranes.sample, kept.currents.sample)
    strides = (*strides, UNITS, UNITS, UNITS, g.x.sample, UNITS, UNITS, UNITS, UNITS)
    numbers = (*numbers_of(f), 1.0 * (f.feedback.kind == FEED_SPIKES))
    constants, sums = w.constants[k * PACKED : (k + 1) * PACKED], w.sums[k * SUMS : (k + 1) * SUMS]
    units = min(UNITS, f.decay.alpha.size - n)
    _retreat(constants, sums, numbers, arrays, starts, strides, units, w.b1 - w.b0, UNITS)


@steps(constants="", state="one two three", reads="weight", spread="by_one by_two by_three")
def _multiply(unit: Unit) -> None:
    """Add a row of weights, times its numbers, to the sums of three samples."""
    unit.one = unit.weight.fused(unit.by_one, unit.one)
    unit.two = unit.weight.fused(unit.by_two, unit.two)
    unit.three = unit.weight.fused(unit.by_three, unit.three)


@compiled
def _send(w: Group, f: Lif) -> None:
    """Set what every sample gets from a step for the step before it: its gradients at x times the weights."""
    units, weights = f.decay.alpha.size, f.feedback.outwards.reshape(-1)
    w.got[:] = 0
    for n in range(0, units, UNITS):
        for i in range(0, units, UNITS):
            for s in range(0, w.b1 - w.b0, AT_ONCE):
                own, at = (n // UNITS * GROUP + s) * UNITS, (i // UNITS * GROUP + s) * UNITS
                sums = w.got[own : own + AT_ONCE * UNITS]
                arrays = (weights, w.syn, w.syn, w.syn)
                starts = (i * units + n, at, at + UNITS, at + 2 * UNITS)
                width, count = min(UNITS, units - n), min(UNITS, units - i)
                _multiply(sums, sums, (), arrays, starts, (units, 1, 1, 1), width, count, UNITS)


@compiled
def _learn(w: Group, f: Lif, weights: np.ndarray) -> None:
    """Add the gradients at x of the step that follows to those of the weights of what was fed back to it."""
    units = f.decay.alpha.size
    for s in range(w.b1 - w.b0):
        found = _fed(w, units, s)
        for n in range(0, units, UNITS):
            own = (n // UNITS * GROUP + s) * UNITS
            at_next, arrays = w.at_next[own : own + UNITS], (weights, w.by, weights, w.live)
            starts, strides = (n, 0, n, 0), (units, 1, units, 1)
            add_to_rows(at_next, at_next, (), arrays, starts, strides, min(UNITS, units - n), found, UNITS)


@compiled
def backward(f: Lif, kept: ResetTrace, g: ResetGradients, part: Part) -> None:
    """Run the recurrence backwards: gradients of x, a group's share of those of the weights and the bias, and, where
    sums are given, of the units' constants, which is its first sample's.
    """
    units = f.decay.alpha.size
    for b0 in range(part.b0, part.b1, GROUP):
        w, weights = _make_group(f, b0, min(b0 + GROUP, part.b1)), g.weights[b0 // GROUP]
        for t in range(f.length - 1, -1, -1):
            for k in range(w.constants.size // PACKED):
                _descend(w, f, kept, g, t, k)
            _learn(w, f, weights.reshape(-1))
            _send(w, f)
        for n0 in range(0, units, UNITS):
            block, n1 = w.sums[n0 // UNITS * SUMS :], min(n0 + UNITS, units)
            put(weights[units, n0:n1], block[PACKED : PACKED + n1 - n0])
            if g.sums.shape[0]:
                unpack_sums(block, g.sums[b0], n0, n1)
