"""Augmentation and noise of the published experiments on batches of tensors: pure functions of the batch and a seed.

Moved and stretched recordings are firstspike.data.augment. N samples, T steps, U channels; images (N, C, H, W).
"""

import numpy as np
import torch
from torch.nn import functional

from firstspike.data.sequences import CIFAR_MEAN, CIFAR_STD
from firstspike.neurons import draws


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed & (2**63 - 1)))


def _uniforms(seed: draws.Seed, samples: int, count: int, device: torch.device) -> torch.Tensor:
    """Return (N, count) draws of each sample."""
    return draws.uniforms(draws.sample_keys(seed, samples), 1, count, torch.float32)[:, 0].to(device)


def flip_events(x: torch.Tensor, level: float | None, seed: draws.Seed) -> torch.Tensor:
    """Negate entries of (N, T, ...) with probability mean(x) 10^(-level / 20), level in dB: counts become 0, and 0
    becomes 1.

    None is no noise. Source: the robustness experiment of ParaLIF (2025); the mean is that of the whole batch.
    """
    if level is None:
        return x
    flat = x.flatten(2)
    chance = x.mean() * 10 ** (-level / 20)
    keys = draws.sample_keys(seed, x.shape[0]).to(x.device)
    u = draws.fast_uniforms(keys, x.shape[1], flat.shape[2], x.dtype)
    return torch.where(u < chance, (flat == 0).to(x.dtype), flat).view_as(x)


def mask_steps(x: torch.Tensor, seed: draws.Seed, *, chance: float = 0.65, longest: int) -> torch.Tensor:
    """Silence a run of fewer than `longest` steps of (N, T, U) in samples chosen with this chance (learnt delays: K
    // 3).
    """
    return x * _kept(x.shape[0], x.shape[1], seed, chance, longest, x)[:, :, None]


def mask_channels(x: torch.Tensor, seed: draws.Seed, *, chance: float = 0.65, longest: int) -> torch.Tensor:
    """Silence a run of fewer than `longest` channels of (N, T, U), as `mask_steps` does steps (learnt delays: U //
    5).
    """
    return x * _kept(x.shape[0], x.shape[2], seed, chance, longest, x)[:, None, :]


def masked(
    x: np.ndarray, index: np.ndarray, *, seed: int, epoch: int, steps: int = 0, channels: int = 0
) -> np.ndarray:
    """Samples (N, T, ...) in which runs of fewer steps and channels than these are silent, 0 for none.

    `index` (N,) are their places in the data set: each is a function of (seed, epoch, index).
    """
    keys, out = _keys(index, seed, epoch), torch.from_numpy(x).flatten(2)
    if steps:
        out = mask_steps(out, draws.fold(keys, 1), longest=steps)
    if channels:
        out = mask_channels(out, draws.fold(keys, 2), longest=channels)
    return out.numpy().reshape(x.shape)


def _keys(index: np.ndarray, seed: int, epoch: int) -> torch.Tensor:
    """Return a key a sample: of (seed, epoch, its place in the data set)."""
    return draws.fold(torch.as_tensor(np.asarray(index, np.int64)), draws.fold(seed, epoch) & (2**62 - 1))


def _kept(
    samples: int, size: int, seed: draws.Seed, chance: float, longest: int, like: torch.Tensor
) -> torch.Tensor:
    """Return 1 outside and 0 inside a random run, (N, size)."""
    u = _uniforms(seed, samples, 3, like.device)
    length = (u[:, 1] * min(longest, size)).floor() * (u[:, 0] < chance)
    start = (u[:, 2] * (size - length + 1)).floor()
    place = torch.arange(size, device=like.device)
    return ((place < start[:, None]) | (place >= (start + length)[:, None])).to(like.dtype)


def mix_steps(
    x: torch.Tensor, labels: torch.Tensor, seed: draws.Seed, *, classes: int, chance: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor]:
    """Replace a random run of steps of (N, T, ...) by the next sample's, by chance; labels (N, C) share by time."""
    kept = _kept(x.shape[0], x.shape[1], seed, chance, x.shape[1], x)
    share = kept.mean(1, keepdim=True)
    hot = functional.one_hot(labels, classes).to(x.dtype)
    own = kept.reshape(*kept.shape, *[1] * (x.ndim - 2))
    mixed = x * own + x.roll(-1, 0) * (1 - own)
    return mixed, share * hot + (1 - share) * hot.roll(-1, 0)


