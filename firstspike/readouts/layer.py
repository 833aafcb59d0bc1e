"""The layer of a readout: neurons, initial weights and bounds of the weights, as one frozen description."""

from dataclasses import dataclass

import numpy as np

from firstspike.errors import UserError
from firstspike.kernels import rows
from firstspike.kernels.readout import Neurons
from firstspike.kernels.supervised import Bounds


@dataclass(frozen=True)
class Layer:
    """Single-spike neurons, fully connected to the inputs; their number N comes with the data.

    `threshold` is in units of the membrane, that is, of summed weights. `leak`: time constant in units of the
    spike times, one or one a neuron; None = IF. Initial weights are Normal(`mean`, `std`), or uniform within
    the bounds where `std` is None. `normalise` keeps each neuron's summed weight magnitudes. `compat` keeps
    two habits of the published program (see `kernels/readout.py`).
    """

    threshold: float
    leak: float | tuple[float, ...] | None = None
    mean: float = 0.5
    std: float | None = 0.01
    low: float = 0.0
    high: float = 1.0
    normalise: bool = False
    compat: bool = True

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise UserError(f"weight bounds {self.low} ... {self.high}; expected low < high")
        if not np.isfinite(self.threshold):
            raise UserError(f"firing threshold {self.threshold}; expected a finite number")

    def time_constants(self, neurons: int) -> np.ndarray:
        """Give the time constant of each neuron, float32 (N,), empty for IF neurons."""
        if self.leak is None:
            return np.zeros(0, np.float32)
        tau = np.full(neurons, self.leak) if np.isscalar(self.leak) else np.asarray(self.leak)
        if tau.shape != (neurons,) or not np.all(tau > 0):
            raise UserError(f"leak {self.leak}: expected one positive time constant, or {neurons} of them")
        return tau.astype(np.float32)

    def draw(self, neurons: int, inputs: int, generator: np.random.Generator) -> np.ndarray:
        """Draw initial weights, float32 (N, I), neither normalised nor clipped yet."""
        shape = (neurons, inputs)
        if self.std is None:
            return np.float32(generator.uniform(self.low, self.high, shape))
        return np.float32(generator.normal(self.mean, self.std, shape))

    def bounds(self, drawn: np.ndarray) -> Bounds:
        """Give the bounds of weights that started as `drawn`: each row keeps its sum, taken with its signs.

        Every row is marked as loose, because the clip that follows the first normalisation changed its sum.
        """
        sums = np.sum(drawn, axis=1) if self.normalise else np.zeros(0, np.float32)
        loose = np.full(len(drawn), self.normalise, np.uint8)
        return Bounds(np.float32(self.low), np.float32(self.high), sums, loose)

    def settle(self, drawn: np.ndarray) -> np.ndarray:
        """Give the weights that training starts from: rows scaled to their sums, then clipped.

        Positive weights within the bounds are left as they are, to the bit.
        """
        weights = drawn.copy()
        for row, total in zip(weights, np.sum(drawn, axis=1), strict=True):
            if self.normalise:
                rows.normalise(row, total)
            rows.clip(row, np.float32(self.low), np.float32(self.high))
        return weights

    def assemble(self, weights: np.ndarray, max_time: float) -> Neurons:
        """Give the kernels' view of the layer with these weights, float32 (N, I), which it shares."""
        tau = self.time_constants(len(weights))
        return Neurons(weights, rows.peaks(weights), tau, np.float32(max_time), self.compat)
