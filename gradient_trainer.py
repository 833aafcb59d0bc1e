"""GradientTrainer: the one loop around a network of spiking neurons that learns by back-propagation in time.

net = create_model("spsn2023", in_channels=1, image_size=(1, 700), classes=10, epochs=15)
net.train(samples, validation)
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from firstspike.data.augment import move_frames, move_spikes
from firstspike.data.samples import Parts, Selection
from firstspike.data.timed import Coding, Part, TimedSet, divided, load_timed
from firstspike.errors import UserError
from firstspike.report.callbacks import Callback
from firstspike.report.records import EpochRecord, Progress
from network_trainer import Keeper, NetworkTrainer, Position, reporter

if TYPE_CHECKING:  # torch takes a second to import
    from firstspike.neurons.loop import TrainedNetwork
    from firstspike.neurons.training import Augment, Epoch, Mix

ENDLESS = 10**9  # epochs without a better one: none of these programs ends early
CODING = {
    "bins": "auto",
    "window_size": 1e-3,
    "time_steps": 100,
    "dt": 1.0,
    "polarity": "both",
    "group": 1,
    "coding": "latency",
    "latency": "fastsnn",
    "on_off": False,
    "normalise": False,
    "hold_out": "auto",
}
LEARNING = {
    "batch_size": 64,
    "batch_parts": 1,
    "epochs": 200,
    "optimiser": "adamax",
    "lr": 1e-3,
    "weight_decay": 0.0,
    "momentum": 0.9,
    "schedule": "constant",
    "loss": "cross-entropy",
    "loss_mode": "mean",
    "smoothing": 0.0,
    "pad_to": 0,
    "drop_last": False,
    "test_every": 1,
}
ABOVE_0 = (
    "window_size",
    "time_step",
    "dt",
    "time_steps",
    "hidden_tau",
    "readout_tau",
    "channels",
    "hidden_units",
    "tau",
    "gain",
)
FROM_0 = (
    "weight_decay",
    "reg_thr",
    "reg_thr_recurrent",
    "pad_to",
    "test_every",
    "delay",
    "shift",
    "surrogate_scale",
)
SHARES = ("smoothing", "dropout", "momentum", "scale")  # from 0, below 1
AUGMENTATION = {"data_augmentation": False, "shift": 0.05, "scale": 0.15, "mirror": False}


class GradientTrainer(NetworkTrainer):
    """A network with the zoo's loop; a subclass states its options, its published settings, and its description.

    `own` are options and their defaults, which `published` settings change, by name: options of the command, the
    data set among them. `network` makes the description of the network from all settings.
    """

    own: ClassVar[Mapping[str, Any]] = {}
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    dataset: ClassVar[str] = "shd"
    patience = ENDLESS
    tested: Part | None = None  # samples whose accuracy every epoch's record tells; it decides nothing

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
        shape: tuple[int, ...] | None = None,
        **options: Any,
    ) -> None:
        """`shape` is that of one step of a sample, (U,), (P, H, W) or (C, H)."""
        self.classes, self.steps, self.seed, self.options = classes, steps, seed, options
        self.shape, self.device = tuple(shape or (in_channels, *image_size)), device
        self.engine = self.build()

    @classmethod
    def known_options(cls) -> dict[str, Any]:
        """Every option and its default, which a preset may change."""
        return {"preset": "", **LEARNING, **CODING, **AUGMENTATION, **cls.own}

    @classmethod
    def presets(cls) -> list[str]:
        """Names of the published settings."""
        return sorted(cls.published)

    @classmethod
    def resolved(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """All settings: defaults, changed by the preset, changed by the options that are given."""
        known = cls.known_options()
        if unknown := sorted(set(options) - set(known)):
            raise UserError(f"option {unknown[0]}: this network has {', '.join(known)}")
        name = options.get("preset", "")
        if name and name not in cls.published:
            raise UserError(
                f"no preset {name!r} of {cls.name}; there are {', '.join(cls.presets()) or 'none'}"
            )
        changed = cls.published.get(name, {})
        chosen = {**known, "dataset": cls.dataset, **changed, **options}
        # a flag of the command, which is false unless given and cannot take back what a preset says
        chosen["mirror"] |= changed.get("mirror", False) and chosen["data_augmentation"]
        check_numbers(chosen)
        if "layers" not in options and len(chosen.get("hidden_size", ())) > 1:
            chosen["layers"] = len(chosen["hidden_size"])
        return {key: tuple(value) if isinstance(value, list) else value for key, value in chosen.items()}

    @classmethod
    def coding(cls, settings: Mapping[str, Any], size: tuple[int, int] | None = None) -> Coding:
        """How samples become steps in time."""
        names = ("bins", "dt", "polarity", "group", "latency", "on_off", "normalise")
        same = {name: settings[name] for name in names}
        return Coding(
            **same,
            window=settings["window_size"],
            steps=settings["time_steps"],
            images=settings["coding"],
            size=size or settings.get("image_size"),
        )

    def network(self, settings: Mapping[str, Any]) -> Any:
        """The description of the network, which `build(seed)` makes a torch module of."""
        raise NotImplementedError

    def describe(self) -> Any:
        """The network as data."""
        return self.network(self.settings)

    def made(self) -> dict[str, Any]:
        """What a checkpoint says of the network, as plain data."""
        return {
            "trained": asdict(self.describe()),
            "recipe": asdict(self.engine.engine.recipe),
            "shape": self.shape,
        }

    def build(self) -> "TrainedNetwork":
        """The network in the form that the loop knows."""
        from firstspike.neurons.loop import TrainedNetwork
        from firstspike.neurons.optimisation import Recipe

        settings = self.settings = self.resolved(self.options)
        if settings["mirror"] and not (settings["data_augmentation"] and len(self.shape) == 3):
            raise UserError("option mirror: for images and frames (P, H, W), with --data-augmentation")
        fields = {name: settings[name] for name in Recipe.__dataclass_fields__ if name in settings}
        lasting = {"epochs": max(settings["epochs"], 1), "pad_to": settings["pad_to"] or None}
        return TrainedNetwork(
            self.describe().build(self.seed),
            Recipe(**{**fields, **lasting, "batch": settings["batch_size"]}),
            shape=self.shape,
            seed=self.seed,
            device=self.device,
            epochs=settings["epochs"],
        )

    # --- what the network is and says ------------------------------------------------------------------------------

    def rates(self, layer: str) -> dict[str, float]:
        """Learning rates in force, the same for all layers, by group of parameters."""
        return self.engine.rates()

    def fit_phase(
        self,
        phase: str,
        latencies: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        from_inputs: bool = False,
        record: bool = False,
    ) -> "Epoch":
        """One epoch over samples (N, T, ...) and their labels, or over a source, in the given order."""
        return self.engine.fit_phase(phase, latencies, labels, order=np.arange(len(latencies)))

    # --- its part of the loop --------------------------------------------------------------------------------------

    def pinned(self) -> dict[str, Any]:
        """The number of threads, over which torch's matrix products divide their sums, and the parts of a batch."""
        from torch import get_num_threads

        return {"threads": get_num_threads(), "batch_parts": self.engine.engine.processes.parts}

    def train(self, samples: Part, validation: Part | None = None, **how: Any) -> Position:
        """The loop; where torchrun started several processes, they learn together and part at its end."""
        position = super().train(samples, validation, **how)
        self.engine.engine.leave()
        return position

    def _seen(self, phase: str, samples: Part, keeper: Keeper) -> Part:
        return samples

    def _learning_rates(self, phase: str) -> dict[str, float]:
        return self.engine.rates()

    def _epoch(
        self, phase: str, epoch: int, epochs: int, samples: Part, seen: Part, callbacks: Sequence[Callback]
    ) -> EpochRecord:
        """One epoch in an order of its own, samples moved anew if asked."""
        began, total = time.perf_counter(), len(samples)
        result = self.engine.fit_phase(
            phase,
            seen,
            order=self.sequence(total, phase, epoch),
            augment=self.augmentation(seen),
            mix=self.mixture(),
            progress=reporter(Progress(phase, epoch, epochs, 0, total, began), callbacks),
        )
        seconds = time.perf_counter() - began
        figures = activity_figures(result)
        every = self.settings["test_every"]
        if self.tested is not None and every and (epoch + 1) % every == 0:
            figures["test_accuracy"] = accuracy_of(self.engine.evaluate(self.tested))
        return EpochRecord(
            phase,
            epoch,
            total,
            seconds,
            total / max(seconds, 1e-9),
            accuracy=accuracy_of(result),
            loss=result.loss,
            rates=self.engine.rates(),
            figures=figures,
        )

    def _held_out(self, phase: str, record: EpochRecord, held: Part, validation: Part) -> EpochRecord:
        found = self.engine.evaluate(held)
        figures = {**record.figures, "validation_loss": found.loss}
        return replace(record, validation_accuracy=accuracy_of(found), figures=figures)

    def augmentation(self, part: Part) -> "Augment | None":
        """What moves and stretches training samples, if it is asked for."""
        if not self.settings["data_augmentation"]:
            return None
        return mover(part, self.seed, **{name: self.settings[name] for name in ("shift", "scale", "mirror")})

    def mixture(self) -> "Mix | None":
        """What mixes whole training batches, in networks that are published with it."""
        return None

    def measured(self, test: Part, records: Sequence[EpochRecord]) -> dict[str, Any]:
        """Loss and cost on the test set, and the best test accuracy of all epochs, by which nothing was chosen."""
        found = self.engine.evaluate(test)
        tested = [(r.figures["test_accuracy"], -r.epoch) for r in records if "test_accuracy" in r.figures]
        figures: dict[str, Any] = {"loss": found.loss, **activity_figures(found)}
        if tested:
            accuracy, epoch = max(tested)
            figures["test_selected"] = {"accuracy": accuracy, "epoch": -epoch}
        return figures

    def told(self, measured: Mapping[str, Any]) -> list[str]:
        """What an answer costs; and the figure that papers print, chosen by the test set."""
        cost = f"{measured['spikes']:,.1f} spikes a sample"
        if "operations" in measured:
            cost += f", {measured['operations']:,.0f} synaptic operations"
        best = measured.get("test_selected")
        if best is None:
            return [cost]
        label = f"epoch {best['epoch'] + 1}, chosen by the test set as papers do, not used here"
        return [cost, f"best test accuracy of all epochs {best['accuracy']:.2%} ({label})"]


