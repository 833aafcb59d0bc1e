"""The forward pass of a layer of single-spike IF or LIF neurons over a list of events, and its decision.

N neurons, I inputs, S samples, L events in order of time. The membrane V of a neuron adds the weight of every
event in float32, in order; events of one time form a group, and a neuron fires, once, at the time of the
first group after which V exceeds its threshold strictly. An event at `max_time` or later ends the pass.

Two habits of the published program stay as `compat` (Goupy et al., NeurIPS 2024, as run): the last event of a
list is never integrated before a test, so it makes nobody fire, and a LIF membrane leaks over the gap to the
next event before the group just complete is tested. Without `compat` every group is tested, then leaks.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.jit import compiled

INFINITY = np.float32(np.inf)
CAUTIOUS = np.float32(0.999)  # covers the rounding of the few operations in `quiet_events` itself
ROUNDING = np.float32(2.0**-23)  # twice the relative error of one float32 addition
REGISTER = 16  # floats: lines of whole registers leave no rest for a slower loop


class Neurons(NamedTuple):
    """Arrays of a layer, and how it runs.

    `weights` float32 (N, I); `peaks` float32 (N,), at least 0 and at least every weight of the neuron; `tau`
    float32 (N,), 0 = no leak, or empty where no neuron leaks; `max_time` float32; `compat`: see above.
    """

    weights: np.ndarray
    peaks: np.ndarray
    tau: np.ndarray
    max_time: float
    compat: bool


class Pass(NamedTuple):
    """The events of one sample, and when the neurons are tested.

    `index` int32 and `times` float32 (L,); the first `count` of them are integrated; a test comes before
    event `last` (-1: none such), and after the end where the last group is `complete`.
    """

    index: np.ndarray
    times: np.ndarray
    count: int
    last: int
    complete: bool


@compiled
def count_until(times: np.ndarray, limit: float, inclusive: bool) -> int:
    """Give how many leading entries of the ascending `times` are below `limit`, or at most `limit`."""
    low, high = 0, times.shape[0]
    while low < high:
        middle = (low + high) // 2
        if times[middle] < limit or (inclusive and times[middle] == limit):
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def open_pass(index: np.ndarray, times: np.ndarray, max_time: float, compat: bool) -> Pass:
    """Lay out the pass over one sample's events."""
    count = count_until(times, max_time, False)
    complete = not compat or count < times.shape[0]
    return Pass(index, times, count, -1 if complete else count - 1, complete)


@compiled
def is_tested(sample: Pass, event: int) -> bool:
    """Say whether the neurons are tested before `event`, or after the end where `event` is the count."""
    if event == sample.count:
        return event > 0 and sample.complete
    return event == sample.last or (event > 0 and sample.times[event] != sample.times[event - 1])


@compiled
def quiet_events(gap: float, highest: float, ceiling: float) -> int:
    """Give a number of events, at least one, before whose end no neuron can have to be tested.

    `gap` is the least distance of a membrane to its threshold, `highest` bounds every weight from above
    (>= 0), `ceiling` bounds the thresholds. Float32 addition is monotone, so no membrane overtakes one that
    adds `highest` each time, and that one grows by at most `highest` plus a rounding error an event.
    """
    events = CAUTIOUS * gap / (highest + ROUNDING * (gap + ceiling))
    return max(1, np.int64(events)) if events < 2.0**31 else 2**31


@compiled
def run_neuron(neurons: Neurons, n: int, threshold: float, sample: Pass) -> tuple[float, float]:
    """Run neuron `n`, IF or LIF, event by event; give its spike time (`max_time` = silent) and membrane."""
    row = neurons.weights[n]
    tau = neurons.tau[n] if neurons.tau.shape[0] > 0 else np.float32(0)
    membrane = np.float32(0)
    for event in range(sample.count + 1):
        if is_tested(sample, event):
            now = sample.times[max(event - 1, 0)]
            gap = sample.times[event] - now if event < sample.times.shape[0] else np.float32(0)
            leak = np.exp(-gap / tau) if tau > 0 else np.float32(1)
            if neurons.compat:
                membrane *= leak
            if membrane > threshold:
                return now, membrane
            if not neurons.compat:
                membrane *= leak
        if event < sample.count:
            membrane += row[sample.index[event]]
    return neurons.max_time, membrane


@compiled
def greatest_of(values: np.ndarray) -> float:
    """Give the greatest magnitude of some numbers."""
    found = np.float32(0)
    for n in range(values.shape[0]):
        found = max(found, abs(values[n]))
    return found


