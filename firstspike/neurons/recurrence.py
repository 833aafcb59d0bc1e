"""One call for every neuron: a rule, the input and the units' constants give outputs and potentials.

On the CPU the rules run as compiled kernels behind one torch.autograd.Function; on any other device as scans in torch
ops (scan.py), which also serve where second derivatives are wanted. Shapes: x (N, T, U), constants (U,).
"""

import inspect
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.autograd.function import FunctionCtx

from firstspike.buffers import POOL
from firstspike.errors import UserError
from firstspike.kernels import recurrence as kernels


class Inputs(NamedTuple):
    """The tensors of a recurrence. given (N, T, U) or keys (N,) hold a stochastic mode's randomness.

    alpha, beta, gain, theta, drop (U,); weight (U, U) as (out, in) and bias (U,) where there is feedback.
    """

    x: torch.Tensor
    alpha: torch.Tensor
    beta: torch.Tensor
    gain: torch.Tensor
    theta: torch.Tensor
    drop: torch.Tensor
    weight: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    given: torch.Tensor | None = None
    keys: torch.Tensor | None = None


Tensors = tuple[torch.Tensor | None, ...]
Grads = Tensors
Outputs = tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]]
Dims = tuple[int | None, ...]


class Rule(Protocol):
    """A recurrence: how it runs compiled, there and back."""

    def forward(self, inputs: Inputs, keep: bool, learn: bool) -> Outputs:
        """Return outputs, potentials (either may be empty: not wanted) and what the way back needs.

        Nothing is kept unless there is to be a way back, and less where the constants are not to `learn`.
        """

    def backward(self, inputs: Inputs, kept: Tensors, g: Tensors, learn: bool) -> Grads:
        """Return the gradients of x, alpha, beta, gain, theta, drop, weight and bias, None where there is none, from
        those at outputs and potentials (None: 0).
        """


def rows_of(tensor: torch.Tensor | None, dtype: torch.dtype) -> kernels.Rows:
    """View a (N, T, U) tensor as rows without a copy where its units lie side by side, expanded samples or steps
    included.
    """
    if tensor is None or tensor.numel() == 0:
        return kernels.nothing(numpy_type(dtype))
    if tensor.shape[2] > 1 and tensor.stride(2) != 1:
        tensor = _compact(tensor)
    samples, steps, units = tensor.shape
    extent = (samples - 1) * tensor.stride(0) + (steps - 1) * tensor.stride(1) + units
    flat = tensor.detach().as_strided((extent,), (1,))
    return kernels.Rows(flat.numpy(), tensor.stride(0), tensor.stride(1))


def _compact(tensor: torch.Tensor) -> torch.Tensor:
    """Copy a tensor so that its units lie side by side; expanded samples and steps stay expanded."""
    core = tensor
    for d in (0, 1):
        if tensor.stride(d) == 0:
            core = core.narrow(d, 0, 1)
    return core.contiguous().expand(tensor.shape)


def numpy_type(dtype: torch.dtype) -> np.dtype:
    """Return the numpy type of a compute type."""
    return np.dtype(np.float64 if dtype == torch.float64 else np.float32)


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return an uninitialised CPU tensor from the pool of buffers that are used again."""
    return torch.from_numpy(POOL.empty(shape, numpy_type(dtype)))


def decay_of(inputs: Inputs) -> kernels.Decay:
    """View the units' constants as the kernels read them."""
    own = (inputs.alpha, inputs.beta, inputs.gain, inputs.theta, inputs.drop)
    return kernels.Decay(*(c.detach().contiguous().numpy() for c in own))


def in_order(shares: np.ndarray) -> np.ndarray:
    """Add shares (N, ...) of a gradient, in double and in order."""
    return shares.sum(axis=0, dtype=np.float64).astype(shares.dtype)


def add_up(sums: np.ndarray) -> tuple[torch.Tensor | None, ...]:
    """Add the samples' shares (N, 5, U) of the constants' gradients; five None where there are none."""
    if not sums.shape[0]:
        return (None,) * 5
    return tuple(torch.from_numpy(in_order(sums)))


FORWARD_MODE = "neurons have no forward-mode derivatives; use backward(), torch.func.grad, vjp or jacrev"
SECOND_ORDER = (
    "compiled neurons have first derivatives only; set the neuron's `method` to 'scan' for second ones"
)


class Compiled(torch.autograd.Function):
    """An operation outside torch: it has no forward-mode derivative, and is mapped over a dimension one by one."""

    def __init_subclass__(cls) -> None:
        """Keep the signature that torch asks for at every call."""
        if "forward" in vars(cls):
            cls.forward.__signature__ = inspect.signature(cls.forward)

    @staticmethod
    def jvp(ctx: FunctionCtx, *tangents: torch.Tensor | None) -> None:
        """Refuse."""
        raise UserError(FORWARD_MODE)

    @classmethod
    def vmap(cls, info: Any, in_dims: Dims, *args: Any) -> tuple[Any, Any]:
        """Run it once for each element of the mapped dimension and stack what it gives."""
        results = []
        for k in range(info.batch_size):
            one = [a if d is None else a.select(d, k) for a, d in zip(args, in_dims, strict=True)]
            results.append(cls.apply(*one))
        if isinstance(results[0], torch.Tensor):
            return torch.stack(results), 0
        stacked = tuple(
            None if parts[0] is None else torch.stack(parts) for parts in zip(*results, strict=True)
        )
        return stacked, tuple(None if part is None else 0 for part in stacked)


class CompiledBack(Compiled):
    """The way back of such an operation; it has no derivative of its own."""

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: Tensors) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: torch.Tensor | None) -> None:
        """Refuse."""
        raise UserError(SECOND_ORDER)


class _Run(Compiled):
    """A rule's kernels as one differentiable operation."""

    @staticmethod
    def forward(
        rule: Rule, keep: bool, learn: bool, mark: torch.Tensor, *tensors: torch.Tensor | None
    ) -> Tensors:
        out, potential, kept = rule.forward(Inputs(*tensors), keep, learn)
        return out, potential, *kept

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: Tensors) -> None:
        rule, _, _, mark, _, *constants = inputs
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)
        ctx.rule, ctx.count = rule, len(inputs)
        ctx.save_for_backward(mark, *constants, *output[2:])

    @staticmethod
    def backward(
        ctx: FunctionCtx, g_out: torch.Tensor | None, g_potential: torch.Tensor | None, *_: None
    ) -> Tensors:
        if g_out is None and g_potential is None:
            return (None,) * ctx.count
        learn = any(ctx.needs_input_grad[5:10])
        grads = _RunBack.apply(ctx.rule, learn, g_out, g_potential, *ctx.saved_tensors)
        return (None, None, None, None, *grads, None, None)


class _RunBack(CompiledBack):
    """The way back of a rule."""

    @staticmethod
    def forward(
        rule: Rule,
        learn: bool,
        g_out: torch.Tensor | None,
        g_potential: torch.Tensor | None,
        mark: torch.Tensor,
        *saved: torch.Tensor | None,
    ) -> Grads:
        constants = len(Inputs._fields) - 1
        return rule.backward(Inputs(None, *saved[:constants]), saved[constants:], (g_out, g_potential), learn)


def run_compiled(rule: Rule, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a rule's kernels; see `run` of scan.py for the same in torch ops."""
    keep = torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in inputs)
    learn = any(constant.requires_grad for constant in inputs[1:6])
    mark = inputs.x[:0].clone()  # empty; differentiable where x is, which a second derivative finds out
    out, potential, *_ = _Run.apply(rule, keep, learn, mark, *inputs)
    return out, potential
