"""At most one spike a neuron: FastSNN's layer, and the loop that it replaces.

Source: Taylor, King and Harper, "Robust and accelerated single-spike spiking neural network training with
applicability to challenging temporal tasks" (2022).
"""

import torch
from torch import nn

from firstspike.errors import UserError
from firstspike.kernels import recurrence as kernels
from firstspike.neurons import draws
from firstspike.neurons.base import Activity, Neuron, Noise
from firstspike.neurons.modes import SILENT, slope_of
from firstspike.neurons.rules import LinearRule, ResetRule

THRESHOLD = 1.0


def _decay(beta: float) -> torch.Tensor:
    """Return beta rounded to single precision, which the published layer uses in double precision too."""
    if not 0 <= beta <= 1:
        raise UserError(f"beta is {beta}; a decay lies in [0, 1]")
    return torch.tensor(beta, dtype=torch.float32)


class SingleSpike(Neuron):
    """v = beta v + x without reset; one spike where v first exceeds 1, none before or after. `fire=False` gives v.

    Gradients reach the steps before the spike only, of a silent neuron all steps: at step t the sum over later j
    before the spike of (j - t + 1) g[j], times the fast sigmoid slope. `learn_kernel` (the number of steps) makes the
    decay kernel beta^d a free parameter, as the published layer trains it; a pass is then quadratic in T.
    """

    def __init__(
        self,
        units: int,
        *,
        beta: float = 0.9,
        fire: bool = True,
        scale: float | None = None,
        learn_kernel: int | None = None,
    ) -> None:
        super().__init__(units)
        self.fire = fire
        self.register_buffer("beta", _decay(beta))
        self.spike = (
            kernels.Spike(kernels.IDENTITY, kernels.FIRST, *slope_of("fastsig", scale)) if fire else SILENT
        )
        self.kernel = None
        if learn_kernel is not None:
            self.kernel = nn.Parameter(self.beta.double().pow(torch.arange(learn_kernel)).float())

    def _activity(
        self, x: torch.Tensor, potential: bool, seed: draws.Seed | None, noise: Noise | None
    ) -> Activity:
        """Return the single spikes (or, without firing, v) and on request v."""
        beta = self.beta
        if self.kernel is not None:
            x, beta = self._convolve(x), 0.0
        output, v = self.run(LinearRule(self.spike, potential=potential), x, (0.0, beta, 1.0, THRESHOLD, 0.0))
        return Activity(v if output is None else output, v if potential else None)

    def _convolve(self, x: torch.Tensor) -> torch.Tensor:
        """Filter with the free kernel, one entry a lag: a product with the lower triangle of its lags, exactly
        causal.
        """
        steps, lags = x.shape[1], self.kernel.shape[0]
        if steps > lags:
            raise UserError(
                f"input has {steps} steps; the learnt kernel has {lags} lags: give learn_kernel={steps} or more"
            )
        lag = torch.arange(steps, device=x.device)[:, None] - torch.arange(steps, device=x.device)
        matrix = torch.where(lag >= 0, self.kernel.to(x.dtype)[lag.clamp(min=0)], 0)
        return torch.bmm(matrix.expand(len(x), steps, steps), x.flatten(2)).reshape(x.shape)


class TwinLIF(Neuron):
    """The loop that SingleSpike replaces: v = beta m + x, s = H(v - 1), m = v - s, gradients through the reset too.

    `reset=False` leaves m = v; `single_spike` also keeps the first spike only, and then is SingleSpike, gradient
    included.
    """

    def __init__(
        self,
        units: int,
        *,
        beta: float = 0.9,
        reset: bool = True,
        single_spike: bool = False,
        scale: float | None = None,
    ) -> None:
        super().__init__(units)
        self.reset, self.single_spike = reset and not single_spike, single_spike
        self.slope = slope_of("fastsig", scale)
        self.register_buffer("beta", _decay(beta))

    def _activity(
        self, x: torch.Tensor, potential: bool, seed: draws.Seed | None, noise: Noise | None
    ) -> Activity:
        """Return spikes and on request the membranes after the reset."""
        kind = kernels.FIRST if self.single_spike else kernels.THRESHOLD
        rule = (
            ResetRule(kernels.Reset(1.0, 1.0, 0.0, *self.slope), potential=potential)
            if self.reset
            else LinearRule(kernels.Spike(kernels.IDENTITY, kind, *self.slope), potential=potential)
        )
        output, m = self.run(rule, x, (0.0, self.beta, 1.0, THRESHOLD, THRESHOLD))
        return Activity(output, m if potential else None)
