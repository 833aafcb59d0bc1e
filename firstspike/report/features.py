"""What a layer learnt, drawn back into the input through the layers below it.

A chain names the layers from the input upwards, as plain tuples:
    ("weights", array (M, C, K, K))            a layer of features: the strongest input counts
    ("mean", array (M, C, K, K))               a decision layer: all inputs count
    ("signed", array (M, C, K, K))             a layer of signed weights on signed inputs: their sum
    ("pool", window, stride)
    ("branches", (chain, chain, ...))          parallel layers, joined along their maps
Padding moves features without changing them and has no entry.

M maps, C input channels, K kernel width, P planes of a picture (on, off), h and w size of a picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Chain = Sequence[tuple]


@dataclass(frozen=True)
class Pictures:
    """One picture for each plane and map, (P, M, h, w); `stride`: pixels between neighbouring neurons."""

    planes: np.ndarray
    stride: int = 1


def input_pictures(on: Sequence[Sequence[int]], off: Sequence[Sequence[int]], *, channels: int) -> Pictures:
    """The input itself: one bright pixel a channel, in a plane for each group of `on` and of `off` channels.

    `on` and `off` list one group of channel indices for each colour (one group for grey images).
    """
    groups = [group for pair in zip(on, off, strict=True) for group in pair]
    planes = np.zeros((len(groups), channels, 1, 1), np.float32)
    for plane, group in zip(planes, groups, strict=True):
        plane[list(group)] = 1.0
    return Pictures(planes)


def back_project(chain: Chain, pictures: Pictures) -> Pictures:
    """The pictures of the chain's last layer, from those of its input."""
    for kind, *details in chain:
        pictures = _STEPS[kind](pictures, *details)
    return pictures


def through_weights(pictures: Pictures, weights: np.ndarray) -> Pictures:
    """Pictures one convolution (stride 1) higher: weights (M, C, K, K).

    For each kernel cell, the strongest of (weight times picture) over the input maps is added at the cell's
    place; what stays below 0 is 0 (SpykeTorch's deep features, Mozafari et al. 2019).
    """
    planes = _spread(pictures, weights, _strongest)
    return Pictures(np.maximum(planes, 0, out=planes), pictures.stride)


def through_mean(pictures: Pictures, weights: np.ndarray) -> Pictures:
    """Pictures of a layer that weighs many overlapping inputs, as a decision layer: weights (M, C, K, K).

    A pixel is the mean weight of the synapses that see it, each counted as strongly as it sees it. There the
    strongest input alone says little, since some input of every place has a large weight.
    """
    seen = _spread(pictures, np.ones((1, *weights.shape[1:]), np.float32), _summed)
    weighed = _spread(pictures, weights, _summed)
    floor = 0.02 * seen.max(initial=1e-12)  # at the rim, where next to nothing is seen, a mean would be noise
    return Pictures(np.where(seen > floor, weighed / np.maximum(seen, floor), 0), pictures.stride)


def through_signed(pictures: Pictures, weights: np.ndarray) -> Pictures:
    """Pictures one layer of signed weights (M, C, K, K) higher: all that its neurons weigh, added up."""
    return Pictures(_spread(pictures, weights, _summed), pictures.stride)


def _spread(
    pictures: Pictures, weights: np.ndarray, combine: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Add, for each kernel cell, what `combine` makes of the pictures, at the cell's place in the field."""
    planes, stride = pictures.planes, pictures.stride
    (rows, columns), (height, width) = weights.shape[2:], planes.shape[2:]
    field = (height + (rows - 1) * stride, width + (columns - 1) * stride)
    out = np.zeros((len(planes), len(weights), *field), np.float32)
    for row, column in np.ndindex(rows, columns):
        top, left = row * stride, column * stride
        out[..., top : top + height, left : left + width] += combine(planes, weights[:, :, row, column])
    return out


def _strongest(planes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Each map's largest weight * picture: planes (P, C, h, w), weights (M, C) -> (P, M, h, w)."""
    best = weights[:, 0, None, None] * planes[:, None, 0]
    for channel in range(1, planes.shape[1]):
        np.maximum(best, weights[:, channel, None, None] * planes[:, None, channel], out=best)
    return best


def _summed(planes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Each map's sum of weight * picture: planes (P, C, h, w), weights (M, C) -> (P, M, h, w)."""
    return np.einsum("mc,pchw->pmhw", weights, planes, optimize=True)


def through_pool(pictures: Pictures, window: int, stride: int) -> Pictures:
    """Pictures one pooling higher: the same, in the middle of the larger field that the window sees."""
    planes = pictures.planes
    margin = (window - 1) * pictures.stride
    return Pictures(
        _centred(planes, planes.shape[2] + margin, planes.shape[3] + margin), pictures.stride * stride
    )


def through_branches(pictures: Pictures, chains: Sequence[Chain]) -> Pictures:
    """Pictures of parallel layers, one after the other along the maps, the smaller ones in the middle."""
    parts = [back_project(chain, pictures) for chain in chains]
    height, width = (max(part.planes.shape[axis] for part in parts) for axis in (2, 3))
    joined = np.concatenate([_centred(part.planes, height, width) for part in parts], axis=1)
    return Pictures(joined, parts[0].stride)


def _centred(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Zeros around pictures, up to the given size; an odd cell goes to the lower right."""
    old_height, old_width = planes.shape[2:]
    top, left = height // 2 - old_height // 2, width // 2 - old_width // 2
    sides = ((top, height - old_height - top), (left, width - old_width - left))
    return np.pad(planes, ((0, 0), (0, 0), *sides))


_STEPS = {
    "weights": through_weights,
    "mean": through_mean,
    "signed": through_signed,
    "pool": through_pool,
    "branches": through_branches,
}


def signed(pictures: Pictures) -> np.ndarray:
    """On minus off: (M, h, w) for grey, (M, h, w, colours) for several pairs of planes."""
    pairs = pictures.planes[0::2] - pictures.planes[1::2]
    return pairs[0] if len(pairs) == 1 else np.moveaxis(pairs, 0, -1)


def cropped(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of pictures (M, h, w, ...) that are larger than the input image itself."""
    top, left = (
        max(0, (size - limit) // 2) for size, limit in zip(images.shape[1:3], (height, width), strict=True)
    )
    return images[:, top : top + min(height, images.shape[1]), left : left + min(width, images.shape[2])]
