"""S1C1: images to latencies, the first two stages of the ventral stream.

    from s1c1 import S1C1
    latencies = S1C1()(digits)                  # uint8 (N, 28, 28)    -> uint8 (N, 6, 28, 28), T = 15
    latencies = S1C1("colour")(photographs)     # uint8 (N, 3, 32, 32) -> uint8 (N, 18, 34, 34), T = 20

S1 cells are difference-of-Gaussians or Gabor filters; C1 turns their local contrast into time: the stronger,
the earlier (Mozafari et al. 2019, section 2.1). Latency 255 is a cell that never fires.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from firstspike.coding import BANKS, MAX_STEPS, Bank, encode, encode_compiled
from firstspike.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Images = TypeVar("Images", NDArray, "Tensor")

ENCODER_VERSION = 1  # raise it when a change gives other latencies: caches of older ones are then left alone


@dataclass(frozen=True)
class S1C1:
    """An encoder: callable on uint8 images (N, H, W) or (N, P, H, W), gives uint8 latencies (N, C, H', W').

    filters: a name in firstspike.coding.BANKS. steps: T, 1 to 255. image_channels: P. Both are the bank's own
    if not given (15 and 1; colour 20 and 3). planes: "separate" applies filter k to plane p alone and gives
    channel k * P + p; "sum" applies it to the sum of all planes, as the encoder of the original zoo does;
    "grey" turns colours into one grey plane first, by the weights of ITU-R BT.601.
    threads: on the CPU; they change nothing but the time.
    """

    filters: str = "dog"
    steps: int | None = field(default=None, kw_only=True)
    image_channels: int | None = field(default=None, kw_only=True)
    planes: str = field(default="separate", kw_only=True)
    threads: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        if self.filters not in BANKS:
            raise UserError(f"unknown filters {self.filters!r}: choose one of {', '.join(BANKS)}")
        if self.planes not in PLANES:
            raise UserError(f"planes={self.planes!r}: choose one of {', '.join(PLANES)}")
        bank = BANKS[self.filters]()
        object.__setattr__(self, "steps", bank.steps if self.steps is None else self.steps)
        planes = bank.planes if self.image_channels is None else self.image_channels
        object.__setattr__(self, "image_channels", planes)
        if not 1 <= self.steps <= MAX_STEPS:
            raise UserError(f"steps={self.steps}: a latency is one byte, so choose 1 to {MAX_STEPS}")
        if self.image_channels < 1:
            raise UserError(f"image_channels={self.image_channels}: an image has at least one")
        if self.planes == "grey" and self.image_channels != 3:
            raise UserError(
                f'planes="grey" with image_channels={self.image_channels}: it takes the 3 of a colour'
            )

    @cached_property
    def bank(self) -> Bank:
        """The filters and all their settings."""
        return replace(BANKS[self.filters](), planes=self._coded_planes)

    @property
    def _coded_planes(self) -> int:
        return 1 if self.planes == "grey" else self.image_channels

    @property
    def channels(self) -> int:
        """C, the number of channels of the latencies."""
        return len(self.bank.kernels) * self._coded_planes

    @property
    def key(self) -> str:
        """Names all settings and the encoder's version: equal keys, equal latencies."""
        return f"s1c1-{ENCODER_VERSION}-{self.filters}-{self.bank.digest}-T{self.steps}-{self.planes}"

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the latencies of an image; UserError if it is smaller than the filters."""
        return self.bank.output_size(height, width)

    def __call__(self, images: Images) -> Images:
        """Latencies of `images`, values 0 to 255: array in, array out; tensor in, tensor on its device out.

        UserError if the number of axes or planes, the size or a value (NaN too) is not what it must be.
        """
        torch = sys.modules.get("torch")  # a tensor can only come from a program that has imported torch
        if torch is None or not isinstance(images, torch.Tensor):
            return encode_compiled(
                self._planes(np.asarray(images)), self.bank, steps=self.steps, threads=self.threads
            )
        if images.device.type == "cpu":
            return torch.from_numpy(self(images.numpy()))
        return encode(self._planes(images), self.bank, steps=self.steps)

    def _planes(self, images: Images) -> Images:
        """The images as (N, P, H, W), uint8 or float32, checked."""
        images = images[:, None] if images.ndim == 3 else images
        if images.ndim != 4:
            raise UserError(f"images of shape {tuple(images.shape)}: give (N, H, W) or (N, planes, H, W)")
        if images.shape[1] != self.image_channels:
            raise UserError(
                f"images with {images.shape[1]} planes, but this encoder takes {self.image_channels}: "
                'give image_channels=..., or filters="colour" for colour images'
            )
        self.output_size(*images.shape[2:])
        images = images if str(images.dtype).endswith("uint8") else _pixels(images)
        return PLANES[self.planes](images)


def _pixels(images: Images) -> Images:
    """Images of another type than uint8 as float32, if their values are those of pixels."""
    images = _floats(images)
    if len(images) == 0:
        return images
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 255):
        raise UserError(
            f"pixels from {low:g} to {high:g}: they must be numbers from 0 to 255, none of them NaN"
        )
    if 0 < high <= 1:
        raise UserError(f"pixels end at {high:g}: they run from 0 to 255 here, so multiply these by 255")
    return images


def _summed(images: Images) -> Images:
    """Each plane replaced by the sum of all."""
    return _floats(images).sum(1)[:, None][:, [0] * images.shape[1]]


def _grey(images: Images) -> Images:
    """One plane of grey, as Pillow's mode L has it."""
    red, green, blue = (
        (images[:, c] + 0.5).astype(np.int32)
        if isinstance(images, np.ndarray)
        else (images[:, c] + 0.5).int()
        for c in range(3)
    )
    grey = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    return grey[:, None].astype(np.uint8) if isinstance(images, np.ndarray) else grey[:, None].byte()


def _floats(images: Images) -> Images:
    return images.astype(np.float32) if isinstance(images, np.ndarray) else images.float()


PLANES = {"separate": lambda images: images, "sum": _summed, "grey": _grey}
