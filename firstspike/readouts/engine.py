"""The engine that trains and runs a readout.

S samples, I inputs, N neurons, C classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from firstspike.data.splits import stream
from firstspike.errors import UserError
from firstspike.kernels import readout as kernels
from firstspike.kernels.supervised import Samples, Trace, train
from firstspike.readouts import competition, decision
from firstspike.readouts.dropout import BLOCK
from firstspike.readouts.events import Events, check_training, from_dense
from firstspike.readouts.readout import Readout
from firstspike.threads import available, in_chunks

NAME = "readout"  # of the one layer and of the one phase


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training samples gave.

    `decisions` int64 (S,): the class decided while training, -1 = not presented; `counts` int64 (1, 3):
    right, wrong, silent (always 0: membranes decide where nobody fires); `trace`: arrays in order of
    presentation where asked for, see `kernels.supervised.Trace`.
    """

    decisions: np.ndarray
    counts: np.ndarray
    trace: Trace


class ReadoutEngine:
    """A readout with its state: weights, thresholds, rates, number of epochs."""

    def __init__(
        self, readout: Readout, *, inputs: int, classes: int, max_time: float = 1.0, seed: int = 0
    ) -> None:
        self.readout, self.inputs, self.classes, self.seed = readout, inputs, classes, seed
        self.max_time = float(max_time)
        self.neurons = classes * readout.groups.per_class
        self.epochs = 0
        self.accuracy = 1.0 / classes  # of the last epoch, as R-STDP's adaptive rates want it
        self.regulation_rate = float(readout.regulation.rate)
        self._rates = np.array(list(readout.rule.rates().values()), np.float64)
        self._base = np.full(self.neurons, readout.layer.threshold, np.float32)
        self._adaptive = self._base.copy()
        drawn = readout.layer.draw(self.neurons, inputs, stream(seed, NAME, "weights"))
        self.set_weights(NAME, drawn)

    @property
    def phases(self) -> tuple[str, ...]:
        """Give the names of the phases: one."""
        return (NAME,)

    # -- state ------------------------------------------------------------------------------------------

    def weights(self, layer: str = NAME) -> np.ndarray:
        """Give a copy of the weights, float32 (N, I)."""
        _check_name(layer)
        return self._neurons.weights.copy()

    def set_weights(self, layer: str, weights: np.ndarray) -> None:
        """Start from these weights (N, I), as if just drawn: rows scaled to their sums, then clipped."""
        _check_name(layer)
        weights = np.ascontiguousarray(weights, np.float32)
        if weights.shape != (self.neurons, self.inputs) or not np.all(np.isfinite(weights)):
            raise UserError(
                f"readout weights of shape {weights.shape}; "
                f"expected finite numbers of shape {(self.neurons, self.inputs)}"
            )
        self._bounds = self.readout.layer.bounds(weights)
        self._neurons = self.readout.layer.assemble(self.readout.layer.settle(weights), self.max_time)

    def rates(self, layer: str = NAME) -> dict[str, float]:
        """Give the rates in force in the next epoch, by name."""
        _check_name(layer)
        values = self.readout.rule.in_force(self._rates, self.accuracy)
        return dict(zip(self.readout.rule.rates(), map(float, values), strict=True))

    def set_rates(self, layer: str, **rates: float) -> None:
        """Set some of the annealed rates, by name."""
        _check_name(layer)
        names = list(self.readout.rule.rates())
        if unknown := sorted(set(rates) - set(names)):
            raise UserError(f"no rate {unknown[0]} in this readout; it has {', '.join(names)}")
        for name, value in rates.items():
            self._rates[names.index(name)] = value

    def thresholds(self) -> tuple[np.ndarray, np.ndarray]:
        """Give copies of the adaptive and the test thresholds, float32 (N,)."""
        return self._adaptive.copy(), self._base.copy()

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Give what a bit-equal continuation needs: arrays, and numbers that JSON keeps."""
        arrays = {
            "weights": self._neurons.weights.copy(),
            "adaptive": self._adaptive.copy(),
            "base": self._base.copy(),
            "sums": self._bounds.sums.copy(),
            "loose": self._bounds.loose.copy(),
        }
        counters = {
            "epochs": self.epochs,
            "accuracy": self.accuracy,
            "regulation_rate": self.regulation_rate,
            "rates": self._rates.tolist(),
        }
        return arrays, counters

    def load_state(self, arrays: dict[str, np.ndarray], counters: dict[str, Any]) -> None:
        """Go on from a state of a readout of the same description and sizes; UserError if it is another's."""
        own, own_counters = self.state()
        for name, array in own.items():
            given = arrays.get(name)
            if given is None or given.shape != array.shape or given.dtype != array.dtype:
                raise UserError(
                    f"readout state: {name} is {None if given is None else (given.dtype.name, given.shape)}; "
                    f"expected {(array.dtype.name, array.shape)}, so it belongs to another readout"
                )
        if counters.keys() != own_counters.keys() or len(counters["rates"]) != len(self._rates):
            raise UserError("readout state: the counters belong to another readout")
        self.epochs = int(counters["epochs"])
        self.accuracy = float(counters["accuracy"])
        self.regulation_rate = float(counters["regulation_rate"])
        self._rates = np.array(counters["rates"], np.float64)
        self._adaptive, self._base = arrays["adaptive"].copy(), arrays["base"].copy()
        self._bounds = self._bounds._replace(sums=arrays["sums"].copy(), loose=arrays["loose"].copy())
        self._neurons = self.readout.layer.assemble(arrays["weights"].copy(), self.max_time)

    # -- learning ---------------------------------------------------------------------------------------

    def fit_phase(
        self,
        phase: str,
        inputs: Events | np.ndarray,
        labels: np.ndarray | None = None,
        *,
        order: np.ndarray | None = None,
        masks: tuple[np.ndarray, np.ndarray] | None = None,
        record: bool = False,
    ) -> Epoch:
        """Learn from each sample once, in the given order, and end the epoch: rates and thresholds move on.

        `inputs`: events, or dense spike times (S, ...); `labels` 0 ... C - 1, (S,). `masks`: dropout masks of
        the whole pass instead of drawn ones, uint8 (S, I) and (S, N), no rows = nothing dropped. UserError
        for samples without a spike, wrong sizes or labels.
        """
        _check_name(phase)
        events = self._events(inputs)
        check_training(events)
        labels = self._labels(labels, len(events))
        order = np.arange(len(events)) if order is None else np.asarray(order, np.int64)
        self.readout.regulation.start_epoch(self._adaptive, self._base)
        trace = empty_trace(len(order), self.neurons if record else 0)
        for part, keep in self._blocks(len(order), masks):
            samples = Samples(events.offsets, events.index, events.times, labels, order[part], *keep)
            self._train(samples, Trace(*(array[part] for array in trace)))
        decisions = np.full(len(events), -1, np.int64)
        decisions[order] = trace.winners // self.readout.groups.per_class
        right = int(np.sum(decisions[order] == labels[order]))
        self._end_epoch(right / len(order))
        return Epoch(decisions, np.array([[right, len(order) - right, 0]], np.int64), trace)

    def _blocks(
        self, count: int, masks: tuple[np.ndarray, np.ndarray] | None
    ) -> Iterator[tuple[slice, tuple[np.ndarray, np.ndarray]]]:
        for block in range(0, -(-count // BLOCK)):
            part = slice(block * BLOCK, min(count, (block + 1) * BLOCK))
            if masks is None:
                drawn = self.readout.dropout.masks(self.seed, self.epochs, block, self.inputs, self.neurons)
                yield part, drawn
            else:
                yield part, tuple(np.ascontiguousarray(mask[part], np.uint8) for mask in masks)

    def _train(self, samples: Samples, trace: Trace) -> None:
        rule, stdp = self.readout.rule, self.readout.rule.stdp
        groups = competition.assemble(
            self.readout.groups,
            self.readout.regulation,
            rate=self.regulation_rate,
            floor=self.readout.regulation.floor(self.readout.layer.threshold),
            adaptive=self._adaptive,
            base=self._base,
        )
        train(
            stdp.kernel,
            np.array(stdp.constants(), np.float64),
            stdp.ignore_silent,
            rule.kernel,
            rule.alone,
            np.array(rule.constants(), np.float64),
            rule.in_force(self._rates, self.accuracy),
            self._neurons,
            groups,
            self._bounds,
            samples,
            trace,
        )

    def _end_epoch(self, accuracy: float) -> None:
        self.epochs += 1
        self.accuracy = accuracy
        self._rates *= self.readout.annealing
        self.regulation_rate *= self.readout.regulation.anneal
        self.readout.regulation.end_epoch(self._adaptive, self._base)

    # -- use --------------------------------------------------------------------------------------------

    def predict(self, inputs: Events | np.ndarray, *, threads: int | None = None) -> np.ndarray:
        """Give the class of each sample, int64 (S,), stopping each at its first spike; on all cores."""
        spikes, membranes = self._respond(inputs, True, threads)
        winners = np.empty(len(spikes), np.int64)
        kernels.first_of_each(spikes, membranes, winners)
        return winners // self.readout.groups.per_class

    def respond(
        self, inputs: Events | np.ndarray, *, threads: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give each neuron's spike time (max_time = silent) and membrane in test mode, float32 (S, N)."""
        return self._respond(inputs, False, threads)

    def _respond(
        self, inputs: Events | np.ndarray, only_first: bool, threads: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        events = self._events(inputs)
        by_input = kernels.lay_out_by_input(self._neurons.weights)
        spikes = np.empty((len(events), self.neurons), np.float32)
        membranes = np.empty_like(spikes)

        def run(part: slice) -> None:
            kernels.forward_all(
                by_input,
                self._neurons,
                self._base,
                events.offsets[part.start : part.stop + 1],
                events.index,
                events.times,
                only_first,
                spikes[part],
                membranes[part],
            )

        in_chunks(run, len(events), threads=threads or available())
        return spikes, membranes

    def scores(self, inputs: Events | np.ndarray, *, threads: int | None = None) -> np.ndarray:
        """Say by how much each class was nearer to deciding than the others, float32 (S, C), see `decision.leads`."""
        spikes, membranes = self.respond(inputs, threads=threads)
        found = decision.scores(spikes, membranes, self._base, self.max_time)
        return decision.leads(decision.by_class(found, self.readout.groups.per_class))

    # -- checks -----------------------------------------------------------------------------------------

    def _events(self, inputs: Events | np.ndarray) -> Events:
        events = inputs if isinstance(inputs, Events) else from_dense(inputs, max_time=self.max_time)
        if events.inputs != self.inputs or events.max_time != self.max_time:
            raise UserError(
                f"features of {events.inputs} inputs and max_time {events.max_time}; "
                f"this readout takes {self.inputs} and {self.max_time}"
            )
        return events

    def _labels(self, labels: np.ndarray | None, samples: int) -> np.ndarray:
        found = np.asarray([] if labels is None else labels)
        if found.shape != (samples,) or found.dtype.kind not in "iu":
            raise UserError(
                f"labels of shape {found.shape}, type {found.dtype}; expected {samples} whole numbers"
            )
        if found.min() < 0 or found.max() >= self.classes:
            raise UserError(f"labels from {found.min()} to {found.max()}; expected 0 ... {self.classes - 1}")
        return found.astype(np.int64)


def _check_name(name: str) -> None:
    if name != NAME:
        raise UserError(f"no phase or layer {name!r} in a readout; it has {NAME!r}")


def empty_trace(samples: int, neurons: int) -> Trace:
    """Give arrays for a trace of so many presentations; 0 neurons = winners only."""
    rows = samples if neurons else 0
    floats = [np.empty((rows, neurons), np.float32) for _ in range(3)]
    return Trace(np.empty(samples, np.int64), *floats, np.empty((rows, neurons * 2), np.float64))
