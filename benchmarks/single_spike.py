"""The single-spike network and its multi-spike twin beside the published figures: accuracy and spikes.

    python -m benchmarks.single_spike                                             # five epochs of each
    python -m benchmarks.single_spike --setting published --epochs 150            # as published; hours
    python -m benchmarks.single_spike --tasks mnist --setting convolutional --epochs 12   # its rate falls to 0 in 12
    python -m benchmarks.single_spike --tasks nmnist-sim --simulated FOLDER --epochs 20

One hidden layer of 200 units: images as one spike a pixel, N-MNIST in 300 steps of 1 ms, both polarities merged
(Taylor, King and Harper 2022). "Published" has a surrogate so narrow that little of the gradient gets through; "learnt
kernel" also trains the decay kernel, as the published program does. "Chosen" was chosen on 2,000 training images of
Fashion-MNIST that did not learn, "wide" on 5,000 with 20,000 that did, "recordings" on 2,000 and 8,000 simulated
recordings; "convolutional" is like "wide", "larger" has twice its maps and units. In "moved" ones training images are
shifted, and most of them stretched, anew each epoch, clothes mirrored too. A network that was trained before goes on
from its last epoch, so more epochs can be had later; the figure is that of the last epoch.
Writes results/single_spike.json and single_spike.md.
"""

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import RESULTS, machine, markdown, say
from firstspike import checkpoint
from firstspike.buffers import keep_freed_memory
from firstspike.data import load_recordings
from firstspike.data.augment import move_frames
from firstspike.data.binning import Nearest, binned
from firstspike.data.recordings import merge_polarities
from firstspike.data.timed import Coding, load_timed
from firstspike.files import write_json, write_text
from firstspike.neurons.networks import Fast
from firstspike.neurons.networks_conv import FastConv
from firstspike.neurons.optimisation import Recipe
from firstspike.neurons.training import Augment, GradientEngine, Source
from tests.conftest import data_folder

MODEL = "single_spike study"
NETWORKS = {"single spike": True, "twin that resets": False}


@dataclass(frozen=True)
class Setting:
    """How images are coded and how the networks learn; time constants in steps.

    `falling` is over how many epochs the rate falls to 0 along a cosine, 0 for a constant one. `convolutions` are the
    maps of layers before the hidden one. `moved` is by which share of their size training images are shifted and
    stretched at most (and mirrored, where the task allows it), `on_off` whether dark pixels spike in a channel of
    their own, `smoothing` the share of a label that is spread over all classes.
    """

    code: str
    steps: int
    loss_mode: str
    lr: float
    scale: float | None
    tau_hidden: float
    tau_readout: float
    bias: float
    hidden: int = 200
    falling: int = 0
    weight_decay: float = 0.0
    learn_kernel: bool = False
    convolutions: tuple[int, ...] = ()
    moved: tuple[float, float] | None = None
    on_off: bool = False
    smoothing: float = 0.0

    def recipe(self) -> Recipe:
        """How networks learn."""
        own = {"schedule": "cosine", "epochs": self.falling} if self.falling else {}
        return Recipe(
            batch=128, optimiser="adamw", weight_decay=self.weight_decay, lr=self.lr, loss_mode=self.loss_mode,
            smoothing=self.smoothing, **own,
        )  # fmt: skip

    def network(self, shape: tuple[int, ...], single: bool) -> Fast | FastConv:
        """The network over steps of this shape, twice as many channels with `on_off`."""
        shape = ((1 + self.on_off) * shape[0], *shape[1:])
        dense = Fast(
            math.prod(shape), 10, self.hidden, single_spike=single, tau_hidden=self.tau_hidden,
            tau_readout=self.tau_readout, scale=self.scale, bias=self.bias,
            learn_kernel=self.steps if self.learn_kernel and single else None,
        )  # fmt: skip
        return FastConv(shape, self.convolutions, dense) if self.convolutions else dense


