"""NetworkTrainer: the one loop, with phases, epochs, patience, checkpoints, resume and callbacks.

It knows no rule and no file format.

net = create_model("mozafari2018")
net.train(samples, validation, epochs={"conv1": 2, "conv2": 4, "decision": 10})
net.predict(latencies)
"""

import math
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from firstspike import checkpoint
from firstspike.backend import choose
from firstspike.classifiers import CLASSIFIERS
from firstspike.data.cache import IN_MEMORY, array_digest, cached_array
from firstspike.data.samples import Altered, Samples, Source
from firstspike.data.splits import order
from firstspike.describe import to_plain
from firstspike.description import Description
from firstspike.engine import Engine, PhaseResult
from firstspike.errors import UserError
from firstspike.layers import BatchSTDP, Decision, Layer, Phase
from firstspike.read_out import read_out
from firstspike.report.callbacks import Callback
from firstspike.report.records import EpochRecord, Position, Progress, to_jsonable

STALLED = 5  # epochs behind the best one after which a supervised phase ends


@dataclass(frozen=True)
class Keeper:
    """Where a run keeps its checkpoints and what they say about it; without a folder nothing is kept."""

    folder: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    encoder: Mapping[str, Any] = field(default_factory=dict)
    memory_budget: int | None = None

    def path(self, name: str) -> Path:
        """Place of a checkpoint."""
        return Path(self.folder) / "checkpoints" / f"{name}.safetensors"

    @property
    def inputs(self) -> Path | None:
        """Where the inputs of a phase lie while it runs, if they are too large for memory."""
        return None if self.folder is None else Path(self.folder) / "inputs"

    def drop_inputs(self) -> None:
        """Remove the inputs of a phase that is over."""
        if self.inputs is not None:
            shutil.rmtree(self.inputs, ignore_errors=True)

    def save(
        self, name: str, net: "NetworkTrainer", state: Mapping[str, np.ndarray], position: Position
    ) -> None:
        """Write a checkpoint, whole or not at all; it says what network it is of and how its input was made."""
        if self.folder is not None:
            meta = {
                "model": net.name,
                "settings": dict(self.settings),
                "network": {**net.made(), "encoder": dict(self.encoder)},
                "position": to_jsonable(position),
            }
            checkpoint.save(self.path(name), state, meta)


