"""A decision that a classifier takes from when the neurons below it fire; it has the methods of a decision layer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from firstspike.classifiers import Arrays, Share, Shifted
from firstspike.errors import UserError
from firstspike.layers import Readout, Shape


@dataclass
class ReadoutLayer:
    """A classifier of the ranks of all inputs, and what it learnt; until then it is silent."""

    layer: Readout
    shape: Shape
    arrays: Arrays = field(default_factory=dict)

    def fit(
        self,
        latencies: np.ndarray,
        labels: np.ndarray,
        *,
        steps: int,
        seed: int,
        threads: int,
        shifted: Shifted | None = None,
        tell: Share = lambda share: None,
    ) -> None:
        """Learn from latencies uint8 (N, C, H, W) with labels (N,); ``shifted`` gives those of shifted images.

        ``tell`` is told how much of the work is done.
        """

        def moved(rows: np.ndarray, down: int, right: int) -> np.ndarray:
            return ranks(shifted(rows, down, right), steps)

        self.arrays = self.layer.classifier.fit(
            ranks(latencies, steps),
            labels,
            steps=steps,
            seed=seed,
            threads=threads,
            shifted=shifted and moved,
            tell=tell,
        )

    def scores(self, latencies: np.ndarray, *, steps: int, group: int) -> np.ndarray:
        """How near each class was to deciding, float32 (N, classes), 0 for silent images."""
        seen, classes = ranks(latencies, steps), self.layer.maps // group
        out = np.zeros((len(seen), classes), np.float32)
        fired = seen.any(axis=1)
        if self.arrays and fired.any():
            out[fired] = self.layer.classifier.scores(self.arrays, seen[fired], steps=steps, classes=classes)
        return out

    def decide(self, latencies: np.ndarray, *, steps: int) -> np.ndarray:
        """Winners int64 (N, 3), -1 where nothing fired."""
        scores = self.scores(latencies, steps=steps, group=1)
        winners = np.zeros((len(scores), 3), np.int64)
        winners[:, 0] = scores.argmax(axis=1)
        winners[scores.max(axis=1) <= 0] = -1
        return winners

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what was learnt; UserError if the arrays are not of this classifier and input."""
        before, self.arrays = self.arrays, dict(arrays)
        try:
            self.decide(np.zeros((1, *self.shape), np.uint8), steps=1)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            self.arrays = before
            raise UserError(f"checkpoint: {self.layer.name} is of another classifier or input") from error


def ranks(latencies: np.ndarray, steps: int) -> np.ndarray:
    """How early each input fired, steps - latency, 0 = never: uint8 (N, C H W)."""
    return (steps - np.minimum(latencies, steps)).astype(np.uint8).reshape(len(latencies), -1)
