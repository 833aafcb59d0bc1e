"""Which neurons of a layer with settled weights fire at all, pooled: receptive fields as bits, weights as patterns.

STDP with its stabiliser drives weights to 0 and 1. A map is then a pattern of bits, and a potential is the number of
inputs that fire and **meet** it, to which each weight adds its **rest**, what it lies above its bit: w - 1 or w. Few
neurons are so near to the threshold that rests matter, and the largest rests decide most of those.

Legend as in ``conv.py``. The bits of a padded row of the input lie side by side, channels of a cell together, and so do
the K * C bits of it that a position sees; they fill ``words`` = ceil(K * C / 32) words. A **rounding** is the distance
from the threshold to the next float64.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.conv import DOUBT, Geometry, certify
from firstspike.kernels.jit import compiled
from firstspike.kernels.spikes import SILENT, Window, used_part
from firstspike.kernels.vector import LANES, count_ones, count_shared, lanes_reached, lowest_one

WORD = 32
ROOM = 8.0  # thresholds that a sum may reach on its way
COARSE = (
    ROOM * 2.0**23
)  # float32 numbers of so many roundings are multiples of ROOM roundings: their sums are exact
DUST = 2.0**-27  # of a rounding; float64 sums of coarse numbers and of less than that keep no trace of it
NEVER = 2**31 - 1


class Patterns(NamedTuple):
    """Weights of a layer as bits and rests.

    ``bits`` uint32 (L / 32 * K * words * 32,): block after block of 32 maps, word after word. A map fires for certain
    if ``sure`` of its bits are met, and can't with fewer than ``maybe``, both int32 (L,). Its rests, flat, (M, F + 1)
    with one of 0 at the end: ``place`` their bits in a receptive field, ``rest`` float64, ``above`` and ``below`` the
    sums of the positive and of the negative ones from there on. They are sorted by falling size, and of three kinds:
    the first ``coarse`` int64 (M,) are those of bits that are set and coarse ones, up to ``felt`` int64 (M,) they are
    at least a rounding, the others are dust.
    """

    bits: np.ndarray
    sure: np.ndarray
    maybe: np.ndarray
    place: np.ndarray
    rest: np.ndarray
    above: np.ndarray
    below: np.ndarray
    coarse: np.ndarray
    felt: np.ndarray


@compiled
def words_of(g: Geometry) -> int:
    """Words of 32 bits that a row of a receptive field fills."""
    return -(-g.kernel * g.channels // WORD)


def make_patterns(g: Geometry, weight: np.ndarray, threshold: float) -> Patterns:
    """Split weights float32 (M, C, K, K), none below 0, into bits and rests."""
    flat = weight.reshape(g.maps, -1).astype(np.float64)
    c, i, j = np.unravel_index(np.arange(flat.shape[1]), weight.shape[1:])
    place = i * words_of(g) * WORD + j * g.channels + c
    rounding = np.spacing(threshold)
    high = flat >= 0.5
    rest = flat - high
    coarse = (high & (rest != 0)) | (rest >= rounding * COARSE)
    order = np.lexsort((-np.abs(rest), ~coarse))
    last = ((0, 0), (0, 1))
    rest = np.pad(np.take_along_axis(rest, order, axis=1), last)
    above, below = (np.cumsum(np.maximum(part, 0)[:, ::-1], axis=1)[:, ::-1] for part in (rest, -rest))
    heaviest = np.where(high, flat, 0.5).max(axis=1)
    light = np.where(high, 0, flat).sum(axis=1)
    sure, maybe = np.full((2, g.lanes), NEVER, np.int32)
    sure[: g.maps] = np.minimum(np.floor(threshold + below[:, 0]) + 1, NEVER)
    maybe[: g.maps] = np.clip(np.ceil((threshold - DOUBT - light) / heaviest), 0, NEVER)
    return Patterns(
        _by_blocks(g, place, high),
        sure,
        maybe,
        np.pad(place[order], last).ravel(),
        rest.ravel(),
        above.ravel(),
        below.ravel(),
        coarse.sum(axis=1),
        coarse.sum(axis=1) + (~coarse & ~high & (flat >= rounding)).sum(axis=1),
    )


def _by_blocks(g: Geometry, place: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Bits (M, F) that are set, block after block of 32 maps, word after word."""
    spread = np.zeros((g.lanes, g.kernel * words_of(g) * WORD), np.uint8)
    spread[: g.maps, place] = high
    bits = np.packbits(spread, axis=1, bitorder="little").view("<u4")
    return bits.reshape(-1, LANES, bits.shape[1]).transpose(0, 2, 1).astype(np.uint32).ravel()


