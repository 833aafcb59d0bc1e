"""Leaky integrators with a reset as SpikingJelly's users know them: the neurons that plif_net and others compare
with.

Source: Fang et al., "Incorporating learnable membrane time constant to enhance learning of spiking neural networks"
(2021).
"""

import math

import torch
from torch import nn

from firstspike.errors import UserError
from firstspike.kernels import recurrence as kernels
from firstspike.neurons import draws
from firstspike.neurons.base import Activity, Neuron, Noise
from firstspike.neurons.modes import slope_of
from firstspike.neurons.rules import ResetRule

RESETS = {"hard": 0.0, "soft": 1.0}


class PLIF(Neuron):
    """u = m + (x - m) / tau, spike where u >= threshold, then m = 0 ("hard") or u - threshold ("soft").

    With `learn_tau`, 1 / tau = sigmoid(w) and w is one parameter a layer. `decay_input=False` leaves x unscaled:
    u = m (1 - 1/tau) + x. `detach_reset` keeps gradients out of the spike in the reset.
    """

    def __init__(
        self,
        units: int,
        *,
        tau: float = 2.0,
        learn_tau: bool = False,
        threshold: float = 1.0,
        reset: str = "hard",
        detach_reset: bool = False,
        decay_input: bool = True,
        surrogate: str = "atan",
        scale: float | None = None,
    ) -> None:
        super().__init__(units)
        if tau <= 1:
            raise UserError(f"tau is {tau}; it is in steps and above 1")
        if reset not in RESETS:
            raise UserError(f"unknown reset {reset!r}; choose from {', '.join(RESETS)}")
        self.tau, self.decay_input = tau, decay_input
        self.threshold, self.drop = threshold, threshold if reset == "soft" else 0.0
        self.weight = nn.Parameter(torch.tensor(-math.log(tau - 1.0))) if learn_tau else None
        self.rule = kernels.Reset(RESETS[reset], float(not detach_reset), 0.0, *slope_of(surrogate, scale))

    def _activity(
        self, x: torch.Tensor, potential: bool, seed: draws.Seed | None, noise: Noise | None
    ) -> Activity:
        """Return spikes and on request the membranes after the reset."""
        rate = 1.0 / self.tau if self.weight is None else torch.sigmoid(self.weight)
        real = torch.float64 if x.dtype == torch.float64 else torch.float32
        edge = torch.nextafter(
            torch.tensor(self.threshold, dtype=real), torch.tensor(-math.inf, dtype=real)
        )  # u >= theta
        constants = (0.0, 1.0 - rate, rate if self.decay_input else 1.0, edge, self.drop)
        spikes, m = self.run(ResetRule(self.rule, potential=potential), x, constants)
        return Activity(spikes, m if potential else None)
