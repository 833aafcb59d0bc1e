"""The decision layer: the largest potential at the last step, and reward-modulated STDP of the map that had it.

Legend as in ``conv.py``. Only what has fired by the last step counts, so the layer sees bits and no time. Potentials
are screened in bytes, ``low + step * byte``, whose sums differ from the true ones by half a step an input at most;
the few neurons that may still be the winner are summed in float64. Weights are kept as (M, K, K, C), so that the
channels of a cell, which are looked at together, lie together.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.conv import DOUBT, Geometry, Plasticity
from firstspike.kernels.jit import compiled
from firstspike.kernels.vector import add_bytes, count_at_least, dot_counts, fill_lanes

CHUNK = 256  # rows that `add_bytes` takes at once
ERROR = 0.501  # steps between a weight and its byte, rounding of the conversion included


class Head(NamedTuple):
    """Weights float32 (M, K, K, D) of a decision layer and their bytes; D is C padded to whole registers, with zeros.

    ``screen`` uint8 (F * L,), row ``(i * K + j) * C + c``; ``affine`` float64 (2,): low and step of the bytes.
    """

    weight: np.ndarray
    screen: np.ndarray
    affine: np.ndarray


class View(NamedTuple):
    """What a decision layer sees of one image; scratch memory."""

    active: np.ndarray  # uint16 (H * W * room + 1,) channels of each cell that have fired
    count: np.ndarray  # int64 (H * W,) how many
    fired: (
        np.ndarray
    )  # uint8 (H * W * D,) how often each input has fired: 0 or 1, more where layers are added
    inputs: np.ndarray  # int64 (P,) inputs that have fired in each receptive field
    sums: np.ndarray  # int32 (P * L,) screened potentials
    bytes: np.ndarray  # int32 (2, D) bytes of a kernel element's weights before and after an update


@compiled
def make_view(g: Geometry, head: Head, channels: int) -> View:
    """Allocate the scratch memory of a decision layer for latencies of so many channels."""
    cells, depth = g.height * g.width, head.weight.shape[3]
    return View(
        np.empty(cells * channels + 1, np.uint16),
        np.empty(cells, np.int64),
        np.empty(cells * depth, np.uint8),
        np.empty(g.rows * g.cols, np.int64),
        np.empty(g.rows * g.cols * g.lanes, np.int32),
        np.empty((2, depth), np.int32),
    )


@compiled
def to_bytes(weights: np.ndarray, affine: np.ndarray, out: np.ndarray) -> None:
    """The bytes of some weights, as int32."""
    low, scale = np.float32(affine[0]), np.float32(1 / affine[1])
    for c in range(weights.size):
        byte = np.int32(np.rint((weights[c] - low) * scale))
        out[c] = min(max(byte, np.int32(0)), np.int32(255))


@compiled
def screen_head(g: Geometry, head: Head, low: float, high: float) -> None:
    """Write all weights into the screen, with bytes that reach from low to high."""
    head.affine[0], head.affine[1] = low, max((high - low) / 255, 1e-12)
    out = np.empty(head.weight.shape[3], np.int32)
    for m in range(g.maps):
        for element in range(g.kernel * g.kernel):
            to_bytes(head.weight[m, element // g.kernel, element % g.kernel], head.affine, out)
            for c in range(g.channels):
                head.screen[(element * g.channels + c) * g.lanes + m] = out[c]


@compiled
def screen_range(g: Geometry, head: Head) -> None:
    """Write all weights into the screen, with bytes that just reach from the smallest to the largest."""
    low, high = np.float64(head.weight[0, 0, 0, 0]), np.float64(head.weight[0, 0, 0, 0])
    for m in range(g.maps):
        weights = head.weight[m, :, :, : g.channels]
        low, high = min(low, np.float64(weights.min())), max(high, np.float64(weights.max()))
    screen_head(g, head, low, high)


@compiled
def look(latency: np.ndarray, g: Geometry, steps: int, view: View) -> None:
    """Lists and mask of the inputs that fire at all.

    ``latency`` (C', H, W) with C' a multiple of C: where layers are added, an input counts once for each that fired.
    """
    cells = g.height * g.width
    depth = view.fired.size // cells
    flat = latency.reshape(len(latency), cells)
    view.count[:] = 0
    view.fired[:] = 0
    for channel in range(len(latency)):
        c = channel % g.channels
        for cell in range(cells):
            fires = flat[channel, cell] < steps
            view.fired[cell * depth + c] += fires
            view.active[cell * len(latency) + view.count[cell]] = c
            view.count[cell] += fires


@compiled
def screen_potentials(g: Geometry, head: Head, view: View) -> None:
    """Sums of bytes of every neuron; offset by offset, so that a kernel element's rows stay in the cache."""
    room = view.active.size // view.count.size
    fill_lanes(view.sums, 0, view.sums.size, 0)
    view.inputs[:] = 0
    for i in range(g.kernel):
        for j in range(g.kernel):
            base = (i * g.kernel + j) * g.channels
            for r in range(max(0, g.pad - i), min(g.rows, g.height + g.pad - i)):
                for q in range(max(0, g.pad - j), min(g.cols, g.width + g.pad - j)):
                    cell = (r + i - g.pad) * g.width + q + j - g.pad
                    place, n = r * g.cols + q, view.count[cell]
                    first = cell * room
                    view.inputs[place] += n
                    for begin in range(first, first + n, CHUNK):
                        end = min(begin + CHUNK, first + n)
                        add_bytes(
                            view.sums, place * g.lanes, head.screen, base, g.lanes, view.active, begin, end
                        )


@compiled
def potential(g: Geometry, weight: np.ndarray, view: View, m: int, place: int) -> float:
    """Potential of one neuron in float64: right to within ``DOUBT``."""
    depth = weight.shape[3]
    weights = weight.ravel()
    top, left = place // g.cols - g.pad, place % g.cols - g.pad
    total = 0.0
    for i in range(max(0, -top), min(g.kernel, g.height - top)):
        for j in range(max(0, -left), min(g.kernel, g.width - left)):
            at = ((m * g.kernel + i) * g.kernel + j) * depth
            total += dot_counts(weights, at, view.fired, ((top + i) * g.width + left + j) * depth, depth)
    return total


@compiled
def potential_by_channel(g: Geometry, weight: np.ndarray, view: View, m: int, place: int) -> float:
    """The same in the order (channel, row, column), which decides between sums that are too near."""
    depth = weight.shape[3]
    top, left = place // g.cols - g.pad, place % g.cols - g.pad
    total = 0.0
    for c in range(g.channels):
        for i in range(max(0, -top), min(g.kernel, g.height - top)):
            for j in range(max(0, -left), min(g.kernel, g.width - left)):
                cell = (top + i) * g.width + left + j
                total += view.fired[cell * depth + c] * np.float64(weight[m, i, j, c])
    return total


@compiled
def favourite(g: Geometry, head: Head, view: View) -> tuple[int, int]:
    """Map and position of the largest screened potential."""
    low, step = head.affine
    highest, best_map, best_place = -np.inf, 0, 0
    for place in range(g.rows * g.cols):
        n, at = view.inputs[place], place * g.lanes
        largest = np.int32(-1)
        for total in view.sums[at : at + g.maps]:
            largest = max(largest, total)
        screened = n * low + step * largest
        if n > 0 and screened > highest:
            highest, best_map, best_place = screened, 0, place
            while view.sums[at + best_map] != largest:
                best_map += 1
    return best_map, best_place


@compiled
def beats(
    g: Geometry, weight: np.ndarray, view: View, m: int, place: int, n: int, there: int, lead: float
) -> bool:
    """Whether neuron (m, place) beats (n, there), whose potential is lower by `lead` or so."""
    if abs(lead) < DOUBT:
        lead = potential_by_channel(g, weight, view, m, place) - potential_by_channel(
            g, weight, view, n, there
        )
    return lead > 0 or (lead == 0 and (m, place) < (n, there))


@compiled
def decide(g: Geometry, head: Head, view: View, winner: np.ndarray) -> None:
    """Winner of one image, map, row and column; -1 where no potential is above 0.

    The largest potential wins, ties go to the lowest (map, row, column) (Mozafari et al. 2019, section 2.4).
    """
    screen_potentials(g, head, view)
    low, step = head.affine
    best_map, best_place = favourite(g, head, view)
    best = potential(g, head.weight, view, best_map, best_place)
    for place in range(g.rows * g.cols):
        n, at = view.inputs[place], place * g.lanes
        limit = max(np.int64(np.floor((best - DOUBT - n * low) / step - ERROR * n)), 0)
        if n == 0 or count_at_least(view.sums, at, g.lanes, limit) == 0:
            continue
        for m in range(g.maps):
            if view.sums[at + m] < limit or (m == best_map and place == best_place):
                continue
            total = potential(g, head.weight, view, m, place)
            if beats(g, head.weight, view, m, place, best_map, best_place, total - best):
                best, best_map, best_place = total, m, place
    winner[:] = -1
    if best > 0:
        winner[0], winner[1], winner[2] = best_map, best_place // g.cols, best_place % g.cols


@compiled
def update(
    weights: np.ndarray, counts: np.ndarray, ltp: np.float32, ltd: np.float32, plasticity: Plasticity
) -> None:
    """STDP of the weights of one kernel element: `ltp` where the input has fired, `ltd` elsewhere; clipped."""
    lower, upper, stabilise = plasticity
    for c in range(counts.size):
        w = weights[c]
        factor = (w - lower) * (upper - w) if stabilise else np.float32(1)
        w += (ltp if counts[c] else ltd) * factor
        weights[c] = min(max(w, lower), upper)


@compiled
def reinforce(
    g: Geometry,
    head: Head,
    view: View,
    winner: np.ndarray,
    ltp: np.float32,
    ltd: np.float32,
    plasticity: Plasticity,
) -> None:
    """STDP of the winner's map at the last step: `ltp` for every input that has fired, `ltd` for all others."""
    m, top, left = winner[0], winner[1] - g.pad, winner[2] - g.pad
    depth = head.weight.shape[3]
    old, new, silent = view.bytes[0], view.bytes[1], np.zeros(g.channels, np.uint8)
    for i in range(g.kernel):
        for j in range(g.kernel):
            y, x = top + i, left + j
            weights = head.weight[m, i, j, : g.channels]
            to_bytes(weights, head.affine, old)
            if 0 <= y < g.height and 0 <= x < g.width:
                cell = (y * g.width + x) * depth
                update(weights, view.fired[cell : cell + g.channels], ltp, ltd, plasticity)
            else:
                update(weights, silent, ltp, ltd, plasticity)
            to_bytes(weights, head.affine, new)
            base = (i * g.kernel + j) * g.channels
            for c in range(g.channels):
                if old[c] != new[c]:
                    head.screen[(base + c) * g.lanes + m] = new[c]


@compiled
def clip_head(g: Geometry, head: Head, plasticity: Plasticity) -> None:
    """Clip every weight of the layer: the first update of a pass does so for the maps that did not win as well."""
    weights = head.weight.reshape(-1, head.weight.shape[3])
    for element in range(len(weights)):
        for c in range(g.channels):
            weights[element, c] = min(max(weights[element, c], plasticity.lower), plasticity.upper)
    screen_head(g, head, np.float64(plasticity.lower), np.float64(plasticity.upper))


@compiled
def learn_reward(
    latencies: np.ndarray,
    labels: np.ndarray,
    g: Geometry,
    head: Head,
    steps: int,
    group: int,
    rates: np.ndarray,
    plasticity: Plasticity,
    clipped: bool,
    winners: np.ndarray,
) -> bool:
    """One window of R-STDP over images (N, C, H, W): reward when map // group is the label, else punishment.

    ``rates`` float32 (4,): reward ltp and ltd, punishment ltp and ltd. Silent images change nothing. Returns whether
    the layer has been clipped (Mozafari et al. 2019, equations 3 to 5).
    """
    view = make_view(g, head, latencies.shape[1])
    for n in range(len(latencies)):
        look(latencies[n], g, steps, view)
        decide(g, head, view, winners[n])
        if winners[n, 0] < 0:
            continue
        a = 0 if winners[n, 0] // group == labels[n] else 2
        reinforce(g, head, view, winners[n], rates[a], rates[a + 1], plasticity)
        if not clipped:
            clip_head(g, head, plasticity)
            clipped = True
    return clipped


@compiled
def decide_all(latencies: np.ndarray, g: Geometry, head: Head, steps: int, winners: np.ndarray) -> None:
    """Winners (N, 3) of images (N, C, H, W), without learning."""
    view = make_view(g, head, latencies.shape[1])
    for n in range(len(latencies)):
        look(latencies[n], g, steps, view)
        decide(g, head, view, winners[n])


@compiled
def class_potential(g: Geometry, head: Head, view: View, first: int, last: int) -> float:
    """The largest potential of maps first to before last, in float64."""
    low, step = head.affine
    reached = -np.inf
    for place in range(g.rows * g.cols):
        n = view.inputs[place]
        for total in view.sums[place * g.lanes + first : place * g.lanes + last]:
            reached = max(reached, n * low + step * (total - ERROR * n))
    best = -np.inf
    for place in range(g.rows * g.cols):
        n = view.inputs[place]
        for m in range(first, last):
            if n * low + step * (view.sums[place * g.lanes + m] + ERROR * n) >= reached - DOUBT:
                best = max(best, potential(g, head.weight, view, m, place))
    return best


@compiled
def score_all(
    latencies: np.ndarray, g: Geometry, head: Head, steps: int, group: int, scores: np.ndarray
) -> None:
    """How near each class was to deciding: its largest potential as a share of the winner's; silent images get 0.

    ``scores`` float32 (N, classes).
    """
    view, winner = make_view(g, head, latencies.shape[1]), np.empty(3, np.int64)
    for n in range(len(latencies)):
        scores[n] = 0
        look(latencies[n], g, steps, view)
        decide(g, head, view, winner)
        if winner[0] < 0:
            continue
        highest = potential(g, head.weight, view, winner[0], winner[1] * g.cols + winner[2])
        for label in range(scores.shape[1]):
            reached = class_potential(g, head, view, label * group, (label + 1) * group)
            scores[n, label] = max(reached, 0.0) / highest
        scores[n, winner[0] // group] = 1
