"""Images to latencies and latencies to waves: filters, threshold, local normalisation, rank coding.

N images, P planes of an image, K filters of window n, C = K * P channels, H rows, W columns, T steps. A
latency is the uint8 step of a neuron's only spike, NEVER (255) if there is none.

The functions on tensors are the readable twin of kernels/encode.py and run on any device; torch is imported
where one of them needs it, so that the filters and the banks do without.

Mozafari et al., Pattern Recognition 94 (2019), section 2.1; filters after Kheradpisheh et al., Neural
Networks 99 (2018); rank code of "log" after Rezghi Shirsavar and Dehaqani, arXiv 2210.17442.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from firstspike.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from firstspike.kernels.encode import Tables

NEVER = 255
MAX_STEPS = 255
PLAIN_CHUNK = 64  # images that the plain encoder takes at once


# --- filters: float64 until the last cast ---------------------------------------------------------------


def dog_kernel(window: int, sigma1: float, sigma2: float) -> NDArray[np.float32]:
    """Difference of two Gaussians, mean 0, largest entry 1: float32 (n, n), n = 2 (window // 2) + 1.

    sigma1 < sigma2 is on-centre, sigma1 > sigma2 off-centre: not its negative, as each is scaled by its
    maximum.
    """
    row, col = _offsets(window)
    near, far = (np.exp(-(row**2 + col**2) / (2 * s**2)) / s**2 for s in (sigma1, sigma2))
    return _balanced((near - far) / (2 * np.pi))


def gabor_kernel(window: int, orientation: float, *, div: float = 4.0) -> NDArray[np.float32]:
    """Gabor patch, orientation in degrees, mean 0, largest entry 1: float32 (n, n).

    Wavelength 2 window / div, sigma 0.8 of it, aspect ratio 0.3; the phase runs along columns at 90 degrees.
    """
    row, col = _offsets(window)
    angle, wavelength = np.deg2rad(orientation), 2 * window / div
    along = col * np.sin(angle) + row * np.cos(angle)
    across = col * np.cos(angle) - row * np.sin(angle)
    envelope = np.exp(-(along**2 + 0.3**2 * across**2) / (2 * (0.8 * wavelength) ** 2))
    return _balanced(envelope * np.cos(2 * np.pi * along / wavelength))


def log_kernel(window: int, scale: float) -> NDArray[np.float32]:
    """Difference of two Gaussians of sum 1, sigmas scale / sqrt 2 and scale * sqrt 2: float32 (n, n)."""
    row, col = _offsets(window)
    near, far = (np.exp(-(row**2 + col**2) / (2 * s**2)) for s in (scale / np.sqrt(2), scale * np.sqrt(2)))
    return (near / near.sum() - far / far.sum()).astype(np.float32)


def stack_kernels(kernels: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Kernels of odd windows, centred in the largest by zeros: float32 (K, n, n)."""
    size = max(len(kernel) for kernel in kernels)
    return np.stack([np.pad(kernel, (size - len(kernel)) // 2) for kernel in kernels])


def _offsets(window: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    half = window // 2
    row, col = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    return row, col


def _balanced(kernel: NDArray[np.float64]) -> NDArray[np.float32]:
    kernel = kernel - kernel.mean()
    return (kernel / kernel.max()).astype(np.float32)


# --- banks ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Bank:
    """A filter bank with all that stands between an image and its intensities.

    The steps, in order: pixels / divisor; cross-correlation of each plane with each kernel, zero padding; the
    absolute value if `absolute`; what is below `threshold` becomes 0; if `rival_margin` is given, only the
    lowest filter within that margin of the largest stays at each place; if `pooling` (window, stride) is
    given, the largest response of each window, padded by half of it; `lateral_inhibition` with factors by
    distance if `inhibition` is given; division by the mean of the square of `radius` around if given; rank code
    with T `steps`, `even` or in equal bins (see `rank_code`). With `late`, filters compete behind the rank
    code: losers take up a rank, and vanish.
    """

    name: str
    kernels: NDArray[np.float32]
    padding: int
    threshold: float
    steps: int = 15
    planes: int = 1
    radius: int | None = 8
    divisor: float = 1.0
    absolute: bool = False
    rival_margin: float | None = None
    even: bool = False
    pooling: tuple[int, int] | None = None
    inhibition: tuple[float, ...] = ()
    late: bool = False

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the latencies of an image; UserError if it is smaller than the filters."""
        lost = self.kernels.shape[-1] - 1 - 2 * self.padding
        if min(height, width) < max(lost + 1, 1):
            raise UserError(
                f"images of {height}x{width}: {self.name!r} needs at least {max(lost + 1, 1)} each way"
            )
        sides = height - lost, width - lost
        if self.pooling is None:
            return sides
        window, stride = self.pooling
        return tuple((side + window // 2 * 2 - window) // stride + 1 for side in sides)

    @cached_property
    def tables(self) -> Tables:
        """The bank as the compiled encoder wants it."""
        from firstspike.kernels.encode import Tables, pack_kernels

        return Tables(
            *pack_kernels(self.kernels, brightest=255 / self.divisor),
            padding=self.padding,
            threshold=self.threshold,
            divisor=self.divisor,
            absolute=self.absolute,
            margin=-1.0 if self.rival_margin is None else self.rival_margin,
            radius=-1 if self.radius is None else self.radius,
            even=self.even,
        )

    @cached_property
    def digest(self) -> str:
        """Hexadecimal digest of every setting, kernels included."""
        settings = [
            (field.name, getattr(self, field.name)) for field in fields(self) if field.name != "kernels"
        ]
        text = repr(settings).encode()
        return hashlib.sha256(text + np.ascontiguousarray(self.kernels).tobytes()).hexdigest()[:16]


_SIGMAS = [(3 / 9, 6 / 9), (7 / 9, 14 / 9), (13 / 9, 26 / 9)]


def _dog_pairs(windows: Sequence[int], sigmas: Sequence[tuple[float, float]]) -> NDArray[np.float32]:
    """On-centre and off-centre kernel of each window, in turn."""
    pairs = zip(windows, sigmas, strict=True)
    return stack_kernels([dog_kernel(n, *s) for n, (a, b) in pairs for s in ((a, b), (b, a))])


def dog_bank() -> Bank:
    """Three scales on grey images, on and off: the encoder of the zoo's digit networks."""
    return Bank("dog", _dog_pairs((3, 7, 13), _SIGMAS), padding=6, threshold=50.0)


def colour_bank() -> Bank:
    """The same scales in wider windows on each colour plane; maps grow by 2, half padding on each side."""
    return Bank("colour", _dog_pairs((5, 9, 15), _SIGMAS), padding=8, threshold=40.0, steps=20, planes=3)


def kheradpisheh_bank() -> Bank:
    """One scale, on and off (Kheradpisheh et al. 2018)."""
    return Bank("kheradpisheh", _dog_pairs((7,), [(1.0, 2.0)]), padding=3, threshold=50.0)


def gabor_bank(window: int = 5, name: str = "gabor", **settings: Any) -> Bank:
    """Four orientations, absolute responses, one orientation at each place.

    Flat background and mirrored kernels leave differences of rounding size; 1e-5 of a pixel's range sets them
    to 0 and to a tie, so that the code does not hang on the order of a sum.
    """
    kernels = stack_kernels([gabor_kernel(window, 22.5 + 45 * k) for k in range(1, 5)])
    shared = {"radius": None, "divisor": 255.0, "absolute": True, "rival_margin": 1e-5}
    return Bank(name, kernels, padding=0, threshold=1e-5, **shared, **settings)


def shallow_bank(window: int, stride: int, *, name: str, steps: int) -> Bank:
    """Gabor responses pooled before they are coded; strong cells are raised, and one orientation stays a place.

    Mozafari et al., IEEE TNNLS 29 (2018), as released.
    """
    settings = {"pooling": (window, stride), "inhibition": (0.15, 0.12, 0.1, 0.07, 0.05), "late": True}
    return gabor_bank(5, name, steps=steps, **settings)


def log_bank(scales: Sequence[float] = (0.5, 1.0, 2.0), name: str = "log") -> Bank:
    """On maps of all scales, then off maps, which are their negatives; responses above 0.01 of white."""
    on = stack_kernels([log_kernel(7, scale) for scale in scales])
    above = float(np.nextafter(np.float32(0.01), np.float32(1)))
    return Bank(
        name, np.concatenate([on, -on]), padding=3, threshold=above, radius=None, divisor=255.0, even=True
    )


BANKS: dict[str, Callable[[], Bank]] = {
    "dog": dog_bank,
    "colour": colour_bank,
    "gabor": gabor_bank,
    "gabor3": partial(gabor_bank, 3, "gabor3"),
    "gabor-caltech": partial(shallow_bank, 7, 6, name="gabor-caltech", steps=15),
    "gabor-eth80": partial(shallow_bank, 5, 4, name="gabor-eth80", steps=15),
    "gabor-norb": partial(shallow_bank, 5, 4, name="gabor-norb", steps=30),
    "kheradpisheh": kheradpisheh_bank,
    "log": log_bank,
    "log-large": partial(log_bank, (0.471404521, 1.099943882, 2.042752923), "log-large"),
}


def encode_compiled(images: NDArray, bank: Bank, *, steps: int, threads: int = 1) -> NDArray[np.uint8]:
    """What `encode` computes, compiled for the CPU, from arrays; threads change nothing.

    A bank that pools has no compiled form: `encode` itself runs.
    """
    from firstspike.threads import in_chunks

    count, planes, *size = images.shape
    latency = np.empty((count, len(bank.kernels) * planes, *bank.output_size(*size)), np.uint8)
    run = _run_compiled if bank.pooling is None else _run_plain

    def work(rows: slice) -> None:
        chunk = np.array(images[rows], np.float32, order="C")  # one type and layout: compiled once
        latency[rows] = run(chunk, bank, steps)

    in_chunks(work, count, threads=threads)
    return latency


def _run_compiled(images: NDArray[np.float32], bank: Bank, steps: int) -> NDArray[np.uint8]:
    from firstspike.kernels.encode import encode_images

    return encode_images(images, bank.tables, steps)


def _run_plain(images: NDArray[np.float32], bank: Bank, steps: int) -> NDArray[np.uint8]:
    import torch

    pixels = torch.from_numpy(images).double()
    parts = [encode(part, bank, steps=steps).numpy() for part in pixels.split(PLAIN_CHUNK)]
    return np.concatenate(parts) if parts else np.empty((0, 1, 1, 1), np.uint8)


# --- the encoder in plain torch -------------------------------------------------------------------------


def encode(images: Tensor, bank: Bank, *, steps: int) -> Tensor:
    """Latencies of images: (N, P, H, W), values 0 to 255, to uint8 (N, K * P, H', W').

    Computes in the dtype of `images` if that is a float type, else in float64. A blank image is silent.
    """
    strength = intensities(images, bank)
    latency = rank_code(strength, steps=steps, even=bank.even)
    if not bank.late:
        return latency
    stays = _strongest_filter(strength, planes=images.shape[1], margin=bank.rival_margin or 0.0) > 0
    return latency.where(stays, NEVER)


def intensities(images: Tensor, bank: Bank) -> Tensor:
    """All that stands before the rank code: (N, P, H, W) to (N, K * P, H', W'), zero where nothing fires."""
    import torch

    dtype = images.dtype if images.is_floating_point() else torch.float64
    pixels = (images.to(torch.float32) / bank.divisor).to(dtype)
    response = filter_planes(pixels, bank.kernels, padding=bank.padding)
    response = response.abs() if bank.absolute else response
    response = torch.where(response >= bank.threshold, response, 0)
    if bank.rival_margin is not None and not bank.late:
        response = _strongest_filter(response, planes=images.shape[1], margin=bank.rival_margin)
    if bank.pooling is not None:
        # Rounded, so that responses that differ by the order of a sum are equal.
        response = _pool_largest(response.to(torch.float32), *bank.pooling)
    if bank.inhibition:
        response = lateral_inhibition(response, _by_distance(bank.inhibition).to(response))
    return response if bank.radius is None else local_normalisation(response, bank.radius)


def filter_planes(images: Tensor, kernels: NDArray[np.float32], *, padding: int) -> Tensor:
    """Cross-correlation of each plane with each kernel; channel k * P + p is filter k on plane p.

    images (N, P, H, W), kernels (K, n, n) -> (N, K * P, H + 2 padding - n + 1, ...).
    """
    import torch
    import torch.nn.functional as F

    weight = torch.as_tensor(kernels).to(images).unsqueeze(1)
    response = F.conv2d(images.flatten(0, 1).unsqueeze(1), weight, padding=padding)  # (N * P, K, H', W')
    return response.unflatten(0, images.shape[:2]).transpose(1, 2).flatten(1, 2)


def _strongest_filter(response: Tensor, *, planes: int, margin: float) -> Tensor:
    """At each place of each plane the lowest filter within `margin` of the largest response, the others 0."""
    import torch

    filters = response.unflatten(1, (-1, planes))  # (N, K, P, H, W)
    near = (filters >= filters.amax(1, keepdim=True) - margin).to(torch.uint8)
    first = near.argmax(1, keepdim=True)
    index = torch.arange(filters.shape[1], device=filters.device).view(1, -1, 1, 1, 1)
    return torch.where(index == first, filters, 0).flatten(1, 2)


def _pool_largest(response: Tensor, window: int, stride: int) -> Tensor:
    import torch.nn.functional as F

    return F.max_pool2d(response, window, stride, padding=window // 2)


def _by_distance(factors: Sequence[float]) -> Tensor:
    """Factors by Chebyshev distance 1, 2, ... as a square kernel, 0 in its centre."""
    import torch

    reach = torch.arange(-len(factors), len(factors) + 1).abs()
    return torch.tensor([0.0, *factors])[torch.maximum(reach[:, None], reach)]


def local_normalisation(intensity: Tensor, radius: int, *, eps: float = 1e-12) -> Tensor:
    """Each cell divided by the mean of the square of side 2 radius + 1 around it, in its own channel.

    Cells beyond the border count as 0, and the mean always divides by the whole square. Acts on the
    last two axes.
    """
    import torch.nn.functional as F

    channels = intensity.reshape(-1, *intensity.shape[-2:])
    mean = F.avg_pool2d(channels, 2 * radius + 1, stride=1, padding=radius)
    return intensity / (mean.view_as(intensity) + eps)


def rank_code(intensity: Tensor, *, steps: int, even: bool = False) -> Tensor:
    """Strong cells fire early: intensities >= 0 (N, C, H, W) to uint8 latencies of the same shape.

    All channels of an image are ranked together, larger first, of equal ones the lower flat index. With n
    non-zero cells, bins of b = n // T cells: rank r fires at step r // b, so that the weakest n mod T stay
    silent; fewer cells than steps (n < T) fire one a step. even=True loses none: rank r fires at floor(r (T +
    1e-5) / n), in float32. Zeros never fire.
    """
    import torch

    flat = intensity.flatten(1)
    order = flat.sort(dim=1, descending=True, stable=True).indices
    count = (flat > 0).sum(1, keepdim=True)
    rank = torch.arange(flat.shape[1], device=flat.device).expand_as(flat)
    if even:
        step = (rank.to(torch.float32) * np.float32(steps + 1e-5) / count.to(torch.float32)).floor()
    else:
        step = rank // (count // steps).clamp(min=1)
    step = torch.where((rank < count) & (step < steps), step, NEVER).to(torch.uint8)
    return torch.empty_like(step).scatter_(1, order, step).view(intensity.shape)


def lateral_inhibition(intensity: Tensor, kernel: Tensor) -> Tensor:
    """Each cell x becomes x (1 + f), f = sum of the kernel's factors over the neighbours weaker than x.

    Despite its name it raises the strong cells; only the order matters to the rank code. Cells beyond the
    border count as 0. intensity (N, C, H, W), kernel (k, k) with k odd, centre 0. Mozafari et al. 2018, as
    released.
    """
    import torch
    import torch.nn.functional as F

    radius = kernel.shape[-1] // 2
    height, width = intensity.shape[-2:]
    framed = F.pad(intensity, (radius, radius, radius, radius))
    factor = torch.zeros_like(intensity)
    for row, col in np.ndindex(*kernel.shape[-2:]):
        weaker = framed[..., row : row + height, col : col + width] < intensity
        factor = factor + weaker * kernel[..., row, col]
    return intensity + intensity * factor


# --- latencies and waves --------------------------------------------------------------------------------


def latency_to_wave(latency: Tensor, *, steps: int) -> Tensor:
    """Cumulative wave of latencies: 1 from the step of the spike on.

    latency uint8 (..., C, H, W); any value >= steps is silent. Gives bool (..., T, C, H, W).
    """
    import torch

    clock = torch.arange(steps, device=latency.device).view(steps, 1, 1, 1)
    return latency.unsqueeze(-4) <= clock


def wave_to_latency(wave: Tensor) -> Tensor:
    """Latencies of a cumulative wave: T minus the number of steps above 0, NEVER where that number is 0.

    wave (..., T, C, H, W), any dtype. Gives uint8 (..., C, H, W). UserError if T > 255, too much for a byte.
    """
    import torch

    steps = wave.shape[-4]
    if steps > MAX_STEPS:
        raise UserError(f"{steps} time steps: a latency is one byte, so use at most {MAX_STEPS}")
    count = (wave > 0).sum(-4)
    return torch.where(count > 0, steps - count, NEVER).to(torch.uint8)
