"""The network with learnt delays: delay convolutions, normalisation, a neuron of almost no memory, dropout.

Source: Hammouamri et al. 2023; with ParaLIF-T as in ParaLIF (2025), or its LIF of 1.005 steps.
"""

from dataclasses import dataclass

import torch
from torch import nn

from firstspike.errors import UserError
from firstspike.neurons import draws
from firstspike.neurons.base import Neuron
from firstspike.neurons.delays import DelayConv
from firstspike.neurons.integrator import Integrator
from firstspike.neurons.networks import Output
from firstspike.neurons.networks_conv import drop, fire
from firstspike.neurons.paralif import ParaLIF
from firstspike.neurons.plif import PLIF

MODELS = ("snn_delays", "snn_delays_lr0", "snn")
TAU_MEM, SCALE = 3.2e-4, 5.0  # seconds at 1 ms a step: beta = exp(-3.125)


@dataclass(frozen=True)
class DelayNet:
    """Hidden blocks and an output block; `model` with learnt delays, with fixed random whole ones, or with none.

    `neuron` is "ParaLIF-T" or "LIF". Every delay convolution adds (taps - 1) / 2 steps to the sequence.
    """

    inputs: int = 140
    classes: int = 20
    hidden: tuple[int, ...] = (256, 256)
    taps: int = 25
    dropout: float = 0.4
    model: str = "snn_delays"
    neuron: str = "ParaLIF-T"

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise UserError(f"unknown model {self.model!r}; choose from {', '.join(MODELS)}")
        if self.neuron not in ("ParaLIF-T", "LIF"):
            raise UserError(f"unknown neuron {self.neuron!r}; choose from ParaLIF-T, LIF")

    def build(self, seed: int = 0) -> "DelayNetwork":
        """Make the network, weights and delays drawn from the seed."""
        return DelayNetwork(self, torch.Generator().manual_seed(seed))

    def layer(self, units: int) -> Neuron:
        """Make a hidden layer's neurons."""
        if self.neuron == "LIF":
            return PLIF(units, tau=1.005, decay_input=False, detach_reset=True, scale=SCALE)
        return ParaLIF(units, "T", tau_mem=TAU_MEM, tau_syn=None, surrogate="atan", scale=SCALE)

    def readout(self) -> Neuron:
        """Make the readout, which never fires."""
        if self.neuron == "LIF":
            return PLIF(self.classes, tau=1.005, decay_input=False, detach_reset=True, threshold=1e9)
        return Integrator(self.classes, tau_mem=TAU_MEM, tau_syn=None)


class DelayNetwork(nn.Module):
    """See DelayNet."""

    def __init__(self, description: DelayNet, generator: torch.Generator) -> None:
        super().__init__()
        d = self.description = description
        sizes, taps = (d.inputs, *d.hidden, d.classes), 1 if d.model == "snn" else d.taps
        learn = d.model == "snn_delays"
        self.maps = nn.ModuleList(
            DelayConv(sizes[k], sizes[k + 1], generator, taps=taps, learn_position=learn)
            for k in range(len(sizes) - 1)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(units) for units in d.hidden)
        self.neurons = nn.ModuleList(d.layer(units) for units in d.hidden)
        self.readout = d.readout()

    def forward(self, x: torch.Tensor, *, seed: draws.Seed = 0) -> Output:
        """Return the readout's membrane (N, T + layers (taps - 1) / 2, classes) and the layers' activities."""
        x, layers = x.flatten(2), []
        for k, (conv, norm, neuron) in enumerate(zip(self.maps, self.norms, self.neurons, strict=False)):
            x = norm(conv(x).transpose(1, 2)).transpose(1, 2)
            x = drop(
                fire(neuron, x, seed, k, layers),
                self.description.dropout,
                draws.fold(seed, 100 + k),
                self.training,
            )
        return Output(self.readout.activity(self.maps[-1](x), potential=True).potential, tuple(layers))

    def fan_out(self) -> tuple[int, ...]:
        """Return how many synapses an event of the input and of each hidden layer reaches."""
        return tuple(conv.weight.shape[0] for conv in self.maps)

    def positions(self) -> list[nn.Parameter]:
        """Return the learnt delays, which have an optimiser of their own."""
        return [conv.position for conv in self.maps if conv.position.requires_grad]

    def set_width(self, width: float) -> None:
        """Set the width of the delay kernels, as the schedule lowers it."""
        for conv in self.maps:
            conv.width.fill_(width)

    def after_batch(self) -> None:
        """Bring the delays back into their range."""
        for conv in self.maps:
            conv.clamp()
