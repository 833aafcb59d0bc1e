"""The engine of a gradient-trained network: one epoch a call, decisions, scores, and a state that resumes bit for
bit.

    engine = GradientEngine(Dense(700, 20).build(seed=0), Recipe(), seed=0)
    result = engine.fit_phase("train", source)              # or arrays: engine.fit_phase("train", x, labels)
    engine.predict(source);  engine.scores(source)

Every random draw is a function of (seed, epoch, sample), so neither the batch that a sample is in nor the number of
processes changes it. Where torch.distributed runs, every process takes its part of each batch and gradients are
averaged (DDP): losses are those of one process but for rounding, and the same bits where one process has as many
`batch_parts`. N samples, T steps.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from firstspike.buffers import POOL
from firstspike.data.batches import ahead
from firstspike.errors import UserError
from firstspike.neurons import draws
from firstspike.neurons.delays import width_at
from firstspike.neurons.event_map import Batch, event_count
from firstspike.neurons.losses import (
    Rates,
    cross_entropy,
    reduce_time,
    regularisation,
    squared_error,
    summed_rates,
)
from firstspike.neurons.networks import Output
from firstspike.neurons.optimisation import Recipe, flat_state, load_flat_state, optimiser_of, set_rates
from firstspike.neurons.processes import Processes

PHASE = "train"


class Source(Protocol):
    """Samples that come in batches, e.g. binned recordings.

    One with a method `events(indices, steps=None)` gives sparse batches too (Events), which dense networks read many
    times faster; they are used where nothing augments or mixes the batch.
    """

    labels: np.ndarray

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray) -> np.ndarray:
        """Return samples (len(indices), T, ...)."""


@dataclass(frozen=True)
class Arrays:
    """Samples that lie in memory, (N, T, ...), as a source."""

    samples: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, indices: np.ndarray) -> np.ndarray:
        """Return samples (len(indices), T, ...)."""
        return self.samples[indices]


Augment = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""(samples, their indices, epoch) -> samples: applied to training batches as they are made."""
Mix = Callable[[torch.Tensor, torch.Tensor, draws.Seed], tuple[torch.Tensor, torch.Tensor]]
"""(samples, labels, seed) -> samples and labels, perhaps mixed (N, C): applied to whole training batches."""


@dataclass(frozen=True)
class Epoch:
    """What an epoch gave: decisions (N,) in the order shown, counts (batches, 3) of right, wrong and silent answers.

    `loss` is the mean over samples, penalties included; `spikes` of the hidden layers a sample; `rates` spikes a step
    of each hidden layer, summed over its units (mean of batches); `operations` synaptic additions a sample, None
    where the network does not say its fan-out.
    """

    decisions: np.ndarray
    counts: np.ndarray
    loss: float
    spikes: float
    rates: tuple[float, ...]
    operations: float | None = None


class Piece(NamedTuple):
    """Part of a batch: samples, labels (N,), their indices in the source, and what the loss compares with."""

    x: Batch
    y: torch.Tensor
    indices: np.ndarray
    target: torch.Tensor


class Shown(NamedTuple):
    """What the network made of it: its output, losses (N,) and scores (N, classes)."""

    output: Output
    losses: torch.Tensor
    scores: torch.Tensor


@dataclass
class Tally:
    """Sums of an epoch as it goes."""

    decisions: list[np.ndarray] = field(default_factory=list)
    counts: list[tuple[int, int, int]] = field(default_factory=list)
    sums: np.ndarray = field(default_factory=lambda: np.zeros(4))  # samples, loss, spikes, operations
    rates: list[np.ndarray] = field(default_factory=list)


