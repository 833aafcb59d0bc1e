"""Feedback in one product for all steps: what ParaLIF's recurrent layers filter, x + (W h + b) / 2.

On the CPU its tensors come from the pool: fresh ones of that size cost as much as the product.
"""

import torch
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from firstspike.neurons.recurrence import Compiled, CompiledBack, Tensors, empty


def fed(
    x: torch.Tensor, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, compiled: bool
) -> torch.Tensor:
    """Return x + (W h + b) / 2 for x and h (..., U), W (U, U) as (out, in) and b (U,); `compiled` has first
    derivatives only.
    """
    if compiled:
        return _Fed.apply(x, hidden, weight, bias)
    return functional.linear(hidden, 0.5 * weight, 0.5 * bias) + x


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


class _Fed(Compiled):
    """The sum and the product, written over memory that was used before."""

    @staticmethod
    def forward(
        x: torch.Tensor, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        out = empty(tuple(x.shape), x.dtype)
        torch.addmm(_flat(x), _flat(hidden), weight.T, alpha=0.5, out=_flat(out))
        return out.add_(bias, alpha=0.5)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs[1:3])

    @staticmethod
    def backward(ctx: FunctionCtx, g: torch.Tensor) -> Tensors:
        return g, *_FedBack.apply(g, *ctx.saved_tensors)


class _FedBack(CompiledBack):
    """Its way back."""

    @staticmethod
    def forward(g: torch.Tensor, hidden: torch.Tensor, weight: torch.Tensor) -> Tensors:
        back, flat = empty(tuple(g.shape), g.dtype), _flat(g)
        torch.mm(flat, 0.5 * weight, out=_flat(back))
        return back, 0.5 * (flat.T @ _flat(hidden)), 0.5 * flat.sum(0)