def check_numbers(settings: Mapping[str, Any]) -> None:
    """Refuse numbers out of range, and what is no number."""
    for name, value in settings.items():
        numbers = [
            v for v in (value if isinstance(value, tuple | list) else [value]) if isinstance(v, int | float)
        ]
        allowed = "a number"
        sound = all(math.isfinite(v) for v in numbers)
        if name in ABOVE_0:
            allowed, sound = "a number above 0", sound and all(v > 0 for v in numbers)
        elif name in FROM_0:
            allowed, sound = "a number from 0", sound and all(v >= 0 for v in numbers)
        elif name in SHARES:
            allowed, sound = "a number from 0, below 1,", sound and all(0 <= v < 1 for v in numbers)
        if not sound:
            raise UserError(f"option {name}: {value} given, {allowed} needed")


def accuracy_of(result: "Epoch") -> float:
    """Share of right answers."""
    return float(result.counts[:, 0].sum() / max(result.counts.sum(), 1))


def activity_figures(result: "Epoch") -> dict[str, float]:
    """What an epoch cost: spikes and synaptic operations a sample, spikes a step of each hidden layer."""
    figures = {"spikes": result.spikes}
    if result.operations is not None:
        figures["operations"] = result.operations
    return figures | {f"spikes_a_step.hidden{k + 1}": rate for k, rate in enumerate(result.rates)}


