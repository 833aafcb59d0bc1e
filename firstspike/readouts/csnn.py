"""STDP-CSNN: features from one convolutional layer that learns without labels, by STDP on random patches.

Images -> on/off or whitening filters -> scaling by the training set's extremes -> latencies -> convolution
with adaptive thresholds -> earliest spike of each window -> features. Source: Goupy et al. (NeurIPS 2024),
after Falez et al. (2019). N images; X, Y, Z rows, columns, channels; F filters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from firstspike.data.splits import stream
from firstspike.errors import UserError
from firstspike.kernels import patches
from firstspike.readouts.events import Events, from_dense, in_blocks
from firstspike.readouts.preprocessing import Coding
from firstspike.threads import available, in_chunks

NAME = "conv1"
CHUNK = 100  # images a thread takes at a time


@dataclass(frozen=True)
class STDPCSNN:
    """Settings of the layer; the defaults are those published for MNIST.

    `threshold`, `least_threshold`, in summed weights, and `threshold_rate`: thresholds at first, their lower
    bound, and their rate; `t_obj`: the time winners are driven to, -1 = none. `ap`, `am`, `beta`: STDP.
    `annealing`: factor of the three rates an epoch. `patch_range`: "published" = patches from the upper left
    part only, as published, "all" = from anywhere. `wta`: a position closes with its first spike.
    """

    filters: int = 128
    kernel: int = 5
    pool: int = 4
    threshold: float = 5.0
    least_threshold: float = 2.0
    threshold_rate: float = 1.0
    t_obj: float = 0.75
    ap: float = 0.1
    am: float = 0.1
    beta: float = 1.0
    annealing: float = 0.95
    mean: float = 0.5
    std: float = 0.01
    patch_range: str = "published"
    wta: bool = False

    def __post_init__(self) -> None:
        if self.patch_range not in ("published", "all"):
            raise UserError(f"patch_range {self.patch_range!r}; expected 'published' or 'all'")
        if self.filters < 2 or self.kernel < 1 or self.pool < 1:
            raise UserError("filters, kernel or pool too small; expected at least 2, 1 and 1")

    def output(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Give the shape of the features of one image of shape (X, Y, Z); UserError where it is too small."""
        sides = [(side - self.kernel + 1) // self.pool for side in shape[:2]]
        if min(sides) < 1:
            least = self.kernel - 1 + self.pool
            raise UserError(f"images of {shape[0]} x {shape[1]}; expected {least} x {least} at least")
        return (*sides, self.filters)

    def corners(self, shape: tuple[int, ...], count: int, generator: np.random.Generator) -> np.ndarray:
        """Draw the corner (x, y) of a patch for each of `count` images, int64 (count, 2)."""
        ends = [side - self.kernel + 1 for side in shape[:2]]
        if self.patch_range == "published":
            ends = [max(1, end - self.kernel + 1) for end in ends]
        return generator.integers(0, ends, (count, 2))


PUBLISHED = {
    "mnist": STDPCSNN(),
    "fashion-mnist": STDPCSNN(t_obj=0.80),
    "cifar10": STDPCSNN(threshold=10.0, t_obj=0.95),
    "cifar100": STDPCSNN(threshold=10.0, t_obj=0.95),
}


def published(dataset: str, colours: int) -> str:
    """Name the settings published for a data set, for others those for MNIST or, in colour, for CIFAR-10."""
    return dataset if dataset in PUBLISHED else "cifar10" if colours == 3 else "mnist"


class CSNNEngine:
    """The feature extractor with its state: coding, weights, thresholds, rates, number of epochs."""

    phases = (NAME,)

    def __init__(self, settings: STDPCSNN, coding: Coding, *, seed: int = 0) -> None:
        self.settings, self.coding, self.seed = settings, coding, seed
        self.shape = coding.shape
        self.features_shape = settings.output(self.shape)
        depth = settings.kernel**2 * self.shape[2]
        drawn = stream(seed, NAME, "weights").normal(settings.mean, settings.std, (depth, settings.filters))
        self._weights = drawn.astype(np.float32)
        self._thresholds = np.full(settings.filters, settings.threshold, np.float32)
        self._rates = np.float32([settings.threshold_rate, settings.ap, settings.am])
        self.epochs = 0

    def weights(self, layer: str = NAME) -> np.ndarray:
        """Give a copy of the weights, float32 (F, Z, K, K)."""
        _check_name(layer)
        k = self.settings.kernel
        cube = self._weights.reshape(k, k, self.shape[2], self.settings.filters)
        return np.ascontiguousarray(cube.transpose(3, 2, 0, 1))

    def set_weights(self, layer: str, weights: np.ndarray) -> None:
        """Set the weights, (F, Z, K, K)."""
        _check_name(layer)
        expected = self.weights().shape
        if np.shape(weights) != expected:
            raise UserError(f"{NAME} weights of shape {np.shape(weights)}; expected {expected}")
        flat = np.asarray(weights, np.float32).transpose(2, 3, 1, 0).reshape(self._weights.shape)
        self._weights = np.ascontiguousarray(flat)

    def thresholds(self) -> np.ndarray:
        """Give a copy of the filters' thresholds, float32 (F,)."""
        return self._thresholds.copy()

    def rates(self, layer: str = NAME) -> dict[str, float]:
        """Give the current rates by name: threshold, ap, am."""
        _check_name(layer)
        return dict(zip(("threshold", "ap", "am"), map(float, self._rates), strict=True))

    def fit_phase(
        self,
        phase: str,
        times: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        order: np.ndarray | None = None,
        corners: np.ndarray | None = None,
        record: bool = False,
    ) -> patches.Steps:
        """Learn one patch of each image, in the given order, and end the epoch.

        `times` float32 (N, X, Y, Z), as `coding.times` gives them; labels play no role. `corners`: int64
        (N, 2) in place of drawn ones.
        """
        _check_name(phase)
        self._check_times(times)
        order = np.arange(len(times)) if order is None else np.asarray(order, np.int64)
        if corners is None:
            generator = stream(self.seed, NAME, "patches", self.epochs)
            corners = self.settings.corners(self.shape, len(order), generator)
        rows = len(order) if record else 0
        steps = patches.Steps(
            np.empty(len(order), np.int64), np.empty((rows, self.settings.filters), np.float32)
        )
        constants = np.float32([self.settings.t_obj, self.settings.least_threshold])
        plasticity = patches.Plasticity(*constants, *self._rates, np.float32(self.settings.beta))
        kernel = self.settings.kernel
        patches.train(times, order, corners, kernel, self._weights, self._thresholds, plasticity, steps)
        self._rates *= np.float32(self.settings.annealing)
        self.epochs += 1
        return steps

    def infer(self, times: np.ndarray, *, pool: int | None = None, threads: int | None = None) -> np.ndarray:
        """Give the features of coded images (N, X, Y, Z), float32 (N, rows, columns, F), 1 = silent.

        `pool` 1 instead of the settings': the spike times of the convolution itself.
        """
        self._check_times(times)
        return self._spread(lambda rows: times[rows], len(times), pool or self.settings.pool, threads)

    def features(self, images: np.ndarray, *, threads: int | None = None) -> np.ndarray:
        """Give the features of uint8 images (N, H, W) or (N, C, H, W), float32 (N, rows, columns, F)."""
        return self._spread(
            lambda rows: self.coding.times(images[rows]), len(images), self.settings.pool, threads
        )

    def events(self, images: np.ndarray, *, threads: int | None = None) -> Events:
        """Give the features as events."""
        return in_blocks(lambda block: from_dense(self.features(block, threads=threads)), images)

    def _spread(
        self, coded: Callable[[slice], np.ndarray], count: int, pool: int, threads: int | None
    ) -> np.ndarray:
        k, (x, y, _) = self.settings.kernel, self.shape
        out = np.empty((count, (x - k + 1) // pool, (y - k + 1) // pool, self.settings.filters), np.float32)

        def run(rows: slice) -> None:
            patches.features(
                coded(rows), k, pool, self._weights, self._thresholds, self.settings.wta, out[rows]
            )

        in_chunks(run, count, threads=threads or available(), chunk=CHUNK)
        return out

    def _check_times(self, times: np.ndarray) -> None:
        if times.ndim != 4 or times.shape[1:] != self.shape or times.dtype != np.float32:
            raise UserError(
                f"coded images of shape {times.shape}, {times.dtype}; expected (N, *{self.shape}), float32"
            )

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Give what a bit-equal continuation needs: arrays, and numbers that JSON keeps."""
        arrays = {
            "weights": self._weights.copy(),
            "thresholds": self._thresholds.copy(),
            "rates": self._rates.copy(),
            **self.coding.arrays(),
        }
        return arrays, {"epochs": self.epochs}

    def load_state(self, arrays: dict[str, np.ndarray], counters: dict[str, Any]) -> None:
        """Go on from a state of an extractor of the same settings; UserError if it is another's."""
        for name, array in self.state()[0].items():
            given = arrays.get(name)
            if given is None or given.shape != array.shape or given.dtype != array.dtype:
                raise UserError(f"extractor state: {name} belongs to another extractor")
        self._weights, self._thresholds = arrays["weights"].copy(), arrays["thresholds"].copy()
        self._rates = arrays["rates"].copy()
        self.coding = self.coding.with_arrays(arrays)
        self.epochs = int(counters["epochs"])


def _check_name(name: str) -> None:
    if name != NAME:
        raise UserError(f"no phase or layer {name!r} in STDP-CSNN; it has {NAME!r}")
