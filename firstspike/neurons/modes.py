"""The table of spike modes and surrogate slopes: names to what the recurrences read.

A mode is a normalisation p = n(v) and a spike function (ParaLIF, section "spike modes"):

    threshold  p > theta          delta  p[t] - p[t-1] > theta, p[-1] = 0 after normalisation
    Bernoulli  u < p, gradient g p          Gumbel softmax of (v, -v), temperature 1, gradient 2 g y (1 - y)

ST, TT and TRT cannot fire at threshold 1, as sigmoid and tanh stay below it; SD fires at t = 0 almost always, as
sigmoid(v[0]) - 0 is about 1/2. A learnable threshold that falls to 0 or below stays there: its gradient is 0.
"""

from dataclasses import dataclass

import numpy as np

from firstspike.errors import UserError
from firstspike.kernels import recurrence as kernels


@dataclass(frozen=True)
class Mode:
    """A normalisation and a spike function of kernels/recurrence_spikes.py."""

    norm: int
    kind: int

    @property
    def random(self) -> bool:
        """Whether a spike is drawn."""
        return self.kind in (kernels.BERNOULLI, kernels.GUMBEL)

    @property
    def uses_threshold(self) -> bool:
        """Whether there is a threshold to compare with (and to learn)."""
        return self.kind in (kernels.THRESHOLD, kernels.DELTA)


MODES = {
    "GS": Mode(kernels.SILENCE, kernels.GUMBEL),
    "SB": Mode(kernels.SIGMOID, kernels.BERNOULLI),
    "TRB": Mode(kernels.RELU_TANH, kernels.BERNOULLI),
    "D": Mode(kernels.IDENTITY, kernels.DELTA),
    "SD": Mode(kernels.SIGMOID, kernels.DELTA),
    "TD": Mode(kernels.TANH, kernels.DELTA),
    "TRD": Mode(kernels.RELU_TANH, kernels.DELTA),
    "T": Mode(kernels.IDENTITY, kernels.THRESHOLD),
    "ST": Mode(kernels.SIGMOID, kernels.THRESHOLD),
    "TT": Mode(kernels.TANH, kernels.THRESHOLD),
    "TRT": Mode(kernels.RELU_TANH, kernels.THRESHOLD),
}
"""The eleven spiking modes of ParaLIF by name."""

_SCALES = {"fastsig": 100.0, "atan": 2.0}


def mode_named(name: str, allowed: tuple[str, ...] = tuple(MODES)) -> Mode:
    """Return a mode by name, or say which names there are."""
    if name not in allowed:
        raise UserError(f"unknown spike mode {name!r}; choose from {', '.join(allowed)}")
    return MODES[name]


def slope_of(surrogate: str, scale: float | None = None) -> tuple[float, float, float]:
    """Return (peak, linear, square) of the slope peak / (1 + |z| (linear + square |z|)).

    "fastsig" 1/(k|z|+1)^2, k = 100 (SuperSpike, Zenke and Ganguli 2018); "atan" (k/2)/(1+(pi/2 k z)^2), k = 2 (Fang
    et al. 2021). A scale k of None or 0 means the default.
    """
    if surrogate not in _SCALES:
        raise UserError(f"unknown surrogate {surrogate!r}; choose from {', '.join(_SCALES)}")
    k = scale or _SCALES[surrogate]
    if surrogate == "fastsig":
        return 1.0, 2.0 * k, k * k
    return k / 2.0, 0.0, float((np.pi / 2.0 * k) ** 2)


def spike_of(mode: Mode, slope: tuple[float, float, float]) -> kernels.Spike:
    """Join a mode and a slope to what the kernels read."""
    return kernels.Spike(mode.norm, mode.kind, *slope)


SILENT = kernels.Spike(kernels.IDENTITY, kernels.POTENTIAL, 0.0, 0.0, 0.0)
"""No spike function: the potentials are the output."""

RELU = kernels.Spike(kernels.IDENTITY, kernels.RELU, 0.0, 0.0, 0.0)
"""The positive part of the potential, as a recurrent layer may feed back instead of spikes."""
