"""Accuracy and spikes of LIF beside every parallel neuron: same network, same epochs, three seeds.

    python -m benchmarks.neuron_accuracy
    python -m benchmarks.neuron_accuracy --datasets yinyang --neurons LIF ParaLIF-D --seeds 0
    python -m benchmarks.neuron_accuracy --simulated FOLDER      # N-MNIST files, more than the data folder's few

One hidden layer of 128 units and an integrating readout. The learning rate and the time constants, the same for all
neurons and data sets, were chosen on a fifth of the training sets of FSDD-spikes and Yin-Yang; test data decides
nothing, and the figure is that of the last epoch. Stopped, it goes on with the runs that results/neuron_accuracy.json
lacks. Writes that, neuron_accuracy.md and images/neuron_accuracy.png. Spikes are those of the hidden layer, a test
sample.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import RESULTS, ROOT, machine, markdown, say
from firstspike.data import Recordings, load, load_recordings
from firstspike.data.binning import Frames, HalfOpen, Rule, binned
from firstspike.data.recordings import one_polarity
from firstspike.data.sequences import LatencyCoded, latency_table, yinyang_trains
from firstspike.files import write_json, write_text
from firstspike.neurons import MODES
from firstspike.neurons.networks import Dense
from firstspike.neurons.optimisation import Recipe
from firstspike.neurons.training import Arrays, GradientEngine, Source
from tests.conftest import data_folder

NEURONS = ("LIF", *(f"ParaLIF-{mode}" for mode in MODES))
IMAGE = ROOT / "images" / "neuron_accuracy.png"
NAME = "neuron_accuracy"


@dataclass(frozen=True)
class Parts:
    """A training and a test source, units of the input, classes."""

    train: Source
    test: Source
    inputs: int
    classes: int


@dataclass(frozen=True)
class Study:
    """A data set as the network sees it, with its epochs and time constant (steps of 1 ms)."""

    title: str
    parts: Callable[[str], Parts]
    epochs: int
    lr: float = 5e-3
    tau: float = 2e-2


def recordings(name: str, rule: Rule, prepare: Callable[[Recordings], Recordings]) -> Parts:
    """A set of recordings in bins."""
    found = load_recordings(name, data_folder())
    train, test = (binned(prepare(part), rule) for part in (found.train, found.test))
    return Parts(train, test, int(np.prod(train.shape)), found.classes)


def speech(_: str) -> Parts:
    """FSDD-spikes in bins of 10 ms."""
    return recordings("fsdd-spikes", HalfOpen(1e-2), lambda part: part)


def saccades(name: str) -> Parts:
    """N-MNIST in frames of 5 ms, one polarity, as ParaLIF takes it."""
    return recordings(name, Frames(5e-3), lambda part: one_polarity(part, 0))


def points(_: str) -> Parts:
    """Yin-Yang, rate coded in 100 steps."""
    trains = [yinyang_trains(part, 100) for part in ("train", "test")]
    train, test = (Arrays(part.batch(np.arange(len(part))), part.labels) for part in trains)
    return Parts(train, test, 4, 3)


def images(_: str) -> Parts:
    """The first 5,000 images of Fashion-MNIST, a spike a pixel in 25 steps; all test images."""
    data, table = load("fashion-mnist", data_folder()), latency_table("fastsnn", steps=25, dt=4)
    train = LatencyCoded(data.train_images[:5000], data.train_labels[:5000], table, 25)
    return Parts(train, LatencyCoded(data.test_images, data.test_labels, table, 25), 784, 10)


STUDIES = {
    "fsdd-spikes": Study("FSDD-spikes", speech, 15),
    "nmnist-real": Study("N-MNIST, real", saccades, 20),
    "nmnist-sim": Study("N-MNIST, simulated", saccades, 10),
    "yinyang": Study("Yin-Yang", points, 6),
    "fashion-mnist": Study("Fashion-MNIST", images, 5),
}


def run(study: Study, parts: Parts, neuron: str, seed: int) -> dict[str, Any]:
    """Train one network and test it."""
    network = Dense(parts.inputs, parts.classes, neuron, (128,), tau_mem=study.tau, tau_syn=study.tau)
    engine = GradientEngine(network.build(seed), Recipe(epochs=study.epochs, lr=study.lr), seed=seed)
    began = time.process_time()
    for _ in range(study.epochs):
        last = engine.fit_phase("train", parts.train)
    spent, found = time.process_time() - began, engine.evaluate(parts.test)
    return {
        "accuracy": share(found.counts),
        "train_accuracy": share(last.counts),
        "spikes": found.spikes,
        "operations": found.operations,
        "seconds_an_epoch": spent / study.epochs,
    }


def share(counts: np.ndarray) -> float:
    """Right answers, %."""
    return 100 * float(counts[:, 0].sum() / max(counts.sum(), 1))


def settings(study: Study, parts: Parts) -> dict[str, Any]:
    """What a run's figures depend on besides neuron and seed."""
    return {
        "epochs": study.epochs,
        "lr": study.lr,
        "tau": study.tau,
        "train": len(parts.train),
        "test": len(parts.test),
    }


