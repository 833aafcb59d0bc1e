"""Turned, shifted and mirrored copies of images, by nearest neighbour.

Letters: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import math

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
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
