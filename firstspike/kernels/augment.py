"""Turned, shifted, mirrored and scaled copies of images, by nearest neighbour.

Letters: N images, C channels, H rows, W columns, K planes that move together.
"""

from __future__ import annotations

import math

import numpy as np

from firstspike.kernels.jit import compiled


@compiled
def transform(
    images: np.ndarray, degrees: np.ndarray, shifts: np.ndarray, flips: np.ndarray, out: np.ndarray
) -> None:
    """Write to `out` each image turned by `degrees` (N,) counter-clockwise, then shifted, mirrored, flipped.

    `images`, `out`: uint8 (N, C, H, W); `shifts`: int64 (N, 2), down and right; `flips`: bool (N, 2),
    columns reversed and rows reversed. The image turns about its centre, source = floor(position + 0.5);
    what comes from outside is 0.
    """
    count, channels, rows, columns = images.shape
    middle_row, middle_column = 0.5 * (rows - 1), 0.5 * (columns - 1)
    for n in range(count):
        sine, cosine = math.sin(math.radians(degrees[n])), math.cos(math.radians(degrees[n]))
        for r in range(rows):
            y = (rows - 1 - r if flips[n, 1] else r) - shifts[n, 0] - middle_row
            for c in range(columns):
                x = (columns - 1 - c if flips[n, 0] else c) - shifts[n, 1] - middle_column
                row = math.floor(middle_row + cosine * y + sine * x + 0.5)
                column = math.floor(middle_column - sine * y + cosine * x + 0.5)
                inside = 0 <= row < rows and 0 <= column < columns
                for ch in range(channels):
                    out[n, ch, r, c] = images[n, ch, row, column] if inside else 0


@compiled
def affine(
    images: np.ndarray, lengths: np.ndarray, shifts: np.ndarray, scales: np.ndarray, out: np.ndarray
) -> None:
    """Write to `out` each image scaled about its middle and shifted, all its planes alike.

    out(r, c) = in(rint((r - m_r - s_r) / scale + m_r), rint((c - m_c - s_c) / scale + m_c)), rint to
    even, m the middle; what comes from outside is 0. `images`, `out` (N, K, H, W); of its H rows image n
    has `lengths[n]`; `shifts` (N, 2) down and right.
    """
    count, planes, rows, columns = images.shape
    middle_column = 0.5 * (columns - 1)
    for n in range(count):
        middle_row = 0.5 * (lengths[n] - 1)
        for r in range(rows):
            row = np.rint((r - middle_row - shifts[n, 0]) / scales[n] + middle_row)
            for c in range(columns):
                column = np.rint((c - middle_column - shifts[n, 1]) / scales[n] + middle_column)
                inside = r < lengths[n] and 0 <= row < lengths[n] and 0 <= column < columns
                for k in range(planes):
                    out[n, k, r, c] = images[n, k, np.int64(row), np.int64(column)] if inside else 0
