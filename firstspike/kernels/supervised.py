"""Supervised learning by spike timing in one layer: rules, competition, and the loop over the samples.

N neurons in classes of `per_class`, the first `non_target` neurons of each class non-target ones; S samples.
A rule is a function of the layer's outputs that fills in `gains` float64 (N, 2): what the STDP form
(see `rows.apply_stdp`) is to add on causal inputs and on the others; (0, 0) = the neuron does not learn. Its
arguments: output times float32 (N,), membranes float32 (N,), members uint8 (N,) = neurons left by the
competition inside the classes, label, per_class, non_target, max_time, its constants and its current rates.
"""

from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
from numba import types

from firstspike.kernels.readout import Neurons, Pass, count_until, first_of, forward, open_pass
from firstspike.kernels.rows import CHANGE, DOUBLES, FLOATS, any_below, apply_stdp, clip, normalise

FLAGS = types.Array(types.uint8, 1, "C")
INTS = types.Array(types.int32, 1, "C")
LONGS = types.Array(types.int64, 1, "C")
FLOATS2 = types.Array(types.float32, 2, "C")
DOUBLES2 = types.Array(types.float64, 2, "C")
FLAGS2 = types.Array(types.uint8, 2, "C")
RULE = types.void(
    *(FLOATS, FLOATS, FLAGS, types.int64, types.int64, types.int64, types.float32, DOUBLES, DOUBLES, DOUBLES2)
)


class Competition(NamedTuple):
    """How neurons compete, and the state of it (Goupy et al., NeurIPS 2024, section 3).

    `inhibit`: only the first neuron of each class may learn. The thresholds of a class's target neurons are
    regulated at the rate `rate`, never below `floor`: `adaptive` float32 (N,); `base` float32 (N,) are the
    others'. With `targets_only` the adaptive ones rule while the sample is of the neuron's own class,
    without it always.
    """

    per_class: int
    non_target: int
    inhibit: bool
    targets_only: bool
    rate: float
    floor: float
    adaptive: np.ndarray
    base: np.ndarray


class Bounds(NamedTuple):
    """What keeps the weights in place.

    Limits `low`, `high` (float32); `sums` float32 (N,): what each row's magnitudes are scaled to, or empty;
    `loose` uint8 (N,): rows that scaling took out of the limits, so that the next step will clip them.
    """

    low: float
    high: float
    sums: np.ndarray
    loose: np.ndarray


class Samples(NamedTuple):
    """The samples to learn: sample s owns the events offsets[s] ... offsets[s + 1], and has labels[s].

    `order` int64: the samples to present, one after the other. `keep_inputs` uint8 (len(order), I) and
    `keep_outputs` uint8 (len(order), N): 0 = dropped in that presentation; no rows = nothing is dropped.
    """

    offsets: np.ndarray
    index: np.ndarray
    times: np.ndarray
    labels: np.ndarray
    order: np.ndarray
    keep_inputs: np.ndarray
    keep_outputs: np.ndarray


class Trace(NamedTuple):
    """What is written down of each presentation.

    `winners` int64 (len(order),): the deciding neuron; and where they have rows: spike times, membranes and
    adaptive thresholds after the step, float32 (len(order), N), and gains, float64 (len(order), N * 2).
    """

    winners: np.ndarray
    spikes: np.ndarray
    membranes: np.ndarray
    thresholds: np.ndarray
    gains: np.ndarray


NEURONS = types.NamedTuple((FLOATS2, FLOATS, FLOATS, types.float32, types.boolean), Neurons)
COMPETITION = types.NamedTuple(
    (*(types.int64,) * 2, *(types.boolean,) * 2, types.float64, types.float32, FLOATS, FLOATS), Competition
)
BOUNDS = types.NamedTuple((types.float32, types.float32, FLOATS, FLAGS), Bounds)
SAMPLES = types.NamedTuple((LONGS, INTS, FLOATS, LONGS, LONGS, FLAGS2, FLAGS2), Samples)
TRACE = types.NamedTuple((LONGS, FLOATS2, FLOATS2, FLOATS2, DOUBLES2), Trace)