PUBLISHED = Setting("fastsnn", 100, "max", 2e-4, None, 10.0, 20.0, 0.0)
WIDE = Setting("linear", 16, "last", 2e-3, 4.0, 20.0, 40.0, 0.05, hidden=800, falling=15)
MOVED = {"weight_decay": 0.1, "moved": (0.05, 0.1)}
CONVOLUTIONAL = replace(
    WIDE, steps=4, hidden=256, falling=12, bias=0.1, weight_decay=0.3, convolutions=(32, 64)
)
LARGER = replace(CONVOLUTIONAL, scale=2.0, hidden=512, convolutions=(64, 128))
SETTINGS = {
    "published": PUBLISHED,
    "learnt kernel": replace(PUBLISHED, learn_kernel=True),
    "chosen": Setting("unit", 40, "mean", 2e-3, 1.0, 20.0, 40.0, 0.1),
    "wide": WIDE,
    "wide, decay": replace(WIDE, weight_decay=0.3),
    "wide, on and off": replace(WIDE, weight_decay=0.3, on_off=True),
    "wide, mirrored": replace(WIDE, falling=30, weight_decay=0.3, moved=(0.0, 0.0)),
    "wide, moved": replace(WIDE, falling=30, **MOVED),
    "convolutional": CONVOLUTIONAL,
    "convolutional, on and off": replace(CONVOLUTIONAL, falling=16, on_off=True, moved=(0.0, 0.0)),
    "convolutional, moved": replace(CONVOLUTIONAL, falling=24, **MOVED),
    "larger, on and off": replace(LARGER, falling=20, on_off=True, moved=(0.0, 0.0)),
    "larger, on and off, smoothed": replace(LARGER, falling=15, on_off=True, moved=(0.0, 0.0), smoothing=0.1),
    "larger, on and off, moved": replace(LARGER, falling=24, on_off=True, moved=(0.05, 0.0)),
    "larger, moved": replace(LARGER, falling=20, **MOVED),
    "recordings": Setting("unit", 300, "mean", 5e-3, 2.0, 50.0, 100.0, 0.0, falling=15),
}


@dataclass(frozen=True)
class Task:
    """A data set, how it is read, what the paper reports of a dense network and of a convolutional one, %, and whether
    what is mirrored is of the same class.
    """

    title: str
    read: Callable[[str, Setting], tuple[Source, Source]]
    shape: tuple[int, int, int]
    published: float
    convolutional: float | None = None
    mirrors: bool = False


def images(name: str, setting: Setting) -> tuple[Source, Source]:
    """Images as one spike a pixel."""
    coding = Coding(steps=setting.steps, latency=setting.code, on_off=setting.on_off)
    found = load_timed(name, coding, data_folder())
    return found.train, found.test


def saccades(name: str, setting: Setting) -> tuple[Source, Source]:
    """Recordings in 300 steps of 1 ms, polarities merged."""
    found = load_recordings(name, data_folder())
    train, test = (binned(merge_polarities(part), Nearest(1.0, 300)) for part in (found.train, found.test))
    return train, test


TASKS = {
    "fashion-mnist": Task("Fashion-MNIST", images, (1, 28, 28), 89.05, 90.57, mirrors=True),
    "mnist": Task("MNIST", images, (1, 28, 28), 97.91, 99.3),
    "nmnist-sim": Task("N-MNIST, simulated", saccades, (1, 34, 34), 95.91),
    "nmnist-real": Task("N-MNIST, real", saccades, (1, 34, 34), 95.91),
}


@dataclass(frozen=True)
class Net:
    """A network in training: where its state lies, and what it was trained with."""

    task: str
    setting: str
    single: bool
    train: int
    state: Path

    @property
    def settings(self) -> dict[str, Any]:
        """What must agree for a state to be gone on with."""
        return {
            "task": self.task,
            "setting": self.setting,
            "single": self.single,
            "train": self.train,
            **asdict(SETTINGS[self.setting]),
        }

    def open(self) -> tuple[GradientEngine, list[dict[str, float]]]:
        """The network as its last epoch left it, and the figures of its epochs."""
        how = SETTINGS[self.setting]
        network = how.network(TASKS[self.task].shape, self.single)
        engine, history = GradientEngine(network.build(0), how.recipe(), seed=0), []
        if self.state.exists():
            tensors, meta = checkpoint.load(self.state)
            checkpoint.check(meta, model=MODEL, settings=self.settings)
            engine.load_state(tensors, meta["counters"])
            history = meta["history"]
        return engine, history

    def keep(self, engine: GradientEngine, history: list[dict[str, float]]) -> None:
        """Write what `open` reads."""
        tensors, counters = engine.state()
        meta = {"model": MODEL, "settings": self.settings, "counters": counters, "history": history}
        checkpoint.save(self.state, tensors, meta)


