"""The resetting recurrence backwards, from what the way forward kept."""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.lanes import Unit, steps
from firstspike.kernels.recurrence_reset import Lif, ResetTrace
from firstspike.kernels.recurrence_rows import (
    CONSTANTS,
    Part,
    Rows,
    compiled,
    offset,
    pack,
    room_of,
    unpack_sums,
)

CARRIED = 2
"""How many numbers are carried back for a unit, those at x and u, before the constants' gradients."""


class ResetGradients(NamedTuple):
    """What a pass backwards reads and writes: at spikes and membranes (or nothing), at x, sums (N or 0, 5, U), and
    with feedback its weights, a row each of what is fed back, and the bias behind them (groups, U + 1, U).
    """

    spikes: Rows
    membranes: Rows
    x: Rows
    sums: np.ndarray
    weights: np.ndarray


def retreat(unit: Unit) -> None:
    """One step back, from gradients at spikes and membranes, and at x and u of the next step, to those at x and u.

    At z = u - theta: the slope times (g_s, less g_m (u - m) of the reset if attached); at u: that and g_m past the
    reset.
    """
    at_m, z = unit.beta.fused(unit.at_u, unit.at_membranes), unit.u - unit.theta
    d, fired = abs(z), z > 0
    with unit.when("syn"):
        unit.d_alpha = unit.at_x.fused(unit.syn, unit.d_alpha)
        unit.d_beta = unit.at_u.fused(unit.where(fired, unit.keep * unit.u - unit.drop, unit.u), unit.d_beta)
    at_s = (-unit.attach * at_m).fused(unit.lost.fused(unit.u, unit.drop), unit.at_spikes)
    at_z = at_s * (unit.peak / d.fused(d.fused(unit.square, unit.linear), 1))
    unit.at_u = at_z + unit.where(fired, unit.keep * at_m, at_m)
    unit.driven = unit.at_u
    with unit.when("gate"):
        unit.driven = unit.gate * unit.at_u
    unit.at_x = unit.gain.fused(unit.driven, unit.alpha * unit.at_x)
    unit.x = unit.at_x
    with unit.when("syn"):
        unit.d_gain = unit.driven.fused(unit.syn, unit.d_gain)
        unit.d_theta = unit.d_theta - at_z
        unit.d_drop = unit.d_drop - unit.where(fired, at_m, 0)


_retreat = steps(
    constants="alpha beta gain theta drop",
    state="at_x at_u d_alpha d_beta d_gain d_theta d_drop",
    numbers="keep lost attach peak linear square",
    reads="u gate at_spikes at_membranes syn",
    ahead="u gate at_spikes at_membranes syn",
    writes="x",
    backwards=True,
)(retreat)


@compiled
def numbers_of(f: Lif) -> tuple[float, ...]:
    """Return the numbers of a step back."""
    reset = f.reset
    return (reset.keep, 1.0 - reset.keep, reset.attach, reset.peak, reset.linear, reset.square)


@compiled
def _descend(
    constants: np.ndarray, carried: np.ndarray, f: Lif, kept: ResetTrace, g: ResetGradients, part: Part
) -> None:
    """Run units of one sample backwards through all steps."""
    t, b, n = f.length - 1, part.b0, part.n0
    arrays = (kept.u.data, kept.gate.data, g.spikes.data, g.membranes.data, kept.currents.data, g.x.data)
    starts = (offset(kept.u, b, t, n), offset(kept.gate, b, t, n), offset(g.spikes, b, t, n))
    starts = (*starts, offset(g.membranes, b, t, n), offset(kept.currents, b, t, n), offset(g.x, b, t, n))
    strides = (-kept.u.step, -kept.gate.step, -g.spikes.step, -g.membranes.step, -kept.currents.step)
    strides = (*strides, -g.x.step)
    _retreat(
        constants,
        carried,
        numbers_of(f),
        arrays,
        starts,
        strides,
        part.n1 - n,
        f.length,
        room_of(part.n1 - n),
    )


@compiled
def backward(f: Lif, kept: ResetTrace, g: ResetGradients, part: Part) -> None:
    """Run the recurrence without feedback backwards: gradients of x and, where sums are given, of the constants."""
    constants, room = pack(f.decay, part.n0, part.n1), room_of(part.n1 - part.n0)
    carried = np.zeros((CARRIED + CONSTANTS) * room, f.decay.alpha.dtype)
    begun = carried if g.sums.shape[0] else carried[: CARRIED * room]
    for b in range(part.b0, part.b1):
        begun[:] = 0
        _descend(constants, carried, f, kept, g, Part(b, b + 1, part.n0, part.n1))
        if g.sums.shape[0]:
            unpack_sums(carried[CARRIED * room :], g.sums[b], part.n0, part.n1)