class Sight(NamedTuple):
    """Scratch memory of one image."""

    rows: np.ndarray  # uint32 (H + 2 pad, enough) bits of each padded row of the input
    seen: np.ndarray  # uint32 (P * K * words,) bits of each receptive field
    inputs: np.ndarray  # int64 (P,) how many of them are set
    counts: np.ndarray  # int32 (32,) how many bits of each map of a block are met
    fired: np.ndarray  # uint32 (P,) maps of a block that fire


@compiled
def make_sight(g: Geometry, words: int) -> Sight:
    """Allocate the scratch memory of a layer."""
    places = g.rows * g.cols
    across = (g.width + 2 * g.pad) * g.channels // WORD + words + 2
    return Sight(
        np.zeros((g.height + 2 * g.pad, across), np.uint32),
        np.empty(places * g.kernel * words, np.uint32),
        np.empty(places, np.int64),
        np.empty(LANES, np.int32),
        np.empty(places, np.uint32),
    )


@compiled
def pack_rows(latency: np.ndarray, g: Geometry, steps: int, rows: np.ndarray) -> None:
    """Bits of the inputs (C, H, W) that fire."""
    one, last = np.uint64(1), np.uint64(WORD - 1)
    for y in range(g.height):
        into = rows[y + g.pad]
        bit, word, k = np.uint64(g.pad * g.channels % WORD), np.uint64(0), g.pad * g.channels // WORD
        for x in range(g.width):
            for c in range(g.channels):
                word |= np.uint64(latency[c, y, x] < steps) << bit
                if bit == last:
                    into[k] = word
                    k, word, bit = k + 1, np.uint64(0), np.uint64(0)
                else:
                    bit += one
        into[k] = word


@compiled
def see(g: Geometry, words: int, used: tuple[int, int], sight: Sight) -> None:
    """Cut every receptive field out of the rows and count what fires in it."""
    rows, seen, inputs = sight.rows, sight.seen, sight.inputs
    kernel, channels, cols = g.kernel, g.channels, g.cols
    for row in range(used[0]):
        for col in range(used[1]):
            at, n = (row * cols + col) * kernel * words, 0
            first, shift = col * channels // WORD, np.uint64(col * channels % WORD)
            for i in range(kernel):
                for k in range(first, first + words):
                    pair = np.uint64(rows[row + i, k]) | np.uint64(rows[row + i, k + 1]) << np.uint64(WORD)
                    word = np.uint32(pair >> shift)
                    seen[at] = word
                    at += 1
                    n += count_ones(word)
            inputs[row * cols + col] = n


@compiled(forceinline=True)
def weigh(
    seen: np.ndarray,
    field: int,
    met: int,
    threshold: float,
    where: np.ndarray,
    rest: np.ndarray,
    above: np.ndarray,
    below: np.ndarray,
    first: int,
    coarse: int,
    felt: int,
) -> int:
    """1 if a neuron with so many bits met fires, 0 if not, -1 if only a sum in the fixed order can tell.

    Its receptive field begins at word `field`, its map's rests at `first`. Coarse numbers sum up exactly in any order,
    and what is added to them, wherever, never lowers a float64 sum.
    """
    total = np.float64(met)
    if total + above[first] > ROOM * threshold:
        return -1
    for a in range(first, first + coarse):
        if total - below[a] > threshold:
            return 1
        if total + above[a] < threshold - DOUBT:
            return 0
        total += rest[a] * np.float64(seen[field + (where[a] >> 5)] >> (where[a] & 31) & 1)
    if total > threshold:
        return 1
    if total + above[first + coarse] < threshold - DOUBT:
        return 0
    if total < threshold:
        return -1
    for a in range(first + coarse, first + felt):
        if seen[field + (where[a] >> 5)] >> (where[a] & 31) & 1:
            return 1
    return 0 if above[first + felt] < np.spacing(threshold) * DUST else -1


