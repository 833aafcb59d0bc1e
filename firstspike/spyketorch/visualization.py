"""SpykeTorch's visualization module: tensors as pictures, features of deep layers drawn back into the input.

C maps below, M maps of the layer, h rows, w columns. matplotlib is imported when a picture is made.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def show_tensor(aTensor: Tensor, _vmin: float | None = None, _vmax: float | None = None) -> None:
    """A new figure with the tensor (h, w) in grey and a colour bar."""
    import matplotlib.pyplot as plt

    plt.figure()
    plt.imshow(aTensor.detach().cpu().numpy(), cmap="gray", vmin=_vmin, vmax=_vmax)
    plt.colorbar()
    plt.show()


def plot_tensor_in_image(
    fname: str | os.PathLike[str],
    aTensor: Tensor,
    _vmin: float | None = None,
    _vmax: float | None = None,
) -> None:
    """The tensor (h, w) as a grey image file, a pixel a cell, scaled to its own range where None is given."""
    from matplotlib.image import imsave

    imsave(fname, aTensor.detach().cpu().numpy(), cmap="gray", vmin=_vmin, vmax=_vmax)


def get_deep_receptive_field(*layers_details: tuple[int, int, int, int]) -> tuple[int, int]:
    """(h, w) of the input that a neuron sees through layers (height, width, row_stride, col_stride).

    Layers stand in order from the input to the output.
    """
    h = w = 1
    for height, width, row_stride, col_stride in reversed(layers_details):
        h, w = height + (h - 1) * row_stride, width + (w - 1) * col_stride
    return h, w


def get_deep_feature(
    pre_feature: Tensor,
    feature_stride: Sequence[int],
    window_size: Sequence[int],
    stride: Sequence[int],
    weights: Tensor | None = None,
) -> tuple[Tensor, tuple[int, int]]:
    """Features one layer higher, drawn in the input, and the new stride: (C, h, w) -> (M, h', w').

    feature_stride is the stride in the input of all layers below, stride that of this layer. Without weights
    (pooling) the features stay in the middle of the wider field. With weights (M, C, kh, kw) each window cell
    adds, at its place, the largest weight * feature over C; what remains below 0 is 0.
    """
    (row_stride, col_stride), (rows, cols) = feature_stride, window_size
    height, width = pre_feature.shape[1:]
    field = (height + (rows - 1) * row_stride, width + (cols - 1) * col_stride)
    new_stride = (row_stride * stride[0], col_stride * stride[1])
    if weights is None:
        top, left = (new // 2 - old // 2 for new, old in zip(field, (height, width), strict=True))
        frame = (left, field[1] - width - left, top, field[0] - height - top)
        return F.pad(pre_feature, frame), new_stride
    feature = pre_feature.new_zeros(len(weights), *field)
    for r in range(rows):
        for c in range(cols):
            strongest = (weights[:, :, r, c, None, None] * pre_feature).amax(1)  # (M, h, w)
            top, left = r * row_stride, c * col_stride
            feature[:, top : top + height, left : left + width] += strongest
    return feature.clamp(min=0), new_stride
