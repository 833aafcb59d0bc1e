"""Runs a description: a network that learns, phase by phase. Legend as in ``network.py``."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from firstspike.compiled import IDENTITY
from firstspike.data.splits import stream
from firstspike.errors import UserError
from firstspike.kernels.joint import Turn
from firstspike.latencies import shift
from firstspike.layers import (
    Conv,
    Fitted,
    LinearSVM,
    Pool,
)
from firstspike.network import Network, elect
from firstspike.svm import fit_linear, sparse_spikes

FEATURES = ("latency", "potential", "rank")
SILENT = 255
CHUNK = 1000  # images between two reports of progress
Progress = Callable[[int, int, int], None]  # images done, of them right, of them silent
Source = Callable[[np.ndarray], np.ndarray]  # rows to latencies of the network's input


@dataclass(frozen=True)
class PhaseResult:
    """What one pass of a phase gave.

    ``decisions`` int64 (N,), -1 = silent; ``counts`` int64 (windows, 3) right, wrong, silent; both None in STDP phases.
    ``winners`` int16 (N, k, 3) and ``rates`` float64 (N, 2) or (windows, 4) for each learning layer, if recorded.
    """

    decisions: np.ndarray | None = None
    counts: np.ndarray | None = None
    winners: dict[str, np.ndarray] = field(default_factory=dict)
    rates: dict[str, np.ndarray] = field(default_factory=dict)


class Engine(Network):
    """A network that learns; ``workers`` and the device change how fast, never what."""

    # --- learning ------------------------------------------------------------------------------------------------

    def fit_phase(
        self,
        phase: str,
        latencies: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        from_inputs: bool = False,
        record: bool = False,
        order: np.ndarray | None = None,
        progress: Progress | None = None,
        source: Source | None = None,
    ) -> PhaseResult:
        """One pass of a phase, in the given order unless ``order`` (N,) tells another; counters go on from the last.

        With ``from_inputs``, ``source`` gives the network's latencies for some rows, where a rule wants to alter them.
        """
        source = source if from_inputs else latencies.__getitem__
        inputs = latencies if from_inputs else self.inputs(phase, latencies)
        order = np.arange(len(inputs)) if order is None else order
        tell = progress or (lambda done, right, silent: None)
        if self.phase(phase).supervised:
            labels = self._check_labels(labels, len(inputs))
            rule = next(iter(self.phase(phase).rules.values()))
            at_once = {LinearSVM: self._fit_machine, Fitted: self._fit_readout}
            fit = at_once.get(type(rule), self._fit_reward)
            result = fit(phase, inputs, labels, order, record, tell, source)
        else:
            result = self._fit_stdp(phase, inputs, order, record, tell)
        self.epochs[phase] += 1
        return result

    def _check_labels(self, labels: np.ndarray | None, n: int) -> np.ndarray:
        if labels is None or len(labels) != n:
            raise UserError(
                f"this phase needs one label an image: {0 if labels is None else len(labels)} for {n} images"
            )
        labels = np.asarray(labels).astype(np.int64)
        if n and not 0 <= labels.min() <= labels.max() < self.classes:
            raise UserError(f"labels {labels.min()} to {labels.max()} given, 0 to {self.classes - 1} allowed")
        return labels

    def _fit_stdp(
        self, phase: str, inputs: np.ndarray, order: np.ndarray, record: bool, tell: Progress
    ) -> PhaseResult:
        (name,) = self.learning(phase)
        rates, rule = self.rates[name], self.phase(phase).rules[name]
        parts, batch = [], self.nodes[name].batch
        stride = max(CHUNK // batch, 1) * batch  # a call ends its last mini-batch
        for first in range(0, len(order), stride):
            chunk = inputs[order[first : first + stride]]
            part = self.nodes[name].learn(chunk, rule, rates.stdp, rates.seen, steps=self.steps)
            if record:
                parts.append(part)
            tell(first + len(chunk), 0, 0)
        if not parts:
            return PhaseResult()
        winners, used = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return PhaseResult(winners={name: winners}, rates={name: used})

    def _fit_reward(
        self,
        phase: str,
        inputs: np.ndarray,
        labels: np.ndarray,
        order: np.ndarray,
        record: bool,
        tell: Progress,
        source: Source | None,
    ) -> PhaseResult:
        names = self.learning(phase)
        window = next(rule.window for rule in self.phase(phase).rules.values())
        clipped = dict.fromkeys(names, False)
        decisions, counts, winners, rates = [], [], {name: [] for name in names}, {name: [] for name in names}
        for first in range(0, len(order), window):
            rows = order[first : first + window]
            chosen = self._learn_window(phase, inputs[rows], labels[rows], clipped)
            answers = elect(
                np.stack([self.votes(chosen[head]) for head in self.decision.heads]), self.decision
            )
            right, silent = int((answers == labels[rows]).sum()), int((answers < 0).sum())
            counts.append((right, len(answers) - right - silent, silent))
            decisions.append(answers)
            self._adapt(phase, *(np.array(counts[-1][:2]) / len(answers)))
            for name in names if record else ():
                winners[name].append(chosen[name].reshape(len(answers), -1, 3).astype(np.int16))
                rates[name].append(self.rates[name].reward.astype(np.float64))
            tell(first + len(answers), right, silent)
        return PhaseResult(
            np.concatenate(decisions) if decisions else np.empty(0, np.int64),
            np.array(counts, np.int64).reshape(-1, 3),
            {name: np.concatenate(parts) for name, parts in winners.items() if parts},
            {name: np.array(parts) for name, parts in rates.items() if parts},
        )

    def _fit_machine(
        self,
        phase: str,
        inputs: np.ndarray,
        labels: np.ndarray,
        order: np.ndarray,
        record: bool,
        tell: Progress,
        source: Source | None,
    ) -> PhaseResult:
        """Weights of a decision layer that sees the whole field, from a support vector machine."""
        (name,) = self.learning(phase)
        node, rule = self.nodes[name], self.phase(phase).rules[name]
        if node.geometry.rows * node.geometry.cols > 1:
            raise UserError(f"layer {name} must see its whole input at once: use square images")
        if len(order) == 0:
            return PhaseResult(np.empty(0, np.int64), np.empty((0, 3), np.int64))
        fired = sparse_spikes(inputs, order, self.steps)
        if fired.nnz:
            weights = fit_linear(
                fired, labels[order], node.geometry.maps, cost=rule.cost, passes=rule.passes, seed=self.seed
            )
            node.weights = weights.reshape(node.weights.shape)
        answers = self.answers_from(phase, inputs)[order]
        return _answered(answers, labels[order], name, record, tell)

    def _fit_readout(
        self,
        phase: str,
        inputs: np.ndarray,
        labels: np.ndarray,
        order: np.ndarray,
        record: bool,
        tell: Progress,
        source: Source | None,
    ) -> PhaseResult:
        """A classifier of all images at once."""
        (name,) = self.learning(phase)
        shown, told = inputs[order], labels[order]

        def shifted(rows: np.ndarray, down: int, right: int) -> np.ndarray:
            return self.enough(phase, shift(source(order[rows]), down, right))

        if len(order):
            self.readouts[name].fit(
                shown,
                told,
                steps=self.steps,
                seed=self.seed,
                threads=self.workers,
                shifted=source and shifted,
                tell=lambda share: tell(int(share * len(order)), 0, 0),
            )
        return _answered(self.answers_from(phase, shown), told, name, record, tell)

    def _learn_window(
        self, phase: str, inputs: np.ndarray, labels: np.ndarray, clipped: dict[str, bool]
    ) -> dict[str, np.ndarray]:
        """One window of R-STDP: winners by layer."""
        names, rules = self.learning(phase), self.phase(phase).rules
        group, chosen = self.decision.group, {}
        if set(names) <= set(self.decision.heads):
            kept = self._kept(phase)
            for name in names:
                chosen[name], clipped[name] = self.nodes[name].learn(
                    inputs,
                    labels,
                    rules[name],
                    self.rates[name].reward,
                    steps=self.steps,
                    group=group,
                    clipped=clipped[name],
                    **kept,
                )
            return chosen
        lower, upper = names
        learns = self.turn(phase)
        turn = Turn(
            lower in learns,
            upper in learns,
            self.rates[lower].reward,
            self.rates[upper].reward,
            np.array([clipped[lower], clipped[upper]]),
        )
        chosen[lower], chosen[upper] = self.backend.learn_together(
            self.nodes[lower],
            self.nodes[upper],
            self._pool_between(lower),
            inputs,
            labels,
            (rules[lower], rules[upper]),
            turn,
            steps=self.steps,
            group=group,
        )
        clipped[lower], clipped[upper] = turn.clipped
        return chosen

    def _kept(self, phase: str) -> dict[str, np.ndarray]:
        """The maps that take part in this epoch of a phase with dropout: a function of (seed, phase, epoch)."""
        share = self.phase(phase).dropout
        if not share:
            return {}
        draws = stream(self.seed, "dropout", phase, self.epochs[phase])
        maps = self.nodes[self.learning(phase)[0]].geometry.maps
        return {"kept": np.flatnonzero(draws.random(maps) >= share)}

    def _pool_between(self, lower: str) -> Pool:
        """The pooling behind a layer that learns together with the decision layer above it."""
        position = next(
            i for i, layer in enumerate(self.layers) if isinstance(layer, Conv) and layer.name == lower
        )
        after = self.layers[position + 1]
        return after if isinstance(after, Pool) else IDENTITY

    def turn(self, phase: str) -> list[str]:
        """The layers whose turn it is to learn in the next window of a phase."""
        names, turns = self.learning(phase), self.phase(phase).turns
        if turns == "together":
            return names
        odd = self.windows[phase] % 2
        if turns == "original":
            odd = int(self.epochs[phase] + odd > 0)
        return [names[odd]]

    def _adapt(self, phase: str, right: float, wrong: float) -> None:
        """Count a window and set the rates for the next one."""
        self.windows[phase] += 1
        adapted = self.turn(phase) if self.phase(phase).turns == "original" else self.learning(phase)
        for name in adapted:
            factors = self.phase(phase).rules[name].factors(right, wrong, self.windows[phase])
            self.rates[name].adapt(*factors)


def _answered(
    answers: np.ndarray, labels: np.ndarray, name: str, record: bool, tell: Progress
) -> PhaseResult:
    """What a pass gave in which all images were learnt at once: answers, and their map, row and column as winners."""
    right, silent = int((answers == labels).sum()), int((answers < 0).sum())
    tell(len(answers), right, silent)
    winners = np.stack([answers, *np.minimum(answers, 0)[None].repeat(2, 0)], axis=1)[:, None]
    counts = np.array([[right, len(answers) - right - silent, silent]])
    return PhaseResult(answers, counts, {name: winners.astype(np.int16)} if record else {})
