"""The leaky integrator: the readout that all these networks end in."""

import torch

from firstspike.neurons import draws
from firstspike.neurons.base import Activity, Neuron, Noise
from firstspike.neurons.constants import SingleDecays, Values
from firstspike.neurons.modes import SILENT
from firstspike.neurons.rules import LinearRule


class Integrator(Neuron):
    """The double-exponential filter alone: a = alpha a + x, v = beta v + (1 - beta) a; the output is v."""

    def __init__(
        self,
        units: int,
        *,
        tau_mem: Values = 1e-3,
        tau_syn: Values | None = 1e-3,
        dt: float = 1e-3,
        learn_tau: bool = False,
        tau_init: str = "exact",
    ) -> None:
        super().__init__(units)
        self.decays = SingleDecays(units, tau_mem, tau_syn, dt, learn_tau, tau_init)

    def _activity(
        self, x: torch.Tensor, potential: bool, seed: draws.Seed | None, noise: Noise | None
    ) -> Activity:
        """Return the potential, as output and as potential."""
        _, v = self.run(LinearRule(SILENT), x, (*self.decays.effective(), 0.0, 0.0))
        return Activity(v, v)


class NonSpiking(Neuron):
    """The baseline without time: the positive part of the current, step by step."""

    def _activity(
        self, x: torch.Tensor, potential: bool, seed: draws.Seed | None, noise: Noise | None
    ) -> Activity:
        """Return max(x, 0), and x as potential."""
        return Activity(torch.relu(x), x)
