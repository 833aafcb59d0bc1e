"""The same recurrences in torch ops: any device, any order of derivative, and the readable twin of the kernels.

A pole is scanned by doubling, y[t] += decay^s y[t-s] for s = 1, 2, 4, ...: T log T work in log T steps, exactly
causal (no transform, hence no wrap-around and no noise before the first input). A neuron that resets needs the loop
over steps.
"""

import torch
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from firstspike.errors import UserError
from firstspike.kernels import recurrence as kernels
from firstspike.neurons import draws
from firstspike.neurons.recurrence import FORWARD_MODE, Inputs
from firstspike.neurons.rules import LinearRule, ResetRule


class _Reverse(torch.autograd.Function):
    """An operation with reverse-mode derivatives of any order."""

    generate_vmap_rule = True

    @staticmethod
    def jvp(ctx: FunctionCtx, *tangents: torch.Tensor | None) -> None:
        raise UserError(FORWARD_MODE)


class _Pole(_Reverse):
    """y[t] = decay y[t-1] + x[t] over dimension 1; its gradient is the same scan, run backwards."""

    @staticmethod
    def forward(x: torch.Tensor, decay: torch.Tensor) -> torch.Tensor:
        y, power, step = x.view_as(x), decay, 1
        while step < x.shape[1]:
            y = torch.cat((y[:, :step], y[:, step:] + power * y[:, :-step]), 1)
            power, step = power * power, 2 * step
        return y

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: torch.Tensor) -> None:
        ctx.save_for_backward(inputs[1], output)

    @staticmethod
    def backward(ctx: FunctionCtx, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        decay, y = ctx.saved_tensors
        q = _Pole.apply(g.flip(1), decay).flip(1)
        return q, (q[:, 1:] * y[:, :-1]).sum((0, 1))


class _Step(_Reverse):
    """H(z), 1 above 0, with the surrogate slope peak / (1 + |z| (linear + square |z|))."""

    @staticmethod
    def forward(z: torch.Tensor, peak: float, linear: float, square: float) -> torch.Tensor:
        return (z > 0).to(z.dtype)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: torch.Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.slope = inputs[1:]

    @staticmethod
    def backward(ctx: FunctionCtx, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (z,), (peak, linear, square) = ctx.saved_tensors, ctx.slope
        d = z.abs()
        return g * peak / (1 + d * (linear + square * d)), None, None, None


class _Straight(_Reverse):
    """A hard choice with a soft gradient: value and factor are given, the gradient is g times the factor."""

    @staticmethod
    def forward(p: torch.Tensor, value: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: torch.Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: FunctionCtx, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return g * ctx.saved_tensors[0], None, None


class _First(_Reverse):
    """1 at the first step with z > 0; the gradient of FastSNN: sum over silent j >= t of (j - t + 1) g[j], times the
    slope.
    """

    @staticmethod
    def forward(z: torch.Tensor, peak: float, linear: float, square: float) -> torch.Tensor:
        over = z > 0
        return (over & (over.cumsum(1) == 1)).to(z.dtype)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: torch.Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.slope = inputs[1:]

    @staticmethod
    def backward(ctx: FunctionCtx, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (z,), (peak, linear, square) = ctx.saved_tensors, ctx.slope
        silent, d = ((z > 0).cumsum(1) == 0).to(g.dtype), z.abs()
        later = (g * silent).flip(1).cumsum(1).cumsum(1).flip(1) * silent
        return later * peak / (1 + d * (linear + square * d)), None, None, None


def _normalise(v: torch.Tensor, norm: int) -> torch.Tensor:
    if norm == kernels.SIGMOID:
        return torch.sigmoid(v)
    if norm in (kernels.IDENTITY, kernels.SILENCE):
        return v
    return torch.tanh(v) if norm == kernels.TANH else torch.relu(torch.tanh(v))


def _noise(inputs: Inputs) -> torch.Tensor:
    if inputs.given is not None:
        return inputs.given
    return draws.uniforms(inputs.keys, inputs.x.shape[1], inputs.x.shape[2], inputs.x.dtype)


def _bernoulli(p: torch.Tensor, inputs: Inputs) -> torch.Tensor:
    return _Straight.apply(p, (_noise(inputs) < p).to(p.dtype), p)


def _gumbel(v: torch.Tensor, inputs: Inputs) -> torch.Tensor:
    y = torch.sigmoid(2 * v + torch.logit(_noise(inputs)))
    return _Straight.apply(y, (y > 0.5).to(y.dtype), torch.ones_like(y))


def _fire(v: torch.Tensor, inputs: Inputs, spike: kernels.Spike) -> torch.Tensor:
    """Turn potentials into outputs; see kernels/recurrence_spikes.py for the seven kinds."""
    slope = (spike.peak, spike.linear, spike.square)
    p = _normalise(v, spike.norm)
    if spike.kind == kernels.THRESHOLD:
        return _Step.apply(p - inputs.theta, *slope)
    if spike.kind == kernels.DELTA:
        return _Step.apply(p - functional.pad(p, (0, 0, 1, 0))[:, :-1] - inputs.theta, *slope)
    if spike.kind == kernels.FIRST:
        return _First.apply(p - inputs.theta, *slope)
    if spike.kind == kernels.BERNOULLI:
        return _bernoulli(p, inputs)
    return _gumbel(v, inputs) if spike.kind == kernels.GUMBEL else torch.relu(p)


def linear(rule: LinearRule, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the linear recurrence: outputs (empty where there are none) and potentials, (N, T, U)."""
    x = functional.pad(inputs.x, (0, 0, rule.lag, 0))[:, : inputs.x.shape[1]]
    v = _Pole.apply(inputs.gain * _Pole.apply(x, inputs.alpha), inputs.beta)
    return _fire(v, inputs, rule.spike) if rule.fires else x.new_empty(0), v


def resetting(rule: ResetRule, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the resetting recurrence step by step: spikes and membranes after the reset, (N, T, U)."""
    zero = inputs.x.new_zeros(inputs.x.shape[0], inputs.x.shape[2])
    syn, m, count, fed = zero, zero, zero, zero
    spikes, membranes = [], []
    for x in inputs.x.unbind(1):
        count = count - 1
        syn = inputs.alpha * syn + x
        if rule.feedback != kernels.NO_FEEDBACK:
            syn = syn + functional.linear(fed, inputs.weight, inputs.bias)
        gate = (count <= 0).to(x.dtype) if rule.reset.refractory > 0 else 1
        u = inputs.beta * m + inputs.gain * (gate * syn)
        s = _Step.apply(u - inputs.theta, rule.reset.peak, rule.reset.linear, rule.reset.square)
        fall = s if rule.reset.attach else s.detach()
        m = u + fall * ((rule.reset.keep - 1) * u - inputs.drop)
        count = torch.where(s > 0, rule.reset.refractory, count)
        fed = s if rule.feedback == kernels.FEED_SPIKES else torch.relu(m)
        spikes.append(s)
        membranes.append(m)
    return torch.stack(spikes, 1), torch.stack(membranes, 1)


def run(rule: LinearRule | ResetRule, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a rule in torch ops: outputs and potentials."""
    return linear(rule, inputs) if isinstance(rule, LinearRule) else resetting(rule, inputs)
