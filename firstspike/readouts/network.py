"""A readout in the form in which the zoo's training loop, its checkpoints and its command know a network."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from firstspike.layers import WholePhase
from firstspike.readouts.engine import NAME, Epoch, ReadoutEngine
from firstspike.readouts.events import Events, from_dense
from firstspike.readouts.presets import Preset
from firstspike.readouts.traces import summarise
from firstspike.threads import available

COUNTERS = ("epochs", "accuracy", "regulation_rate", "rates")  # of the engine's state, kept as arrays


class ReadoutNetwork:
    """A readout over features of `shape` (rows, columns, channels), which count as flattened in C order.

    Features are events, spike times in [0, 1], 1 = silent, or uint8 latencies in `steps` steps, 255 = silent.
    """

    def __init__(
        self, setting: Preset, *, shape: tuple[int, int, int], classes: int, steps: int, seed: int
    ) -> None:
        self.shape, self.steps, self.workers = shape, steps, available()
        self.readout = ReadoutEngine(setting.readout, inputs=int(np.prod(shape)), classes=classes, seed=seed)
        self.phases = {NAME: WholePhase(NAME, setting.epochs)}
        self.tracing, self.traced = False, None  # whether epochs are traced; the last one's EpochTrace

    def phase(self, name: str) -> WholePhase:
        """The phase of this name."""
        return self.phases[name]

    def learning(self, phase: str) -> list[str]:
        """The layers that learn in a phase."""
        return [phase]

    def convergence(self) -> dict[str, float]:
        """Nothing: weights of a readout do not settle at their bounds."""
        return {}

    def weights(self, layer: str = NAME) -> np.ndarray:
        """A copy of the weights, float32 (N, I)."""
        return self.readout.weights(layer)

    def set_weights(self, layer: str, weights: np.ndarray) -> None:
        """Start from these weights, (N, I)."""
        self.readout.set_weights(layer, weights)

    def events(self, inputs: Events | np.ndarray) -> Events:
        """Features in the form that the readout takes; a window of another length is scaled to 1."""
        if isinstance(inputs, Events):
            return inputs if inputs.max_time == 1 else scaled(inputs)
        return from_dense(inputs, scale=self.steps if inputs.dtype == np.uint8 else 1.0)

    def fit_phase(
        self,
        phase: str,
        inputs: Events | np.ndarray,
        labels: np.ndarray | None = None,
        *,
        order: np.ndarray | None = None,
        from_inputs: bool = True,
        record: bool = False,
        progress: Callable[[int, int, int], None] | None = None,
    ) -> Epoch:
        """One epoch; `progress(done, right, silent)` hears of its end. What a phase sees are the features."""
        record = record or self.tracing
        epoch = self.readout.fit_phase(phase, self.events(inputs), labels, order=order, record=record)
        if self.tracing:
            shown = np.asarray(labels) if order is None else np.asarray(labels)[order]
            self.traced = summarise(epoch.trace, shown, self.readout.readout.groups)
        if progress:
            right, _, silent = map(int, epoch.counts[0])
            progress(int(epoch.counts.sum()), right, silent)
        return epoch

    def predict(self, inputs: Events | np.ndarray) -> np.ndarray:
        """Classes int64 (S,)."""
        return self.readout.predict(self.events(inputs), threads=self.workers)

    def answers_from(self, phase: str, inputs: Events | np.ndarray) -> np.ndarray:
        """Classes from what the phase sees, which is the features."""
        return self.predict(inputs)

    def scores(self, inputs: Events | np.ndarray) -> np.ndarray:
        """By how much each class was nearer to deciding than the others, float32 (S, C)."""
        return self.readout.scores(self.events(inputs), threads=self.workers)

    def spike_times(self, inputs: Events | np.ndarray) -> np.ndarray:
        """When each neuron fires, float32 (S, N), 1 = never."""
        return self.readout.respond(self.events(inputs), threads=self.workers)[0]

    def state(self) -> dict[str, np.ndarray]:
        """Everything that learning changes, by name; copies."""
        arrays, counters = self.readout.state()
        return arrays | {name: np.asarray(counters[name], np.float64) for name in COUNTERS}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        counters = {name: state[name].tolist() for name in COUNTERS if name in state}
        self.readout.load_state({name: a for name, a in state.items() if name not in COUNTERS}, counters)


def scaled(events: Events) -> Events:
    """Events with times as shares of the window, so that it ends at 1."""
    times = np.minimum(events.times / np.float32(events.max_time), np.nextafter(np.float32(1), np.float32(0)))
    return replace(events, times=times, max_time=1.0)
