"""Recurrences over time, fused and compiled: one way forward and one way back for each, whatever neurons share it.

    linear     double-exponential filter, read by any spike function (SPSN, ParaLIF, single spike, integrator)
    resetting  leaky integrate-and-fire, hard or subtractive reset, refractoriness, feedback (LIF and its relatives)

All arrays are (N, T, U); the way back computes from the input what it needs, block by block.
"""

from collections.abc import Callable

import numpy as np

from firstspike.kernels import recurrence_filter, recurrence_reset, recurrence_reset_back
from firstspike.kernels.recurrence_draws import Noise
from firstspike.kernels.recurrence_filter import Filter
from firstspike.kernels.recurrence_reset import FEED_RELU, FEED_SPIKES, NO_FEEDBACK, Feedback, Lif, Reset
from firstspike.kernels.recurrence_rows import Decay, Part, Rows, block_count, launch, nothing, parts, rows
from firstspike.kernels.recurrence_spikes import (
    BERNOULLI,
    DELTA,
    FIRST,
    GUMBEL,
    IDENTITY,
    POTENTIAL,
    RELU,
    RELU_TANH,
    SIGMOID,
    SILENCE,
    TANH,
    THRESHOLD,
    Spike,
)

__all__ = [
    "BERNOULLI",
    "DELTA",
    "FEED_RELU",
    "FEED_SPIKES",
    "FIRST",
    "GUMBEL",
    "IDENTITY",
    "NO_FEEDBACK",
    "POTENTIAL",
    "RELU",
    "RELU_TANH",
    "SIGMOID",
    "SILENCE",
    "TANH",
    "THRESHOLD",
    "Decay",
    "Feedback",
    "Filter",
    "Lif",
    "Noise",
    "Reset",
    "Rows",
    "Spike",
    "block_count",
    "filter_backward",
    "filter_forward",
    "marks_of_filter",
    "marks_of_reset",
    "nothing",
    "reset_backward",
    "reset_forward",
    "rows",
]


def marks_of_filter(f: Filter, samples: int) -> np.ndarray:
    """Allocate what the linear recurrence keeps for the way back: (N, blocks, 2 or 3, U)."""
    rows_kept = 3 if f.spike.kind == FIRST else 2
    return np.empty((samples, block_count(f.length), rows_kept, f.decay.alpha.size), f.decay.alpha.dtype)


def marks_of_reset(f: Lif, samples: int) -> np.ndarray:
    """Allocate what the resetting recurrence keeps for the way back: (N, blocks, 2 or 4, U)."""
    rows_kept = 4 if f.reset.refractory > 0 or f.feedback.kind != NO_FEEDBACK else 2
    return np.empty((samples, block_count(f.length), rows_kept, f.decay.alpha.size), f.decay.alpha.dtype)


def filter_forward(f: Filter, out: Rows, potential: Rows, marks: np.ndarray, threads: int) -> None:
    """Run the linear recurrence; out and potential are written where they hold anything, marks always."""
    _launch(lambda part: recurrence_filter.forward(f, out, potential, marks, part), marks, threads, False)


def filter_backward(
    f: Filter, marks: np.ndarray, out: Rows, potential: Rows, x: Rows, sums: np.ndarray, threads: int
) -> None:
    """Carry gradients at outputs and potentials to x, and each sample's share of the constants' to sums (N or 0, 5,
    U).
    """
    g = recurrence_filter.Gradients(out, potential, x, sums)
    _launch(lambda part: recurrence_filter.backward(f, marks, g, part), marks, threads, False)


def reset_forward(f: Lif, spikes: Rows, membranes: Rows, marks: np.ndarray, threads: int) -> None:
    """Run the resetting recurrence; membranes (after the reset) are written where they hold anything."""
    fed = f.feedback.kind != NO_FEEDBACK
    _launch(lambda part: recurrence_reset.forward(f, spikes, membranes, marks, part), marks, threads, fed)


def reset_backward(
    f: Lif, marks: np.ndarray, spikes: Rows, membranes: Rows, x: Rows, sums: np.ndarray, threads: int
) -> None:
    """Carry gradients at spikes, membranes to x, and each sample's share of the constants' to sums (N or 0, 5, U)."""
    g = recurrence_reset.Gradients(spikes, membranes, x, sums)
    fed = f.feedback.kind != NO_FEEDBACK
    _launch(lambda part: recurrence_reset_back.backward(f, marks, g, part), marks, threads, fed)


def _launch(task: Callable[[Part], None], marks: np.ndarray, threads: int, whole_rows: bool) -> None:
    launch(task, parts(marks.shape[0], marks.shape[3], threads, whole_rows), threads)
