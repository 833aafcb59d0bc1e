"""SpykeTorch's utils module: filters, intensity to latency, text files, a data set with a cache.

T steps, C maps, H rows, W columns, K kernels. Needs no torchvision.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from firstspike import coding
from firstspike import functional as core
from firstspike.errors import UserError
from firstspike.files import atomic_write, make_folder


def to_pair(data: Any) -> tuple:
    """The first two elements of a tuple, a list of two as a tuple, anything else twice."""
    if isinstance(data, list) and len(data) == 2:
        return tuple(data)
    return data[:2] if isinstance(data, tuple) else (data, data)


def generate_inhibition_kernel(inhibition_percents: Sequence[float]) -> Tensor:
    """Factors by Chebyshev distance 1 to n, centre 0: float32 (2n + 1, 2n + 1)."""
    reach = len(inhibition_percents)
    offset = torch.arange(-reach, reach + 1).abs()
    distance = torch.maximum(offset.unsqueeze(0), offset.unsqueeze(1))
    return torch.tensor([0.0, *inhibition_percents], dtype=torch.float32)[distance]


def tensor_to_text(data: Tensor, address: str | os.PathLike[str]) -> None:
    """Two lines: sizes, and values in C order, each the shortest text that reads back as the same number."""
    values = data.detach().cpu().numpy()
    lines = (",".join(map(str, values.shape)), ",".join(values.flatten().astype(str)))
    with atomic_write(address) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def text_to_tensor(address: str | os.PathLike[str], type: str = "float") -> Tensor:
    """What `tensor_to_text` wrote, as float32 ('float') or int32 ('int')."""
    if type not in ("float", "int"):
        raise ValueError("type must be 'int' or 'float'")
    sizes, values = Path(address).read_text().splitlines()[:2]
    dtype = np.float32 if type == "float" else np.int32
    numbers = np.array(values.split(",") if values else [], dtype=dtype)
    return torch.from_numpy(numbers.reshape([int(size) for size in sizes.split(",") if size]))


class FilterKernel:
    """A kernel of a given window; the subclasses give it values when called."""

    def __init__(self, window_size: int) -> None:
        self.window_size = window_size

    def __call__(self) -> Tensor | None:
        """float32 (n, n)."""


class DoGKernel(FilterKernel):
    """Difference of Gaussians: see firstspike.coding.dog_kernel. An even window gives one cell more."""

    def __init__(self, window_size: int, sigma1: float, sigma2: float) -> None:
        super().__init__(window_size)
        self.sigma1, self.sigma2 = sigma1, sigma2

    def __call__(self) -> Tensor:
        """float32 (n, n), mean 0, largest entry 1."""
        return torch.from_numpy(coding.dog_kernel(self.window_size, self.sigma1, self.sigma2))


class GaborKernel(FilterKernel):
    """Gabor patch, orientation in degrees: see firstspike.coding.gabor_kernel."""

    def __init__(self, window_size: int, orientation: float, div: float = 4.0) -> None:
        super().__init__(window_size)
        self.orientation, self.div = orientation, div

    def __call__(self) -> Tensor:
        """float32 (n, n), mean 0, largest entry 1."""
        return torch.from_numpy(coding.gabor_kernel(self.window_size, self.orientation, div=self.div))


class Filter:
    """A bank of kernels: (N, 1, H, W) to (N, K, H', W'), stride 1; (1, H, W) to (K, H', W').

    filter_kernels: FilterKernels or tensors (w, w), (1, w, w), the smaller ones centred in the largest.
    thresholds: a number, one for each kernel, or a tensor that broadcasts; responses below become 0, before
    the absolute value that use_abs takes. multy_channel: images of three planes, all of which each kernel
    sees.
    """

    def __init__(
        self,
        filter_kernels: Sequence[FilterKernel | Tensor],
        padding: int = 0,
        thresholds: float | Sequence[float] | Tensor | None = None,
        use_abs: bool = False,
        multy_channel: bool = False,
    ) -> None:
        kernels = [k.squeeze(0) if isinstance(k, Tensor) else k() for k in filter_kernels]
        windows = [
            len(cells) if isinstance(k, Tensor) else k.window_size
            for k, cells in zip(filter_kernels, kernels, strict=True)
        ]
        if len(set(windows)) > 1 and any(window % 2 == 0 for window in windows):
            raise UserError(f"kernels of windows {windows}: even windows cannot be centred in larger ones")
        planes = 3 if multy_channel else 1
        stack = coding.stack_kernels([kernel.cpu().numpy() for kernel in kernels])
        self.kernels = torch.from_numpy(stack).float().unsqueeze(1).repeat(1, planes, 1, 1)
        self.max_window_size = max(windows)
        self.number_of_kernels = len(kernels)
        self.padding = padding
        self.thresholds = _per_kernel(thresholds)
        self.use_abs = use_abs

    def __call__(self, input: Tensor) -> Tensor:
        """Responses, float32."""
        rows, cols = to_pair(self.padding)
        output = core.convolve(F.pad(input, (cols, cols, rows, rows)), self.kernels.to(input.device))
        if self.thresholds is not None:
            limit = torch.as_tensor(self.thresholds, device=output.device)
            limit = limit[0] if limit.dim() > output.dim() else limit
            output = torch.where(output < limit, 0, output)
        return output.abs() if self.use_abs else output


def _per_kernel(thresholds: float | Sequence[float] | Tensor | None) -> float | Tensor | None:
    if isinstance(thresholds, (list, tuple)):
        return torch.tensor(thresholds, dtype=torch.float32).view(1, -1, 1, 1)
    return thresholds


class LateralIntencityInhibition:
    """Raises each cell by the factors of its weaker neighbours: firstspike.coding.lateral_inhibition."""

    def __init__(self, inhibition_percents: Sequence[float]) -> None:
        self.inhibition_kernel = generate_inhibition_kernel(inhibition_percents)[None, None]

    def intensity_lateral_inhibition(self, intencities: Tensor) -> Tensor:
        """Intensities (N, C, H, W), same shape out."""
        return coding.lateral_inhibition(intencities, self.inhibition_kernel.to(intencities.device))

    __call__ = intensity_lateral_inhibition


class Intensity2Latency:
    """Intensities to a wave: firstspike.coding.rank_code with equal bins.

    From the step on at which a cell fires, the wave is the cell's intensity, or 1 with to_spike. Negative
    intensities count as 0.
    """

    def __init__(self, number_of_spike_bins: int, to_spike: bool = False) -> None:
        if not 1 <= number_of_spike_bins <= coding.MAX_STEPS:
            raise UserError(f"{number_of_spike_bins} bins: choose 1 to {coding.MAX_STEPS}")
        self.time_steps = number_of_spike_bins
        self.to_spike = to_spike

    def intensity_to_latency(self, intencities: Tensor) -> Tensor:
        """float32 (T, C, H, W) of (1, C, H, W) or (C, H, W), (T, H, W) of (1, H, W), a batch of a batch."""
        cells = intencities.clamp(min=0).reshape(-1, *intencities.shape[-3:])  # (N, C, H, W)
        latency = coding.rank_code(cells, steps=self.time_steps)
        wave = coding.latency_to_wave(latency, steps=self.time_steps)
        wave = (wave * cells.unsqueeze(1)).float()
        wave = wave.sign() if self.to_spike else wave
        wave = wave.squeeze(2) if intencities.dim() == 3 else wave
        return wave[0] if len(wave) == 1 else wave

    __call__ = intensity_to_latency


class CacheDataset(Dataset):
    """A data set that reads each sample once and keeps it: in memory, or in a folder if one is given.

    Samples and targets in a folder are tensors, numbers, strings, or lists and dictionaries of these. Random
    augmentation is frozen by the cache.
    """

    def __init__(self, dataset: Dataset, cache_address: str | os.PathLike[str] | None = None) -> None:
        self.dataset = dataset
        self.cache_address = cache_address
        self.cache: list[Any] = [None] * len(dataset)
        if cache_address is not None:
            make_folder(cache_address)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if self.cache[index] is None:
            sample, target = self.dataset[index]
            self.cache[index] = self._store(index, sample, target)
            return sample, target
        if self.cache_address is None:
            return self.cache[index]
        return load_plain(f"{self.cache[index]}.cd"), load_plain(f"{self.cache[index]}.cl")

    def _store(self, index: int, sample: Any, target: Any) -> Any:
        if self.cache_address is None:
            return sample, target
        path = os.path.join(self.cache_address, str(index % len(self.cache)))
        for suffix, value in ((".cd", sample), (".cl", target)):
            with atomic_write(path + suffix) as file:
                torch.save(value, file)
        return path

    def __len__(self) -> int:
        return len(self.dataset)

    def reset_cache(self) -> None:
        """Forget every sample, and delete the files of those that were read."""
        if self.cache_address is not None:
            for path in filter(None, self.cache):
                Path(f"{path}.cd").unlink(missing_ok=True)
                Path(f"{path}.cl").unlink(missing_ok=True)
        self.cache = [None] * len(self.dataset)


def load_plain(address: str | os.PathLike[str]) -> Any:
    """Tensors, numbers and containers that torch saved, such as a state dict, on the CPU; no code is run.

    weights_only is the reader of torch that builds nothing but these; it knows both of torch's file formats,
    of which checkpoints of SpykeTorch's time use the older.
    """
    try:
        return torch.load(address, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"cannot read {os.fspath(address)} as plain tensors: {reason}") from error
