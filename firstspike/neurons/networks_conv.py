"""Convolutional networks of spiking neurons: plif_net, sequential CIFAR-10 and FastSNN's, as descriptions and one
module each.

Maps and pools act on every step alone; a neuron is shared by the positions of its channel. N samples, T steps, C
channels. Sources: Fang et al. 2021 (plif_net), Fang et al. 2023 (sequential CIFAR-10), with the neurons of ParaLIF
(2025) in them.
"""

import itertools
from dataclasses import dataclass, replace

import torch
from torch import nn

from firstspike.errors import UserError
from firstspike.neurons import draws
from firstspike.neurons.base import Activity, Neuron
from firstspike.neurons.modes import MODES
from firstspike.neurons.networks import Fast, FastNetwork, Output
from firstspike.neurons.paralif import ParaLIF
from firstspike.neurons.plif import PLIF
from firstspike.neurons.weights import uniform

NEURONS = ("LIF", "PLIF", *(f"ParaLIF-{mode}" for mode in MODES))


@dataclass(frozen=True)
class Cell:
    """The neuron of a convolutional network, made anew for every layer: one a channel.

    LIF and PLIF have `tau` steps, a hard reset unless said otherwise; ParaLIF its time constants in seconds. A
    threshold of None is 1, or `delta_threshold` for ParaLIF modes with a D.
    """

    neuron: str = "LIF"
    tau: float = 2.0
    reset: str = "hard"
    detach_reset: bool = False
    tau_mem: float = 1e-2
    tau_syn: float | None = 1e-4
    learn_tau: bool = False
    tau_init: str = "exact"
    threshold: float | None = None
    delta_threshold: float = 1.0
    learn_threshold: bool = False
    recurrent: bool = False
    recurrent_relu: bool = False
    scale: float = 2.0

    def __post_init__(self) -> None:
        if self.neuron not in NEURONS:
            raise UserError(f"unknown neuron {self.neuron!r}; choose from {', '.join(NEURONS)}")

    def make(self, units: int, generator: torch.Generator) -> Neuron:
        """Make a layer of this neuron."""
        family, _, mode = self.neuron.partition("-")
        if family != "ParaLIF":
            return PLIF(
                units,
                tau=self.tau,
                learn_tau=family == "PLIF",
                reset=self.reset,
                detach_reset=self.detach_reset,
                scale=self.scale,
            )
        start = self.threshold if self.threshold is not None else self.delta_threshold if "D" in mode else 1.0
        per_channel = [self.tau_mem] * units if self.learn_tau else self.tau_mem
        return ParaLIF(
            units,
            mode,
            tau_mem=per_channel,
            tau_syn=self.tau_syn,
            learn_tau=self.learn_tau,
            tau_init=self.tau_init,
            threshold=start,
            learn_threshold=self.learn_threshold,
            recurrent=self.recurrent,
            recurrent_fire=not self.recurrent_relu,
            surrogate="atan",
            scale=self.scale,
            generator=generator,
        )