def mirror(images: torch.Tensor, seed: draws.Seed) -> torch.Tensor:
    """Reverse the columns of every second image, by chance."""
    chosen = _uniforms(seed, images.shape[0], 1, images.device)[:, 0] < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def erase(images: torch.Tensor, seed: draws.Seed, *, chance: float = 0.1) -> torch.Tensor:
    """Blank a rectangle in images chosen with this chance: 2 to 33 % of the area, sides 0.3 to 3.3 (Zhong et al.
    2020).
    """
    n, _, rows, columns = images.shape
    u = _uniforms(seed, n, 5, images.device)
    area = (0.02 + 0.31 * u[:, 1]) * rows * columns
    ratio = torch.exp(np.log(0.3) + (np.log(3.3) - np.log(0.3)) * u[:, 2])
    high, wide = (
        (area * ratio).sqrt().round().clamp(max=rows),
        (area / ratio).sqrt().round().clamp(max=columns),
    )
    top, left = (u[:, 3] * (rows - high + 1)).floor(), (u[:, 4] * (columns - wide + 1)).floor()
    r, c = torch.arange(rows, device=images.device), torch.arange(columns, device=images.device)
    within_rows = (r >= top[:, None]) & (r < (top + high)[:, None])  # (N, H)
    within_columns = (c >= left[:, None]) & (c < (left + wide)[:, None])
    blank = within_rows[:, :, None] & within_columns[:, None, :] & (u[:, 0] < chance)[:, None, None]
    return images.masked_fill(blank[:, None], 0)


def mix_images(
    images: torch.Tensor, labels: torch.Tensor, seed: int, *, classes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix a batch with itself rolled by one: by equal chance whole images (mixup, Beta 0.2) or a box (cutmix, Beta
    1).

    Returns images and labels (N, C). Cutmix: a box of half sides int(sqrt(1 - l) side / 2) about a uniform centre,
    clipped; l is then the share of the area that is left (sequential CIFAR-10; Zhang et al. 2018, Yun et al. 2019).
    """
    random = _generator(seed)
    hot = functional.one_hot(labels, classes).to(images.dtype)
    if random.random() < 0.5:
        share = float(random.beta(0.2, 0.2))
        images = share * images + (1 - share) * images.roll(1, 0)
    else:
        images, share = _cut(images, float(random.beta(1.0, 1.0)), random)
    return images, share * hot + (1 - share) * hot.roll(1, 0)


def _cut(images: torch.Tensor, share: float, random: np.random.Generator) -> tuple[torch.Tensor, float]:
    rows, columns = images.shape[2:]
    half = [int(0.5 * np.sqrt(1 - share) * side) for side in (rows, columns)]
    centre = [int(random.integers(side)) for side in (rows, columns)]
    top, left = (max(c - h, 0) for c, h in zip(centre, half, strict=True))
    bottom, right = (min(c + h, side) for c, h, side in zip(centre, half, (rows, columns), strict=True))
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images.roll(1, 0)[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (rows * columns)


def altered_columns(x: np.ndarray, index: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """Normalised columns (N, T = W, C, H) of images that are mirrored, changed by TrivialAugment and partly erased.

    `index` (N,) are the images' places in their data set: each is a function of (seed, epoch, index).
    """
    from firstspike.neurons.trivial_augment import trivial_augment

    keys = _keys(index, seed, epoch)
    images = mirror(images_of(torch.from_numpy(x)), draws.fold(keys, 1))
    changed = columns_of(trivial_augment(images, draws.fold(keys, 2)).float() / 255)
    erased = erase(changed.permute(0, 2, 3, 1), draws.fold(keys, 3))
    return erased.permute(0, 3, 1, 2).numpy()


def mix_columns(
    x: torch.Tensor, labels: torch.Tensor, seed: int, *, classes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """`mix_images` of images that are shown as columns (N, T = W, C, H)."""
    images, mixed = mix_images(x.permute(0, 2, 3, 1), labels, seed, classes=classes)
    return images.permute(0, 3, 1, 2), mixed


def columns_of(images: torch.Tensor) -> torch.Tensor:
    """Return images (N, 3, H, W) in [0, 1] as sequences of columns (N, T = W, 3, H), normalised as CIFAR-10 is."""
    return ((images - _colour(CIFAR_MEAN, images)) / _colour(CIFAR_STD, images)).permute(0, 3, 1, 2)


def images_of(columns: torch.Tensor) -> torch.Tensor:
    """Return the uint8 images (N, 3, H, W) that `columns_of` made columns of."""
    images = columns.permute(0, 2, 3, 1)
    values = images * _colour(CIFAR_STD, images) + _colour(CIFAR_MEAN, images)
    return (255 * values).round().clamp(0, 255).to(torch.uint8)


def _colour(values: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """Return a number a colour in the shape of an image's planes."""
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)[:, None, None]
