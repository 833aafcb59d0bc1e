"""Activation maps: when each neuron of each layer fired for one image.

n images, M maps.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from firstspike.report.callbacks import Callback, Result, Run
from firstspike.report.plots import INK, save_figure, sheet, stacked

NEVER = 255
_SILENT = (38, 38, 38)  # dark grey: no step has it


def steps_of(activity: Mapping[str, np.ndarray]) -> int:
    """The number of steps that latencies of several layers span: one more than the latest spike."""
    return max((int(spikes[spikes != NEVER].max(initial=0)) for spikes in activity.values()), default=0) + 1


def coloured(latencies: np.ndarray, steps: int) -> np.ndarray:
    """Latencies (...) as colours uint8 (..., 3): early bright, late dark blue, never grey."""
    return step_colours(steps)[np.minimum(latencies, steps)]


def step_colours(steps: int) -> np.ndarray:
    """One colour for each step, and grey for "never" at the end: uint8 (steps + 1, 3)."""
    tones = colormaps["plasma"](np.linspace(1.0, 0.12, steps))[:, :3]
    return np.uint8(np.rint(np.concatenate([255 * tones, [_SILENT]])))


def activation_figure(image: np.ndarray, activity: Mapping[str, np.ndarray], *, title: str) -> Figure:
    """One image uint8 (H, W[, 3]) and, below it, the latencies (M, H, W) of each layer, one picture a map."""
    steps = steps_of(activity)
    pictures = {title: image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)}
    for layer, latencies in activity.items():
        fired = int((latencies != NEVER).sum())
        name = f"{layer}: {fired:,} of {latencies.size:,} neurons fired"
        pictures[name] = sheet(coloured(latencies, steps))
    figure = stacked(pictures)
    colours = ScalarMappable(Normalize(-0.5, steps - 0.5), ListedColormap(step_colours(steps)[:-1] / 255))
    place = figure.axes[0].inset_axes([1.15, 0.0, 0.07, 1.0])
    bar = figure.colorbar(colours, cax=place, ticks=sorted({0, steps // 2, steps - 1}))
    bar.set_label("step of the spike (grey: never)", color=INK, fontsize=8)
    return figure


def timed(activity: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The layers whose neurons fire at different steps: not a decision layer, read at the last one."""
    return {name: spikes for name, spikes in activity.items() if len(np.unique(spikes[spikes != NEVER])) > 1}


class ActivationMaps(Callback):
    """Writes one picture for each image of the run's sample when the run ends."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def on_run_start(self, run: Run) -> None:
        """Remember whom to ask."""
        self._run = run

    def on_run_end(self, result: Result) -> None:
        """Draw the layers for every image of the sample."""
        sample = self._run.sample
        layers = {layer: self._run.activity(layer) for layer in self._run.network.layers}
        activity = {"input": sample.latencies, **timed(layers)}
        for i, (image, label) in enumerate(zip(sample.images, sample.labels, strict=True)):
            maps = {layer: latencies[i] for layer, latencies in activity.items()}
            figure = activation_figure(image, maps, title=f"image {i}, label {label}")
            name = re.sub(r"\W+", "-", str(label))  # a class may be called T-shirt/top
            save_figure(self.folder / f"image_{i}_label_{name}.png", figure)