class NetworkTrainer:
    """A network with its training loop; a subclass states ``layers``, ``plan`` (its phases) and ``decision``.

    Options change numbers of the description, see ``Description.options``.
    """

    name: ClassVar[str] = ""
    layers: ClassVar[tuple[Layer, ...]] = ()
    plan: ClassVar[tuple[Phase, ...]] = ()
    decision: ClassVar[Decision] = Decision()
    filters: ClassVar[str] = "dog"  # of its encoder, for images in grey
    update_batch: ClassVar[int] = 1  # images that learn at once, unless told otherwise
    patience: int = STALLED
    later_wins_ties: ClassVar[bool] = True  # of epochs that are equally good on validation

    def __init__(
        self,
        *,
        in_channels: int = 6,
        classes: int = 10,
        image_size: tuple[int, int] = (28, 28),
        steps: int = 15,
        seed: int = 0,
        device: str = "cpu",
        update_batch: int | None = None,
        **options: Any,
    ) -> None:
        sizes = {
            "in_channels": in_channels,
            "classes": classes,
            "height": image_size[0],
            "width": image_size[1],
        }
        for what, size in sizes.items():
            if size < 1:
                raise UserError(f"{what} {size}: must be 1 or more")
        if not 1 <= steps <= 254:
            raise UserError(f"steps {steps}: a latency is a byte, so 1 to 254 are allowed")
        self.classes, self.steps, self.seed, self.options = classes, steps, seed, options
        self.shape = (in_channels, *image_size)
        self.device = device
        self.backend = choose(device, self.update_batch if update_batch is None else update_batch)
        self.engine = self.build()

    def __repr__(self) -> str:
        options = {"seed": self.seed, **self.options}
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in options.items())})"

    @classmethod
    def known_options(cls) -> dict[str, Any]:
        """Every option of this network and its default."""
        return Description(cls.layers, cls.plan, cls.decision).options()

    @classmethod
    def presets(cls) -> list[str]:
        """Names of published settings that --preset takes."""
        return []

    @classmethod
    def fills_a_gpu(cls, update_batch: int | None) -> bool:
        """Whether it learns in mini-batches whose images do so independently of each other."""
        rules = [rule for phase in cls.plan for rule in phase.rules.values()]
        in_turn = any(isinstance(rule, BatchSTDP) for rule in rules)
        return not in_turn and (update_batch or cls.update_batch) > 1

    @classmethod
    def read_out(cls, readout: str, layer: str | None = None) -> type["NetworkTrainer"]:
        """This network cut behind a layer, or before its decision, and read out by a classifier."""
        if readout not in CLASSIFIERS:
            raise UserError(f"--readout {readout}: choose one of {', '.join(CLASSIFIERS)}")
        whole = Description(cls.layers, cls.plan, cls.decision)
        part = read_out(whole, CLASSIFIERS[readout](), layer)
        stated = {"layers": part.layers, "plan": part.phases, "decision": part.decision}
        return type(cls.__name__, (cls,), stated)

    def describe(self) -> Description:
        """The network as data: its description with its options, for its classes."""
        return (
            Description(self.layers, self.plan, self.decision)
            .with_options(self.options)
            .for_classes(self.classes)
            .for_input(self.shape)
        )

    def made(self) -> dict[str, Any]:
        """What a checkpoint needs to say of the network, as plain data."""
        return {"description": to_plain(self.describe()), "shape": list(self.shape), "steps": self.steps}

    def build(self) -> Engine:
        """The engine that runs this network."""
        description = self.describe()
        return Engine(
            description.layers,
            description.phases,
            description.decision,
            shape=self.shape,
            steps=self.steps,
            seed=self.seed,
            backend=self.backend,
        )

    # --- what the network is and says --------------------------------------------------------------------------------

    @property
    def phases(self) -> tuple[str, ...]:
        """Names of the phases, in order."""
        return tuple(self.engine.phases)

    def weights(self, layer: str) -> np.ndarray:
        """Weights float32 (maps, in, k, k) of a layer; a copy."""
        return self.engine.weights(layer)

    def set_weights(self, layer: str, array: np.ndarray) -> None:
        """Set a layer's weights."""
        self.engine.set_weights(layer, array)

    def rates(self, layer: str) -> dict[str, float]:
        """Learning rates in force: ltp, ltd (STDP); reward_ltp, reward_ltd, punish_ltp, punish_ltd (R-STDP)."""
        return self.engine.layer_rates(layer).current()

    def set_rates(self, layer: str, **rates: float) -> None:
        """Set starting rates, and with them the current ones; counters stay."""
        self.engine.layer_rates(layer).set(rates)

    def inputs(self, phase: str, latencies: np.ndarray) -> np.ndarray:
        """What the learning layer of a phase sees: the frozen layers below, run once; uint8 latencies."""
        return self.engine.inputs(phase, latencies)

    def fit_phase(
        self,
        phase: str,
        latencies: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        from_inputs: bool = False,
        record: bool = False,
    ) -> PhaseResult:
        """One pass of a phase in the given order: one epoch; rates and counters go on from call to call."""
        return self.engine.fit_phase(phase, latencies, labels, from_inputs=from_inputs, record=record)

    def predict(self, latencies: np.ndarray) -> np.ndarray:
        """Answers int64 (N,), -1 = silent."""
        return self.engine.predict(latencies)

    def scores(self, latencies: np.ndarray) -> np.ndarray:
        """How near each class was to deciding, float32 (N, classes)."""
        return self.engine.scores(latencies)

    def features(self, latencies: np.ndarray, layer: str, as_: str = "latency") -> np.ndarray:
        """Activity of a layer (N, maps, H, W).

        "latency" uint8; "rank" uint8, steps - latency, silent 0; "potential" float32, at the last step.
        """
        return self.engine.features(latencies, layer, as_)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything that learning changes, by name; copies."""
        return self.engine.state()

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what ``state_dict`` gave."""
        self.engine.load_state(dict(state))

    # --- the loop ----------------------------------------------------------------------------------------------------

    def epochs(self, numbers: Sequence[int] | None = None) -> dict[str, int]:
        """Epochs of every phase from one number each, or the network's own schedule.

        Phases that share a number (branches) get the same.
        """
        phases = self.engine.phases.values()
        names = tuple(dict.fromkeys(phase.number for phase in phases))
        if numbers is None:
            return {phase.name: phase.epochs for phase in phases}
        if len(numbers) != len(names):
            raise UserError(
                f"--epochs {' '.join(map(str, numbers))}: {self.name} takes {len(names)}: {' '.join(names)}"
            )
        if min(numbers) < 0:
            raise UserError(f"--epochs {' '.join(map(str, numbers))}: numbers of epochs must be 0 or more")
        given = dict(zip(names, numbers, strict=True))
        return {phase.name: given[phase.number] for phase in phases}

    def train(
        self,
        samples: Samples,
        validation: Samples | None = None,
        *,
        epochs: Mapping[str, int] | None = None,
        patience: int = STALLED,
        callbacks: Iterable[Callback] = (),
        keeper: Keeper | None = None,
        position: Position | None = None,
    ) -> Position:
        """Train phase by phase from a position; at the end the network is the best one on validation.

        Without validation samples the last epoch counts as the best and nothing ends early.
        """
        epochs, keeper = epochs or self.epochs(), keeper or Keeper()
        position, callbacks = position or Position(), tuple(callbacks)
        best: dict[str, np.ndarray] | None = None
        if not position.records:
            keeper.save("last", self, self.state_dict(), position)
        for number in range(position.phase, len(self.phases)):
            phase = self.phases[number]
            if position.phase != number:
                position.phase, position.epoch = number, 0
            if self._ends(phase, position, epochs, patience):  # resumed behind it, or no epochs asked for
                keeper.save(phase, self, self.state_dict(), position)
                continue
            tell(callbacks, "on_phase_start", phase, epochs[phase])
            seen = self._seen(phase, samples, keeper)
            held = self._seen(phase, validation, keeper) if validation else None
            while not self._ends(phase, position, epochs, patience):
                record = self._epoch(phase, position.epoch, epochs[phase], samples, seen, callbacks)
                record = self._validated(phase, record, held, validation, position)
                position.records.append(record)
                position.epoch += 1
                if record.best:
                    best = self.state_dict()
                    keeper.save("best", self, best, position)
                keeper.save("last", self, self.state_dict(), position)
                tell(callbacks, "on_epoch", record)
            keeper.save(phase, self, self.state_dict(), position)
            keeper.drop_inputs()
            tell(callbacks, "on_phase_end", phase)
        if best is None and position.best_epoch >= 0 and keeper.folder is not None:
            best = checkpoint.load(keeper.path("best"))[0]
        if best is not None:
            self.load_state_dict(best)
        return position

    def _ends(self, phase: str, position: Position, epochs: Mapping[str, int], patience: int) -> bool:
        """Whether a phase is over: all epochs done, or none better for too long."""
        if position.epoch >= epochs[phase]:
            return True
        return position.best_phase == phase and position.epoch - 1 - position.best_epoch > patience

    def _seen(self, phase: str, samples: Samples, keeper: Keeper) -> np.ndarray:
        """What the phase's learning layer sees of the samples: the frozen layers run once."""
        n = len(samples.rows)
        shape = self.engine.enough(phase, samples.latencies[:1]).shape[1:]
        large = math.prod((n, *shape)) > (keeper.memory_budget or IN_MEMORY)
        return cached_array(
            f"{phase} of {self.name} {array_digest(samples.rows)}",
            (n, *shape),
            np.uint8,
            lambda rows: self.engine.enough(phase, samples.take(rows)),
            folder=keeper.inputs if large else None,
            name=phase,
            memory_budget=keeper.memory_budget,
        )

    def _epoch(
        self,
        phase: str,
        epoch: int,
        epochs: int,
        samples: Samples,
        seen: np.ndarray,
        callbacks: Sequence[Callback],
    ) -> EpochRecord:
        """One epoch of a phase over the samples in an order of its own."""
        began, total = time.perf_counter(), len(samples)
        labels, shown = samples.labels, seen
        if samples.copies:
            copies = samples.copies
            labels = np.concatenate([labels, labels])
            shown = Altered(seen, lambda rows: self.engine.enough(phase, copies(epoch, rows)))
        report = reporter(Progress(phase, epoch, epochs, 0, total, began), callbacks)
        altering = {"source": Source(samples, epoch)} if isinstance(self.engine, Engine) else {}
        sequence = self.sequence(total, phase, epoch)
        result = self.engine.fit_phase(
            phase, shown, labels, from_inputs=True, order=sequence, progress=report, **altering
        )
        seconds = time.perf_counter() - began
        record = EpochRecord(phase, epoch, total, seconds, total / max(seconds, 1e-9))
        if result.counts is not None:
            right, wrong, silent = (int(count) for count in result.counts.sum(axis=0))
            record = replace(record, accuracy=right / total, loss=wrong / total, silent=silent / total)
        return replace(record, rates=self._learning_rates(phase), convergence=self.engine.convergence())

    def sequence(self, total: int, phase: str, epoch: int) -> np.ndarray:
        """The order in which an epoch shows its samples: drawn anew for each."""
        return order(total, seed=self.seed, phase=phase, epoch=epoch)

    def _learning_rates(self, phase: str) -> dict[str, float]:
        learning = self.engine.learning(phase)
        return {f"{layer}.{name}": rate for layer in learning for name, rate in self.rates(layer).items()}

    def _validated(
        self,
        phase: str,
        record: EpochRecord,
        held: np.ndarray | None,
        validation: Samples | None,
        position: Position,
    ) -> EpochRecord:
        """The record with the figures on validation, and whether the network is the best so far."""
        if not self.engine.phase(phase).supervised:
            return record
        accuracy = float(position.epoch)
        if validation is not None and held is not None:
            record = self._held_out(phase, record, held, validation)
            accuracy = record.validation_accuracy
        worse = accuracy < position.best_accuracy
        tie = accuracy == position.best_accuracy and not self.later_wins_ties
        if position.best_phase == phase and (worse or tie):
            return record
        position.best_phase, position.best_epoch, position.best_accuracy = phase, record.epoch, accuracy
        return replace(record, best=True)

    def _held_out(
        self, phase: str, record: EpochRecord, held: np.ndarray, validation: Samples
    ) -> EpochRecord:
        """The record with the figures on validation."""
        answers = self.engine.answers_from(phase, held)
        accuracy, silent = float((answers == validation.labels).mean()), float((answers < 0).mean())
        return replace(record, validation_accuracy=accuracy, validation_silent=silent)

    def measured(self, test: Samples, records: Sequence[EpochRecord]) -> dict[str, Any]:
        """Further figures of the trained network for its report, beside those of its answers."""
        return {}

    def pinned(self) -> dict[str, Any]:
        """Options that do not say what is computed, and yet decide the last bits: a run that goes on keeps them."""
        return {}

    def told(self, measured: Mapping[str, Any]) -> list[str]:
        """Those figures as lines for people."""
        return []


def reporter(start: Progress, callbacks: Sequence[Callback]) -> Callable[[int, int, int], None]:
    """What tells callbacks of samples done, and how many of the last ones are right and silent.

    `start`: the epoch before its first sample, `seconds` being the clock's time.
    """
    tally = np.zeros(2, np.int64)

    def report(done: int, right: int, silent: int) -> None:
        tally[:] += right, silent
        seconds = time.perf_counter() - start.seconds
        now = replace(start, done=done, seconds=seconds, right=int(tally[0]), silent=int(tally[1]))
        tell(callbacks, "on_batch", now)

    return report


def tell(callbacks: Iterable[Callback], event: str, *details: Any) -> None:
    """Let every callback hear of an event."""
    for callback in callbacks:
        getattr(callback, event)(*details)
