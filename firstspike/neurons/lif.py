"""Leaky integrate-and-fire with hard reset: the neuron that the parallel ones stand in for, as one compiled loop.

Sources: the LIF of SPSN (Arnaud Yarga and Wood 2023) and of ParaLIF (2025), which adds refractoriness, feedback and
learnt constants. The spike in the reset is detached; everything else is differentiated.
"""

import math

import torch
from torch import nn

from firstspike.errors import UserError
from firstspike.kernels import recurrence as kernels
from firstspike.neurons import draws
from firstspike.neurons.base import Activity, Neuron, Noise
from firstspike.neurons.constants import DoubleDecays, SingleDecays, Threshold, Values
from firstspike.neurons.modes import SILENT, slope_of
from firstspike.neurons.rules import LinearRule, ResetRule
from firstspike.neurons.weights import feedback_map


class LIF(Neuron):
    """syn = alpha syn + x (+ W f + b), u = beta m + (1 - beta) syn, s = H(u - theta), m = u (1 - s); the potential is
    m.

    `refractory` seconds shut the input gate for the next ceil(refractory / dt) - 1 steps; the current goes on. f is
    the last step's spikes, or max(m, 0) with `recurrent_fire=False`. `fire=False` gives the membrane without reset, a
    readout. `precision="double"` rounds the decays as SPSN does (fixed scalars only), "single" as ParaLIF does.
    """

    def __init__(
        self,
        units: int,
        *,
        tau_mem: Values = 1e-3,
        tau_syn: Values | None = 1e-3,
        dt: float = 1e-3,
        threshold: Values = 1.0,
        refractory: float | None = None,
        learn_tau: bool = False,
        learn_threshold: bool = False,
        tau_init: str = "exact",
        recurrent: bool = False,
        recurrent_fire: bool = True,
        fire: bool = True,
        surrogate: str = "fastsig",
        scale: float | None = None,
        precision: str = "single",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(units)
        if recurrent and recurrent_fire and not fire:
            raise UserError(
                "a recurrent layer with fire=False has no spikes to feed back; set recurrent_fire=False or fire=True"
            )
        if precision == "double" and learn_tau:
            raise UserError("precision='double' is for fixed decays; learn_tau needs precision='single'")
        self.fire = fire
        self.decays = (
            DoubleDecays(tau_mem, tau_syn, dt)
            if precision == "double"
            else SingleDecays(units, tau_mem, tau_syn, dt, learn_tau, tau_init)
        )
        self.threshold = Threshold(units, threshold, learn_threshold)
        self.reset = kernels.Reset(0.0, 0.0, (refractory or 0.0) / dt, *slope_of(surrogate, scale))
        self.feedback = _feedback(recurrent, recurrent_fire)
        self.recurrent: nn.Linear | None = feedback_map(units, generator) if recurrent else None

    def _activity(
        self, x: torch.Tensor, potential: bool, seed: draws.Seed | None, noise: Noise | None
    ) -> Activity:
        """Return spikes (or, without firing, membranes) and on request the membranes after the reset."""
        theta = self.threshold.effective() if self.fire else math.inf
        constants = (*self.decays.effective(), theta, 0.0)
        if not self.fire and self.recurrent is None:
            _, m = self.run(LinearRule(SILENT), x, constants)
            return Activity(m, m)
        rule = ResetRule(self.reset, self.feedback, potential or not self.fire)
        spikes, m = self.run(rule, x, constants, **self._feedback_tensors(x))
        return Activity(spikes if self.fire else m, m if rule.potential else None)

    def _feedback_tensors(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        if self.recurrent is None:
            return {}
        if x.ndim > 3:
            raise UserError("a recurrent LIF layer takes (N, T, units): flatten the positions first")
        return {"weight": self.recurrent.weight.to(x.dtype), "bias": self.recurrent.bias.to(x.dtype)}


def _feedback(recurrent: bool, recurrent_fire: bool) -> int:
    if not recurrent:
        return kernels.NO_FEEDBACK
    return kernels.FEED_SPIKES if recurrent_fire else kernels.FEED_RELU
