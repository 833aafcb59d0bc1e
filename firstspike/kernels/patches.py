"""STDP-CSNN: one convolutional layer of single-spike neurons that learns on patches, with float spike times.

X, Y, Z input rows, columns, channels; K kernel; D = K K Z weights a filter, in the order (row, column,
channel); F filters. Spike times float32, 1 or more = silent. Weights lie input by input, float32 (D, F), so
that an event adds one line to the potentials of all filters. Source: Goupy et al. (NeurIPS 2024) and
Falez et al. (2019), as run: equal times are integrated one by one, and training fires above the threshold,
inference at it.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.jit import compiled

SILENT = np.float32(1)


class Plasticity(NamedTuple):
    """Constants and current rates of the layer, all float32.

    `t_obj`: the time that winners are driven to, -1 = none; `least`: lower bound of thresholds; `rate`: of
    thresholds; `ap`, `am`, `beta`: of STDP.
    """

    t_obj: float
    least: float
    rate: float
    ap: float
    am: float
    beta: float


class Steps(NamedTuple):
    """What training writes down for each patch.

    `winners` int64 (N,), -1 = none, and, where it has rows, `thresholds` float32 (N, F) after the patch.
    """

    winners: np.ndarray
    thresholds: np.ndarray


@compiled
def sort_spikes(times: np.ndarray, x: int, y: int, rows: int, cols: int, keys: np.ndarray) -> int:
    """Sort the spikes of a window of one image (X, Y, Z) by time, ties by place; give their number.

    `keys` uint64: the bits of the time above the place (row, column, channel) in the window.
    """
    channels = times.shape[2]
    count = 0
    for a in range(rows):
        for b in range(cols):
            for z in range(channels):
                time = times[x + a, y + b, z]
                if time < SILENT:
                    place = (a * cols + b) * channels + z
                    bits = np.uint64(np.float32(time).view(np.uint32))
                    keys[count] = (bits << np.uint64(32)) | np.uint64(place)
                    count += 1
    keys[:count].sort()
    return count


@compiled
def time_of(key: int) -> float:
    """Give the time that a key of `sort_spikes` carries."""
    return np.uint32(key >> np.uint64(32)).view(np.float32)


@compiled
def place_of(key: int) -> int:
    """Give the place that a key of `sort_spikes` carries."""
    return np.int64(key & np.uint64(0xFFFFFFFF))


@compiled
def first_filter(
    keys: np.ndarray, weights: np.ndarray, thresholds: np.ndarray, potentials: np.ndarray
) -> tuple[int, float]:
    """Integrate a patch until a filter's potential exceeds its threshold; give it, the lowest, and the time.

    (-1, silent) where none does.
    """
    potentials[:] = 0
    for key in keys:
        line = weights[place_of(key)]
        fires = 0
        for f in range(potentials.shape[0]):
            potentials[f] += line[f]
            fires += potentials[f] > thresholds[f]
        if fires:
            for f in range(potentials.shape[0]):
                if potentials[f] > thresholds[f]:
                    return f, time_of(key)
    return -1, SILENT


@compiled
def adapt_thresholds(thresholds: np.ndarray, winner: int, time: float, p: Plasticity) -> None:
    """Drive the winners' time towards t_obj, and raise the winner's threshold at the cost of the others."""
    late = p.rate * (time - p.t_obj) if p.t_obj != -1 else np.float32(0)
    share = -p.rate / np.float32(thresholds.shape[0] - 1)
    for f in range(thresholds.shape[0]):
        thresholds[f] = max(p.least, thresholds[f] - late + (p.rate if f == winner else share))


@compiled
def learn_patch(
    weights: np.ndarray,
    winner: int,
    times: np.ndarray,
    x: int,
    y: int,
    kernel: int,
    time: float,
    p: Plasticity,
) -> None:
    """Multiplicative STDP of the winner: inputs no later than it are potentiated, all others depressed."""
    channels = times.shape[2]
    for a in range(kernel):
        for b in range(kernel):
            for z in range(channels):
                d = (a * kernel + b) * channels + z
                weight = weights[d, winner]
                if times[x + a, y + b, z] <= time:  # a silent input has time 1, and no winner fires so late
                    weight += p.ap * np.exp(-p.beta * weight)
                else:
                    weight -= p.am * np.exp(p.beta * (weight - np.float32(1)))
                weights[d, winner] = min(max(weight, np.float32(0)), np.float32(1))


@compiled
def train(
    times: np.ndarray,
    order: np.ndarray,
    corners: np.ndarray,
    kernel: int,
    weights: np.ndarray,
    thresholds: np.ndarray,
    plasticity: Plasticity,
    steps: Steps,
) -> None:
    """Learn one patch of each image: image order[n] at corners[n] (x, y); all in place.

    `times` (images, X, Y, Z), `corners` int64 (N, 2).
    """
    keys = np.empty(weights.shape[0], np.uint64)
    potentials = np.empty(weights.shape[1], np.float32)
    for n in range(order.shape[0]):
        image, x, y = times[order[n]], corners[n, 0], corners[n, 1]
        count = sort_spikes(image, x, y, kernel, kernel, keys)
        winner, time = first_filter(keys[:count], weights, thresholds, potentials)
        if winner >= 0:
            adapt_thresholds(thresholds, winner, time, plasticity)
            learn_patch(weights, winner, image, x, y, kernel, time, plasticity)
        steps.winners[n] = winner
        if steps.thresholds.shape[0] > 0:
            steps.thresholds[n] = thresholds


@compiled
def latest(times: np.ndarray) -> float:
    """Give the greatest of some times from 0 up (over the bits, see `readout.least_gap`)."""
    bits = times.view(np.int32)
    greatest = np.int32(0)
    for f in range(bits.shape[0]):
        greatest = max(greatest, bits[f])
    return np.int32(greatest).view(np.float32)


@compiled
def spread(
    keys: np.ndarray, shape: tuple[int, int, int], kernel: int, lists: np.ndarray, counts: np.ndarray
) -> None:
    """Append each spike to the list of every position that sees it, with its place in the position's patch.

    `lists` uint64 (rows, columns, D) of keys as in `sort_spikes`, `counts` int64 (rows, columns).
    """
    _, cols, channels = shape
    counts[:] = 0
    for key in keys:
        place = place_of(key)
        z, y, x = place % channels, place // channels % cols, place // (channels * cols)
        moment = key & np.uint64(0xFFFFFFFF00000000)
        for row in range(max(0, x - kernel + 1), min(counts.shape[0], x + 1)):
            for col in range(max(0, y - kernel + 1), min(counts.shape[1], y + 1)):
                d = ((x - row) * kernel + y - col) * channels + z
                lists[row, col, counts[row, col]] = moment | np.uint64(d)
                counts[row, col] += 1


@compiled
def fire_position(
    keys: np.ndarray,
    weights: np.ndarray,
    thresholds: np.ndarray,
    closes: bool,
    potentials: np.ndarray,
    out: np.ndarray,
) -> None:
    """Integrate one position's spikes; `out` (F,), times so far, falls to the times at which filters fire.

    A filter fires where its potential reaches the threshold; with `closes` the first to fire end it all.
    """
    potentials[:] = 0
    end = latest(out)
    for key in keys:
        time = time_of(key)
        if time >= end:
            return
        line = weights[place_of(key)]
        fires = 0
        for f in range(out.shape[0]):
            potentials[f] += line[f]
            reached = potentials[f] >= thresholds[f]
            out[f] = min(out[f], time if reached else SILENT)
            fires += reached
        if closes and fires:
            return


@compiled
def features(
    times: np.ndarray,
    kernel: int,
    pool: int,
    weights: np.ndarray,
    thresholds: np.ndarray,
    closes: bool,
    out: np.ndarray,
) -> None:
    """Fill `out` float32 (N, rows, columns, F) with the earliest spike of each filter in each window.

    `times` (N, X, Y, Z); windows of pool x pool positions side by side, partial ones dropped; 1 = silent.
    """
    shape = times.shape[1:]
    rows, cols = out.shape[1] * pool, out.shape[2] * pool
    keys = np.empty(shape[0] * shape[1] * shape[2], np.uint64)
    lists = np.empty((rows, cols, weights.shape[0]), np.uint64)
    counts = np.empty((rows, cols), np.int64)
    potentials = np.empty(weights.shape[1], np.float32)
    out[:] = SILENT
    for n in range(times.shape[0]):
        count = sort_spikes(times[n], 0, 0, shape[0], shape[1], keys)
        spread(keys[:count], shape, kernel, lists, counts)
        for row in range(rows):
            for col in range(cols):
                own = lists[row, col, : counts[row, col]]
                place = out[n, row // pool, col // pool]
                fire_position(own, weights, thresholds, closes, potentials, place)


@compiled
def correlate(planes: np.ndarray, filters: np.ndarray, out: np.ndarray) -> None:
    """Correlate one image with filters, edges repeated: out[o, x, y] = sum of image times filter o around.

    `planes` float32 (C, X, Y); `filters` float32 (O, A, B, C), their centre at (A // 2, B // 2); `out`
    float32 (O, X, Y). Sums in float32 over a, then b, then c, in that order.
    """
    channels, rows, cols = planes.shape
    outputs, high, wide, _ = filters.shape
    padded = np.empty((channels, rows + high - 1, cols + wide - 1), np.float32)
    for c in range(channels):
        for x in range(padded.shape[1]):
            for y in range(padded.shape[2]):
                near_x = min(max(x - high // 2, 0), rows - 1)
                near_y = min(max(y - wide // 2, 0), cols - 1)
                padded[c, x, y] = planes[c, near_x, near_y]
    for o in range(outputs):
        for x in range(rows):
            line = out[o, x]
            line[:] = 0
            for a in range(high):
                for b in range(wide):
                    for c in range(channels):
                        source, factor = padded[c, x + a, b : b + cols], filters[o, a, b, c]
                        for y in range(cols):
                            line[y] += source[y] * factor
