"""Augmentation: a new copy of each image for every epoch, a function of (seed, epoch, index) alone."""

from __future__ import annotations

import numpy as np

from firstspike.data.splits import stream
from firstspike.errors import UserError
from firstspike.kernels.augment import transform

DRAWS = 5  # uniform numbers an image takes: angle, shift down, shift right, mirror, flip


def augment(
    images: np.ndarray,
    index: np.ndarray,
    *,
    seed: int,
    epoch: int,
    rotation: float = 30.0,
    shift: int = 2,
    mirror: bool = False,
    flip: bool = False,
) -> np.ndarray:
    """Copies of uint8 `images` (N, H, W) or (N, C, H, W), turned, shifted and, if asked, mirrored.

    `index` (N,) holds the images' places in the data set: image n is a function of (seed, epoch,
    index[n]), so a batch gives what its images give alone. Angle: uniform in +-`rotation` degrees,
    nearest neighbour, black corners; shift: uniform in +-`shift` whole pixels on both axes; `mirror` and
    `flip`: columns, rows reversed with chance 1/2.
    """
    index = np.asarray(index, np.int64)
    if index.shape != images.shape[:1]:
        raise UserError(f"augment: {len(images)} images but an index of shape {index.shape}")
    draws = _uniform(index, seed=seed, epoch=epoch)  # (N, DRAWS)
    planes = np.ascontiguousarray(images.reshape(len(images), -1, *images.shape[-2:]))  # (N, C, H, W)
    out = np.empty_like(planes)
    transform(
        planes,
        (2 * draws[:, 0] - 1) * rotation,
        np.floor(draws[:, 1:3] * (2 * shift + 1)).astype(np.int64) - shift,
        (draws[:, 3:5] < 0.5) & np.array([mirror, flip]),
        out,
    )
    return out.reshape(images.shape)


def _uniform(index: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """Uniform numbers (N, DRAWS): row n is number index[n] in the stream of (seed, epoch)."""
    if not len(index):
        return np.empty((0, DRAWS))
    if index.min() < 0:
        raise UserError("augment: an index below 0")
    return stream(seed, "augment", epoch).random((int(index.max()) + 1, DRAWS))[index]
