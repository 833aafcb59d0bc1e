"""Dropout masks of a readout's training, as a function of (seed, epoch, position) alone."""

from dataclasses import dataclass

import numpy as np

from firstspike.data.splits import stream
from firstspike.errors import UserError

BLOCK = 256  # presentations that share a generator; part of what a seed means, so it never changes


@dataclass(frozen=True)
class Dropout:
    """Shares of input and output neurons that are dropped in each presentation of a training sample.

    A dropped input still excites but counts as silent for the rule; a dropped output is silent at membrane 0.
    """

    inputs: float = 0.0
    outputs: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.inputs < 1 and 0 <= self.outputs < 1):
            raise UserError(f"dropout {self.inputs} in, {self.outputs} out; expected 0 <= rate < 1")

    def masks(
        self, seed: int, epoch: int, block: int, inputs: int, outputs: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw one block of masks, uint8 (BLOCK, I) and (BLOCK, N), 1 = kept; (0, ...) for a rate of 0."""
        generator = stream(seed, "dropout", epoch, block)
        return (
            _draw(generator, self.inputs, inputs),
            _draw(generator, self.outputs, outputs),
        )


def _draw(generator: np.random.Generator, rate: float, width: int) -> np.ndarray:
    if rate == 0:
        return np.zeros((0, width), np.uint8)
    return (generator.random((BLOCK, width), np.float32) >= rate).astype(np.uint8)
