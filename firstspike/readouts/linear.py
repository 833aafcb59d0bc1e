"""A linear classifier on features, which says how much of the classes is in them; it never changes the features.

Softmax regression on intensities, 1 - spike time, with dropout of inputs, by Adam in batches, as Goupy et al. (NeurIPS
2024) and Journé et al. (ICLR 2023) report on extractors. S samples, I inputs, C classes.
"""

from collections.abc import Callable

import numpy as np

from firstspike.data.splits import stream
from firstspike.errors import UserError
from firstspike.readouts.events import Events

NAME = "linear"
EPOCHS = 50
BATCH = 64
RATE = 1e-3
DROPOUT = 0.5
HALVED = (10, 17, 25, 30, 35, 40, 45)  # epochs from which the rate is half of what it was
DECAYS = (0.9, 0.999)  # Adam's, of the mean and of the mean square
LEAST = 1e-8  # Adam's, added to the root of the mean square
SCORED = 1000  # samples whose dense features are in memory at a time


class LinearReadout:
    """The classifier with its state: weights and bias float32 (C, I + 1), Adam's means, steps and epochs done."""

    def __init__(self, inputs: int, classes: int, *, seed: int = 0) -> None:
        self.classes, self.seed = classes, seed
        self.weights, self.mean, self.square = (np.zeros((classes, inputs + 1), np.float32) for _ in range(3))
        self.steps = self.epochs = 0

    def rate(self) -> float:
        """Give the learning rate of the next epoch."""
        return RATE * 0.5 ** sum(self.epochs >= epoch for epoch in HALVED)

    def fit(
        self, events: Events, labels: np.ndarray, order: np.ndarray, progress: Callable[[int, int], None]
    ) -> int:
        """Learn from the samples once, in this order; give how many were right before they were learnt.

        `progress(done, right)` hears of each batch.
        """
        right, rate = 0, self.rate()
        for number, start in enumerate(range(0, len(order), BATCH)):
            rows = order[start : start + BATCH]
            inputs = _with_bias(events.take(rows).intensities())
            kept = stream(self.seed, NAME, self.epochs, number).random(inputs.shape, np.float32) >= DROPOUT
            kept[:, -1] = True
            inputs[:, :-1] /= 1 - DROPOUT
            right_now = self._learn(inputs * kept, labels[rows], rate)
            right += right_now
            progress(len(rows), right_now)
        self.epochs += 1
        return right

    def _learn(self, inputs: np.ndarray, labels: np.ndarray, rate: float) -> int:
        scores = inputs @ self.weights.T
        errors = _softmax(scores)
        errors[np.arange(len(labels)), labels] -= 1
        slope = errors.T @ inputs / np.float32(len(labels))
        self.steps += 1
        for average, value, decay in zip(
            (self.mean, self.square), (slope, slope * slope), DECAYS, strict=True
        ):
            average *= np.float32(decay)
            average += np.float32(1 - decay) * value
        mean, square = (
            a / np.float32(1 - d**self.steps) for a, d in zip((self.mean, self.square), DECAYS, strict=True)
        )
        self.weights -= np.float32(rate) * mean / (np.sqrt(square) + np.float32(LEAST))
        return int(np.sum(scores.argmax(axis=1) == labels))

    def scores(self, events: Events) -> np.ndarray:
        """Give the probability of each class, float32 (S, C)."""
        parts = [np.zeros((0, self.classes), np.float32)]
        for start in range(0, len(events), SCORED):
            some = events.take(np.arange(start, min(start + SCORED, len(events))))
            parts.append(_softmax(_with_bias(some.intensities()) @ self.weights.T))
        return np.concatenate(parts)

    def predict(self, events: Events) -> np.ndarray:
        """Give the most probable class, int64 (S,); -1 for all while nothing was learnt."""
        if not self.epochs:
            return np.full(len(events), -1, np.int64)
        return self.scores(events).argmax(axis=1)

    def state(self) -> dict[str, np.ndarray]:
        """Give everything that learning changes; copies."""
        arrays = {name: getattr(self, name).copy() for name in ("weights", "mean", "square")}
        return arrays | {"counts": np.array([self.steps, self.epochs], np.int64)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `state` gave; UserError if it is another's."""
        for name, array in self.state().items():
            if name not in state or state[name].shape != array.shape or state[name].dtype != array.dtype:
                raise UserError(f"linear readout: {name} belongs to another one")
        self.weights, self.mean, self.square = (state[name].copy() for name in ("weights", "mean", "square"))
        self.steps, self.epochs = map(int, state["counts"])


def _with_bias(intensities: np.ndarray) -> np.ndarray:
    return np.concatenate([intensities, np.ones((len(intensities), 1), np.float32)], axis=1)


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
