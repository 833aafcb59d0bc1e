"""Recurrences over time, fused and compiled: one way forward and one way back for each, whatever neurons share it.

    linear     double-exponential filter, read by any spike function (SPSN, ParaLIF, single spike, integrator)
    resetting  leaky integrate-and-fire, hard or subtractive reset, refractoriness, feedback (LIF and its relatives)

All arrays are (N, T, U); the way back reads what the way forward has kept of its own.
"""

from collections.abc import Callable
from typing import Any

from firstspike.kernels import recurrence_feedback, recurrence_filter, recurrence_reset, recurrence_reset_back
from firstspike.kernels.recurrence_draws import Noise
from firstspike.kernels.recurrence_feedback import GROUP
from firstspike.kernels.recurrence_filter import Filter, FilterGradients, FilterTrace
from firstspike.kernels.recurrence_reset import (
    FEED_RELU,
    FEED_SPIKES,
    NO_FEEDBACK,
    Feedback,
    Lif,
    Reset,
    ResetTrace,
)
from firstspike.kernels.recurrence_reset_back import ResetGradients
from firstspike.kernels.recurrence_rows import Decay, Rows, launch, nothing, parts, worthwhile
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
    "GROUP",
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
    "FilterGradients",
    "FilterTrace",
    "Lif",
    "Noise",
    "Reset",
    "ResetGradients",
    "ResetTrace",
    "Rows",
    "Spike",
    "filter_backward",
    "filter_forward",
    "nothing",
    "reset_backward",
    "reset_forward",
]

PRODUCTS_A_STEP = 32
"""Products of feedback that take as long as the rest of a unit's step."""


def filter_forward(f: Filter, to: FilterTrace, samples: int, threads: int) -> None:
    """Run the linear recurrence; what holds anything of the trace is written."""
    _launch(recurrence_filter.forward, (f, to), samples, threads)


def filter_backward(f: Filter, kept: FilterTrace, g: FilterGradients, samples: int, threads: int) -> None:
    """Carry gradients at outputs and potentials to x, and each sample's share of the constants' to the sums."""
    _launch(recurrence_filter.backward, (f, kept, g), samples, threads)


def reset_forward(f: Lif, to: ResetTrace, samples: int, threads: int) -> None:
    """Run the resetting recurrence; what holds anything of the trace is written."""
    if f.feedback.kind == NO_FEEDBACK:
        _launch(recurrence_reset.forward, (f, to), samples, threads)
    else:
        _launch(recurrence_feedback.forward, (f, to), samples, threads, recurrence_feedback.GROUP)


def reset_backward(f: Lif, kept: ResetTrace, g: ResetGradients, samples: int, threads: int) -> None:
    """Carry gradients at spikes and membranes to x, and the constants' to the sums, in shares of samples or groups."""
    if f.feedback.kind == NO_FEEDBACK:
        _launch(recurrence_reset_back.backward, (f, kept, g), samples, threads)
    else:
        _launch(recurrence_feedback.backward, (f, kept, g), samples, threads, recurrence_feedback.GROUP)


def _launch(
    kernel: Callable[..., None], given: tuple[Any, ...], samples: int, threads: int, together: int = 1
) -> None:
    units = given[0].decay.alpha.size
    products = 0 if together == 1 else units // PRODUCTS_A_STEP
    threads = worthwhile(threads, samples * units * given[0].length * (1 + products))
    launch(lambda part: kernel(*given, part), parts(samples, units, threads, together), threads)
