"""The resetting recurrence with feedback, there and back: a few samples go through the steps together.

Every step adds what the step before feeds back, and on the way back what the next step sends: products with a matrix,
which is read once for as many samples as go AT_ONCE. What is carried from step to step lies block of UNITS by block,
in each sample by sample: number j of sample s in block k at (k * GROUP + s) * UNITS + j.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.lanes import UNITS, Unit, steps
from firstspike.kernels.recurrence_reset import FEED_RELU, FEED_SPIKES, Lif, ResetTrace, integrate
from firstspike.kernels.recurrence_reset_back import ResetGradients, numbers_of, retreat
from firstspike.kernels.recurrence_rows import PACKED, Part, compiled, offset, pack, put, unpack_sums

AT_ONCE = 3
"""Samples of a matrix product: with eight registers each, as many sums as registers can hold."""

GROUP = 4 * AT_ONCE
"""Samples that go through the steps together."""

BLOCK = GROUP * UNITS


class Group(NamedTuple):
    """Working memory of the samples b0..b1-1: packed constants and sums of their gradients, and what is carried: state
    (currents and membranes) or gradients (at x and u), refractory counters, what is fed back, and what comes of it.
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


@compiled
def _make_group(f: Lif, b0: int, b1: int) -> Group:
    """Allocate a group's working memory and pack the constants."""
    units, real = f.decay.alpha.size, f.decay.alpha.dtype
    blocks = -(-units // UNITS)
    constants = np.empty(blocks * PACKED, real)
    for k in range(blocks):
        put(constants[k * PACKED : (k + 1) * PACKED], pack(f.decay, k * UNITS, min((k + 1) * UNITS, units)))
    carried = np.zeros((5, blocks * BLOCK), real)
    count = carried[2] if f.reset.refractory > 0 else carried[2, :0]
    sums = np.zeros(blocks * PACKED, real)
    return Group(b0, b1, constants, sums, carried[0], carried[1], count, carried[3], carried[4])


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
    _integrate(constants, w.constants[:0], numbers, arrays, starts, strides, units, w.b1 - w.b0)


@compiled
def _gather(w: Group, f: Lif, live: np.ndarray, by: np.ndarray) -> None:
    """Set what every sample got: the bias, and the rows of weights of what it feeds back that is not 0."""
    fed, got, weights, bias = w.fed, w.got, f.feedback.inwards, f.feedback.bias
    units = bias.size
    for s in range(w.b1 - w.b0):
        found = np.uint64(0)
        for n0 in range(0, units, UNITS):
            own = np.uint64((n0 // UNITS * GROUP + s) * UNITS)
            for i in range(np.uint64(min(UNITS, units - n0))):
                live[found], by[found] = np.uint64(n0) + i, fed[own + i]
                found += np.uint64(fed[own + i] != 0)
        for n0 in range(0, units, UNITS):
            own = np.uint64((n0 // UNITS * GROUP + s) * UNITS)
            for j in range(np.uint64(min(UNITS, units - n0))):
                got[own + j] = bias[np.uint64(n0) + j]
            _add_rows(weights, np.uint64(n0), live, by, found, got, own)


@compiled
def _add_rows(
    weights: np.ndarray,
    n0: np.uint64,
    live: np.ndarray,
    by: np.ndarray,
    count: np.uint64,
    into: np.ndarray,
    own: np.uint64,
) -> None:
    """Add some rows of weights from unit n0 on, each times its number, four at a time in a fixed order."""
    width = min(np.uint64(UNITS), np.uint64(weights.shape[1]) - n0)
    for k in range(0, count // 4 * 4, 4):
        p, q, r, s = live[k], live[k + 1], live[k + 2], live[k + 3]
        a, b, c, d = by[k], by[k + 1], by[k + 2], by[k + 3]
        for j in range(width):
            n = n0 + j
            into[own + j] += (a * weights[p, n] + b * weights[q, n]) + (c * weights[r, n] + d * weights[s, n])
    for k in range(count // 4 * 4, count):
        for j in range(width):
            into[own + j] += by[k] * weights[live[k], n0 + j]


@compiled
def forward(f: Lif, to: ResetTrace, part: Part) -> None:
    """Run the recurrence and write what is wanted of the trace."""
    units, real = f.decay.alpha.size, f.decay.alpha.dtype
    live, by = np.empty(units + 1, np.uint64), np.empty(units + 1, real)
    for b0 in range(part.b0, part.b1, GROUP):
        w = _make_group(f, b0, min(b0 + GROUP, part.b1))
        for t in range(f.length):
            _gather(w, f, live, by)
            for k in range(w.constants.size // PACKED):
                _advance(w, f, to, t, k)


@steps(
    constants="alpha beta gain theta drop",
    state="d_alpha d_beta d_gain d_theta d_drop",
    numbers="keep lost attach peak linear square",
    reads="u gate at_spikes at_membranes syn membranes got x_next u_next",
    writes="x x_now u_now",
)
def _retreat(unit: Unit) -> None:
    """One step back of a sample; what it got from the next step comes to the spikes, or to the membranes where those
    that were fed back are above 0.
    """
    unit.at_x, unit.at_u = unit.x_next, unit.u_next
    with unit.when("membranes"):
        unit.at_membranes = unit.at_membranes + unit.where(unit.membranes > 0, unit.got, 0)
        unit.got = 0
    unit.at_spikes = unit.at_spikes + unit.got
    retreat(unit)
    unit.x_now, unit.u_now = unit.at_x, unit.at_u


@compiled
def _descend(w: Group, f: Lif, kept: ResetTrace, g: ResetGradients, t: int, k: int) -> None:
    """Run block k of all samples a step backwards."""
    b, n, own = w.b0, k * UNITS, k * BLOCK
    fed = kept.membranes.data if f.feedback.kind == FEED_RELU else w.got[:0]
    arrays = (kept.u.data, kept.gate.data, g.spikes.data, g.membranes.data, kept.currents.data)
    arrays = (*arrays, fed, w.got, w.syn, w.mem, g.x.data, w.syn, w.mem)
    starts = (offset(kept.u, b, t, n), offset(kept.gate, b, t, n), offset(g.spikes, b, t, n))
    starts = (*starts, offset(g.membranes, b, t, n), offset(kept.currents, b, t, n))
    starts = (*starts, offset(kept.membranes, b, t, n), own, own, own, offset(g.x, b, t, n), own, own)
    strides = (kept.u.sample, kept.gate.sample, g.spikes.sample, g.membranes.sample, kept.currents.sample)
    strides = (*strides, kept.membranes.sample, UNITS, UNITS, UNITS, g.x.sample, UNITS, UNITS)
    block, units = slice(k * PACKED, (k + 1) * PACKED), min(UNITS, f.decay.alpha.size - n)
    _retreat(w.constants[block], w.sums[block], numbers_of(f), arrays, starts, strides, units, w.b1 - w.b0)


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
                _multiply(sums, sums, (), arrays, starts, (units, 1, 1, 1), width, count)


@compiled
def backward(f: Lif, kept: ResetTrace, g: ResetGradients, part: Part) -> None:
    """Run the recurrence backwards: gradients of x and, where sums are given, of the units' constants; a group's share
    of these is its first sample's.
    """
    units = f.decay.alpha.size
    for b0 in range(part.b0, part.b1, GROUP):
        w = _make_group(f, b0, min(b0 + GROUP, part.b1))
        for t in range(f.length - 1, -1, -1):
            for k in range(w.constants.size // PACKED):
                _descend(w, f, kept, g, t, k)
            _send(w, f)
        if g.sums.shape[0]:
            for n0 in range(0, units, UNITS):
                block = w.sums[n0 // UNITS * PACKED :]
                unpack_sums(block, g.sums[b0], n0, min(n0 + UNITS, units))
