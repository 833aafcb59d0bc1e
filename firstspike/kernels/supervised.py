"""Supervised learning by spike timing in one layer: competition, updates, and the loop over the samples.

N neurons in classes of `per_class`, the first `non_target` neurons of each class non-target ones; S samples.
Goupy et al. (NeurIPS 2024). The order of a step: outputs, decision, thresholds, rule, STDP, bounds.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import types

from firstspike.kernels.jit import compiled
from firstspike.kernels.readout import Neurons, Pass, count_until, first_of, forward, open_pass
from firstspike.kernels.readout_rules import DOUBLES2, FLAGS, RULE
from firstspike.kernels.rows import CHANGE, DOUBLES, FLOATS, any_below, apply_stdp, clip, normalise

INTS = types.Array(types.int32, 1, "C")
LONGS = types.Array(types.int64, 1, "C")
FLOATS2 = types.Array(types.float32, 2, "C")
FLAGS2 = types.Array(types.uint8, 2, "C")


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


@compiled
def choose_members(
    spikes: np.ndarray, membranes: np.ndarray, per_class: int, inhibit: bool, members: np.ndarray
) -> None:
    """Set `members` uint8 (N,) to 1 for the first neuron of each class, or for all without inhibition."""
    members[:] = 0 if inhibit else 1
    if inhibit:
        for start in range(0, spikes.shape[0], per_class):
            members[first_of(spikes, membranes, start, start + per_class)] = 1


@compiled
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


@compiled
def training_thresholds(c: Competition, label: int) -> np.ndarray:
    """Give the thresholds (N,) that a training sample of class `label` meets."""
    if not c.targets_only:
        return c.adaptive
    thresholds = c.base.copy()
    for n in range(label * c.per_class + c.non_target, (label + 1) * c.per_class):
        thresholds[n] = c.adaptive[n]
    return thresholds


@compiled
def drop_outputs(keep: np.ndarray, max_time: float, spikes: np.ndarray, membranes: np.ndarray) -> None:
    """Make dropped neurons silent, with membrane 0."""
    for n in range(keep.shape[0]):
        if not keep[n]:
            spikes[n] = max_time
            membranes[n] = 0


@compiled
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


@compiled
def settle(neurons: Neurons, bounds: Bounds, n: int) -> None:
    """Clip row n, then scale it to its sum; note its peak and whether the next step must clip it again."""
    row = neurons.weights[n]
    neurons.peaks[n] = clip(row, bounds.low, bounds.high)
    if bounds.sums.shape[0] > 0:
        neurons.peaks[n] = normalise(row, bounds.sums[n])
        mixed = bounds.low != 0 or bounds.sums[n] < 0  # else scaling leaves all weights at 0 or above
        sunk = mixed and any_below(row, bounds.low)
        bounds.loose[n] = sunk or neurons.peaks[n] > bounds.high


@compiled
def note_rivals(c: Competition, alone: bool, label: int, rivals: np.ndarray) -> None:
    """Fill in `rivals` int64 (N,) for `readout.forward`: neurons of which the first to fire alone matters.

    All of them where the rule looks at the first `alone`, else those of a class that inhibit one another. Where
    thresholds are regulated every neuron of the sample's class matters.
    """
    regulated = c.rate > 0
    for n in range(rivals.shape[0]):
        own = n // c.per_class
        rivals[n] = own if c.inhibit else -1
        if alone:
            rivals[n] = 0
        if regulated and own == label:
            rivals[n] = -1


@compiled
def present(
    neurons: Neurons,
    c: Competition,
    samples: Samples,
    k: int,
    rivals: np.ndarray,
    best: np.ndarray,
    spikes: np.ndarray,
    membranes: np.ndarray,
) -> Pass:
    """Run the layer on the k-th presentation in training mode: thresholds of its class, dropped outputs."""
    s = samples.order[k]
    own = slice(samples.offsets[s], samples.offsets[s + 1])
    sample = open_pass(samples.index[own], samples.times[own], neurons.max_time, neurons.compat)
    thresholds = training_thresholds(c, samples.labels[s])
    forward(neurons, thresholds, sample, rivals, best, spikes, membranes)
    if samples.keep_outputs.shape[0] > 0:
        drop_outputs(samples.keep_outputs[k], neurons.max_time, spikes, membranes)
    return sample


@compiled
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


@compiled
def note(
    trace: Trace, k: int, c: Competition, spikes: np.ndarray, membranes: np.ndarray, gains: np.ndarray
) -> None:
    """Write the k-th presentation into the trace, all but its winner."""
    if trace.spikes.shape[0] > 0:
        trace.spikes[k] = spikes
        trace.membranes[k] = membranes
        trace.thresholds[k] = c.adaptive
        trace.gains[k] = gains.ravel()


@compiled(
    signature=types.void(
        *(types.FunctionType(CHANGE), DOUBLES, types.boolean),
        *(types.FunctionType(RULE), types.boolean, DOUBLES, DOUBLES),
        *(NEURONS, COMPETITION, BOUNDS, SAMPLES, TRACE),
    ),
)
def train(
    change: Callable,
    change_constants: np.ndarray,
    ignore_silent: bool,
    rule: Callable,
    alone: bool,
    rule_constants: np.ndarray,
    rates: np.ndarray,
    neurons: Neurons,
    competition: Competition,
    bounds: Bounds,
    samples: Samples,
    trace: Trace,
) -> None:
    """Present the samples in order, each followed by its update of thresholds and weights.

    `alone`: the rule looks at the first neuron of all and at no other. The weights, peaks, adaptive thresholds and
    `loose` marks are changed in place, the trace filled in.
    """
    count, per_class = neurons.weights.shape[0], competition.per_class
    spikes, membranes = np.empty(count, np.float32), np.empty(count, np.float32)
    members, gains = np.empty(count, np.uint8), np.empty((count, 2), np.float64)
    everything = np.empty(0, np.uint8)
    rivals, best = np.full(count, -1, np.int64), np.empty(count, np.float32)
    hasty = trace.spikes.shape[0] == 0 and samples.keep_outputs.shape[0] == 0  # nobody asks about the beaten
    for k in range(samples.order.shape[0]):
        label = samples.labels[samples.order[k]]
        if hasty:
            note_rivals(competition, alone, label, rivals)
        sample = present(neurons, competition, samples, k, rivals, best, spikes, membranes)
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