@compiled
def fire_block(
    latency: np.ndarray,
    g: Geometry,
    words: int,
    weight: np.ndarray,
    patterns: Patterns,
    threshold: float,
    steps: int,
    used: tuple[int, int],
    sight: Sight,
    block: int,
) -> None:
    """The maps of a block that fire at each position of the first rows and columns."""
    seen, inputs, counts, fired = sight.seen, sight.inputs, sight.counts, sight.fired
    bits, sure, maybe, coarse, felt = (
        patterns.bits,
        patterns.sure,
        patterns.maybe,
        patterns.coarse,
        patterns.felt,
    )
    where, rest, above, below = patterns.place, patterns.rest, patterns.above, patterns.below
    size, first, stride = g.kernel * words, block * LANES, rest.size // g.maps
    least = maybe[first : first + LANES].min()
    for row in range(used[0]):
        for place in range(row * g.cols, row * g.cols + used[1]):
            fired[place] = 0
            if inputs[place] < least:
                continue
            field = place * size
            count_shared(counts, seen, field, size, bits, first * size)
            hit = lanes_reached(counts, sure, first)
            doubtful = lanes_reached(counts, maybe, first) & ~hit
            while doubtful != 0:
                lane = lowest_one(doubtful)
                doubtful &= doubtful - np.uint32(1)
                m = first + lane
                answer = weigh(
                    seen,
                    field,
                    counts[lane],
                    threshold,
                    where,
                    rest,
                    above,
                    below,
                    m * stride,
                    coarse[m],
                    felt[m],
                )
                if answer < 0:
                    answer = certify(latency, g, weight, m, place, steps - 1) > threshold
                if answer:
                    hit |= np.uint32(1) << np.uint32(lane)
            fired[place] = hit


@compiled
def pool_bits(g: Geometry, window: Window, fired: np.ndarray, first: int, last: int, out: np.ndarray) -> None:
    """Write `last` to ``out`` uint8 (M, rows, cols) wherever a neuron of a window fires, for a block of maps."""
    for r in range(window.rows):
        top = r * window.stride - window.pad
        for q in range(window.cols):
            left, maps = q * window.stride - window.pad, np.uint32(0)
            for y in range(max(0, top), min(g.rows, top + window.size)):
                for x in range(max(0, left), min(g.cols, left + window.size)):
                    maps |= fired[y * g.cols + x]
            while maps != 0:
                out[first + lowest_one(maps), r, q] = last
                maps &= maps - np.uint32(1)


@compiled
def reach(
    latencies: np.ndarray,
    g: Geometry,
    weight: np.ndarray,
    patterns: Patterns,
    threshold: float,
    steps: int,
    window: Window,
    out: np.ndarray,
) -> None:
    """Latencies (N, C, H, W) to marks (N, M, rows, cols): T - 1 where a neuron of the window fires, else 255."""
    words = words_of(g)
    sight, used = make_sight(g, words), used_part(g, window)
    for n in range(len(latencies)):
        pack_rows(latencies[n], g, steps, sight.rows)
        see(g, words, used, sight)
        out[n] = SILENT
        for block in range(g.lanes // LANES):
            fire_block(latencies[n], g, words, weight, patterns, threshold, steps, used, sight, block)
            pool_bits(g, window, sight.fired, block * LANES, steps - 1, out[n])