def advance(net: Net, parts: tuple[Source, Source], epochs: int) -> list[dict[str, float]]:
    """Train until so many epochs are done; the figures of all of them."""
    engine, history = net.open()
    while len(history) < epochs:
        began = time.process_time()
        fitted = engine.fit_phase("train", parts[0], augment=augmentation(net))
        spent, found = time.process_time() - began, engine.evaluate(parts[1])
        history.append(
            {"train": right(fitted.counts), "test": right(found.counts), "spikes": float(found.spikes)}
        )
        history[-1]["seconds"] = spent
        net.keep(engine, history)
        say(
            f"{net.task}, {net.setting}, {'single' if net.single else 'twin'}, epoch {len(history)}: {history[-1]}"
        )
    return history


def augmentation(net: Net) -> Augment | None:
    """What moves training images, where the setting asks for it."""
    moved = SETTINGS[net.setting].moved
    if moved is None:
        return None
    how = {"shift": moved[0], "scale": moved[1], "mirror": TASKS[net.task].mirrors}
    return lambda frames, index, epoch: move_frames(frames, index, seed=0, epoch=epoch, **how)


def right(counts: np.ndarray) -> float:
    """Right answers, %."""
    return 100 * float(counts[:, 0].sum() / max(counts.sum(), 1))


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Bring every network to the epochs asked for; a row each."""
    rows = []
    for name, setting in itertools.product(given.tasks, given.setting):
        places = {"nmnist-sim": f"events:{given.simulated}"} if given.simulated else {}
        parts = TASKS[name].read(places.get(name, name), SETTINGS[setting])
        for network, single in NETWORKS.items():
            if network.split()[0] not in given.networks:
                continue
            state = given.states / f"{name}-{setting}-{'single' if single else 'twin'}.safetensors"
            net = Net(name, setting, single, len(parts[0].labels), state)
            history = advance(net, parts, given.epochs)
            rows.append({"network": network, **net.settings, "test_samples": len(parts[1].labels)})
            rows[-1]["history"] = history
    return rows


def merged(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows, the new ones in place of old ones of the same network, in the order of the tasks."""
    rows = {(row["task"], row["setting"], row["single"]): row for row in [*old, *new]}
    order = [list(TASKS), list(SETTINGS), [True, False]]
    return [rows[key] for key in itertools.product(*order) if key in rows]


def table(rows: list[dict[str, Any]]) -> str:
    """Ours beside the published figures."""
    head = ["data", "setting", "network", "training samples", "epochs", "test, %", "published, %"]
    head += ["hidden spikes a sample", "fewer than the twin, %", "seconds an epoch"]
    twins = {(row["task"], row["setting"]): row["history"] for row in rows if not row["single"]}
    lines = [line(row, twins.get((row["task"], row["setting"]), [])) for row in rows]
    ran = {row["task"] for row in rows if row.get("convolutions")}
    left = [TASKS[name] for name in dict.fromkeys(row["task"] for row in rows) if name not in ran]
    lines += [
        [task.title, "-", "convolutional", "-", "not run", "-", task.convolutional, "-", "-", "-"]
        for task in left
        if task.convolutional
    ]
    return markdown(head, lines)


def fewer(own: list[dict[str, float]], twin: list[dict[str, float]]) -> str:
    """How many fewer spikes than the twin, %, after as many epochs as both have."""
    both = min(len(own), len(twin))
    return f"{100 * (1 - own[both - 1]['spikes'] / twin[both - 1]['spikes']):.0f}" if both else "-"


def line(row: dict[str, Any], twin: list[dict[str, float]]) -> list[object]:
    """A network's line of the table."""
    last, task = row["history"][-1], TASKS[row["task"]]
    seconds = min(epoch["seconds"] for epoch in row["history"])
    published = task.convolutional if row.get("convolutions") else task.published
    return [
        task.title,
        row["setting"],
        row["network"],
        row["train"],
        len(row["history"]),
        f"{last['test']:.2f}",
        published if row["single"] else "-",
        f"{last['spikes']:.0f}",
        fewer(row["history"], twin) if row["single"] else "-",
        f"{seconds:.1f}",
    ]


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=["published", "chosen"])
    parser.add_argument("--networks", nargs="+", choices=("single", "twin"), default=("single", "twin"))
    parser.add_argument("--simulated", type=Path, help="a folder of N-MNIST files in place of nmnist-sim")
    parser.add_argument(
        "--states", type=Path, default=Path("runs/single_spike"), help="where networks are kept"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run as a command."""
    given = parsed(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()
    file = given.out / "single_spike.json"
    rows = merged(json.loads(file.read_text())["rows"] if file.exists() else [], measure(given))
    write_json(file, {"machine": machine(), "rows": rows})
    write_text(given.out / "single_spike.md", table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
