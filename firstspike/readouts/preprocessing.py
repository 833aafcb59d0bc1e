"""From images to input latencies of STDP-CSNN: filters, scaling by the training set's extremes, latencies.

N images; C colours; X, Y, Z rows, columns, channels of the latencies. Pixels are uint8 / 255.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from firstspike.errors import UserError
from firstspike.kernels import patches
from firstspike.threads import available, in_chunks

CHUNK = 100  # images a thread takes at a time
LEAST_MAXIMUM = np.float32(1.1754944e-38)  # where the running maximum of a feature starts, as published
MOST_PATCHES = 1_000_000  # after which whitening looks at no further image
EPS = 0.01  # added to the variances before whitening


def difference_of_gaussians(size: int = 7, centre: float = 1.0, surround: float = 2.0) -> np.ndarray:
    """Give the on-filter float32 (1, size, size, 1): two Gaussians, each of sum 1, one minus the other."""
    offset = np.arange(size) + 0.5 - size / 2
    square = offset[:, None] ** 2 + offset[None, :] ** 2
    gaussians = [np.exp(-square / (2 * sigma**2)) for sigma in (centre, surround)]
    difference = gaussians[0] / gaussians[0].sum() - gaussians[1] / gaussians[1].sum()
    return difference.astype(np.float32)[None, :, :, None]


def whitening_filters(
    images: np.ndarray, *, size: int = 9, stride: int = 2, eps: float = EPS, most: int = MOST_PATCHES
) -> np.ndarray:
    """Fit whitening filters to images in file order, float32 (C, size, size, C): one for each colour.

    `images` (N, A, B, C), uint8 or floats from 0 to 1. Patches at every stride are taken until there are
    `most`, tested before each image; the filter of a colour is the row of (covariance + eps)^(-1/2), the
    symmetric root, that belongs to the centre pixel, minus its own mean. Falez (2019), Goupy et al. (2024).
    """
    colours = images.shape[3]
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]  # (N, rows, columns, C, size, size)
    per_image = windows.shape[1] * windows.shape[2]
    used = min(len(images), -(-most // per_image))
    total, products = np.zeros(size * size * colours), np.zeros((size * size * colours,) * 2)
    for start in range(0, used, CHUNK):
        block = windows[start : min(start + CHUNK, used)].transpose(0, 1, 2, 4, 5, 3)
        flat = as_floats(block).reshape(-1, len(total)).astype(np.float64)
        total += flat.sum(axis=0)
        products += flat.T @ flat
    mean = total / (used * per_image)
    covariance = products / (used * per_image) - np.outer(mean, mean)
    values, vectors = np.linalg.eigh(covariance + eps * np.eye(len(total)))
    root = vectors / np.sqrt(values) @ vectors.T
    centre = (size // 2 * size + size // 2) * colours
    rows = root[centre : centre + colours]
    filters = rows - rows.mean(axis=1, keepdims=True)
    return filters.reshape(colours, size, size, colours).astype(np.float32)


def as_floats(images: np.ndarray) -> np.ndarray:
    """Give pixels as float32 from 0 to 1: uint8 / 255, floats as they are."""
    return images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else np.float32(images)


@dataclass(frozen=True)
class Coding:
    """Filters, and the extremes of every filtered feature over the training images.

    `filters` float32 (O, A, B, C), applied to all C colours, or to each alone where C = 1; every output makes
    two channels, its positive and its negative part. `minimum`, `maximum` float32 (X, Y, Z).
    """

    filters: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Give the shape (X, Y, Z) of a coded image."""
        return self.minimum.shape

    def filtered(self, images: np.ndarray) -> np.ndarray:
        """Filter images (N, H, W) or (N, C, H, W): float32 (N, X, Y, Z), channels on, off, on, off ..."""
        return apply_filters(images, self.filters)

    def scaled(self, filtered: np.ndarray) -> np.ndarray:
        """Bring each feature to 0 ... 1 over the training images; 0 where it was constant."""
        span = self.maximum - self.minimum
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return np.where(span == 0, np.float32(0), (filtered - self.minimum) / span)

    def times(self, images: np.ndarray) -> np.ndarray:
        """Code images as spike times, float32 (N, X, Y, Z): 1 - the scaled value, at least 0; 1 = silent."""
        scaled = self.scaled(self.filtered(images))
        return np.clip(np.float32(1) - scaled, np.float32(0), np.float32(1))

    def arrays(self) -> dict[str, np.ndarray]:
        """Give the arrays by name, for a checkpoint."""
        return {"filters": self.filters, "minimum": self.minimum, "maximum": self.maximum}

    def with_arrays(self, arrays: dict[str, np.ndarray]) -> "Coding":
        """Give the coding with arrays from a checkpoint."""
        return replace(self, **{name: arrays[name].copy() for name in self.arrays()})


def apply_filters(images: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Filter images and part the signs: see `Coding.filtered`."""
    planes = as_floats(images if images.ndim == 4 else images[:, None])
    if filters.shape[3] != 1 and filters.shape[3] != planes.shape[1]:
        raise UserError(f"images of {planes.shape[1]} colours; the filters are for {filters.shape[3]}")
    groups = planes[:, :, None] if filters.shape[3] == 1 else planes[:, None]  # (N, groups, colours, H, W)
    count, outputs = planes.shape[0], groups.shape[1] * len(filters)
    values = np.empty((count, outputs, *planes.shape[2:]), np.float32)
    for n in range(count):
        for g in range(groups.shape[1]):
            part = values[n, g * len(filters) : (g + 1) * len(filters)]
            patches.correlate(np.ascontiguousarray(groups[n, g]), filters, part)
    both = np.stack([np.maximum(values, 0), np.maximum(-values, 0)], axis=2)
    return np.ascontiguousarray(both.reshape(count, outputs * 2, *planes.shape[2:]).transpose(0, 2, 3, 1))


def fit_coding(images: np.ndarray, filters: np.ndarray, *, threads: int | None = None) -> Coding:
    """Find the extremes of every feature over the training images (N, H, W) or (N, C, H, W)."""
    blank = apply_filters(images[:1], filters)[0]
    lowest, highest = np.full_like(blank, np.finfo(np.float32).max), np.full_like(blank, LEAST_MAXIMUM)
    found = []

    def run(rows: slice) -> None:
        values = apply_filters(images[rows], filters)
        found.append((values.min(axis=0), values.max(axis=0)))

    in_chunks(run, len(images), threads=threads or available(), chunk=CHUNK)
    for low, high in found:
        lowest, highest = np.minimum(lowest, low), np.maximum(highest, high)
    return Coding(filters, lowest, highest)


def code_all(
    coding: Coding,
    images: np.ndarray,
    *,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Code many images on all cores, float32 (N, X, Y, Z)."""
    out = np.empty((len(images), *coding.shape), np.float32)

    def run(rows: slice) -> None:
        out[rows] = coding.times(images[rows])
        if progress:
            progress(rows.stop)

    in_chunks(run, len(images), threads=threads or available(), chunk=CHUNK)
    return out


def published_whitening(images: np.ndarray) -> np.ndarray:
    """Fit whitening as published for CIFAR, images (N, C, H, W): rows and columns exchanged in the fit alone.

    The published fitting program read images the other way round than the extraction. The filters are nearly
    symmetric, so little depends on it.
    """
    return whitening_filters(images.transpose(0, 3, 2, 1))
