"""The published protocol around a readout: early stopping, and what the folds say together.

Goupy et al. (NeurIPS 2024): a stratified 10-fold split of the training set in stored order; each fold stops
by its validation accuracy and is scored on the official test set with the weights of its last epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Patience:
    """Early stopping: stop after `limit` validations in a row without a new best; 0 or less = never.

    Only a strictly better accuracy than `best` counts; `waited`: validations since then.
    """

    limit: int
    best: float = 0.0
    waited: int = 0

    def after(self, accuracy: float) -> "Patience":
        """Give the state after one more validation."""
        if accuracy > self.best:
            return replace(self, best=accuracy, waited=0)
        return replace(self, waited=self.waited + 1)

    @property
    def stop(self) -> bool:
        """Say whether training should end here."""
        return 0 < self.limit <= self.waited


def summarise(accuracies: Sequence[float]) -> tuple[float, float]:
    """Give mean and population standard deviation of the folds' accuracies, each rounded to 4 decimals."""
    rounded = np.round(accuracies, 4)
    return float(rounded.mean()), float(rounded.std())
