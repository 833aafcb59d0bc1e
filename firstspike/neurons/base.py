"""What all neurons share: shapes, precision, spike counts and where randomness comes from.

A neuron takes a current (N, T, units) or (N, T, units, ...) and gives an output of the same shape. It keeps nothing
from call to call, so nothing has to be reset. Half precision is computed in single precision and rounded at the end:
spikes are exact. Every neuron has first derivatives; `method = "scan"` also gives it second ones, more slowly on a
CPU.
"""

from dataclasses import dataclass

import torch
from torch import nn

from firstspike.errors import UserError
from firstspike.neurons import draws, scan
from firstspike.neurons.recurrence import Inputs, run_compiled
from firstspike.neurons.rules import LinearRule, ResetRule

Noise = torch.Tensor | tuple[torch.Tensor | None, torch.Tensor]


@dataclass(frozen=True)
class Activity:
    """What a layer did: its output and, on request, potentials and the spikes that it fed back; all (N, T, units,
    ...).
    """

    output: torch.Tensor
    potential: torch.Tensor | None = None
    hidden: torch.Tensor | None = None

    def to(self, dtype: torch.dtype) -> "Activity":
        """Return the same in another type."""
        return Activity(
            *(None if t is None else t.to(dtype) for t in (self.output, self.potential, self.hidden))
        )

    def counts(self) -> torch.Tensor:
        """Return spikes a sample and unit, (N, units, ...), differentiable."""
        return self.output.sum(1)

    def rates(self) -> torch.Tensor:
        """Return spikes a step and unit, mean over samples and steps, differentiable."""
        return self.output.mean((0, 1))

    def hidden_rates(self) -> torch.Tensor:
        """Return fed back spikes a step and unit; zeros where nothing is fed back."""
        return torch.zeros_like(self.output[0, 0]) if self.hidden is None else self.hidden.mean((0, 1))


class Neuron(nn.Module):
    """Base of the neurons: `_activity` is theirs to write, `forward` gives its output.

    `method` is "auto" (compiled on the CPU, scan elsewhere), "compiled" or "scan".
    """

    method = "auto"
    random = False

    def __init__(self, units: int) -> None:
        super().__init__()
        if units < 1:
            raise UserError(f"units is {units}; a layer has at least one unit")
        self.units = units

    def forward(
        self, x: torch.Tensor, *, seed: draws.Seed | None = None, noise: Noise | None = None
    ) -> torch.Tensor:
        """Return the output for a current x; seed or noise fix what a stochastic mode draws."""
        return self.activity(x, seed=seed, noise=noise).output

    def activity(
        self,
        x: torch.Tensor,
        *,
        potential: bool = False,
        seed: draws.Seed | None = None,
        noise: Noise | None = None,
    ) -> Activity:
        """Return output, potentials on request, and fed back spikes where a layer has them.

        `seed` names the randomness of a stochastic mode, one number for the batch or one a sample; `noise` gives its
        uniforms. Errors: UserError for a shape, type or noise that the layer does not take.
        """
        self.check(x)
        real = x if x.dtype in (torch.float32, torch.float64) else x.float()
        activity = self._activity(real, potential, seed, noise)
        return activity if real is x else activity.to(x.dtype)

    def _activity(
        self, x: torch.Tensor, potential: bool, seed: draws.Seed | None, noise: Noise | None
    ) -> Activity:
        """Compute what `activity` returns, from a float32 or float64 current."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Name the number of units in a printed network."""
        return f"{self.units}"

    def check(self, x: torch.Tensor) -> None:
        """Refuse what is not a current of this layer."""
        if x.ndim < 3 or x.shape[2] != self.units:
            raise UserError(
                f"input has shape {tuple(x.shape)}; a layer of {self.units} units takes (N, T, {self.units}, ...)"
            )
        if not x.is_floating_point():
            raise UserError(
                f"input has type {x.dtype}; give float32 or float64 (or float16, bfloat16), e.g. x.float()"
            )

    def run(
        self, rule: LinearRule | ResetRule, x: torch.Tensor, constants: tuple, **more: torch.Tensor | None
    ) -> tuple:
        """Run a rule on a current of any allowed shape; constants are alpha, beta, gain, theta and drop.

        Returns output and potential in the shape of x, None where empty.
        """
        flat = x.reshape(x.shape[0], x.shape[1], x.shape[2:].numel())
        inputs = Inputs(flat, *(self._spread(c, x) for c in constants), **more)
        outputs = run_compiled(rule, inputs) if self.compiled(x) else scan.run(rule, inputs)
        return tuple(None if out.shape != flat.shape else out.reshape(x.shape) for out in outputs)

    def compiled(self, x: torch.Tensor) -> bool:
        """Whether the compiled kernels run on this input."""
        return self.method == "compiled" or (self.method == "auto" and x.device.type == "cpu")

    def _spread(self, constant: torch.Tensor | float, x: torch.Tensor) -> torch.Tensor:
        """Give a scalar or (units,) constant to every position of its unit, (units * positions,)."""
        constant = torch.as_tensor(constant, dtype=x.dtype, device=x.device)
        shape = x.shape[2:]
        if constant.ndim == 1:
            constant = constant.reshape(-1, *[1] * (len(shape) - 1))
        return constant.expand(shape).reshape(-1)


class StochasticNeuron(Neuron):
    """A neuron that may draw spikes: by `noise` or `seed` if given, else from a generator of its own.

    The generator is seeded when the layer is made, by `generator` or, like its weights, by torch's.
    """

    def __init__(self, units: int, generator: torch.Generator | None = None) -> None:
        super().__init__(units)
        if generator is None:
            generator = torch.Generator()
            generator.manual_seed(int(torch.empty((), dtype=torch.int64).random_()))
        self.generator = generator

    def draws(self, x: torch.Tensor, seed: draws.Seed | None, stage: int = 0) -> torch.Tensor:
        """Return the sample keys (N,) of a call."""
        if seed is None:
            seed = int(torch.randint(2**62, (), generator=self.generator))
        return draws.sample_keys(seed, x.shape[0], stage).to(x.device)
