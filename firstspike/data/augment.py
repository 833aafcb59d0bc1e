"""Augmentation: a new copy of each sample for every epoch, a function of (seed, epoch, index) alone.

Letters: N samples, T steps, C channels, H rows, W columns, P polarities.
"""

from __future__ import annotations

import numpy as np

from firstspike.data.splits import stream
from firstspike.errors import UserError
from firstspike.kernels.augment import affine, transform

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
    draws = _uniform("augment", index, seed=seed, epoch=epoch)  # (N, DRAWS)
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


def move_spikes(
    counts: np.ndarray,
    index: np.ndarray,
    lengths: np.ndarray,
    *,
    seed: int,
    epoch: int,
    shift: float = 0.05,
    scale: float = 0.15,
) -> np.ndarray:
    """Copies of spike counts (N, T, C), moved by whole channels and stretched about their middle.

    Sample n, of `lengths[n]` steps, is taken as an image of time and channel: shifted by
    round(U(-shift C, shift C)) channels, scaled on both axes by U(1 - scale, 1 + scale), nearest neighbour;
    spikes that leave it are lost. A function of (seed, epoch, index[n]) for each sample.
    """
    draws = _uniform("move spikes", np.asarray(index, np.int64), seed=seed, epoch=epoch)
    shifts = np.zeros((len(counts), 2))
    shifts[:, 1] = np.rint((2 * draws[:, 0] - 1) * shift * counts.shape[2])
    out = np.empty_like(counts)
    affine(counts[:, None], np.asarray(lengths), shifts, 1 + (2 * draws[:, 1] - 1) * scale, out[:, None])
    return out


def move_frames(
    frames: np.ndarray,
    index: np.ndarray,
    *,
    seed: int,
    epoch: int,
    shift: float = 0.05,
    scale: float = 0.15,
    mirror: bool = False,
) -> np.ndarray:
    """Copies of frames (N, T, P, H, W), shifted by whole pixels, scaled and, if asked, mirrored with chance 1/2, all
    frames of a sample alike.
    """
    n, steps, polarities, rows, columns = frames.shape
    draws = _uniform("move frames", np.asarray(index, np.int64), seed=seed, epoch=epoch)
    shifts = np.rint((2 * draws[:, :2] - 1) * shift * np.array([rows, columns]))
    out = np.empty_like(frames)
    planes = (n, steps * polarities, rows, columns)
    scales = 1 + (2 * draws[:, 2] - 1) * scale
    affine(frames.reshape(planes), np.full(n, rows), shifts, scales, out.reshape(planes))
    mirrored = (draws[:, 3] < 0.5) & mirror
    out[mirrored] = out[mirrored, ..., ::-1]
    return out


def _uniform(name: str, index: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """Uniform numbers (N, DRAWS): row n is number index[n] in the stream of (seed, name, epoch)."""
    if not len(index):
        return np.empty((0, DRAWS))
    if index.min() < 0:
        raise UserError("augment: an index below 0")
    return stream(seed, name, epoch).random((int(index.max()) + 1, DRAWS))[index]