@compiled
def retire_beaten(rivals: np.ndarray, first: int, best: np.ndarray, now: float, limits: np.ndarray) -> None:
    """Let those of four neurons that a rival has beaten, having fired before `now`, fire no more."""
    for k in range(4):
        if rivals[first + k] >= 0 and best[rivals[first + k]] < now:
            limits[k] = INFINITY


@compiled
def run_four(
    neurons: Neurons,
    first: int,
    limits: np.ndarray,
    ceiling: float,
    sample: Pass,
    rivals: np.ndarray,
    best: np.ndarray,
    spikes: np.ndarray,
    membranes: np.ndarray,
) -> None:
    """Run the IF neurons `first` ... `first + 3` side by side, so that the processor overlaps their sums.

    `limits` (4,): their thresholds; those of neurons that fire become infinite. `ceiling` bounds thresholds.
    `rivals`, `best`: as in `forward`.
    """
    highest = greatest_of(neurons.peaks[first : first + 4])
    row_a, row_b, row_c, row_d = (
        neurons.weights[first],
        neurons.weights[first + 1],
        neurons.weights[first + 2],
        neurons.weights[first + 3],
    )
    index, times = sample.index, sample.times
    a = b = c = d = np.float32(0)
    event = 0
    while True:
        now = times[max(event - 1, 0)] if sample.count > 0 else np.float32(0)
        if is_tested(sample, event) and (a > limits[0] or b > limits[1] or c > limits[2] or d > limits[3]):
            for k, membrane in enumerate((a, b, c, d)):
                if membrane > limits[k]:
                    spikes[first + k] = now
                    membranes[first + k] = membrane
                    limits[k] = INFINITY
                    if rivals[first + k] >= 0:
                        best[rivals[first + k]] = min(best[rivals[first + k]], now)
        retire_beaten(rivals, first, best, now, limits)
        gap = min(min(limits[0] - a, limits[1] - b), min(limits[2] - c, limits[3] - d))
        if event == sample.count or gap == INFINITY:
            break
        stop = min(sample.count, event + quiet_events(gap, highest, ceiling))
        for k in range(event, stop):
            i = np.uint64(index[k])  # unsigned: no test for negative indices in the loop
            a += row_a[i]
            b += row_b[i]
            c += row_c[i]
            d += row_d[i]
        event = stop
    for k, membrane in enumerate((a, b, c, d)):
        if limits[k] < INFINITY:
            membranes[first + k] = membrane


@compiled
def forward(
    neurons: Neurons,
    thresholds: np.ndarray,
    sample: Pass,
    rivals: np.ndarray,
    best: np.ndarray,
    spikes: np.ndarray,
    membranes: np.ndarray,
) -> None:
    """Run a layer on one sample: spike times (`max_time` = silent) and membranes, (N,) each, are filled in.

    `thresholds` float32 (N,), finite. A neuron that fired keeps the membrane of that moment. Of neurons with the same
    number in `rivals` int64 (N,), -1 = none, only the first to fire matters: the others may be given up, silent and
    with membrane 0, once it has fired. `best` float32 (N,): scratch.
    """
    count = neurons.weights.shape[0]
    if count < 4 or neurons.tau.shape[0] > 0:
        for n in range(count):
            spikes[n], membranes[n] = run_neuron(neurons, n, thresholds[n], sample)
        return
    best[:] = INFINITY
    limits, ceiling = np.empty(4, np.float32), greatest_of(thresholds)
    for n in range(0, count, 4):
        first = min(n, count - 4)  # the last four overlap their neighbours where N is no multiple of 4
        for k in range(4):
            limits[k] = thresholds[first + k]
            spikes[first + k], membranes[first + k] = neurons.max_time, np.float32(0)
        run_four(neurons, first, limits, ceiling, sample, rivals, best, spikes, membranes)


@compiled
def first_of(spikes: np.ndarray, membranes: np.ndarray, start: int, stop: int) -> int:
    """Give the first of neurons start ... stop - 1: earliest spike, highest membrane, lowest index."""
    best = start
    for n in range(start + 1, stop):
        if spikes[n] < spikes[best] or (spikes[n] == spikes[best] and membranes[n] > membranes[best]):
            best = n
    return best


