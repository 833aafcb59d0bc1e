"""Accuracy under noise: spikes flipped at 0 to 20 dB in test, after training without and with noise.

    python -m benchmarks.robustness                               # small: FSDD-spikes in bins of 10 ms, 15 epochs
    python -m benchmarks.robustness --dataset shd --window 1e-3 --epochs 100 --lr 1e-3     # as published

Three hidden layers of 128 units. At a level of S dB every entry of a batch is negated with probability mean(x) 10^(-S /
20); each level is drawn five times (ParaLIF, 2025). Stopped, it goes on with the networks that
results/robustness.json lacks. Draws images/robustness.png.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import RESULTS, ROOT, machine, markdown, say
from firstspike.data import RecordingSet, load_recordings
from firstspike.data.binning import Binned, HalfOpen, binned
from firstspike.files import write_json, write_text
from firstspike.neurons import draws
from firstspike.neurons.augment import flip_events
from firstspike.neurons.networks import NEURONS, Dense
from firstspike.neurons.optimisation import Recipe
from firstspike.neurons.training import GradientEngine, Mix
from tests.conftest import data_folder

LEVELS = (None, 20.0, 15.0, 10.0, 5.0, 0.0)
CHOSEN = ("LIF", "ParaLIF-D", "ParaLIF-T", "ParaLIF-GS", "ParaLIF-SB")
IMAGE = ROOT / "images" / "robustness.png"


@dataclass(frozen=True)
class Noisy:
    """Recordings whose entries are flipped at a level; the draw is named by a number."""

    source: Binned
    level: float | None
    draw: int

    def __len__(self) -> int:
        return len(self.source)

    @property
    def labels(self) -> np.ndarray:
        """Labels (N,)."""
        return self.source.labels

    @property
    def lengths(self) -> np.ndarray:
        """Lengths in bins (N,)."""
        return self.source.lengths

    def batch(self, indices: np.ndarray, *, steps: int | None = None) -> np.ndarray:
        """Noisy counts (len(indices), T, U)."""
        x = torch.from_numpy(self.source.batch(indices, steps=steps))
        return flip_events(x, self.level, draws.fold(torch.from_numpy(indices), self.draw)).numpy()


def flipping(level: float | None) -> Mix | None:
    """What training noise does to a batch; None for none."""
    return None if level is None else lambda x, y, seed: (flip_events(x, level, seed), y)


def name_of(level: float | None) -> str:
    """A level in words."""
    return "none" if level is None else f"{level:g} dB"


def run(data: RecordingSet, neuron: str, level: float | None, given: argparse.Namespace) -> dict[str, Any]:
    """Train a network at a level of noise and test it at all of them: right answers, %, of every draw."""
    rule = HalfOpen(given.window)
    train, test = binned(data.train, rule), binned(data.test, rule)
    network = Dense(data.train.unit_count, data.classes, neuron, (128,) * given.layers)
    engine = GradientEngine(network.build(0), Recipe(epochs=given.epochs, lr=given.lr), seed=0)
    for _ in range(given.epochs):
        engine.fit_phase("train", train, mix=flipping(level))
    return {name_of(at): tested(engine, test, at, given.draws) for at in LEVELS}


def tested(engine: GradientEngine, test: Binned, level: float | None, count: int) -> list[float]:
    """Accuracies of `count` draws of the noise."""
    found = [engine.evaluate(Noisy(test, level, k)).counts for k in range(count)]
    return [100 * float(counts[:, 0].sum() / counts.sum()) for counts in found]


def measure(given: argparse.Namespace, file: Path) -> dict[str, Any]:
    """Run what the file lacks; its contents."""
    own = {key: getattr(given, key) for key in ("dataset", "window", "epochs", "layers", "lr", "draws")}
    results = json.loads(file.read_text()) if file.exists() else {}
    if results.get("settings") != own:
        results = {"machine": machine(), "settings": own, "found": {}}
    data = load_recordings(given.dataset, data_folder())
    for level in map(level_of, given.train_noise):
        for neuron in given.neurons:
            key = f"{neuron}, trained at {name_of(level)}"
            if key not in results["found"]:
                began = time.process_time()
                results["found"][key] = run(data, neuron, level, given)
                write_json(file, results)
                say(f"{key}: {results['found'][key]}, {time.process_time() - began:.0f} s")
    return results


def level_of(text: str) -> float | None:
    """A level as given: a number of dB, or none."""
    return None if text == "none" else float(text)


def table(results: dict[str, Any]) -> str:
    """Mean and standard deviation over draws."""
    head = ["test noise", *map(name_of, LEVELS)]
    rows = [
        [key, *(f"{np.mean(found[name_of(at)]):.1f} ± {np.std(found[name_of(at)]):.1f}" for at in LEVELS)]
        for key, found in results["found"].items()
    ]
    own = results["settings"]
    return markdown(head, rows) + (
        f"\n{own['dataset']}, bins of {own['window'] * 1e3:g} ms, {own['layers']} x 128 units, {own['epochs']} epochs, "
        f"learning rate {own['lr']}, {own['draws']} draws of the noise, one seed.\n"
    )


def draw(results: dict[str, Any], path: Path) -> None:
    """A panel a training noise: accuracy against test noise, a line a neuron."""
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(key.partition(", trained at ")[2] for key in results["found"]))
    figure = Figure(figsize=(4.5 * len(kinds) + 1.5, 4), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0], kinds, strict=True):
        for key, found in results["found"].items():
            neuron, _, trained = key.partition(", trained at ")
            if trained == kind:
                means, spread = ([f(found[name_of(at)]) for at in LEVELS] for f in (np.mean, np.std))
                axes.errorbar(range(len(LEVELS)), means, spread, marker="o", capsize=3, label=neuron)
        axes.set(title=f"training noise: {kind}", xlabel="test noise")
        axes.set_xticks(range(len(LEVELS)), map(name_of, LEVELS))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("test accuracy, %")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=9)
    figure.savefig(path, dpi=110)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="fsdd-spikes")
    parser.add_argument("--window", type=float, default=1e-2, help="bins, in seconds")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--draws", type=int, default=5, help="draws of the noise at each level")
    parser.add_argument("--neurons", nargs="+", choices=NEURONS, default=CHOSEN)
    parser.add_argument("--train-noise", nargs="+", default=("none", "10"), help="levels in dB, or none")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--image", type=Path, default=IMAGE)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run as a command."""
    given = parsed(arguments)
    torch.set_num_threads(1)
    results = measure(given, given.out / "robustness.json")
    write_text(given.out / "robustness.md", table(results))
    draw(results, given.image)
    print(table(results))


if __name__ == "__main__":
    main()
