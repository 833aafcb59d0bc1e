"""The dense networks of the three programs, as descriptions and one module each.

    paralif2024, spsn2023    Dense: (Linear, neuron) x layers, then Linear and a readout that integrates
    fastsnn2022              Fast: (Linear, single spike) x layers with skip connections, then Linear and its membrane

A network takes spikes or counts (N, T, ...), dense or as Events, and gives Output: the readout's potentials (N, T,
classes) and what the hidden layers did. Weights are drawn from a seed; a stochastic network's forward pass from
another, of the batch or one a sample.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from firstspike.errors import UserError
from firstspike.neurons import draws
from firstspike.neurons.base import Activity, Neuron
from firstspike.neurons.event_map import Batch, currents
from firstspike.neurons.integrator import Integrator, NonSpiking
from firstspike.neurons.lif import LIF
from firstspike.neurons.losses import reduce_time
from firstspike.neurons.modes import MODES
from firstspike.neurons.paralif import ParaLIF
from firstspike.neurons.single_spike import SingleSpike, TwinLIF
from firstspike.neurons.spsn import SPSN
from firstspike.neurons.weights import kaiming, uniform

NEURONS = (
    "LIF",
    "LIF-LT",
    *(f"ParaLIF-{mode}" for mode in MODES),
    "SPSN-LIF",
    "SPSN-SB",
    "SPSN-GS",
    "Non-Spiking",
)
"""Names of the neurons of Dense: ParaLIF's LIF (fixed or learnt threshold) and modes, SPSN's three, and the baseline.
"""


class Output(NamedTuple):
    """A forward pass: readout potentials (N, T, classes) and the hidden layers' activities."""

    potentials: torch.Tensor
    layers: tuple[Activity, ...]


@dataclass(frozen=True)
class Dense:
    """A network of SPSN or ParaLIF; what may differ by layer may be a tuple, of the readout too for time constants.

    `threshold=None` is the published start: 1, or 0.1 for modes with a D. `delay` adds a stage of fixed random delays
    of up to so many steps after every hidden layer, `delay_kind` "normal" or "uniform".
    """

    inputs: int
    classes: int
    neuron: str = "ParaLIF-D"
    hidden: tuple[int, ...] = (128, 128, 128)
    tau_mem: float | tuple[float, ...] = 2e-2
    tau_syn: float | tuple[float | None, ...] | None = 2e-2
    dt: float = 1e-3
    learn_tau: bool = False
    tau_init: str = "exact"
    recurrent: bool | tuple[bool, ...] = False
    recurrent_relu: bool = False
    threshold: float | None = None
    surrogate: str = "fastsig"
    scale: float = 100.0
    delay: int = 0
    delay_kind: str = "normal"

    def __post_init__(self) -> None:
        if self.neuron not in NEURONS:
            raise UserError(f"unknown neuron {self.neuron!r}; choose from {', '.join(NEURONS)}")
        if not self.hidden or min(self.hidden) < 1:
            raise UserError(f"hidden sizes {self.hidden}; give at least one layer of at least one unit")
        if self.neuron.startswith(("SPSN", "Non")) and (
            self.learn_tau or any(self.each("recurrent", len(self.hidden)))
        ):
            raise UserError(
                f"{self.neuron} has no feedback and no learnt time constants; choose LIF or a ParaLIF"
            )
        for name in ("tau_mem", "tau_syn"):
            self.each(name, len(self.hidden) + 1)

    def each(self, name: str, count: int) -> tuple:
        """Return an option for each of `count` layers."""
        value = getattr(self, name)
        if not isinstance(value, tuple):
            return (value,) * count
        if len(value) < count:
            raise UserError(f"{name} has {len(value)} values; give one, or one a layer: {count}")
        return value

    def build(self, seed: int = 0) -> "DenseNetwork":
        """Make the network, weights drawn from the seed."""
        return DenseNetwork(self, torch.Generator().manual_seed(seed))

    def layer(self, k: int, generator: torch.Generator) -> Neuron:
        """Make the neurons of hidden layer k."""
        units, taus = self.hidden[k], self._taus(k)
        family, _, mode = self.neuron.partition("-")
        if self.neuron == "Non-Spiking":
            return NonSpiking(units)
        if self.neuron == "SPSN-LIF":
            return LIF(units, **taus, precision="double", generator=generator)
        if family == "SPSN":
            return SPSN(units, mode, **taus, generator=generator)
        learnt = {"learn_tau": self.learn_tau, "tau_init": self.tau_init}
        feedback = {
            "recurrent": self.each("recurrent", len(self.hidden))[k],
            "recurrent_fire": not self.recurrent_relu,
        }
        more = {
            **taus,
            **learnt,
            **feedback,
            "surrogate": self.surrogate,
            "scale": self.scale,
            "generator": generator,
        }
        if family == "LIF":
            return LIF(units, threshold=self.threshold or 1.0, learn_threshold=mode == "LT", **more)
        start = self.threshold if self.threshold is not None else 0.1 if "D" in mode else 1.0
        return ParaLIF(units, mode, threshold=start, learn_threshold=True, **more)

    def readout(self) -> nn.Module:
        """Make the readout: the filter without firing, or nothing for the baseline without time."""
        taus = self._taus(len(self.hidden))
        if self.neuron == "Non-Spiking":
            return nn.Identity()
        if self.neuron.startswith("SPSN"):
            return SPSN(self.classes, "SB", fire=False, **taus)
        return Integrator(self.classes, learn_tau=self.learn_tau, tau_init=self.tau_init, **taus)

    def _taus(self, k: int) -> dict[str, float | None]:
        count = len(self.hidden) + 1
        return {
            "tau_mem": self.each("tau_mem", count)[k],
            "tau_syn": self.each("tau_syn", count)[k],
            "dt": self.dt,
        }


