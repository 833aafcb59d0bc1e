"""The two recurrences as values: what a neuron chooses, and how it runs compiled."""

from dataclasses import dataclass

import numpy as np
import torch

from firstspike.kernels import recurrence as kernels
from firstspike.neurons.recurrence import (
    Grads,
    Inputs,
    Outputs,
    Tensors,
    add_up,
    decay_of,
    empty,
    in_order,
    numpy_type,
    rows_of,
)


def _output(x: torch.Tensor, wanted: bool) -> torch.Tensor:
    return empty(tuple(x.shape), x.dtype) if wanted else x.new_empty(0)


def _sums(like: torch.Tensor, learn: bool) -> np.ndarray:
    return np.zeros((like.shape[0] if learn else 0, 5, like.shape[2]), numpy_type(like.dtype))


def _rows(like: torch.Tensor, *tensors: torch.Tensor | None) -> tuple[kernels.Rows, ...]:
    return tuple(rows_of(tensor, like.dtype) for tensor in tensors)


@dataclass(frozen=True)
class LinearRule:
    """The linear recurrence: v from x, delayed by `lag` steps (0 or 1), read by a spike function; potentials on
    request.
    """

    spike: kernels.Spike
    lag: int = 0
    potential: bool = False

    @property
    def fires(self) -> bool:
        """Whether there are outputs besides the potentials."""
        return self.spike.kind != kernels.POTENTIAL

    @property
    def reads_potential(self) -> bool:
        """Whether what the spike function reads is v itself, at every step."""
        return self.spike.norm == kernels.IDENTITY and self.spike.kind != kernels.FIRST

    def _filter(self, inputs: Inputs, x: torch.Tensor) -> kernels.Filter:
        given = rows_of(inputs.given, x.dtype)
        keys = np.zeros(0, np.uint64) if inputs.keys is None else inputs.keys.numpy().view(np.uint64)
        noise, own = kernels.Noise(given, keys), rows_of(x, x.dtype)
        return kernels.Filter(own, self.lag, x.shape[1], decay_of(inputs), self.spike, noise)

    def forward(self, inputs: Inputs, keep: bool, learn: bool) -> Outputs:
        """Return outputs and potentials, empty where not wanted, and what is kept."""
        x, learn = inputs.x, keep and learn
        out, potential = _output(x, self.fires), _output(x, self.potential or not self.fires)
        read = _output(x, (keep and self.fires) or (learn and self.reads_potential))
        v, a = _output(x, learn and not self.reads_potential), _output(x, learn)
        trace = kernels.FilterTrace(*_rows(x, out, potential, read, v, a))
        kernels.filter_forward(self._filter(inputs, x), trace, x.shape[0], torch.get_num_threads())
        return out, potential, (read, read if learn and self.reads_potential else v, a)

    def backward(self, inputs: Inputs, kept: Tensors, g: Tensors, learn: bool) -> Grads:
        """Return the gradients of x and the constants."""
        like = next(each for each in g if each is not None)
        sums, g_x = _sums(like, learn), _output(like, True)
        trace = kernels.FilterTrace(*_rows(like, None, None, *kept))
        gradients = kernels.FilterGradients(*_rows(like, *g, g_x), sums)
        f = self._filter(inputs._replace(given=None, keys=None), g_x)
        kernels.filter_backward(f, trace, gradients, like.shape[0], torch.get_num_threads())
        return g_x, *add_up(sums), None, None


@dataclass(frozen=True)
class ResetRule:
    """The resetting recurrence: hard or subtractive reset, refractoriness, feedback of spikes or positive membranes."""

    reset: kernels.Reset
    feedback: int = kernels.NO_FEEDBACK
    potential: bool = False

    def _lif(self, inputs: Inputs, x: torch.Tensor) -> kernels.Lif:
        real = numpy_type(x.dtype)
        weight, bias = np.zeros((0, 0), real), np.zeros(0, real)
        if self.feedback != kernels.NO_FEEDBACK:
            weight, bias = (each.detach().contiguous().numpy() for each in (inputs.weight, inputs.bias))
        feedback = kernels.Feedback(self.feedback, np.ascontiguousarray(weight.T), weight, bias)
        return kernels.Lif(rows_of(x, x.dtype), x.shape[1], decay_of(inputs), self.reset, feedback)

    def forward(self, inputs: Inputs, keep: bool, learn: bool) -> Outputs:
        """Return spikes and membranes after the reset, empty where not wanted, and what is kept."""
        x, learn = inputs.x, keep and learn
        out, membranes = _output(x, True), _output(x, self.potential)
        u, gate, currents = (_output(x, each) for each in (keep, keep and self.reset.refractory > 0, learn))
        trace = kernels.ResetTrace(*_rows(x, out, membranes, u, gate, currents))
        kernels.reset_forward(self._lif(inputs, x), trace, x.shape[0], torch.get_num_threads())
        return out, membranes, (u, gate, currents)

    def backward(self, inputs: Inputs, kept: Tensors, g: Tensors, learn: bool) -> Grads:
        """Return the gradients of x, the constants and, where there is feedback, its weights and bias."""
        like = next(each for each in g if each is not None)
        sums, g_x = _sums(like, learn), _output(like, True)
        trace = kernels.ResetTrace(*_rows(like, None, None, *kept))
        weights = np.zeros(self._weights_of(like), numpy_type(like.dtype))
        gradients = kernels.ResetGradients(*_rows(like, *g, g_x), sums, weights)
        f = self._lif(inputs, g_x)
        kernels.reset_backward(f, trace, gradients, like.shape[0], torch.get_num_threads())
        if self.feedback == kernels.NO_FEEDBACK:
            return g_x, *add_up(sums), None, None
        total = torch.from_numpy(in_order(weights))
        return g_x, *add_up(sums), total[:-1].T, total[-1]

    def _weights_of(self, x: torch.Tensor) -> tuple[int, int, int]:
        groups = -(-x.shape[0] // kernels.GROUP) if self.feedback != kernels.NO_FEEDBACK else 0
        return groups, x.shape[2] + 1, x.shape[2]