def measure(
    names: list[str], neurons: list[str], seeds: list[int], places: dict[str, str], file: Path
) -> dict:
    """Run what the file lacks, seed by seed so that an interrupted study is even; the file's contents."""
    results = json.loads(file.read_text()) if file.exists() else {"machine": machine(), "runs": {}}
    for seed, name in itertools.product(seeds, names):
        parts = STUDIES[name].parts(places.get(name, name))
        own = results["runs"].setdefault(name, {"settings": settings(STUDIES[name], parts), "found": {}})
        if own["settings"] != settings(STUDIES[name], parts):
            own.update(settings=settings(STUDIES[name], parts), found={})
        for neuron in neurons:
            if (key := f"{neuron} {seed}") not in own["found"]:
                own["found"][key] = run(STUDIES[name], parts, neuron, seed)
                write_json(file, results)
                say(f"{name} {key}: {own['found'][key]['accuracy']:.1f} %")
    return results


def values(results: dict, name: str, neuron: str, key: str) -> np.ndarray:
    """A figure of all seeds."""
    found = results["runs"].get(name, {"found": {}})["found"]
    return np.array([row[key] for k, row in found.items() if k.rsplit(" ", 1)[0] == neuron])


def table(results: dict) -> str:
    """Accuracy, mean and standard deviation over seeds, and spikes a sample."""
    names = [name for name in STUDIES if name in results["runs"]]
    head = ["neuron", *(f"{STUDIES[name].title}: %, spikes" for name in names)]
    rows = [[neuron, *(cell(results, name, neuron) for name in names)] for neuron in NEURONS]
    notes = [f"{STUDIES[name].title}: {described(results['runs'][name])}" for name in names]
    return markdown(head, rows) + "\n" + "\n".join(f"- {note}" for note in notes) + "\n"


def described(runs: dict[str, Any]) -> str:
    """The settings in words, and how many runs there are."""
    own, seeds = runs["settings"], {key.rsplit(" ", 1)[1] for key in runs["found"]}
    return (
        f"{own['train']} training and {own['test']} test samples, {own['epochs']} epochs, learning rate "
        f"{own['lr']}, time constants of {own['tau'] * 1e3:.0f} steps, {len(runs['found'])} runs of {len(seeds)} seeds"
    )


def cell(results: dict, name: str, neuron: str) -> str:
    """Accuracy, with its spread if there are several runs, and spikes of a neuron on a data set."""
    accuracy = values(results, name, neuron, "accuracy")
    if not len(accuracy):
        return "-"
    spikes = values(results, name, neuron, "spikes").mean()
    spread = f" ± {accuracy.std():.1f}" if len(accuracy) > 1 else ""
    return f"{accuracy.mean():.1f}{spread}, {spikes:.0f}"


def draw(results: dict, path: Path) -> None:
    """A column a data set: accuracy above, spikes below, a row a neuron, a dot a seed."""
    from matplotlib.figure import Figure

    names = [name for name in STUDIES if name in results["runs"]]
    figure = Figure(figsize=(1.2 + 2.3 * len(names), 7), layout="constrained")
    axes = figure.subplots(2, len(names), sharey=True, squeeze=False)
    for column, name in zip(axes.T, names, strict=True):
        for axis, key in zip(column, ("accuracy", "spikes"), strict=True):
            for row, neuron in enumerate(NEURONS):
                found = values(results, name, neuron, key)
                colour = "C3" if neuron == "LIF" else "C0"
                axis.plot(found, np.full(len(found), row), "o", color=colour, markersize=4, alpha=0.5)
                axis.plot(found.mean() if len(found) else np.nan, row, "|", color=colour, markersize=13)
            axis.grid(alpha=0.3)
        column[0].set(title=STUDIES[name].title, xlabel="test accuracy, %")
        column[1].set(xlabel="hidden spikes a sample", xlim=(0, None))
    axes[0, 0].set_yticks(range(len(NEURONS)), NEURONS)
    axes[0, 0].invert_yaxis()
    figure.savefig(path, dpi=110)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--neurons", nargs="+", choices=NEURONS, default=list(NEURONS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--simulated", type=Path, help="a folder of N-MNIST files in place of nmnist-sim")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--image", type=Path, default=IMAGE)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run as a command."""
    given = parsed(arguments)
    torch.set_num_threads(1)
    places = {"nmnist-sim": f"events:{given.simulated}"} if given.simulated else {}
    results = measure(given.datasets, given.neurons, given.seeds, places, given.out / f"{NAME}.json")
    write_text(given.out / f"{NAME}.md", table(results))
    draw(results, given.image)
    print(table(results))


if __name__ == "__main__":
    main()
