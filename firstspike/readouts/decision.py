"""From output spikes to classes: the first spike decides, then the higher membrane, then the lower index.

S samples, N neurons.
"""

import numpy as np


def rank(spikes: np.ndarray, membranes: np.ndarray) -> np.ndarray:
    """Order the neurons of each sample, first to decide first; all (S, N), result int64."""
    return np.lexsort((-membranes, spikes), axis=-1)


def scores(spikes: np.ndarray, membranes: np.ndarray, thresholds: np.ndarray, max_time: float) -> np.ndarray:
    """Say how near each neuron was to deciding, float32 (S, N): the greatest score decides.

    From 1 (at `max_time`) to 2 (at 0) by the spike time for a neuron that fired, membrane / threshold, below
    1, for a silent one. Between equal scores the sample's ranking decides by the least step of a float.
    """
    drive = membranes / np.maximum(np.abs(thresholds), np.finfo(np.float32).tiny)
    silent = np.minimum(drive, np.nextafter(np.float32(1), np.float32(0)))
    out = np.where(spikes < max_time, 2 - spikes / np.float32(max_time), silent).astype(np.float32)
    samples, first = np.arange(len(out)), rank(spikes, membranes)[:, 0]
    leading = out[samples, first]
    out[samples, first] = -np.inf
    rival = out.max(axis=1)
    out[samples, first] = np.where(leading > rival, leading, np.nextafter(rival, np.float32(np.inf)))
    return out


def by_class(scores: np.ndarray, per_class: int) -> np.ndarray:
    """Give each class the score of its best neuron: (S, N) to (S, N / per_class)."""
    return scores.reshape(len(scores), -1, per_class).max(axis=2)


def leads(scores: np.ndarray) -> np.ndarray:
    """Give by how much each class leads the best of the others, float32 (S, C): 0 or less for all but the winner.

    Samples decide at different times, so that scores of a class compare classes within a sample; leads also compare
    samples, which a ROC curve does.
    """
    if scores.shape[1] < 2:
        return scores
    best = np.sort(scores, axis=1)[:, -2:]
    rival = np.where(scores == best[:, 1:], best[:, :1], best[:, 1:])
    return scores - rival


def label_ranks(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the sorted distinct labels of a training set, and each label's rank among them, int64."""
    distinct, ranks = np.unique(labels, return_inverse=True)
    return distinct, ranks.astype(np.int64)
