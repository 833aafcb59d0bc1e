"""The two recurrences as values: what a neuron chooses, and how it runs compiled."""

from dataclasses import dataclass

import numpy as np
import torch

from firstspike.kernels import recurrence as kernels
from firstspike.neurons.recurrence import Grads, Inputs, add_up, decay_of, empty, numpy_type, rows_of


def _output(x: torch.Tensor, wanted: bool) -> torch.Tensor:
    return empty(tuple(x.shape), x.dtype) if wanted else x.new_empty(0)


def _sums(x: torch.Tensor, learn: bool) -> np.ndarray:
    return np.zeros((x.shape[0] if learn else 0, 5, x.shape[2]), numpy_type(x.dtype))


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

    def _filter(self, inputs: Inputs) -> kernels.Filter:
        x, given = _rows(inputs.x, inputs.x, inputs.given)
        keys = np.zeros(0, np.uint64) if inputs.keys is None else inputs.keys.numpy().view(np.uint64)
        return kernels.Filter(
            x, self.lag, inputs.x.shape[1], decay_of(inputs), self.spike, kernels.Noise(given, keys)
        )

    def forward(self, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return outputs, potentials and marks; what is not wanted is empty."""
        x, f = inputs.x, self._filter(inputs)
        out, potential = _output(x, self.fires), _output(x, self.potential or not self.fires)
        marks = kernels.marks_of_filter(f, x.shape[0])
        kernels.filter_forward(f, *_rows(x, out, potential), marks, torch.get_num_threads())
        return out, potential, torch.from_numpy(marks)

    def backward(
        self,
        inputs: Inputs,
        saved: tuple[torch.Tensor, ...],
        g_out: torch.Tensor | None,
        g_potential: torch.Tensor | None,
        learn: bool,
    ) -> Grads:
        """Return the gradients of x and the constants."""
        x, sums, g_x = inputs.x, _sums(inputs.x, learn), _output(inputs.x, True)
        g = _rows(x, g_out, g_potential, g_x)
        kernels.filter_backward(self._filter(inputs), saved[0].numpy(), *g, sums, torch.get_num_threads())
        return g_x, *add_up(sums), None, None


@dataclass(frozen=True)
class ResetRule:
    """The resetting recurrence: hard or subtractive reset, refractoriness, feedback of spikes or positive membranes."""

    reset: kernels.Reset
    feedback: int = kernels.NO_FEEDBACK
    potential: bool = False

    def _lif(self, inputs: Inputs) -> kernels.Lif:
        x, real = inputs.x, numpy_type(inputs.x.dtype)
        weight, bias = np.zeros((0, 0), real), np.zeros(0, real)
        if self.feedback != kernels.NO_FEEDBACK:
            weight, bias = (
                inputs.weight.detach().contiguous().numpy(),
                inputs.bias.detach().contiguous().numpy(),
            )
        feedback = kernels.Feedback(self.feedback, np.ascontiguousarray(weight.T), weight, bias)
        return kernels.Lif(rows_of(x, x.dtype), x.shape[1], decay_of(inputs), self.reset, feedback)

    def forward(self, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return spikes, membranes after the reset and marks; membranes are empty where not wanted."""
        x, f = inputs.x, self._lif(inputs)
        out, potential = _output(x, True), _output(x, self.potential or self.feedback == kernels.FEED_RELU)
        marks = kernels.marks_of_reset(f, x.shape[0])
        kernels.reset_forward(f, *_rows(x, out, potential), marks, torch.get_num_threads())
        return out, potential, torch.from_numpy(marks)

    def backward(
        self,
        inputs: Inputs,
        saved: tuple[torch.Tensor, ...],
        g_out: torch.Tensor | None,
        g_potential: torch.Tensor | None,
        learn: bool,
    ) -> Grads:
        """Return the gradients of x, the constants and, where there is feedback, its weights and bias."""
        x, sums, g_x = inputs.x, _sums(inputs.x, learn), _output(inputs.x, True)
        g = _rows(x, g_out, g_potential, g_x)
        kernels.reset_backward(self._lif(inputs), saved[0].numpy(), *g, sums, torch.get_num_threads())
        if self.feedback == kernels.NO_FEEDBACK:
            return g_x, *add_up(sums), None, None
        fed = saved[1] if self.feedback == kernels.FEED_SPIKES else saved[2].clamp(min=0)
        g_weight = torch.bmm(g_x[:, 1:].transpose(1, 2), fed[:, :-1]).sum(
            0
        )  # one product a sample: threads do not matter
        return g_x, *add_up(sums), g_weight, g_x.sum((0, 1))
