"""A description with weights: state, activity and answers of a network; ``engine.py`` lets it learn.

Legend: N images, C channels, M maps, T steps. Activity is uint8 latencies (N, C, H, W); T or more means never.
"""

from collections.abc import Callable

import numpy as np

from firstspike import threads
from firstspike.backend import Backend
from firstspike.compiled import DecisionLayer, ThresholdLayer
from firstspike.data.splits import stream
from firstspike.errors import UserError
from firstspike.latencies import SILENT, earliest_map, inhibited, pool_latency
from firstspike.layers import (
    BatchSTDP,
    Branches,
    Conv,
    Decision,
    Graded,
    Inhibition,
    Layer,
    Phase,
    Pool,
    Shape,
    convolutions,
    is_decision,
    readouts,
    walk,
)
from firstspike.rates import LayerRates
from firstspike.readout_layer import ReadoutLayer

FEATURES = ("latency", "potential", "rank")
CHUNK = 1000  # images between two reports of progress


class Network:
    """The weights and answers of a network that runs on the CPU; ``threads`` changes how fast, never what."""

    def __init__(
        self,
        layers: tuple[Layer, ...],
        phases: tuple[Phase, ...],
        decision: Decision,
        *,
        shape: Shape,
        steps: int,
        seed: int,
        workers: int | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.layers, self.decision, self.shape, self.steps, self.seed = layers, decision, shape, steps, seed
        self.phases = {phase.name: phase for phase in phases}
        self.workers = workers or threads.available()
        self.backend = backend or Backend()
        self.nodes: dict[str, ThresholdLayer | DecisionLayer] = {}
        self.rates: dict[str, LayerRates] = {}
        for layer, below in convolutions(layers, shape):
            node = self.nodes[layer.name] = self._kind(layer)(layer, below)
            size = node.geometry.maps, node.geometry.channels, layer.kernel, layer.kernel
            node.weights = (
                stream(seed, "weights", layer.name).normal(layer.mean, layer.std, size).astype(np.float32)
            )
            self.rates[layer.name] = LayerRates(
                [p.rules[layer.name] for p in phases if layer.name in p.rules]
            )
        self.readouts = {layer.name: ReadoutLayer(layer, below) for layer, below in readouts(layers, shape)}
        self.rates |= {name: LayerRates([]) for name in self.readouts}
        every = self.nodes | self.readouts
        self.heads = {head: every[head] for head in decision.heads if head in every}
        self.epochs = {phase.name: 0 for phase in phases}
        self.windows = {phase.name: 0 for phase in phases}
        sees_time = any(isinstance(layer, Graded | Inhibition) for layer in walk(layers))
        self.timed = sees_time or not all(is_decision(head.layer) for head in self.heads.values())

    def _kind(self, layer: Conv) -> Callable:
        """How a layer is made."""
        if isinstance(layer, Graded):
            return self.backend.graded
        if layer.threshold is None:
            return self.backend.decision
        if layer.name in self.decision.heads:
            return self.backend.first
        rules = [phase.rules.get(layer.name) for phase in self.phases.values()]
        in_turn = any(isinstance(rule, BatchSTDP) for rule in rules)
        return self.backend.in_turn if in_turn else self.backend.threshold

    @property
    def classes(self) -> int:
        """K, the number of classes."""
        return self.heads[self.decision.heads[0]].layer.maps // self.decision.group

    # --- weights and state ---------------------------------------------------------------------------------------

    def node(self, layer: str) -> ThresholdLayer | DecisionLayer:
        """The layer of that name."""
        if layer not in self.nodes:
            raise UserError(f"layer {layer}: this network has {', '.join(self.nodes)}")
        return self.nodes[layer]

    def phase(self, name: str) -> Phase:
        """The phase of that name."""
        if name not in self.phases:
            raise UserError(f"phase {name}: this network has {', '.join(self.phases)}")
        return self.phases[name]

    def weights(self, layer: str) -> np.ndarray:
        """Weights float32 (M, C, K, K); a copy."""
        return self.node(layer).weights

    def set_weights(self, layer: str, weights: np.ndarray) -> None:
        """Set a layer's weights; the shape must be the layer's, the values finite."""
        node, weights = self.node(layer), np.asarray(weights, np.float32)
        if weights.shape != node.weights.shape:
            raise UserError(
                f"layer {layer}: weights of shape {weights.shape} given, {node.weights.shape} needed"
            )
        if not np.isfinite(weights).all():
            raise UserError(f"layer {layer}: weights must be finite numbers")
        node.weights = weights

    def layer_rates(self, layer: str) -> LayerRates:
        """Rates of a layer."""
        if layer not in self.rates:
            self.node(layer)
        return self.rates[layer]

    def convergence(self) -> dict[str, float]:
        """Mean w (1 - w) of every layer that fires; it falls to 0 as weights settle (Kheradpisheh et al. 2018)."""
        return {
            name: float(np.mean(weights * (1 - weights), dtype=np.float64))
            for name, weights in ((name, node.weights) for name, node in self.nodes.items() if fires(node))
        }

    def state(self) -> dict[str, np.ndarray]:
        """Everything that learning changes, by name; copies."""
        state = {f"{name}.weight": node.weights for name, node in self.nodes.items()}
        for name in self.nodes:
            rates = self.rates[name].arrays()
            state |= {f"{name}.rates.{key}": array.copy() for key, array in rates.items()}
        for name, readout in self.readouts.items():
            state |= {f"{name}.learnt.{key}": array.copy() for key, array in readout.arrays.items()}
        state |= {f"phase.{name}": np.array([self.epochs[name], self.windows[name]]) for name in self.phases}
        return state

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over a state; it must be of a network with the same layers and phases."""
        learnt = {name: under(f"{name}.learnt.", state) for name in self.readouts}
        state = {key: array for key, array in state.items() if ".learnt." not in key}
        expected = {key: array for key, array in self.state().items() if ".learnt." not in key}
        for key, array in expected.items():
            if key not in state or state[key].shape != array.shape:
                found = f"has shape {state[key].shape}" if key in state else "is missing"
                raise UserError(
                    f"checkpoint: {key} {found}, shape {array.shape} needed: it is of another network"
                )
        foreign = sorted(set(state) - set(expected))
        if foreign:
            raise UserError(f"checkpoint: {foreign[0]} is unknown here: it is of another network")
        for name, readout in self.readouts.items():
            readout.load(learnt[name])
        for name, node in self.nodes.items():
            node.weights = state[f"{name}.weight"]
            for key, array in self.rates[name].arrays().items():
                array[:] = state[f"{name}.rates.{key}"]
        for name in self.phases:
            self.epochs[name], self.windows[name] = (int(count) for count in state[f"phase.{name}"])

    # --- forward -------------------------------------------------------------------------------------------------

    def check(self, latencies: np.ndarray) -> np.ndarray:
        """The latencies as the kernels take them; refuses another type or shape."""
        latencies = np.asarray(latencies)
        if latencies.dtype != np.uint8 or latencies.ndim != 4 or latencies.shape[1:] != self.shape:
            raise UserError(
                f"latencies: {latencies.dtype} {latencies.shape} given, uint8 (N, {', '.join(map(str, self.shape))})"
                " needed: encode the images first"
            )
        return np.ascontiguousarray(latencies)

    def _run(
        self, layers: tuple[Layer, ...], x: np.ndarray, stop: str, timed: bool
    ) -> tuple[np.ndarray, bool]:
        """Activity in front of layer `stop`, or behind the path; and whether the layer was met."""
        position = 0
        while position < len(layers):
            layer = layers[position]
            after = layers[position + 1] if position + 1 < len(layers) else None
            position += 1
            if isinstance(layer, Pool):
                x = pool_latency(x, layer)
            elif isinstance(layer, Inhibition):
                x = inhibited(x, layer, self.steps)
            elif isinstance(layer, Branches):
                x, met = self._branch(layer, x, stop, timed)
                if met:
                    return x, True
            elif layer.name == stop:
                return x, True
            elif isinstance(after, Pool):
                x = self.nodes[layer.name].propagate(x, steps=self.steps, pool=after, timed=timed)
                position += 1
            else:
                x = self.nodes[layer.name].propagate(x, steps=self.steps, timed=timed)
        return x, False

    def _branch(self, layer: Branches, x: np.ndarray, stop: str, timed: bool) -> tuple[np.ndarray, bool]:
        for path in layer.paths:
            if stop in {inner.name for inner in walk(path) if isinstance(inner, Conv)}:
                return self._run(path, x, stop, timed)
        outputs = [self._run(path, x, stop, timed)[0] for path in layer.paths]
        pads = layer.pads or (0,) * len(outputs)
        padded = [
            np.pad(y, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=SILENT)
            for y, p in zip(outputs, pads, strict=True)
        ]
        if layer.join == "earliest":
            return np.minimum.reduce(padded), False
        if layer.join == "latest":
            return np.maximum.reduce(padded), False
        return np.concatenate(padded, axis=1), False

    def before(self, layer: str, latencies: np.ndarray, *, timed: bool = True) -> np.ndarray:
        """What a layer sees, uint8 (N, C, H, W) before its padding; untimed, only whether an input fires is right."""
        first = self._run(self.layers, latencies[:1], layer, timed)[0]
        out = np.empty((len(latencies), *first.shape[1:]), np.uint8)

        def work(rows: slice) -> None:
            out[rows] = self._run(self.layers, latencies[rows], layer, timed)[0]

        threads.in_chunks(work, len(latencies), threads=self.workers)
        return out

    def inputs(self, phase: str, latencies: np.ndarray) -> np.ndarray:
        """What the lowest learning layer of a phase learns from: the frozen layers below, run once."""
        return self._learnt_from(phase, latencies, timed=True)

    def enough(self, phase: str, latencies: np.ndarray) -> np.ndarray:
        """As `inputs`, but without time where it makes no difference: a decision layer sees only what has fired."""
        timed = self.timed or self.learning(phase)[0] not in self.decision.heads
        return self._learnt_from(phase, latencies, timed=timed)

    def _learnt_from(self, phase: str, latencies: np.ndarray, *, timed: bool) -> np.ndarray:
        seen = self.before(self.learning(phase)[0], self.check(latencies), timed=timed)
        return earliest_map(seen) if self.phase(phase).exclusive else seen

    def learning(self, phase: str) -> list[str]:
        """Names of the layers that learn in a phase, from the input upwards."""
        return [name for name in self.nodes | self.readouts if name in self.phase(phase).rules]

    # --- answers -------------------------------------------------------------------------------------------------

    def predict(self, latencies: np.ndarray) -> np.ndarray:
        """Answers int64 (N,), -1 = silent."""
        latencies = self.check(latencies)
        head = self.decision.heads[0]
        return self._answers(
            latencies, lambda rows: self._run(self.layers, latencies[rows], head, self.timed)[0]
        )

    def answers_from(self, phase: str, inputs: np.ndarray) -> np.ndarray:
        """Answers int64 (N,) from what the learning layer of a phase sees."""
        tail, head = self._from(self.learning(phase)[0]), self.decision.heads[0]
        return self._answers(inputs, lambda rows: self._run(tail, inputs[rows], head, self.timed)[0])

    def _from(self, name: str) -> tuple[Layer, ...]:
        """The layers from one on; the one that holds the branch where it is in one."""
        for position, layer in enumerate(self.layers):
            if name in [getattr(inner, "name", None) for inner in walk((layer,))]:
                return self.layers[position:]
        raise UserError(f"layer {name}: this network has {', '.join(self.nodes)}")

    def _answers(self, source: np.ndarray, seen: Callable[[slice], np.ndarray]) -> np.ndarray:
        answers = np.empty(len(source), np.int64)

        def work(rows: slice) -> None:
            x = seen(rows)
            votes = [self.votes(head.decide(x, steps=self.steps)) for head in self.heads.values()]
            answers[rows] = elect(np.stack(votes), self.decision)

        threads.in_chunks(work, len(source), threads=self.workers)
        return answers

    def votes(self, winners: np.ndarray) -> np.ndarray:
        """Classes int64 (N,) of winners (N, 3), -1 = silent."""
        return np.where(winners[:, 0] < 0, -1, winners[:, 0] // self.decision.group)

    def scores(self, latencies: np.ndarray) -> np.ndarray:
        """How near each class was to deciding, float32 (N, classes): the mean of the heads, 1 for the answer's class.

        Silent images get 0.
        """
        latencies = self.check(latencies)
        heads, group = list(self.heads.values()), self.decision.group
        scores = np.empty((len(latencies), self.classes), np.float32)

        def work(rows: slice) -> None:
            x = self._run(self.layers, latencies[rows], self.decision.heads[0], self.timed)[0]
            scores[rows] = np.mean([h.scores(x, steps=self.steps, group=group) for h in heads], axis=0)
            votes = [self.votes(h.decide(x, steps=self.steps)) for h in heads]
            answers = elect(np.stack(votes), self.decision)
            answered = np.flatnonzero(answers >= 0)
            scores[rows][answered, answers[answered]] = 1

        threads.in_chunks(work, len(latencies), threads=self.workers)
        return scores

    def features(self, latencies: np.ndarray, layer: str, as_: str = "latency") -> np.ndarray:
        """Activity of a layer before pooling, (N, M, R, Q).

        "latency": step of the first spike, uint8, 255 = never; "rank": steps - latency, 0 = never; "potential": at the
        last step, float32.
        """
        if as_ not in FEATURES:
            raise UserError(f"features as {as_!r}: choose one of {', '.join(FEATURES)}")
        if as_ == "potential":
            return self.potentials(layer, latencies)
        latency = self._first_spikes(layer, latencies)
        return (
            latency if as_ == "latency" else (self.steps - np.minimum(latency, self.steps)).astype(np.uint8)
        )

    def _first_spikes(self, layer: str, latencies: np.ndarray) -> np.ndarray:
        node = self.node(layer)
        if fires(node):
            return node.propagate(self.before(layer, self.check(latencies)), steps=self.steps)
        return np.where(self.potentials(layer, latencies) > 0, self.steps - 1, SILENT).astype(np.uint8)

    def potentials(self, layer: str, latencies: np.ndarray) -> np.ndarray:
        """Potentials of a layer at the last step, float32 (N, M, R, Q)."""
        node = self.node(layer)
        seen = self.before(layer, self.check(latencies), timed=self.timed)
        if isinstance(node.layer, Graded):
            return node.potentials(seen, steps=self.steps)
        return last_potentials(node, seen, self.steps)


def last_potentials(node: ThresholdLayer | DecisionLayer, seen: np.ndarray, steps: int) -> np.ndarray:
    """Potentials float32 (N, M, R, Q) that a layer ends with, from the latencies (N, C, H, W) that it sees."""
    import torch

    from firstspike import functional

    weight = node.layer.handing_on(torch.from_numpy(node.weights).double())
    folds, g = seen.shape[1] // node.geometry.channels, node.geometry
    out = np.empty((len(seen), g.maps, g.rows, g.cols), np.float32)
    for first in range(0, len(seen), CHUNK):
        x = functional.pad_latency(torch.from_numpy(seen[first : first + CHUNK]), node.layer.pad)
        parts = [functional.final_potential(part, weight, steps=steps) for part in x.chunk(folds, dim=1)]
        out[first : first + CHUNK] = sum(parts).numpy()
    return out


def under(prefix: str, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin so, by the rest of their names."""
    return {key.removeprefix(prefix): array for key, array in state.items() if key.startswith(prefix)}


def fires(node: ThresholdLayer | DecisionLayer) -> bool:
    """Whether a layer's neurons fire in time, rather than decide at the end."""
    return node.layer.threshold is not None


def elect(votes: np.ndarray, decision: Decision) -> np.ndarray:
    """Answers int64 (N,) from the votes (heads, N), -1 = silent.

    A class with more than half of all heads' votes; else the first head of the fallback order that voted.
    """
    answers = np.full(votes.shape[1], -1, np.int64)
    for head in reversed(decision.fallback):
        answers = np.where(votes[head] >= 0, votes[head], answers)
    for candidate in votes:
        agree = (votes == candidate).sum(axis=0)
        answers = np.where((candidate >= 0) & (2 * agree > len(votes)), candidate, answers)
    return answers
