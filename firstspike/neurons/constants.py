"""Decays and thresholds of a layer's units: given, one a layer or one a unit, fixed or learnt.

    alpha = exp(-dt / tau_syn)        beta = exp(-dt / tau_mem)        gain = 1 - beta

Both are rounded as ParaLIF does it, exp(fl(fl(1/tau) fl(-dt))) in single precision, or as SPSN does it, in double
precision and cast when used. tau_syn = None is alpha = 0: no synapse; so is tau = 0. dt is an argument of its own and
not the width of the input's time bins: published ParaLIF settings keep 1 ms whatever the bins, so that with 5 ms bins
"tau = 20 ms" decays by exp(-1/20) in 5 ms.
"""

import math

import torch
from torch import nn

from firstspike.errors import UserError

Values = float | list[float] | tuple[float, ...] | torch.Tensor


def per_unit(values: Values, units: int, name: str) -> torch.Tensor:
    """Return a scalar or (units,) tensor in single precision."""
    tensor = torch.as_tensor(values, dtype=torch.float32).clone()
    if tensor.ndim > 1 or (tensor.ndim == 1 and tensor.shape[0] != units):
        raise UserError(f"{name} has shape {tuple(tensor.shape)}; give one number, or one a unit: ({units},)")
    return tensor


def single_decay(tau: Values, dt: float, units: int, name: str) -> torch.Tensor:
    """Return exp(-dt / tau) with every step rounded to single precision, the reciprocal first."""
    tensor = per_unit(tau, units, name)
    if not bool((tensor >= 0).all()):
        raise UserError(f"{name} is {tau}; time constants are 0 or above (seconds)")
    return torch.exp(tensor.reciprocal() * torch.tensor(-dt, dtype=torch.float32))


def double_decay(tau: float | None, dt: float, name: str) -> float:
    """Return exp(-dt / tau) in double precision; None and 0 give 0."""
    if tau is not None and tau < 0:
        raise UserError(f"{name} is {tau}; time constants are 0 or above (seconds)")
    return math.exp(-dt / tau) if tau else 0.0


def raw_of(decay: torch.Tensor, tau_init: str) -> torch.Tensor:
    """Return the number whose sigmoid is the learnt decay.

    "exact" starts from the decay asked for, log(p / (1 - p)) with p clipped to [1e-6, 1 - 1e-6]; "original" stores p
    itself as ParaLIF does, so that every decay starts between 0.5 and 0.731 whatever tau is.
    """
    if tau_init not in ("exact", "original"):
        raise UserError(f"unknown tau_init {tau_init!r}; choose from exact, original")
    return torch.logit(decay.double(), eps=1e-6).float() if tau_init == "exact" else decay


class SingleDecays(nn.Module):
    """alpha and beta as tensors in the manner of ParaLIF, learnt as the sigmoid of a raw number where asked."""

    def __init__(
        self,
        units: int,
        tau_mem: Values,
        tau_syn: Values | None,
        dt: float,
        learn: bool = False,
        tau_init: str = "exact",
    ) -> None:
        super().__init__()
        self.learn, self.synapse = learn, tau_syn is not None
        self._hold("beta", single_decay(tau_mem, dt, units, "tau_mem"), learn, tau_init)
        if tau_syn is None:
            self.register_buffer("alpha", torch.zeros(()))
        else:
            self._hold("alpha", single_decay(tau_syn, dt, units, "tau_syn"), learn, tau_init)

    def _hold(self, name: str, decay: torch.Tensor, learn: bool, tau_init: str) -> None:
        if learn:
            self.register_parameter(name, nn.Parameter(raw_of(decay, tau_init)))
        else:
            self.register_buffer(name, decay)

    def effective(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return alpha, beta and gain = 1 - beta."""
        alpha = torch.sigmoid(self.alpha) if self.learn and self.synapse else self.alpha
        beta = torch.sigmoid(self.beta) if self.learn else self.beta
        return alpha, beta, 1 - beta


class DoubleDecays(nn.Module):
    """alpha and beta as double scalars in the manner of SPSN: fixed, no part of the state."""

    def __init__(self, tau_mem: float, tau_syn: float | None, dt: float) -> None:
        super().__init__()
        self.alpha = double_decay(tau_syn, dt, "tau_syn")
        self.beta = double_decay(tau_mem, dt, "tau_mem")

    def effective(self) -> tuple[float, float, float]:
        """Return alpha, beta and gain = 1 - beta."""
        return self.alpha, self.beta, 1 - self.beta


class Threshold(nn.Module):
    """A threshold as given, or learnt as max(raw, 0); the gradient is 0 where raw is 0 or below, for ever."""

    def __init__(self, units: int, value: Values, learn: bool = False) -> None:
        super().__init__()
        self.learn = learn
        tensor = per_unit(value, units, "threshold")
        if learn:
            self.raw = nn.Parameter(tensor)
        else:
            self.register_buffer("raw", tensor)

    def effective(self) -> torch.Tensor:
        """Return the threshold that potentials are compared with."""
        return torch.relu(self.raw) if self.learn else self.raw