class FixedDelay(nn.Module):
    """Each unit of (N, T, U) a whole number of steps later; the sequence grows by the longest delay allowed."""

    def __init__(self, units: int, longest: int, kind: str, generator: torch.Generator) -> None:
        super().__init__()
        if kind not in ("normal", "uniform"):
            raise UserError(f"unknown delay kind {kind!r}; choose from normal, uniform")
        self.longest = longest
        if kind == "normal":
            drawn = torch.randn(units, generator=generator).mul(longest // 2).abs().long().clamp(max=longest)
        else:
            drawn = torch.randint(longest + 1, (units,), generator=generator)
        self.register_buffer("delay", drawn)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, T + longest, U)."""
        source = (
            torch.arange(x.shape[1] + self.longest, device=x.device)[:, None] - self.delay
        )  # (T + longest, U)
        padded = nn.functional.pad(x, (0, 0, 0, 1))  # a step of silence for what lies outside
        source = torch.where((source >= 0) & (source < x.shape[1]), source, x.shape[1])
        return padded.gather(1, source.expand(x.shape[0], -1, -1))


class DenseNetwork(nn.Module):
    """(Linear, neuron, perhaps delay) for every hidden layer, then Linear and readout."""

    takes_events = True

    def __init__(self, description: Dense, generator: torch.Generator) -> None:
        super().__init__()
        self.description = description
        sizes = (description.inputs, *description.hidden, description.classes)
        self.maps = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.neurons = nn.ModuleList(description.layer(k, generator) for k in range(len(description.hidden)))
        self.delays = nn.ModuleList(
            FixedDelay(units, description.delay, description.delay_kind, generator)
            if description.delay
            else nn.Identity()
            for units in description.hidden
        )
        self.readout = description.readout()
        for linear in self.maps:
            kaiming(linear, generator)

    def forward(self, x: Batch, *, seed: draws.Seed = 0, noise: Sequence | None = None) -> Output:
        """Run the network; `noise` gives each hidden layer's uniforms in place of the seed."""
        layers = []
        for k, (linear, neuron, delay) in enumerate(zip(self.maps, self.neurons, self.delays, strict=False)):
            given = None if noise is None else noise[k]
            activity = neuron.activity(
                currents(linear, x), seed=draws.fold(seed, k) if neuron.random else None, noise=given
            )
            layers.append(activity)
            x = delay(activity.output)
        return Output(self.readout(self.maps[-1](x)), tuple(layers))

    def fan_out(self) -> tuple[int, ...]:
        """Return how many synapses an event of the input and of each hidden layer reaches."""
        own = [
            neuron.units if getattr(neuron, "recurrent", None) is not None else 0 for neuron in self.neurons
        ]
        return tuple(m.out_features + n for m, n in zip(self.maps, [0, *own], strict=True))


