"""What a recorded epoch of a readout says about the competition within its groups.

S presentations, N neurons.
"""

from dataclasses import dataclass

import numpy as np

from firstspike.kernels.supervised import Trace
from firstspike.readouts.competition import Groups

POINTS = 50  # presentations of an epoch whose thresholds are kept


@dataclass(frozen=True)
class EpochTrace:
    """What is kept of an epoch.

    `thresholds` float32 (P, N): the adaptive ones after P presentations, evenly spread, the last among them; `updates`
    int64 (N, 2): see `count_updates`; `decided` int64 (N,): see `wins`.
    """

    thresholds: np.ndarray
    updates: np.ndarray
    decided: np.ndarray


def summarise(trace: Trace, labels: np.ndarray, groups: Groups) -> EpochTrace:
    """Give what is kept of a recorded epoch; `labels` (S,) in order of presentation."""
    shown = np.unique(np.linspace(0, len(labels) - 1, POINTS + 1).round().astype(np.int64)[1:])
    neurons = trace.thresholds.shape[1]
    return EpochTrace(trace.thresholds[shown], count_updates(trace, labels, groups), wins(trace, neurons))


def count_updates(trace: Trace, labels: np.ndarray, groups: Groups) -> np.ndarray:
    """Count each neuron's weight updates, int64 (N, 2): as a target of the sample's class, and otherwise.

    `labels` (S,) in order of presentation; the trace has been recorded with gains.
    """
    gains = trace.gains.reshape(len(labels), -1, 2)
    learns = np.any(gains != 0, axis=2)
    neurons = np.arange(learns.shape[1])
    own = neurons[None, :] // groups.per_class == np.asarray(labels)[:, None]
    target = own & (neurons % groups.per_class >= groups.non_target)
    return np.stack([np.sum(learns & target, axis=0), np.sum(learns & ~target, axis=0)], axis=1)


def wins(trace: Trace, neurons: int) -> np.ndarray:
    """Count how often each neuron decided while training, int64 (N,)."""
    return np.bincount(trace.winners, minlength=neurons)