class PerStep(nn.Module):
    """A module for (N, ...) applied to every step of (N, T, ...) at once."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, T, ...)."""
        return self.inner(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def drop(x: torch.Tensor, rate: float, seed: draws.Seed, training: bool) -> torch.Tensor:
    """Drop units of (N, T, U) with one mask for all steps, drawn from the seed; scaled by 1 / (1 - rate); as is
    otherwise.
    """
    if not training or rate == 0:
        return x
    keys = draws.sample_keys(seed, x.shape[0]).to(x.device)
    mask = draws.uniforms(keys, 1, x.shape[2], x.dtype) >= rate  # (N, 1, U)
    return x * mask / (1 - rate)


def fire(neuron: Neuron, x: torch.Tensor, seed: draws.Seed, k: int, layers: list[Activity]) -> torch.Tensor:
    """Run layer k of a network's neurons and note its activity."""
    layers.append(neuron.activity(x, seed=draws.fold(seed, k) if neuron.random else None))
    return layers[-1].output


@dataclass(frozen=True)
class PlifNet:
    """plif_net: (Conv 3x3, BatchNorm, neuron, pool 2) x layers, then two dense layers and votes of ten units a class.

    Input (N, T, polarities, H, W). Scores are spikes summed over time ("sum"), the loss their squared error.
    """

    size: int = 34
    classes: int = 10
    layers: int = 2
    channels: int = 128
    polarities: int = 2
    pool: str = "max"
    dropout: float = 0.5
    votes: int = 10
    cell: Cell = Cell()

    def __post_init__(self) -> None:
        if self.pool not in ("max", "average"):
            raise UserError(f"unknown pool {self.pool!r}; choose from max, average")
        if self.size >> self.layers < 1:
            raise UserError(
                f"{self.layers} layers halve {self.size} pixels to nothing; give at most {self.size.bit_length() - 1}"
            )

    def build(self, seed: int = 0) -> "PlifNetwork":
        """Make the network, weights drawn from the seed."""
        return PlifNetwork(self, torch.Generator().manual_seed(seed))


def redraw(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all maps of a network anew, from the generator: U(-1/sqrt(fan_in), 1/sqrt(fan_in)), torch's own start."""
    for part in module.modules():
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Linear) and part is not module:
            bound = part.weight[0].numel() ** -0.5
            with torch.no_grad():
                for tensor in (part.weight, part.bias):
                    if tensor is not None:
                        tensor.uniform_(-bound, bound, generator=generator)


class PlifNetwork(nn.Module):
    """See PlifNet."""

    def __init__(self, description: PlifNet, generator: torch.Generator) -> None:
        super().__init__()
        d = self.description = description
        widths = (d.polarities, *[d.channels] * d.layers)
        pool = nn.MaxPool2d if d.pool == "max" else nn.AvgPool2d
        self.blocks = nn.ModuleList(
            PerStep(nn.Conv2d(widths[k], d.channels, 3, padding=1, bias=False), nn.BatchNorm2d(d.channels))
            for k in range(d.layers)
        )
        self.pool = PerStep(pool(2))
        flat = d.channels * (d.size >> d.layers) ** 2
        outputs = d.classes * d.votes
        self.dense = nn.ModuleList(
            [nn.Linear(flat, flat // 4, bias=False), nn.Linear(flat // 4, outputs, bias=False)]
        )
        redraw(self, generator)
        sizes = (*[d.channels] * d.layers, flat // 4, outputs)
        self.neurons = nn.ModuleList(d.cell.make(units, generator) for units in sizes)

    def forward(self, x: torch.Tensor, *, seed: draws.Seed = 0) -> Output:
        """Return the votes (N, T, classes) and the layers' activities."""
        layers, k, d = [], 0, self.description
        for k, block in enumerate(self.blocks):
            x = self.pool(fire(self.neurons[k], block(x), seed, k, layers))
        x = x.flatten(2)
        for k, linear in enumerate(self.dense, start=d.layers):
            x = drop(x, d.dropout, draws.fold(seed, 100 + k), self.training)
            x = fire(self.neurons[k], linear(x), seed, k, layers)
        return Output(x.unflatten(2, (d.classes, d.votes)).mean(3), tuple(layers))


@dataclass(frozen=True)
class ColumnNet:
    """Sequential CIFAR-10: the columns of an image are its steps; 2 x [3 x (Conv 3, BatchNorm, neuron), pool 2],
    dense.

    Input (N, T, 3, H), a column a step. Scores are the mean over time.
    """

    size: int = 32
    classes: int = 10
    channels: int = 128
    colours: int = 3
    convolutions: int = 3
    stages: int = 2
    hidden: int = 256
    cell: Cell = Cell(reset="soft", detach_reset=True, learn_threshold=True)

    def build(self, seed: int = 0) -> "ColumnNetwork":
        """Make the network, weights drawn from the seed."""
        return ColumnNetwork(self, torch.Generator().manual_seed(seed))


class ColumnNetwork(nn.Module):
    """See ColumnNet."""

    def __init__(self, description: ColumnNet, generator: torch.Generator) -> None:
        super().__init__()
        d = self.description = description
        count = d.stages * d.convolutions
        self.maps = nn.ModuleList(
            PerStep(
                nn.Conv1d(d.channels if k else d.colours, d.channels, 3, padding=1, bias=False),
                nn.BatchNorm1d(d.channels),
            )
            for k in range(count)
        )
        self.pool = PerStep(nn.AvgPool1d(2))
        self.dense = nn.Linear(d.channels * (d.size >> d.stages), d.hidden)
        self.readout = nn.Linear(d.hidden, d.classes)
        redraw(self, generator)
        sizes = (*[d.channels] * count, d.hidden)
        self.neurons = nn.ModuleList(d.cell.make(units, generator) for units in sizes)

    def forward(self, x: torch.Tensor, *, seed: draws.Seed = 0) -> Output:
        """Return the readout (N, T, classes) and the layers' activities."""
        layers = []
        for k, block in enumerate(self.maps):
            x = fire(self.neurons[k], block(x), seed, k, layers)
            if (k + 1) % self.description.convolutions == 0:
                x = self.pool(x)
        x = fire(self.neurons[-1], self.dense(x.flatten(2)), seed, len(self.maps), layers)
        return Output(self.readout(x), tuple(layers))


@dataclass(frozen=True)
class FastConv:
    """FastSNN's neurons on images: (Conv, BatchNorm, neuron) for each of `channels`, then a dense network of them.

    Input (N, T, C, H, W), `shape` its (C, H, W); maps are `kernel` pixels square, moved by `stride`. A normalised
    current has mean `rest.bias` and deviation `gain`, so that a neuron's potential climbs to the threshold in steps.
    `rest` has as many inputs as the maps leave, whatever it says.
    """

    shape: tuple[int, int, int]
    channels: tuple[int, ...]
    rest: Fast
    kernel: int = 5
    stride: int = 2
    gain: float = 0.3

    def __post_init__(self) -> None:
        if len(self.shape) != 3:
            size = "x".join(map(str, self.shape))
            raise UserError(f"samples of {size} units a step have no pixels; give convolutions=0")
        if not self.channels or min(self.channels) < 1:
            raise UserError(f"convolutions of {self.channels} maps; give at least one map each")

    @property
    def left(self) -> int:
        """Units that the convolutions leave of a step."""
        sides = self.shape[1:]
        for _ in self.channels:
            sides = tuple((side - 1) // self.stride + 1 for side in sides)
        return self.channels[-1] * sides[0] * sides[1]

    def build(self, seed: int = 0) -> "FastConvNetwork":
        """Make the network, weights drawn from the seed."""
        return FastConvNetwork(self, torch.Generator().manual_seed(seed))


class FastConvNetwork(nn.Module):
    """See FastConv."""

    def __init__(self, description: FastConv, generator: torch.Generator) -> None:
        super().__init__()
        d = self.description = description
        widths = (d.shape[0], *d.channels)
        self.blocks = nn.ModuleList(self._block(a, b, generator) for a, b in itertools.pairwise(widths))
        self.firing = nn.ModuleList(d.rest.layer(units, d.rest.tau_hidden, True) for units in d.channels)
        self.rest = FastNetwork(replace(d.rest, inputs=d.left), generator)

    def _block(self, inputs: int, outputs: int, generator: torch.Generator) -> PerStep:
        d = self.description
        conv = nn.Conv2d(inputs, outputs, d.kernel, d.stride, padding=d.kernel // 2, bias=False)
        norm = nn.BatchNorm2d(outputs)
        uniform(conv, conv.weight[0].numel() ** -0.5, 0.0, generator)
        nn.init.constant_(norm.weight, d.gain)
        nn.init.constant_(norm.bias, d.rest.bias)
        return PerStep(conv, norm)

    @property
    def neurons(self) -> tuple[Neuron, ...]:
        """The neurons of every hidden layer, from the input upwards."""
        return (*self.firing, *self.rest.neurons)

    def forward(self, x: torch.Tensor, *, seed: draws.Seed = 0) -> Output:
        """Return the readout's membranes (N, T, classes) and the layers' activities."""
        layers: list[Activity] = []
        for k, (block, neuron) in enumerate(zip(self.blocks, self.firing, strict=True)):
            x = fire(neuron, block(x), seed, k, layers)
        potentials, rest = self.rest(x, seed=seed)
        return Output(potentials, (*layers, *rest))
