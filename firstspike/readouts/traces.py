"""What a recorded epoch of a readout says about the competition within its groups.

S presentations, N neurons.
"""

import numpy as np

from firstspike.kernels.supervised import Trace
from firstspike.readouts.competition import Groups


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
