"""Rasters: which unit of which layer fires at which step, and what the readout makes of it.

T steps, U units, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from firstspike.report.plots import COLOURS, INK, new_figure, tidy

NAMED = 3  # classes of the readout that get a colour: those that come highest
ABOVE = 16  # points, a title over the plot: the number of spikes lies between


@dataclass(frozen=True)
class Raster:
    """One sample: its title, spikes (T, U) of the input and of each layer, the readout's potentials (T, C) and the
    scores (C,) made of them.
    """

    title: str
    spikes: Mapping[str, np.ndarray]
    potentials: np.ndarray
    scores: np.ndarray


def rasters(samples: Sequence[Raster], class_names: Sequence[str]) -> Figure:
    """A column for each sample: input, hidden layers, readout from top to bottom."""
    rows = [*samples[0].spikes, "readout"]
    figure = new_figure(3.9 * len(samples) + 0.6, 1.5 * len(rows) + 0.5)
    grid = figure.subplots(len(rows), len(samples), squeeze=False, sharex="col")
    for column, sample in zip(grid.T, samples, strict=True):
        for axes, (name, spikes) in zip(column, sample.spikes.items(), strict=False):
            _dots(axes, spikes)
            tidy(axes, "", "", name)
        _lines(column[-1], sample, class_names)
        tidy(column[-1], "", "step", "readout")
        column[0].set_title(sample.title, loc="left", fontsize=11, color=INK, pad=ABOVE)
    return figure


def _dots(axes: Axes, spikes: np.ndarray) -> None:
    steps, units = np.nonzero(spikes)
    size = float(np.clip(3000 / max(len(steps), 1), 0.3, 6))
    axes.scatter(steps, units, s=size, c=INK, marker=".", linewidths=0)
    axes.set(xlim=(-0.5, len(spikes) - 0.5), ylim=(-0.5, spikes.shape[1] - 0.5))
    mean = len(steps) / max(spikes.size, 1)
    axes.text(
        1.0, 1.02, f"{len(steps):,} spikes, {100 * mean:.1f} % of units and steps", transform=axes.transAxes,
        ha="right", va="bottom", fontsize=7.5, color=INK,
    )  # fmt: skip


def _lines(axes: Axes, sample: Raster, class_names: Sequence[str]) -> None:
    potentials, order = sample.potentials, np.argsort(-sample.scores, kind="stable")
    for k in order[NAMED:]:
        axes.plot(potentials[:, k], color="#BBBBBB", linewidth=0.8)
    for k, colour in zip(order[:NAMED], COLOURS, strict=False):
        axes.plot(potentials[:, k], color=colour, linewidth=1.4, label=class_names[k])
    above = {"loc": "lower left", "bbox_to_anchor": (0, 0.97), "borderaxespad": 0.2, "handlelength": 1.2}
    axes.legend(frameon=False, fontsize=7.5, ncols=NAMED, **above)