@dataclass(frozen=True)
class Fast:
    """A network of FastSNN: time constants and dt in milliseconds, one width for all hidden layers.

    `single_spike=False` is its twin with LIF neurons that reset. Skip connections add a layer's input to its output,
    clamped to [0, 1], from the second layer on. `learn_kernel` (steps) trains the decay kernels as the original does.
    """

    inputs: int
    classes: int
    hidden: int = 200
    layers: int = 1
    single_spike: bool = True
    skip_connections: bool = True
    tau_hidden: float = 10.0
    tau_readout: float = 20.0
    dt: float = 1.0
    bias: float = 0.0
    scale: float | None = None
    learn_kernel: int | None = None

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.layers < 1:
            raise UserError(f"{self.layers} layers of {self.hidden} units; give at least one of one")
        if self.learn_kernel is not None and not self.single_spike:
            raise UserError("learn_kernel is of single-spike layers; LIF neurons have no decay kernel")

    def build(self, seed: int = 0) -> "FastNetwork":
        """Make the network, weights drawn from the seed."""
        return FastNetwork(self, torch.Generator().manual_seed(seed))

    def layer(self, units: int, tau: float, fire: bool) -> Neuron:
        """Make a layer's neurons; without firing their membrane does not reset."""
        beta = math.exp(-self.dt / tau)
        if self.single_spike:
            return SingleSpike(units, beta=beta, fire=fire, scale=self.scale, learn_kernel=self.learn_kernel)
        return TwinLIF(units, beta=beta, reset=fire, scale=self.scale)


class FastNetwork(nn.Module):
    """(Linear, neuron) for every hidden layer, then Linear and a membrane."""

    takes_events = True

    def __init__(self, description: Fast, generator: torch.Generator) -> None:
        super().__init__()
        d = self.description = description
        sizes = (d.inputs, *[d.hidden] * d.layers, d.classes)
        self.maps = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.neurons = nn.ModuleList(d.layer(d.hidden, d.tau_hidden, True) for _ in range(d.layers))
        self.readout = d.layer(d.classes, d.tau_readout, False)
        for linear in self.maps:
            uniform(linear, math.sqrt(1.0 / linear.in_features), d.bias, generator)

    def forward(self, x: Batch, *, seed: draws.Seed = 0) -> Output:
        """Run the network; there is nothing random in it, the seed is for the sake of one signature."""
        layers = []
        for k, (linear, neuron) in enumerate(zip(self.maps, self.neurons, strict=False)):
            spikes = neuron(currents(linear, x))
            if k > 0 and self.description.skip_connections:
                spikes = (spikes + x).clamp(0, 1)
            layers.append(Activity(spikes))
            x = spikes
        return Output(self.readout.activity(self.maps[-1](x), potential=True).potential, tuple(layers))

    def fan_out(self) -> tuple[int, ...]:
        """Return how many synapses an event of the input and of each hidden layer reaches."""
        return tuple(linear.out_features for linear in self.maps)


def scores(output: Output, mode: str) -> torch.Tensor:
    """Return the class scores (N, classes) of a forward pass."""
    return reduce_time(output.potentials, mode)