@numba.njit(cache=True, nogil=True)
def is_target(n: int, label: int, per_class: int, non_target: int) -> bool:
    """Say whether neuron n is a target neuron of the class `label`."""
    return label * per_class + non_target <= n < (label + 1) * per_class


@numba.njit(cache=True, nogil=True)
def mean_spike(times: np.ndarray, members: np.ndarray, max_time: float) -> float:
    """Give the mean time of the members that fired, summed in float32 by index; infinite where none did."""
    total, count = np.float32(0), 0
    for n in range(times.shape[0]):
        if members[n] and times[n] < max_time:
            total += times[n]
            count += 1
    return np.float32(total / np.float32(count)) if count > 0 else np.float32(np.inf)


@numba.njit(RULE, cache=True, nogil=True)
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


@numba.njit(RULE, cache=True, nogil=True)
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


@numba.njit(RULE, cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
def choose_members(
    spikes: np.ndarray, membranes: np.ndarray, per_class: int, inhibit: bool, members: np.ndarray
) -> None:
    """Set `members` uint8 (N,) to 1 for the first neuron of each class, or for all without inhibition."""
    members[:] = 0 if inhibit else 1
    if inhibit:
        for start in range(0, spikes.shape[0], per_class):
            members[first_of(spikes, membranes, start, start + per_class)] = 1


@numba.njit(cache=True, nogil=True)
def regulate(c: Competition, spikes: np.ndarray, membranes: np.ndarray, label: int) -> None:
    """Raise the adaptive threshold of the class's first target neuron and lower the others', by sum zero.

    q targets: + rate (q - 1) / q for the first, - rate / q for each other, then at least `floor`; increments
    are rounded to float32 before they are added.
    """
    start, stop = label * c.per_class + c.non_target, (label + 1) * c.per_class
    rivals = stop - start
    if c.rate <= 0 or rivals <= 1:
        return
    first = first_of(spikes, membranes, start, stop)
    for n in range(start, stop):
        step = c.rate * (rivals - 1) / rivals if n == first else -c.rate / rivals
        c.adaptive[n] = max(c.adaptive[n] + np.float32(step), c.floor)


@numba.njit(cache=True, nogil=True)
def training_thresholds(c: Competition, label: int) -> np.ndarray:
    """Give the thresholds (N,) that a training sample of class `label` meets."""
    if not c.targets_only:
        return c.adaptive
    thresholds = c.base.copy()
    for n in range(label * c.per_class + c.non_target, (label + 1) * c.per_class):
        thresholds[n] = c.adaptive[n]
    return thresholds


@numba.njit(cache=True, nogil=True)
def drop_outputs(keep: np.ndarray, max_time: float, spikes: np.ndarray, membranes: np.ndarray) -> None:
    """Make dropped neurons silent, with membrane 0."""
    for n in range(keep.shape[0]):
        if not keep[n]:
            spikes[n] = max_time
            membranes[n] = 0


@numba.njit(cache=True, nogil=True)
def seen_events(
    index: np.ndarray, times: np.ndarray, count: int, keep: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give the indices and times of the first `count` events without dropped inputs; no `keep` = all."""
    if keep.shape[0] == 0:
        return index[:count], times[:count]
    chosen = np.empty(count, np.int32)
    moments = np.empty(count, np.float32)
    found = 0
    for e in range(count):
        if keep[index[e]]:
            chosen[found] = index[e]
            moments[found] = times[e]
            found += 1
    return chosen[:found], moments[:found]


@numba.njit(cache=True, nogil=True)
def settle(neurons: Neurons, bounds: Bounds, n: int) -> None:
    """Clip row n, then scale it to its sum; note its peak and whether the next step must clip it again."""
    row = neurons.weights[n]
    neurons.peaks[n] = clip(row, bounds.low, bounds.high)
    if bounds.sums.shape[0] > 0:
        neurons.peaks[n] = normalise(row, bounds.sums[n])
        mixed = bounds.low != 0 or bounds.sums[n] < 0  # else scaling leaves all weights at 0 or above
        sunk = mixed and any_below(row, bounds.low)
        bounds.loose[n] = sunk or neurons.peaks[n] > bounds.high


@numba.njit(cache=True, nogil=True)
def present(
    neurons: Neurons, c: Competition, samples: Samples, k: int, spikes: np.ndarray, membranes: np.ndarray
) -> Pass:
    """Run the layer on the k-th presentation in training mode: thresholds of its class, dropped outputs."""
    s = samples.order[k]
    own = slice(samples.offsets[s], samples.offsets[s + 1])
    sample = open_pass(samples.index[own], samples.times[own], neurons.max_time, neurons.compat)
    forward(neurons, training_thresholds(c, samples.labels[s]), sample, spikes, membranes)
    if samples.keep_outputs.shape[0] > 0:
        drop_outputs(samples.keep_outputs[k], neurons.max_time, spikes, membranes)
    return sample


@numba.njit(cache=True, nogil=True)
def learn_rows(
    change: Callable,
    constants: np.ndarray,
    ignore_silent: bool,
    neurons: Neurons,
    bounds: Bounds,
    gains: np.ndarray,
    spikes: np.ndarray,
    seen: np.ndarray,
    moments: np.ndarray,
) -> None:
    """Change the rows whose gains are not zero by STDP, and bring back into bounds what is outside.

    `seen` and `moments`: inputs that fired and are not dropped, and when, in order of time.
    """
    for n in range(gains.shape[0]):
        learns = gains[n, 0] != 0 or gains[n, 1] != 0
        if learns:
            silent = spikes[n] >= neurons.max_time
            causal = -1 if silent else count_until(moments, spikes[n], True)
            apply_stdp(change, constants, neurons.weights[n], seen, causal, gains[n], ignore_silent)
        if learns or bounds.loose[n]:
            settle(neurons, bounds, n)


@numba.njit(cache=True, nogil=True)
def note(
    trace: Trace, k: int, c: Competition, spikes: np.ndarray, membranes: np.ndarray, gains: np.ndarray
) -> None:
    """Write the k-th presentation into the trace, all but its winner."""
    if trace.spikes.shape[0] > 0:
        trace.spikes[k] = spikes
        trace.membranes[k] = membranes
        trace.thresholds[k] = c.adaptive
        trace.gains[k] = gains.ravel()


@numba.njit(
    types.void(
        *(types.FunctionType(CHANGE), DOUBLES, types.boolean),
        *(types.FunctionType(RULE), DOUBLES, DOUBLES),
        *(NEURONS, COMPETITION, BOUNDS, SAMPLES, TRACE),
    ),
    cache=True,
    nogil=True,
)
def train(
    change: Callable,
    change_constants: np.ndarray,
    ignore_silent: bool,
    rule: Callable,
    rule_constants: np.ndarray,
    rates: np.ndarray,
    neurons: Neurons,
    competition: Competition,
    bounds: Bounds,
    samples: Samples,
    trace: Trace,
) -> None:
    """Present the samples in order, each followed by its update of thresholds and weights.

    The weights, peaks, adaptive thresholds and `loose` marks are changed in place, the trace filled in.
    """
    count, per_class = neurons.weights.shape[0], competition.per_class
    spikes, membranes = np.empty(count, np.float32), np.empty(count, np.float32)
    members, gains = np.empty(count, np.uint8), np.empty((count, 2), np.float64)
    everything = np.empty(0, np.uint8)
    for k in range(samples.order.shape[0]):
        label = samples.labels[samples.order[k]]
        sample = present(neurons, competition, samples, k, spikes, membranes)
        trace.winners[k] = first_of(spikes, membranes, 0, count)
        regulate(competition, spikes, membranes, label)
        choose_members(spikes, membranes, per_class, competition.inhibit, members)
        gains[:] = 0
        sizes = (per_class, competition.non_target, neurons.max_time)
        rule(spikes, membranes, members, label, *sizes, rule_constants, rates, gains)
        kept = samples.keep_inputs[k] if samples.keep_inputs.shape[0] > 0 else everything
        seen, moments = seen_events(sample.index, sample.times, sample.count, kept)
        learn_rows(change, change_constants, ignore_silent, neurons, bounds, gains, spikes, seen, moments)
        note(trace, k, competition, spikes, membranes, gains)