@compiled
def least_gap(membranes: np.ndarray, thresholds: np.ndarray, gaps: np.ndarray) -> float:
    """Give the least threshold - membrane, or some negative number where a membrane is above its threshold.

    The minimum is taken over the bits: as integers, floats from 0 up keep their order and negative ones are
    negative. Compilers vectorise an integer minimum; a float one they may not, for the sake of NaN.
    """
    for n in range(gaps.shape[0]):
        gaps[n] = thresholds[n] - membranes[n]
    bits = gaps.view(np.int32)
    least = np.int32(0x7F800000)  # infinity
    for n in range(bits.shape[0]):
        least = min(least, bits[n])
    return np.int32(least).view(np.float32)


@compiled
def fire(
    sums: np.ndarray, limits: np.ndarray, time: float, spikes: np.ndarray, membranes: np.ndarray
) -> None:
    """Let every neuron whose sum exceeds its limit fire at `time`; none fires twice."""
    for n in range(spikes.shape[0]):
        if sums[n] > limits[n]:
            spikes[n] = time
            membranes[n] = sums[n]
            limits[n] = INFINITY


@compiled
def forward_by_input(
    by_input: np.ndarray,
    neurons: Neurons,
    thresholds: np.ndarray,
    sample: Pass,
    only_first: bool,
    scratch: np.ndarray,
    spikes: np.ndarray,
    membranes: np.ndarray,
) -> None:
    """Run IF neurons on one sample as `forward` does, from weights laid out input by input.

    An event adds one line of `by_input` float32 (I, LANES) to all sums at once; lanes past N are padding, of
    weight 0. With `only_first` the pass ends with the first spikes, and the silent neurons' membranes are
    those of that moment, which decides the sample (see `first_of`) as the whole pass would. `scratch` float32
    (3, LANES).
    """
    sums, gaps, limits = scratch[0], scratch[1], scratch[2]
    sums[:] = 0
    limits[:] = INFINITY
    limits[: thresholds.shape[0]] = thresholds
    spikes[:] = neurons.max_time
    highest, ceiling = greatest_of(neurons.peaks), greatest_of(thresholds)
    event = 0
    while True:
        gap = least_gap(sums, limits, gaps)
        if gap < 0 and is_tested(sample, event):
            fire(sums, limits, sample.times[max(event - 1, 0)], spikes, membranes)
            if only_first:
                break
            gap = least_gap(sums, limits, gaps)
        if event == sample.count or gap == INFINITY:
            break
        stop = min(sample.count, event + quiet_events(gap, highest, ceiling))
        for k in range(event, stop):
            line = by_input[np.uint64(sample.index[k])]
            for n in range(sums.shape[0]):
                sums[n] += line[n]
        event = stop
    for n in range(spikes.shape[0]):
        if limits[n] < INFINITY:
            membranes[n] = sums[n]


@compiled
def lay_out_by_input(weights: np.ndarray) -> np.ndarray:
    """Give weights (N, I) input by input, float32 (I, LANES), N padded with zeros to whole registers."""
    neurons, inputs = weights.shape
    out = np.zeros((inputs, (neurons + REGISTER - 1) // REGISTER * REGISTER), np.float32)
    for n in range(neurons):
        for i in range(inputs):
            out[i, n] = weights[n, i]
    return out


@compiled
def forward_all(
    by_input: np.ndarray,
    neurons: Neurons,
    thresholds: np.ndarray,
    offsets: np.ndarray,
    index: np.ndarray,
    times: np.ndarray,
    only_first: bool,
    spikes: np.ndarray,
    membranes: np.ndarray,
) -> None:
    """Run a layer on every sample: `spikes` and `membranes` float32 (S, N) are filled in.

    Sample s owns the events offsets[s] ... offsets[s + 1]; `only_first` as in `forward_by_input`, where all
    neurons are IF.
    """
    scratch = np.empty((3, by_input.shape[1]), np.float32)
    rivals, best = np.full(spikes.shape[1], -1, np.int64), np.empty(spikes.shape[1], np.float32)
    for s in range(spikes.shape[0]):
        own = slice(offsets[s], offsets[s + 1])
        sample = open_pass(index[own], times[own], neurons.max_time, neurons.compat)
        if neurons.tau.shape[0] > 0:
            forward(neurons, thresholds, sample, rivals, best, spikes[s], membranes[s])
        else:
            forward_by_input(
                by_input, neurons, thresholds, sample, only_first, scratch, spikes[s], membranes[s]
            )


@compiled
def first_of_each(spikes: np.ndarray, membranes: np.ndarray, winners: np.ndarray) -> None:
    """Fill `winners` int64 (S,) with the neuron that decides each sample (see `first_of`)."""
    for s in range(winners.shape[0]):
        winners[s] = first_of(spikes[s], membranes[s], 0, spikes.shape[1])
