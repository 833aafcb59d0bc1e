"""Feedback in one product for all steps: what ParaLIF's recurrent layers filter, x + (W h + b) / 2.

On the CPU its tensors come from the pool: fresh ones of that size cost as much as the product.
"""

import torch
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from firstspike.neurons.recurrence import Compiled, CompiledBack, Tensors, empty

PIECES = 16


def fed(
    x: torch.Tensor, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, compiled: bool
) -> torch.Tensor:
    """Return x + (W h + b) / 2 for x and h (..., U), W (U, U) as (out, in) and b (U,); `compiled` has first
    derivatives only.
    """
    if compiled:
        return _Fed.apply(x, hidden, weight, bias)
    return functional.linear(hidden, 0.5 * weight, 0.5 * bias) + x


def twice(x: torch.Tensor, compiled: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x for two readers; `compiled` has first derivatives only, added up in memory that was used before."""
    return _Twice.apply(x) if compiled else (x, x)


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


class _Twice(Compiled):
    """Two views of a tensor."""

    @staticmethod
    def forward(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.view_as(x), x.view_as(x)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: Tensors) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(ctx: FunctionCtx, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        return _Sum.apply(one, two)


class _Sum(CompiledBack):
    """Its way back."""

    @staticmethod
    def forward(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        return torch.add(one, two, out=empty(tuple(one.shape), one.dtype))


class _Fed(Compiled):
    """The sum and the product, written over memory that was used before."""

    @staticmethod
    def forward(
        x: torch.Tensor, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        out = torch.add(x, bias, alpha=0.5, out=empty(tuple(x.shape), x.dtype))
        _flat(out).addmm_(_flat(hidden), weight.T, alpha=0.5)
        return out

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
        back = empty(tuple(g.shape), g.dtype)
        torch.mm(_flat(g), 0.5 * weight, out=_flat(back))
        return back, *_of_weights(_flat(g), _flat(hidden))


def _of_weights(g: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return g^T h / 2 and the sum of g / 2 over the rows of both, (rows, U).

    A product with many rows is shared out among threads row by row, and then their number changes its bits; one of
    PIECES such products at once is not.
    """
    length = len(g) // PIECES
    whole = length * PIECES
    ours, theirs = (each[:whole].reshape(PIECES, length, each.shape[1]) for each in (g, hidden))
    weight = torch.bmm(ours.transpose(1, 2), theirs).sum(0) + g[whole:].T @ hidden[whole:]
    return 0.5 * weight, 0.5 * (ours.sum(1).sum(0) + g[whole:].sum(0))
