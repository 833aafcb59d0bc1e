"""ParaLIF: a leaky integrate-and-fire neuron without reset, so that all steps are computed at once.

Source: Arnaud Yarga and Wood, "Accelerating spiking neural networks with parallelizable leaky integrate-and-fire
neurons" (2025). The potential is the exact causal filter; the published program multiplies spectra of length 2T,
which folds future input into early steps.
"""

import warnings

import torch
from torch import nn

from firstspike.errors import UserError
from firstspike.kernels import recurrence as kernels
from firstspike.neurons import draws
from firstspike.neurons.base import Activity, Noise, StochasticNeuron
from firstspike.neurons.constants import SingleDecays, Threshold, Values
from firstspike.neurons.feedback import fed, twice
from firstspike.neurons.modes import RELU, SILENT, Mode, mode_named, slope_of, spike_of
from firstspike.neurons.rules import LinearRule
from firstspike.neurons.weights import feedback_map


def noise_of(mode: Mode, noise: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return given uniforms, (N, T, units) or for GS (N, T, units, 2) as [spike, silence], as the recurrence reads
    them.

    Two Gumbel draws become the one uniform with the same odds, u / (1 - u) = exp(G0 - G1) = log u1 / log u0; uniforms
    are clamped to [tiny, 1 - eps].
    """
    expected = (*x.shape, 2) if mode.kind == kernels.GUMBEL else tuple(x.shape)
    if tuple(noise.shape) != tuple(expected):
        raise UserError(
            f"noise has shape {tuple(noise.shape)}; this mode draws uniforms of shape {tuple(expected)}"
        )
    noise = noise.to(x.dtype)
    if mode.kind == kernels.GUMBEL:
        limits = torch.finfo(x.dtype)
        noise = noise.clamp(limits.tiny, 1 - limits.eps).log()
        noise = noise[..., 1] / noise.sum(-1)
    return noise.reshape(x.shape[0], x.shape[1], -1)


class ParaLIF(StochasticNeuron):
    """ParaLIF in one of its eleven modes (modes.py), recurrent too.

    v = filter(x), s = mode(v). A recurrent layer cuts the feedback after one step: h = mode of v delayed by a step
    (or its positive part, `recurrent_fire=False`), v = filter(x) + filter(x + W h + b), which is filter(2 x + W h +
    b); h[0] is the mode at 0. `fire=False` gives the potential, a readout. alpha, beta, theta may be one a unit;
    `learn_tau` learns the decays' logits, `learn_threshold` max(raw, 0), which is dead once 0.
    """

    def __init__(
        self,
        units: int,
        mode: str,
        *,
        tau_mem: Values = 1e-3,
        tau_syn: Values | None = 1e-3,
        dt: float = 1e-3,
        threshold: Values = 1.0,
        learn_tau: bool = False,
        learn_threshold: bool = False,
        tau_init: str = "exact",
        recurrent: bool = False,
        recurrent_fire: bool = True,
        fire: bool = True,
        surrogate: str = "fastsig",
        scale: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(units, generator)
        self.mode, self.fire, self.recurrent_fire = mode, fire, recurrent_fire
        self.kind = mode_named(mode)
        self.random = self.kind.random and (fire or (recurrent and recurrent_fire))
        self.spike = spike_of(self.kind, slope_of(surrogate, scale))
        self.decays = SingleDecays(units, tau_mem, tau_syn, dt, learn_tau, tau_init)
        self.threshold = Threshold(units, threshold, learn_threshold)
        self.recurrent: nn.Linear | None = feedback_map(units, self.generator) if recurrent else None
        _warn_of_silence(mode, self.threshold)

    def _activity(
        self, x: torch.Tensor, potential: bool, seed: draws.Seed | None, noise: Noise | None
    ) -> Activity:
        """Return output, potential on request, and the fed back spikes of a recurrent layer.

        `noise` is one tensor of uniforms or, for a recurrent layer that feeds spikes back, the pair (hidden, final).
        """
        if seed is None and noise is None and self.random:
            seed = int(torch.randint(2**62, (), generator=self.generator))
        hidden_noise, final_noise = noise if isinstance(noise, tuple) else (None, noise)
        hidden, gain = None, 1.0
        if self.recurrent is not None:
            gain = 2.0
            hidden, x = self._feed(x, seed, hidden_noise)
        spike = self.spike if self.fire else SILENT
        rule = LinearRule(spike, potential=potential)
        output, v = self.run(
            rule, x, self._constants(spike, gain), **self._randomness(x, spike, seed, final_noise, 1)
        )
        return Activity(
            v if output is None else output, v if potential else None, hidden if self.recurrent_fire else None
        )

    def _feed(
        self, x: torch.Tensor, seed: draws.Seed | None, noise: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the fed back activity h and x + (W h + b) / 2, half of the input that takes the place of x.

        Halving is exact, and the gain of 2 in the filter makes up for it: no pass over x is spent on doubling it.
        """
        spike = self.spike if self.recurrent_fire else RELU
        more = self._randomness(x, spike, seed, noise, 0)
        x, filtered = twice(x, self.compiled(x))
        hidden, _ = self.run(LinearRule(spike, lag=1), filtered, self._constants(spike), **more)
        weight, bias = (each.to(x.dtype) for each in (self.recurrent.weight, self.recurrent.bias))
        total = fed(x.movedim(2, -1), hidden.movedim(2, -1), weight, bias, self.compiled(x))
        return hidden, total.movedim(-1, 2)

    def _constants(self, spike: kernels.Spike, gain: float = 1.0) -> tuple:
        compares = spike == self.spike and self.kind.uses_threshold
        alpha, beta, own = self.decays.effective()
        return alpha, beta, gain * own, self.threshold.effective() if compares else 0.0, 0.0

    def _randomness(
        self,
        x: torch.Tensor,
        spike: kernels.Spike,
        seed: draws.Seed | None,
        noise: torch.Tensor | None,
        stage: int,
    ) -> dict[str, torch.Tensor]:
        if spike.kind != self.kind.kind or not self.kind.random:
            return {}
        if noise is not None:
            return {"given": noise_of(self.kind, noise, x)}
        return {"keys": self.draws(x, seed, stage)}


def _warn_of_silence(mode: str, threshold: Threshold) -> None:
    if mode in ("ST", "TT", "TRT") and not threshold.learn and bool((threshold.raw >= 1).any()):
        warnings.warn(
            f"ParaLIF-{mode} cannot fire at threshold 1 or above: its potentials stay below 1", stacklevel=3
        )
