"""Learning rules of a readout: what each neuron's outputs say about how its weights are to change.

N neurons in classes of `per_class`, the first `non_target` neurons of each class non-target ones. A rule is a
function of the signature RULE that fills in `gains` float64 (N, 2), zeros at first: what the STDP form (see
`rows.apply_stdp`) is to add on causal inputs and on the others; (0, 0) = the neuron does not learn. Its
arguments: output times float32 (N,), membranes float32 (N,), members uint8 (N,) = neurons left by the
competition inside the classes, label, per_class, non_target, max_time, its constants and its current rates.
"""

import numpy as np
from numba import types

from firstspike.kernels.jit import compiled
from firstspike.kernels.readout import first_of
from firstspike.kernels.rows import DOUBLES, FLOATS

FLAGS = types.Array(types.uint8, 1, "C")
DOUBLES2 = types.Array(types.float64, 2, "C")
RULE = types.void(
    *(FLOATS, FLOATS, FLAGS, types.int64, types.int64, types.int64, types.float32, DOUBLES, DOUBLES, DOUBLES2)
)


@compiled
def is_target(n: int, label: int, per_class: int, non_target: int) -> bool:
    """Say whether neuron n is a target neuron of the class `label`."""
    return label * per_class + non_target <= n < (label + 1) * per_class


@compiled
def mean_spike(times: np.ndarray, members: np.ndarray, max_time: float) -> float:
    """Give the mean time of the members that fired, summed in float32 by index; infinite where none did."""
    total, count = np.float32(0), 0
    for n in range(times.shape[0]):
        if members[n] and times[n] < max_time:
            total += times[n]
            count += 1
    return np.float32(total / np.float32(count)) if count > 0 else np.float32(np.inf)


@compiled(signature=RULE)
def s2stdp(
    times: np.ndarray,
    membranes: np.ndarray,
    members: np.ndarray,
    label: int,
    per_class: int,
    non_target: int,
    max_time: float,
    constants: np.ndarray,
    rates: np.ndarray,
    gains: np.ndarray,
) -> None:
    """S2-STDP and SSTDP: errors to desired times around the members' mean spike time.

    `constants`: t_gap, and 1 for SSTDP's ranges, where a target may fire earlier and others later than
    desired (0 = points). `rates`: ap, am. The gaps share t_gap so that the mean stays in place.
    """
    updated = members.sum()
    targets = updated // (times.shape[0] // per_class)
    gap_others = constants[0] * targets / updated
    gap_target = constants[0] * (updated - targets) / updated
    base = min(np.float64(mean_spike(times, members, max_time)), np.float64(max_time) - gap_others)
    for n in range(times.shape[0]):
        if not members[n]:
            continue
        time = np.float64(times[n])
        if is_target(n, label, per_class, non_target):
            late = time - (base - gap_target)
            late = max(late, 0.0) if constants[1] else late
        else:
            late = time - (base + gap_others)
            late = min(late, 0.0) if constants[1] else late
        error = np.float64(np.float32(late / max_time))
        gains[n, 0] = error * rates[0]
        gains[n, 1] = error * rates[1]


@compiled(signature=RULE)
def rstdp(
    times: np.ndarray,
    membranes: np.ndarray,
    members: np.ndarray,
    label: int,
    per_class: int,
    non_target: int,
    max_time: float,
    constants: np.ndarray,
    rates: np.ndarray,
    gains: np.ndarray,
) -> None:
    """R-STDP: the first neuron alone learns, by STDP where it is a target of the class, else by anti-STDP.

    `rates`: ap, am, anti_ap, anti_am. No constants; the competition inside the classes plays no role.
    """
    winner = first_of(times, membranes, 0, times.shape[0])
    branch = 0 if is_target(winner, label, per_class, non_target) else 2
    gains[winner, 0] = rates[branch]
    gains[winner, 1] = rates[branch + 1]


@compiled(signature=RULE)
def s4nn(
    times: np.ndarray,
    membranes: np.ndarray,
    members: np.ndarray,
    label: int,
    per_class: int,
    non_target: int,
    max_time: float,
    constants: np.ndarray,
    rates: np.ndarray,
    gains: np.ndarray,
) -> None:
    """S4NN's output layer (Kheradpisheh and Masquelier, 2020): the first spike is the target's desired time.

    The errors are scaled to norm 1 and move causal inputs only. `constants`: t_gap, 1 for ranges (0 =
    points); `rates`: lr.
    """
    t_gap, ranges = constants[0], constants[1]
    base = np.float64(max_time)
    for n in range(times.shape[0]):
        if members[n]:
            base = min(base, np.float64(times[n]))
    if base + t_gap > max_time:
        base = max_time - t_gap
    squares = 0.0
    for n in range(times.shape[0]):
        if not members[n]:
            continue
        time = np.float64(times[n])
        if is_target(n, label, per_class, non_target):
            desired = min(time, base) if ranges else base
        else:
            desired = max(time, base + t_gap) if ranges else base + t_gap
        gains[n, 0] = np.float64(np.float32((time - desired) / max_time))
        squares += gains[n, 0] * gains[n, 0]
    norm = np.float32(np.sqrt(squares))
    for n in range(times.shape[0]):
        if norm > 0:
            gains[n, 0] = np.float64(np.float32(gains[n, 0]) / norm)
        gains[n, 0] *= rates[0]