def mover(part: Part, seed: int, *, shift: float, scale: float, mirror: bool) -> "Augment":
    """What moves, stretches and mirrors samples of a part as they are read: frames in space, others in channel and
    time.
    """

    def move(samples: np.ndarray, indices: np.ndarray, epoch: int) -> np.ndarray:
        how = {"seed": seed, "epoch": epoch, "shift": shift, "scale": scale}
        index = part.rows[indices]
        if samples.ndim == 5:
            return move_frames(samples, index, mirror=mirror, **how)
        steps = samples.shape[1]
        lengths = np.full(len(samples), steps) if part.lengths is None else part.lengths[indices]
        flat = samples.reshape(len(samples), steps, -1)
        return move_spikes(flat, index, np.minimum(lengths, steps), **how).reshape(samples.shape)

    return move


def find_samples(
    model: type[GradientTrainer],
    options: Mapping[str, Any],
    chosen: Mapping[str, Any],
    selection: Selection,
    *,
    size: tuple[int, int] | None,
    cache: Path,
) -> tuple[TimedSet, Parts]:
    """The data set asked for, or that of the preset, coded as the model wants it, and its parts."""
    settings = model.resolved(chosen)
    found = load_timed(
        options["dataset"] or settings["dataset"],
        model.coding(settings, size),
        options["data_dir"],
        skip_bad=options["skip_bad"],
        seed=options["seed"],
        cache=cache,
    )
    train, validation = divided(found, selection, by=settings["hold_out"])
    return found, Parts(train, validation, found.test)
