"""A linear support vector machine as the weights of a decision layer.

N images, F inputs. One against the rest: class c answers by w_c x, x being 1 for inputs that fire. There is no bias,
and to all weights one number is added that makes them positive: every class gains the same in an image, so that the
answers stay, and an image in which anything fires has an answer.
"""

import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

CHUNK = 1000  # images that are made sparse at once


def fit_linear(
    fired: "csr_matrix", labels: np.ndarray, classes: int, *, cost: float, passes: int, seed: int
) -> np.ndarray:
    """Weights float32 (classes, F), all above 0; squared hinge loss, liblinear's dual coordinate descent.

    ``fired`` (N, F) of 0 and 1. It ends after so many passes over the images, converged or not: binary features are all
    but separable, and what comes later is no better. A class without images never answers.
    """
    from sklearn.svm import LinearSVC

    weights = np.zeros((classes, fired.shape[1]))
    present = np.unique(labels)
    if len(present) > 1:
        machine = LinearSVC(C=cost, max_iter=passes, fit_intercept=False, random_state=seed)
        with _unconverged():
            coefficients = machine.fit(fired, labels).coef_
        weights[present] = coefficients if len(present) > 2 else np.concatenate([-coefficients, coefficients])
    weights[present] += np.abs(weights).max() + 1
    return np.maximum(weights, np.finfo(np.float32).tiny).astype(np.float32)


def sparse_spikes(inputs: np.ndarray, rows: np.ndarray, steps: int) -> "csr_matrix":
    """Which inputs fire, float64 (N, F), for some rows of latencies uint8 (all, C, H, W)."""
    from scipy.sparse import csr_matrix, vstack

    parts = [
        csr_matrix((inputs[rows[first : first + CHUNK]] < steps).reshape(-1, inputs[:1].size), dtype=float)
        for first in range(0, len(rows), CHUNK)
    ]
    return vstack(parts, format="csr")


def _unconverged() -> warnings.catch_warnings:
    from sklearn.exceptions import ConvergenceWarning

    return warnings.catch_warnings(action="ignore", category=ConvergenceWarning)
