"""What every image data set comes down to: arrays, labels and the names of the classes.

Letters: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from firstspike.errors import UserError


class DataMissing(UserError):
    """Files of a data set are neither on disk nor to be had from the network."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels of a training and a test set.

    `train_images`, `test_images`: uint8 (N, H, W) or (N, C, H, W); labels: int64 (N,), indices into
    `class_names`. `mirror` says whether an augmentation may mirror the images. Where `latency_steps` is set,
    the arrays are not pictures but latencies in that many steps (255 = never), made from events: they need no
    encoder. `skipped` counts bad recordings that were left out.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    mirror: bool = False
    latency_steps: int | None = None
    skipped: int = 0

    def __post_init__(self) -> None:
        for part, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            _check_part(f"{self.name} ({part})", images, labels, self.class_names)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """Number of colour planes (or polarities): 1 for grey images."""
        return self.train_images.shape[1] if self.train_images.ndim == 4 else 1

    @property
    def image_size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.train_images.shape[-2], self.train_images.shape[-1]


def _check_part(what: str, images: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]) -> None:
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise UserError(
            f"{what}: images must be uint8 (N, H, W) or (N, C, H, W), not {images.dtype} {images.shape}"
        )
    if len(images) != len(labels):
        raise UserError(
            f"{what}: {len(images)} images but {len(labels)} labels; the files do not belong together"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(class_names):
        found, most = f"{labels.min()} to {labels.max()}", len(class_names) - 1
        raise UserError(f"{what}: labels run from {found}, allowed are 0 to {most}; fetch the files again")


def choose_classes(dataset: Dataset, classes: list[int], *, name: str) -> Dataset:
    """The images of some classes, which are numbered anew in the order given."""
    parts = {}
    for part in ("train", "test"):
        images, labels = getattr(dataset, f"{part}_images"), getattr(dataset, f"{part}_labels")
        rows = np.flatnonzero(np.isin(labels, classes))
        new = np.array([classes.index(label) for label in labels[rows]], np.int64)
        parts |= {f"{part}_images": images[rows], f"{part}_labels": new}
    names = tuple(dataset.class_names[label] for label in classes)
    return replace(dataset, name=name, class_names=names, **parts)


def resized(dataset: Dataset, size: tuple[int, int]) -> Dataset:
    """The same data set with every image brought to `size` (rows, columns), bilinearly as Pillow does."""
    if dataset.image_size == size:
        return dataset
    return replace(
        dataset,
        train_images=resize(dataset.train_images, size),
        test_images=resize(dataset.test_images, size),
    )


def resize(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 images (..., H, W) -> (..., *size), each plane by Pillow's bilinear filter."""
    from PIL import Image

    planes = images.reshape(-1, *images.shape[-2:])
    out = np.empty((len(planes), *size), np.uint8)
    for n, plane in enumerate(planes):
        out[n] = Image.fromarray(plane).resize(size[::-1], Image.Resampling.BILINEAR)
    return out.reshape(*images.shape[:-2], *size)


def as_size(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """`28` or `(28, 32)` -> (rows, columns); refuses anything that is not positive."""
    rows, columns = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if min(rows, columns) < 1:
        raise UserError(f"image size {rows}x{columns}: both sides must be at least 1")
    return int(rows), int(columns)
