"""Images to latencies, compiled: the fast twin of firstspike.coding.encode.

N images, P planes, K filters, C = K * P channels, H rows, W columns, T steps. Rows of scratch arrays are
padded to a multiple of 16 columns, so that the inner loops run over whole vectors.

What makes it quick: four taps of a kernel's row in one pass over an output row; rows of zeros are skipped; a
kernel that is a multiple of an earlier one (off-centre and on-centre) costs one multiplication; the box of
the local normalisation is a running sum; only non-zero intensities are sorted, by their bits.

What keeps it exact: float32 responses so near the threshold that rounding could decide are summed again in
float64, and the running sum is kept in float64, which holds sums of such float32 numbers without rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from firstspike.kernels.jit import compiled

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
Flags = NDArray[np.bool_]

NEVER = 255
_LANES = 16

_jit = compiled(error_model="numpy")  # x / 0 is inf: no branch in the way of vectors


class Tables(NamedTuple):
    """A filter bank as the kernels want it; `tables` makes it."""

    taps: F32  # (K, n, n rounded up to 4), each kernel without its border of zeros, at [0, 0]
    sizes: I64  # (K,) side of each kernel without that border
    base: I64  # (K,) the kernel that this one is a multiple of, itself if of none before it
    scale: F32  # (K,) the factor
    bound: F32  # (K,) largest error of a float32 response
    padding: int
    threshold: float
    divisor: float
    absolute: bool
    margin: float  # negative: filters do not compete
    radius: int  # negative: no normalisation
    even: bool


def pack_kernels(kernels: F32, *, brightest: float) -> tuple[F32, I64, I64, F32, F32]:
    """The first five fields of Tables from kernels (K, n, n), for pixels up to `brightest`."""
    window = kernels.shape[1]
    taps = np.zeros((len(kernels), window, -(-window // 4) * 4), np.float32)
    sizes = np.array([window - 2 * _border(kernel) for kernel in kernels])
    for k, (kernel, size) in enumerate(zip(kernels, sizes, strict=True)):
        border = (window - size) // 2
        taps[k, :size, :size] = kernel[border : border + size, border : border + size]
    multiples = [_multiple_of(kernels, k) for k in range(len(kernels))]
    base, scale = np.array([b for b, _ in multiples]), np.array([s for _, s in multiples], np.float32)
    steps = sizes**2 + 8  # roundings on the way to a response, generously
    bound = steps * 2.0**-24 * np.abs(kernels).sum((1, 2), dtype=np.float64) * brightest
    return taps, sizes, base, scale, bound.astype(np.float32)


def _border(kernel: F32) -> int:
    """Width of the frame of zeros around a kernel."""
    used = np.argwhere(kernel)
    return min(used.min(), len(kernel) - 1 - used.max()) if len(used) else len(kernel) // 2


def _multiple_of(kernels: F32, k: int) -> tuple[int, float]:
    """The first kernel that kernel k is a multiple of, up to the rounding of its entries, and the factor."""
    kernel = kernels[k].astype(np.float64)
    for j in range(k):
        other = kernels[j].astype(np.float64)
        factor = (kernel * other).sum() / (other * other).sum()
        if np.allclose(kernel, factor * other, rtol=2e-7, atol=1e-12):
            return j, factor
    return k, 1.0


@_jit
def encode_images(images: F32, tables: Tables, steps: int) -> U8:
    """Latencies uint8 (N, C, H', W') of images (N, P, H, W)."""
    count, planes, height, width = images.shape
    filters, window = tables.taps.shape[:2]
    rows, cols = height + 2 * tables.padding - window + 1, width + 2 * tables.padding - window + 1
    wide = (cols + _LANES - 1) // _LANES * _LANES
    channels, cells = filters * planes, filters * planes * rows * cols
    frame = np.zeros((height + 2 * tables.padding, wide + window + 3), np.float32)
    used = np.zeros(len(frame), np.bool_)
    response, filled = np.zeros((channels, rows, wide), np.float32), np.zeros((channels, rows), np.bool_)
    level = np.zeros((rows, wide), np.float32)
    column, change = np.zeros(wide + 3 * max(tables.radius, 0) + 1), np.zeros(wide)
    keys, places = np.empty((2, cells + 1), np.uint32), np.empty((2, cells + 1), np.uint32)
    digits = np.empty((3, 2048), np.int64)
    latency = np.full((count, cells), NEVER, np.uint8)
    for i in range(count):
        for plane in range(planes):
            _load(images[i, plane], tables.padding, tables.divisor, frame, used)
            for k in range(filters):
                here, base = k * planes + plane, tables.base[k] * planes + plane
                if tables.base[k] == k:
                    _correlate(frame, used, tables.taps[k], tables.sizes[k], response[here], filled[here])
                else:
                    _multiply(response[base], filled[base], tables.scale[k], response[here], filled[here])
            for k in range(filters):
                here = k * planes + plane
                _threshold(response[here], filled[here], cols, frame, tables, k)
            if tables.margin >= 0:
                _keep_strongest(response[plane::planes], cols, tables.margin)
        found = 0
        for channel in range(channels):
            intensity = response[channel]
            if tables.radius >= 0:
                _normalise(intensity, filled[channel], tables.radius, column, change, level)
                intensity = level
            found = _collect(
                intensity, filled[channel], cols, channel * rows * cols, found, keys[0], places[0]
            )
        _fire(_sort(keys, places, found, digits), found, steps, tables.even, latency[i])
    return latency.reshape(count, channels, rows, cols)


@_jit
def _load(image: NDArray, padding: int, divisor: float, frame: F32, used: Flags) -> None:
    """The image into the middle of its frame; used: rows that are not all zero."""
    height, width = image.shape
    scale = np.float32(divisor)
    for r in range(height):
        row = frame[padding + r, padding : padding + width]
        nonzero = 0
        for q in range(width):
            nonzero += image[r, q] != 0
            row[q] = np.float32(image[r, q]) / scale
        used[padding + r] = nonzero > 0


@_jit
def _correlate(frame: F32, used: Flags, taps: F32, size: int, response: F32, filled: Flags) -> None:
    """Response of one kernel; filled: output rows that see a used row."""
    offset = (taps.shape[0] - size) // 2
    rows, wide = response.shape
    for r in range(rows):
        out = response[r]
        out[:] = 0
        filled[r] = False
        for i in range(size):
            if not used[r + offset + i]:
                continue
            filled[r] = True
            for j in range((size + 3) // 4):
                line, tap = frame[r + offset + i, offset + 4 * j :], taps[i, 4 * j :]
                a, b, c, d = tap[0], tap[1], tap[2], tap[3]
                for q in range(wide):
                    out[q] += a * line[q] + b * line[q + 1] + c * line[q + 2] + d * line[q + 3]


@_jit
def _multiply(source: F32, source_filled: Flags, factor: float, response: F32, filled: Flags) -> None:
    filled[:] = source_filled
    for r in range(len(response)):
        row, out = source[r], response[r]
        for q in range(len(out)):
            out[q] = factor * row[q]


@_jit
def _threshold(response: F32, filled: Flags, cols: int, frame: F32, tables: Tables, k: int) -> None:
    """Responses below the threshold become 0; those too near it for float32 are summed again in float64."""
    threshold, bound = np.float32(tables.threshold), tables.bound[k]
    for r in range(len(response)):
        if not filled[r]:
            continue
        row = response[r]
        row[cols:] = 0
        near = 0
        for q in range(len(row)):
            row[q] = abs(row[q]) if tables.absolute else row[q]
            near += abs(row[q] - threshold) <= bound
        if near > 0:
            for q in range(cols):
                if abs(row[q] - threshold) <= bound:
                    row[q] = _above(_exact(frame, tables.taps[k], tables.sizes[k], r, q), tables)
        above = 0
        for q in range(len(row)):
            row[q] = row[q] if row[q] >= threshold else np.float32(0)
            above += row[q] > 0
        filled[r] = above > 0


@_jit
def _above(response: float, tables: Tables) -> float:
    response = abs(response) if tables.absolute else response
    return np.float32(response) if response >= tables.threshold else np.float32(0)


@_jit
def _exact(frame: F32, taps: F32, size: int, r: int, q: int) -> float:
    """One response in float64."""
    offset = (taps.shape[0] - size) // 2
    total = 0.0
    for i in range(size):
        for j in range(size):
            total += np.float64(taps[i, j]) * np.float64(frame[r + offset + i, q + offset + j])
    return total


@_jit
def _keep_strongest(response: F32, cols: int, margin: float) -> None:
    """At each place the lowest filter within `margin` of the largest response stays, the others become 0."""
    filters, rows, _ = response.shape
    for r in range(rows):
        for q in range(cols):
            largest = response[:, r, q].max()
            found = False
            for k in range(filters):
                stays = not found and response[k, r, q] >= largest - np.float32(margin)
                found |= stays
                response[k, r, q] = response[k, r, q] if stays else 0


@_jit
def _normalise(response: F32, filled: Flags, radius: int, column: F64, change: F64, level: F32) -> None:
    """level = response / mean of the square of `radius` around, zeros beyond the border; only filled rows.

    column[2 radius + 1 + q] is the sum of column q over the rows of the square, between zeros; change[q] is
    what the square's sum changes by when it moves from q - 1 to q.
    """
    rows, wide = response.shape
    middle, lead, trail = column[2 * radius + 1 :], column[3 * radius + 1 :], column[radius:]
    share = 1.0 / (2 * radius + 1) ** 2
    column[:] = 0
    for r in range(-radius, rows):
        if r + radius < rows and filled[r + radius]:
            _add(response[r + radius], 1.0, middle)
        if r > radius and filled[r - radius - 1]:
            _add(response[r - radius - 1], -1.0, middle)
        if r < 0 or not filled[r]:
            continue
        for q in range(wide):
            change[q] = lead[q] - trail[q]
        total = 0.0
        for q in range(radius):
            total += middle[q]
        out, row = level[r], response[r]
        for q in range(wide):
            total += change[q]
            out[q] = total * share + 1e-12
        for q in range(wide):
            out[q] = row[q] / out[q]


@_jit
def _add(row: F32, sign: float, total: F64) -> None:
    for q in range(len(row)):
        total[q] += sign * row[q]


@_jit
def _collect(intensity: F32, filled: Flags, cols: int, first: int, found: int, keys: U32, places: U32) -> int:
    """Appends the non-zero intensities to the `found` there: their bits, complemented, and flat indices."""
    bits = intensity.view(np.uint32)
    for r in range(len(filled)):
        if filled[r]:
            for q in range(cols):
                keys[found] = ~bits[r, q]
                places[found] = first + r * cols + q
                found += bits[r, q] != 0
    return found


@_jit
def _sort(keys: U32, places: U32, count: int, digits: I64) -> U32:
    """Places in ascending order of their keys, equal keys in the order given: three passes of a radix sort.

    keys, places (2, cells): row 0 is the input, both rows are overwritten. digits: scratch (3, 2048).
    """
    digits[:] = 0
    for i in range(count):
        key = keys[0, i]
        for d in range(3):
            digits[d, (key >> (11 * d)) & 2047] += 1
    for d in range(3):
        total = 0
        for value in range(2048):
            total, digits[d, value] = total + digits[d, value], total
    for d in range(3):
        source, target = d % 2, 1 - d % 2
        for i in range(count):
            key = keys[source, i]
            digit = (key >> (11 * d)) & 2047
            rank = digits[d, digit]
            digits[d, digit] = rank + 1
            keys[target, rank], places[target, rank] = key, places[source, i]
    return places[1]


@_jit
def _fire(order: U32, count: int, steps: int, even: bool, latency: U8) -> None:
    """Latencies by rank: see firstspike.coding.rank_code."""
    if even:
        scale, total = np.float32(steps + 1e-5), np.float32(count)
        for rank in range(count):
            step = int(np.float32(rank) * scale / total)
            latency[order[rank]] = step if step < steps else NEVER
        return
    size = max(1, count // steps)
    for step in range(min(steps, count)):
        for rank in range(step * size, (step + 1) * size):
            latency[order[rank]] = step
