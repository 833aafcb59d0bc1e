"""SPSN: stochastic parallelizable spiking neurons, a filter and a drawn spike; no reset, no threshold, no feedback.

Source: Arnaud Yarga and Wood, "Accelerating SNN training with stochastic parallelizable spiking neurons" (2023).
"""

import torch

from firstspike.neurons import draws
from firstspike.neurons.base import Activity, Noise, StochasticNeuron
from firstspike.neurons.constants import DoubleDecays
from firstspike.neurons.modes import SILENT, mode_named, slope_of, spike_of
from firstspike.neurons.paralif import noise_of
from firstspike.neurons.rules import LinearRule


class SPSN(StochasticNeuron):
    """Sigmoid-Bernoulli ("SB") or Gumbel-softmax ("GS") spikes of the filtered current; `fire=False` is a readout."""

    def __init__(
        self,
        units: int,
        mode: str,
        *,
        tau_mem: float = 1e-3,
        tau_syn: float | None = 1e-3,
        dt: float = 1e-3,
        fire: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(units, generator)
        self.mode, self.fire = mode, fire
        self.kind = mode_named(mode, ("SB", "GS"))
        self.random = fire
        self.spike = spike_of(self.kind, slope_of("fastsig")) if fire else SILENT
        self.decays = DoubleDecays(tau_mem, tau_syn, dt)

    def _activity(
        self, x: torch.Tensor, potential: bool, seed: draws.Seed | None, noise: Noise | None
    ) -> Activity:
        """Return spikes (or, without firing, potentials) and potentials on request."""
        more = {}
        if self.fire:
            more = (
                {"keys": self.draws(x, seed)} if noise is None else {"given": noise_of(self.kind, noise, x)}
            )
        output, v = self.run(
            LinearRule(self.spike, potential=potential), x, (*self.decays.effective(), 0.0, 0.0), **more
        )
        return Activity(v if output is None else output, v if potential else None)
