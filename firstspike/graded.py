"""The decision layer whose earlier inputs count for more, on the CPU: ``kernels/margin.py`` called on batches."""

from dataclasses import dataclass

import numpy as np

from firstspike.compiled import geometry, plasticity
from firstspike.kernels import margin
from firstspike.kernels.vector import padded
from firstspike.latencies import SILENT
from firstspike.layers import Graded, MarginRSTDP, Shape


@dataclass
class GradedLayer:
    """A decision layer that weighs a spike by how early it comes."""

    layer: Graded
    shape: Shape

    def __post_init__(self) -> None:
        self.geometry = g = geometry(self.layer, self.shape)
        self._weights = np.zeros((g.channels * g.kernel**2, padded(g.maps)), np.float32)  # (F, L)

    @property
    def weights(self) -> np.ndarray:
        """Weights float32 (M, C, K, K); a copy."""
        g = self.geometry
        return self._weights.T[: g.maps].reshape(g.maps, g.channels, g.kernel, g.kernel).copy()

    @weights.setter
    def weights(self, weights: np.ndarray) -> None:
        self._weights[:, : len(weights)] = weights.reshape(len(weights), -1).T

    def learn(
        self,
        latencies: np.ndarray,
        labels: np.ndarray,
        rule: MarginRSTDP,
        rates: np.ndarray,
        *,
        steps: int,
        group: int,
        clipped: bool,
    ) -> tuple[np.ndarray, bool]:
        """One window of learning; returns winners int64 (N, 3). It clips what it changes: ``clipped`` stays."""
        won = np.empty((len(latencies), 2), np.int64)
        margin.learn_margin(
            self._seen(latencies),
            labels,
            strengths(self.layer, steps),
            self._weights,
            self.geometry.maps,
            margin.Lesson(group, np.float32(rule.margin), rule.told),
            rates,
            plasticity(rule),
            won,
        )
        return self._placed(won[:, 0], won[:, 1]), clipped

    def _seen(self, latencies: np.ndarray) -> np.ndarray:
        """What each position sees, uint8 (N, P, F), of latencies (N, C, H, W)."""
        pad, kernel = self.layer.pad, self.layer.kernel
        framed = np.pad(latencies, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=SILENT)
        fields = np.lib.stride_tricks.sliding_window_view(framed, (kernel, kernel), axis=(2, 3))
        places = self.geometry.rows * self.geometry.cols  # (N, C, R, Q, K, K) -> (N, P, F)
        return fields.transpose(0, 2, 3, 1, 4, 5).reshape(len(latencies), places, -1)

    def _placed(self, maps: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Winners (N, 3), map, row and column, -1 where silent."""
        cols = self.geometry.cols
        return np.where(maps[:, None] < 0, -1, np.stack([maps, places // cols, places % cols], axis=1))

    def potentials(self, latencies: np.ndarray, *, steps: int) -> np.ndarray:
        """Potentials float32 (N, M, R, Q) at the last step."""
        g = self.geometry
        out = np.empty((len(latencies), g.maps, g.rows * g.cols), np.float32)
        margin.potentials_of(self._seen(latencies), strengths(self.layer, steps), self._weights, out)
        return out.reshape(len(latencies), g.maps, g.rows, g.cols)

    def decide(self, latencies: np.ndarray, *, steps: int) -> np.ndarray:
        """Winners int64 (N, 3), -1 where silent: the largest potential, the lowest map and position of several."""
        potentials = self.potentials(latencies, steps=steps).reshape(len(latencies), -1)
        maps, places = np.divmod(potentials.argmax(axis=1), self.geometry.rows * self.geometry.cols)
        return self._placed(np.where(potentials.max(axis=1) > 0, maps, -1), places)

    def scores(self, latencies: np.ndarray, *, steps: int, group: int) -> np.ndarray:
        """How near each class was to deciding, float32 (N, classes), 1 for the winner's, 0 for silent images."""
        potentials = self.potentials(latencies, steps=steps)
        best = potentials.reshape(len(latencies), self.geometry.maps // group, -1).max(axis=2)
        return np.maximum(best, 0) / np.maximum(best.max(axis=1, keepdims=True), np.float32(1e-9))


def strengths(layer: Graded, steps: int) -> np.ndarray:
    """What a spike of each step counts for, float32 (T,)."""
    return (((steps - np.arange(steps)) / steps) ** layer.power).astype(np.float32)
