"""Features of biological neurons in one LIF or ParaLIF neuron: current, potential and spikes, drawn.

    python -m benchmarks.biological_features

A single neuron without synapse, 100 steps of 1 ms; letters and features as in Izhikevich's list (2004), currents,
amplitudes and constants as in the study of ParaLIF (2025). "as published" compares every spike with the published
program's. Draws images/biological_features.png and writes results/biological_features.json.
"""

import argparse
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.machine import ROOT, markdown, write
from firstspike.neurons import LIF, Neuron, ParaLIF

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEPS = 100
IMAGE = ROOT / "images" / "biological_features.png"


def at(steps: Iterable[int], values: object = 1.0) -> np.ndarray:
    """A current that is 0 but at these steps."""
    current = np.zeros(STEPS)
    current[list(steps)] = values
    return current


CURRENTS = {
    "step": at(range(10, STEPS)),
    "ramp": at(range(10, 90), np.linspace(0, 1, 80)),
    "pairs": at((10, 11, 20, 21, 70, 71, 90, 91)),
    "pulse": at((10, 11)),
    "rebound": at((10, 11, 80, 81)) - at((70, 71)),
    "accommodation": at(range(5, 50), np.linspace(0, 1, 45)) + at(range(70, 80), np.linspace(0, 0.5, 10)),
}


@dataclass(frozen=True)
class Experiment:
    """One neuron, one current; `published` are the steps at which the published program's neuron fires."""

    letter: str
    feature: str
    model: str
    current: str
    amplitude: float
    tau_mem: float
    threshold: float
    published: tuple[int, ...]

    @property
    def drive(self) -> np.ndarray:
        """The current (T,)."""
        return self.amplitude * CURRENTS[self.current]

    def neuron(self) -> Neuron:
        """Make the neuron: LIF, or ParaLIF in a mode."""
        constants = {"tau_mem": self.tau_mem, "tau_syn": None, "threshold": self.threshold}
        return LIF(1, **constants) if self.model == "LIF" else ParaLIF(1, self.model, **constants)

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the steps of the spikes, and the potential (T,)."""
        x = torch.tensor(self.drive, dtype=torch.float32)[None, :, None]
        with torch.no_grad():
            activity = self.neuron().activity(x, potential=True)
        return np.flatnonzero(activity.output[0, :, 0]), activity.potential[0, :, 0].numpy()


RAMP_LIF = (35, 43, 49, 54, 59, 63, 67, 71, 74, 77, 80, 83, 86, 89)
EXPERIMENTS = (
    Experiment("A", "tonic spiking", "LIF", "step", 2, 0.0107, 1, tuple(range(17, 98, 8))),
    Experiment("A", "tonic spiking", "T", "step", 2, 0.0107, 1, tuple(range(17, 100))),
    Experiment("B", "phasic spiking", "D", "step", 2, 0.0187, 0.1, (10,)),
    Experiment("D", "phasic bursting", "D", "step", 1.5, 0.0074, 0.1, tuple(range(10, 15))),
    Experiment("G", "class-1 excitability", "LIF", "ramp", 5.5, 0.0115, 1, RAMP_LIF),
    Experiment("H", "class-2 excitability", "T", "ramp", 5.5, 0.0011, 0.9, tuple(range(24, 91))),
    Experiment("H", "class-2 excitability", "D", "ramp", 8.5, 0.0025, 0.1, tuple(range(17, 90))),
    Experiment("L", "integration, coincidence", "LIF", "pairs", 3.9, 0.009, 1, (21,)),
    Experiment("L", "integration, coincidence", "T", "pairs", 3.9, 0.009, 1, (21,)),
    Experiment("M", "rebound spike", "D", "pulse", -1, 0.001, 0.3, (12,)),
    Experiment("N", "rebound burst", "D", "pulse", -22.3, 0.001, 0.3, tuple(range(12, 16))),
    Experiment("O", "threshold variability", "D", "rebound", 9, 0.0099, 0.9, (80,)),
    Experiment("R", "accommodation", "D", "accommodation", 2.2, 0.005, 0.1, (79,)),
)


def ranges(steps: np.ndarray) -> str:
    """Steps in words: 3, 10 to 14."""
    runs = np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1)
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs if len(run))


def panel(axes: "Axes", experiment: Experiment) -> None:
    """Potential, spikes above it, and the current below at its own scale."""
    spikes, potential = experiment.run()
    name = experiment.model if experiment.model == "LIF" else f"ParaLIF-{experiment.model}"
    axes.plot(potential, color="C0", linewidth=1)
    low, high = min(potential.min(), 0), max(potential.max(), 1e-9)
    size = high - low
    axes.vlines(spikes, high + 0.1 * size, high + 0.3 * size, color="C3", linewidth=0.9)
    drive = experiment.drive / np.ptp(experiment.drive) * 0.3 * size
    axes.plot(drive - drive.max() + low - 0.1 * size, color="0.5", linewidth=1)
    axes.set_title(f"{experiment.letter}  {experiment.feature}, {name}", fontsize=8, loc="left")
    axes.set_yticks([])
    axes.set_xlim(0, STEPS - 1)


def draw(path: Path) -> None:
    """A panel an experiment."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(5, 3, sharex=True).ravel()
    for axis, experiment in zip(axes, EXPERIMENTS, strict=False):
        panel(axis, experiment)
    for axis in axes[len(EXPERIMENTS) :]:
        axis.set_axis_off()
    for axis in axes[len(EXPERIMENTS) - 3 : len(EXPERIMENTS)]:
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("step (1 ms)", fontsize=8)
    names = {"spikes": "C3", "potential": "C0", "current": "0.5"}
    axes[-1].legend([Line2D([], [], color=c) for c in names.values()], names, loc="center", fontsize=9)
    figure.savefig(path, dpi=110)


def rows() -> list[dict[str, Any]]:
    """What every experiment gives."""
    return [{**asdict(e), "spikes": e.run()[0].tolist()} for e in EXPERIMENTS]


def table(found: list[dict[str, Any]]) -> str:
    """The experiments as Markdown."""
    return markdown(
        ["feature", "neuron", "current", "tau, ms", "threshold", "spikes", "as published"],
        [
            [
                f"{r['letter']} {r['feature']}",
                r["model"],
                f"{r['current']} {r['amplitude']}",
                f"{r['tau_mem'] * 1e3:g}",
                r["threshold"],
                ranges(np.array(r["spikes"], int)),
                "yes" if r["spikes"] == list(r["published"]) else "no",
            ]
            for r in found
        ],
    )


def main(arguments: list[str] | None = None) -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, default=IMAGE)
    given = parser.parse_args(arguments)
    found = rows()
    draw(given.image)
    write("biological_features", {"experiments": found}, table(found))


if __name__ == "__main__":
    main()
