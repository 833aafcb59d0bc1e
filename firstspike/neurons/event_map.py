"""The currents of the first hidden layer from a batch's events: nothing is dense before the hidden units.

A dense batch of spikes is mostly zeros, 93 to 99.5 % in the recordings and latency codes of the published experiments,
and a matrix product multiplies them all. `currents(map, x)` is that product for a dense batch; for Events it adds a
row of weights for each event. Both agree but for the order of the sums.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.autograd.function import FunctionCtx, once_differentiable

from firstspike.data.event_batch import Events
from firstspike.kernels import event_current as kernel
from firstspike.kernels.recurrence_rows import Part, launch
from firstspike.neurons.recurrence import empty

Batch = torch.Tensor | Events


def currents(layer: nn.Linear, x: Batch) -> torch.Tensor:
    """Return a map's currents (N, T, outputs) from a dense batch (N, T, ...) or from its events."""
    if not isinstance(x, Events):
        return layer(x.flatten(2))
    return _EventCurrent.apply(layer.weight, layer.bias, x)


def event_count(x: Batch) -> float:
    """Return how many events a batch holds."""
    return x.count if isinstance(x, Events) else x.sum().item()


class _EventCurrent(torch.autograd.Function):
    """The map of Events as one differentiable operation."""

    @staticmethod
    def forward(weight: torch.Tensor, bias: torch.Tensor, events: Events) -> torch.Tensor:
        out = empty((*events.shape[:2], weight.shape[0]), weight.dtype)
        rows, own = weight.detach().t().contiguous().view(-1).numpy(), bias.detach().numpy()
        flat = out.view(-1).numpy()

        def task(m0: int, m1: int) -> None:
            kernel.spread(*events.arrays, rows, own, events.steps, flat, m0, m1)

        _over_outputs(task, len(own))
        return out

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: torch.Tensor) -> None:
        weight, _, ctx.events = inputs
        ctx.size = tuple(weight.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        events, (outputs, inputs) = ctx.events, ctx.size
        g_rows, g_bias = torch.zeros(inputs, outputs, dtype=g.dtype), torch.zeros(outputs, dtype=g.dtype)
        flat, rows, own = g.contiguous().view(-1).numpy(), g_rows.view(-1).numpy(), g_bias.numpy()

        def task(m0: int, m1: int) -> None:
            kernel.collect(*events.arrays, flat, events.steps, rows, own, m0, m1)

        _over_outputs(task, outputs)
        return g_rows.t(), g_bias, None


def _over_outputs(task: Callable[[int, int], None], outputs: int) -> None:
    """Run a task over all outputs, a slice a thread."""
    threads = torch.get_num_threads()
    slices = (Part(0, 0, k * outputs // threads, (k + 1) * outputs // threads) for k in range(threads))
    launch(lambda part: task(part.n0, part.n1), slices, threads)