class GradientEngine:
    """A network, its recipe and where its training stands."""

    phases = (PHASE,)

    def __init__(self, network: nn.Module, recipe: Recipe, *, seed: int = 0, device: str = "cpu") -> None:
        self.network, self.recipe, self.seed = network.to(device), recipe, seed
        self.device, self.epoch = torch.device(device), 0
        self.optimiser = optimiser_of(recipe, self.network)
        self.processes = Processes(recipe.batch_parts)
        self.parallel = self.processes.wrap(self.network)

    def leave(self) -> None:
        """From now on work alone, whatever other processes do."""
        self.processes.leave()
        self.parallel = self.network

    def fit_phase(
        self,
        phase: str,
        inputs: Source | np.ndarray,
        labels: np.ndarray | None = None,
        *,
        order: np.ndarray | None = None,
        augment: Augment | None = None,
        mix: Mix | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Epoch:
        """Run one epoch over the samples, in the order given or one drawn for this epoch.

        `progress` hears, after each batch, of samples shown and right answers. Errors: UserError for an unknown
        phase, missing labels, or a loss that is no number.
        """
        if phase != PHASE:
            raise UserError(f"unknown phase {phase!r}; choose from {PHASE}")
        source = as_source(inputs, labels)
        order = self._order(len(source)) if order is None else np.asarray(order)
        set_rates(self.optimiser, self.recipe, self.epoch)
        if hasattr(self.network, "set_width"):
            self.network.set_width(width_at(self.epoch, self.recipe.epochs))
        self.parallel.train()
        tally = Tally()
        for pieces, size in self._batches(source, order, augment, self.recipe.drop_last, mix is None):
            self._step(pieces, size, mix, tally)
            if progress is not None:
                progress(sum(map(sum, tally.counts)), sum(count[0] for count in tally.counts))
        self.processes.agree(self.network)
        self.epoch += 1
        return self._result(tally)

    def evaluate(self, inputs: Source | np.ndarray, labels: np.ndarray | None = None) -> Epoch:
        """Return the same figures without learning, samples in their order."""
        source = as_source(inputs, labels)
        self.parallel.eval()
        tally = Tally()
        with torch.no_grad():
            for pieces, size in self._batches(source, np.arange(len(source)), None, False, True):
                shown = [self._show(self.network, piece, "evaluation") for piece in pieces]
                self._note(tally, pieces, shown, size, float(self._penalty(shown, size)))
        return self._result(tally)

    def scores(self, inputs: Source | np.ndarray) -> np.ndarray:
        """Return class scores float32 (N, classes)."""
        source = as_source(inputs, None, need_labels=False)
        self.network.eval()
        found = []
        with torch.no_grad():
            for start in range(0, len(source), self.recipe.batch):
                whole = np.arange(start, min(start + self.recipe.batch, len(source)))
                for indices in self.processes.split(whole):
                    x = self._input(source, indices, whole, None, True)
                    output = self.network(x, seed=self._seeds(indices, "scores"))
                    found.append(reduce_time(output.potentials, self.recipe.loss_mode).float().cpu().numpy())
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)

    def predict(self, inputs: Source | np.ndarray) -> np.ndarray:
        """Return decisions int64 (N,): the first class with the highest score."""
        return self.scores(inputs).argmax(1).astype(np.int64)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return copies of all tensors, of the network and the optimiser, by name, and the counters."""
        tensors = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"optimiser/{name}": value for name, value in flat_state(self.optimiser).items()}
        return {name: value.detach().cpu().numpy().copy() for name, value in tensors.items()}, {
            "epoch": self.epoch
        }

    def load_state(self, tensors: dict[str, np.ndarray], counters: dict[str, Any]) -> None:
        """Take back what `state` gave; the next epoch is then the one that would have followed, bit for bit.

        Errors: UserError where names or shapes are not this network's.
        """
        parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "optimiser": {}}
        for name, array in tensors.items():
            kind, _, rest = name.partition("/")
            if kind not in parts:
                raise UserError(
                    f"unknown entry {name!r} in the state; allowed are network/... and optimiser/..."
                )
            parts[kind][rest] = torch.from_numpy(np.array(array))
        try:
            self.network.load_state_dict(parts["network"])
        except RuntimeError as error:
            raise UserError(f"the state is of another network: {' '.join(str(error).split())}") from error
        load_flat_state(self.optimiser, parts["optimiser"])
        self.epoch = int(counters["epoch"])

    # --- an epoch, batch by batch -------------------------------------------------------------------------------------

    def _order(self, count: int) -> np.ndarray:
        return np.random.Generator(np.random.PCG64([self.seed, 1, self.epoch])).permutation(count)

    def _seeds(self, indices: np.ndarray, stage: str) -> torch.Tensor:
        """Return a seed a sample: of (seed, training epoch or evaluation, index)."""
        epoch = self.epoch if stage == PHASE else -1
        return draws.fold(
            torch.as_tensor(np.asarray(indices, np.int64)), draws.fold(self.seed, epoch) & (2**62 - 1)
        )

    def _input(
        self, source: Source, indices: np.ndarray, whole: np.ndarray, augment: Augment | None, sparse: bool
    ) -> Batch:
        """Make a batch: as events if `sparse` and source and network allow it, else dense, perhaps augmented."""
        reads = self.device.type == "cpu" and getattr(self.network, "takes_events", False)
        if sparse and reads and augment is None and hasattr(source, "events"):
            return source.events(indices, steps=self._steps(source, whole))
        x = self._read(source, indices, whole)
        x = x if augment is None else augment(x, indices, self.epoch)
        return torch.from_numpy(POOL.aligned(x)).to(self.device)

    def _steps(self, source: Source, whole: np.ndarray) -> int | None:
        """Return the length of a batch: fixed, or that of its longest recording, or None where the source knows."""
        lengths = getattr(source, "lengths", None)
        if lengths is None or self.recipe.pad_to is not None:
            return self.recipe.pad_to
        return int(lengths[whole].max(initial=1))

    def _read(self, source: Source, indices: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """Read samples, padded to the longest of the whole batch (other processes may hold that one)."""
        steps = self._steps(source, whole)
        if getattr(source, "lengths", None) is not None:
            return source.batch(indices, steps=steps)
        x = np.asarray(source.batch(indices), np.float32)
        return x if steps is None else _fit(x, steps)

    def _batches(
        self, source: Source, order: np.ndarray, augment: Augment | None, drop_last: bool, sparse: bool
    ) -> Iterator[tuple[list[Piece], int]]:
        """Yield this process's pieces of every batch, made while the one before is in use, with the batch's size."""
        size = self.recipe.batch
        stop = len(order) // size * size if drop_last else len(order)

        def task(whole: np.ndarray) -> Callable[[], tuple[list[Piece], int]]:
            def piece(own: np.ndarray) -> Piece:
                y = torch.from_numpy(np.asarray(source.labels[own])).to(self.device)
                return Piece(self._input(source, own, whole, augment, sparse), y, own, y)

            return lambda: ([piece(own) for own in self.processes.own(whole)], len(whole))

        return ahead(task(order[start : min(start + size, stop)]) for start in range(0, stop, size))

    def _step(self, pieces: list[Piece], size: int, mix: Mix | None, tally: Tally) -> None:
        pieces = [self._mixed(piece, mix) for piece in pieces]
        shown = [self._show(self._network_of(k), piece, PHASE) for k, piece in enumerate(pieces)]
        penalty = self._penalty(shown, size)
        loss = sum(each.losses.sum() for each in shown) / size + penalty
        if not bool(torch.isfinite(loss)):
            raise UserError(
                f"the loss of epoch {self.epoch} is {loss.item()}; lower the learning rate ({self.recipe.lr})"
            )
        self.optimiser.zero_grad(set_to_none=True)
        (loss * self.processes.count).backward()  # gradients are averaged over the processes
        self.optimiser.step()
        if hasattr(self.network, "after_batch"):
            self.network.after_batch()
        self._note(tally, pieces, shown, size, float(penalty.detach()))

    def _network_of(self, part: int) -> Callable[..., Output]:
        """Return the network as it trains on a part: normalisations gather statistics from the first part only."""
        if part == 0:
            return self.parallel
        gathered = _statistics(self.network)
        return lambda x, seed: functional_call(self.network, gathered, (x,), {"seed": seed})

    def _mixed(self, piece: Piece, mix: Mix | None) -> Piece:
        if mix is None or not len(piece.indices):
            return piece
        seed = draws.fold(draws.fold(self.seed, self.epoch), int(piece.indices[0]))
        x, target = mix(piece.x, piece.y, seed)
        return piece._replace(x=x, target=target)

    def _show(self, network: Callable[..., Output], piece: Piece, stage: str) -> Shown:
        output = network(piece.x, seed=self._seeds(piece.indices, stage))
        scores = reduce_time(output.potentials, self.recipe.loss_mode)
        if self.recipe.loss == "squared-error":
            return Shown(output, squared_error(scores, piece.target, output.potentials.shape[1]), scores)
        return Shown(output, cross_entropy(scores, piece.target, self.recipe.smoothing), scores)

    def _penalty(self, shown: list[Shown], size: int) -> torch.Tensor:
        """Return the penalty on the whole batch's rates, of which every process contributes its samples' share."""
        recipe = self.recipe
        if recipe.reg_thr <= 0 and recipe.reg_thr_recurrent <= 0:
            return shown[0].losses.new_zeros(())
        rates = [summed_rates(each.output.layers) for each in shown]
        shares = [len(each.losses) / size for each in shown]
        spikes = sum(rate.spikes * share for rate, share in zip(rates, shares, strict=True))
        fed_back = sum(rate.fed_back * share for rate, share in zip(rates, shares, strict=True))
        whole = Rates(self.processes.total(spikes), self.processes.total(fed_back), rates[0].units)
        return regularisation(whole, recipe.reg_thr, recipe.reg_thr_recurrent)

    def _note(self, tally: Tally, pieces: list[Piece], shown: list[Shown], size: int, penalty: float) -> None:
        """Add a batch to the tally, the same on every process."""
        figures = zip(*map(self._figures, pieces, shown), strict=True)
        loss, right, operations, *spikes = self.processes.sum_all([sum(each) for each in figures])
        answers = [each.scores.argmax(1).cpu().numpy() for each in shown]
        steps = [layer.output.shape[1] for layer in shown[0].output.layers]
        tally.decisions.append(self.processes.join(answers, size))
        tally.counts.append((int(right), size - int(right), 0))
        tally.sums += [size, loss + penalty * size, sum(spikes), operations]
        tally.rates.append(np.array(spikes) / size / steps)

    def _figures(self, piece: Piece, shown: Shown) -> list[float]:
        """Return loss, right answers, synaptic operations, and the spikes of each hidden layer, summed over samples."""
        spikes = [layer.output.sum().item() for layer in shown.output.layers]
        sources = [event_count(piece.x), *spikes]
        fan_out = self.network.fan_out() if hasattr(self.network, "fan_out") else [math.nan] * len(sources)
        operations = sum(events * fan for events, fan in zip(sources, fan_out, strict=True))
        right = (shown.scores.argmax(1) == piece.y).sum().item()
        return [shown.losses.sum().item(), right, operations, *spikes]

    def _result(self, tally: Tally) -> Epoch:
        samples, loss, spikes, operations = tally.sums
        samples = max(samples, 1)
        return Epoch(
            np.concatenate([*tally.decisions, np.empty(0, np.int64)]).astype(np.int64),
            np.array(tally.counts, np.int64).reshape(-1, 3),
            loss / samples,
            spikes / samples,
            tuple(np.mean(tally.rates, 0).tolist()) if tally.rates else (),
            None if np.isnan(operations) else operations / samples,
        )


def as_source(inputs: Source | np.ndarray, labels: np.ndarray | None, *, need_labels: bool = True) -> Source:
    """Return samples as a source; arrays need their labels."""
    if hasattr(inputs, "batch"):
        return inputs
    inputs = np.asarray(inputs)
    if need_labels and (labels is None or len(labels) != len(inputs)):
        raise UserError(
            f"{len(inputs)} samples need as many labels, not {0 if labels is None else len(labels)}"
        )
    return Arrays(inputs, np.zeros(len(inputs), np.int64) if labels is None else np.asarray(labels, np.int64))


def _statistics(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of what a network's normalisations gather from batches, by name."""
    norms = {name for name, module in network.named_modules() if isinstance(module, _BatchNorm)}
    return {name: b.clone() for name, b in network.named_buffers() if name.rpartition(".")[0] in norms}


def _fit(x: np.ndarray, steps: int) -> np.ndarray:
    """Cut or pad with zeros at the end to a number of steps."""
    out = np.zeros((len(x), steps, *x.shape[2:]), x.dtype)
    kept = min(steps, x.shape[1])
    out[:, :kept] = x[:, :kept]
    return out
