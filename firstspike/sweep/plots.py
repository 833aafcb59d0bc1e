"""The plots of a sweep: every trial as a line through its settings, and each axis by itself."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from firstspike.report.plots import COLOURS, INK, new_figure, save_figure, tidy
from firstspike.sweep.space import Axis, Space
from firstspike.sweep.tables import label
from firstspike.sweep.trials import Trial, best, ranked

MAP = "YlGnBu"  # from its middle on: its first shades are too pale for lines
UNFINISHED = "#BBBBBB"


def _heights(axis: Axis) -> np.ndarray:
    """Where each value of an axis stands, from 0 to 1 in rising order."""
    heights = np.empty(len(axis.values))
    heights[axis.ranked] = np.linspace(0, 1, len(axis.values)) if len(axis.values) > 1 else 0.5
    return heights


def _scores(trials: Sequence[Trial]) -> np.ndarray:
    """Mean validation accuracies in per cent, NaN where a trial is not done."""
    return np.array([100 * t.score if t.status == "done" and t.score is not None else np.nan for t in trials])


def _limits(scores: np.ndarray) -> tuple[float, float]:
    """A range that holds all scores, with some air."""
    if np.isnan(scores).all():
        return 0.0, 100.0
    low, high = np.nanmin(scores), np.nanmax(scores)
    air = max(0.05 * (high - low), 0.5)
    return float(low - air), float(high + air)


def parallel_coordinates(space: Space, trials: Sequence[Trial]) -> Figure:
    """A line a trial through its value on every axis to its validation accuracy; the best one is drawn thick."""
    shown = ranked(trials)[::-1]  # good ones on top
    scores = _scores(shown)
    low, high = _limits(scores)
    shades = ScalarMappable(Normalize(2 * low - high, high), MAP)
    heights = np.array(
        [[_heights(axis)[place] for axis, place in zip(space.axes, t.point, strict=True)] for t in shown]
    )
    figure = new_figure(2.0 + 1.7 * (len(space.axes) + 1), 4.6)
    axes, top = figure.subplots(), best(trials)
    for trial, row, score in zip(shown, heights, scores, strict=True):
        done = not np.isnan(score)
        path = [*row, (score - low) / (high - low)] if done else row
        colour = shades.to_rgba(score) if done else UNFINISHED
        axes.plot(
            path, color=colour, linewidth=3.2 if trial is top else 1.2, alpha=1.0 if trial is top else 0.75
        )
    for column, axis in enumerate(space.axes):
        _scale(axes, column, _heights(axis), [label(value) for value in axis.values])
    ticks = np.linspace(0, 1, 6)
    _scale(axes, len(space.axes), ticks, [f"{low + tick * (high - low):.1f}" for tick in ticks])
    names = [*(axis.name for axis in space.axes), "validation, %"]
    axes.set_xticks(range(len(names)), names, color=INK)
    axes.set(xlim=(-0.2, len(names) - 0.55), ylim=(-0.06, 1.06), yticks=[])
    tidy(axes, _title(trials))
    axes.tick_params(axis="x", length=0, pad=8)
    axes.spines[:].set_visible(False)
    return figure


def _scale(axes: Axes, column: int, heights: np.ndarray, labels: Sequence[str]) -> None:
    """A vertical line with labels at its right."""
    axes.axvline(column, color=INK, linewidth=1, zorder=0)
    paper = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
    for height, text in zip(heights, labels, strict=True):
        axes.text(column + 0.04, height, text, va="center", fontsize=9, color=INK, bbox=paper, zorder=5)


def each_axis(space: Space, trials: Sequence[Trial]) -> Figure:
    """A panel an axis: validation accuracy over its values, a dot a trial, lines through their mean and best."""
    shown = ranked(trials)
    scores = _scores(shown)
    columns = min(3, len(space.axes))
    rows = -(-len(space.axes) // columns)
    figure = new_figure(1.4 + 3.6 * columns, 0.6 + 3.2 * rows)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for number, (panel, axis) in enumerate(zip(panels, space.axes, strict=False)):
        places = np.argsort(axis.ranked)[[trial.point[number] for trial in shown]]
        _panel(panel, axis, places, scores)
        panel.set_ylabel("validation, %" if number % columns == 0 else "", color=INK)
    for panel in panels[len(space.axes) :]:
        panel.set_visible(False)
    panels[0].set_ylim(*_limits(scores))
    panels[0].legend(frameon=False, fontsize=9)
    figure.suptitle(_title(trials), fontsize=11, color=INK, x=0.01, ha="left")
    return figure


def _panel(axes: Axes, axis: Axis, places: np.ndarray, scores: np.ndarray) -> None:
    ranks = np.arange(len(axis.values))
    groups = [scores[(places == rank) & ~np.isnan(scores)] for rank in ranks]
    for name, colour, of in (("best", COLOURS[1], np.max), ("mean", COLOURS[0], np.mean)):
        heights = [of(group) if len(group) else np.nan for group in groups]
        axes.plot(ranks, heights, color=colour, label=name, marker="o", markersize=4, linewidth=1.6)
    axes.plot(places, scores, "_", color=INK, markersize=9, alpha=0.5, label="a trial", zorder=0)
    names = [label(axis.values[place]) for place in axis.ranked]
    axes.set_xticks(ranks, names, rotation=30 if sum(map(len, names)) > 30 else 0)
    axes.grid(axis="y", color="#E5E5E5")
    tidy(axes, "", axis.name)
    axes.margins(x=0.12)


def _title(trials: Sequence[Trial]) -> str:
    """How many trials there are, of how many runs, and how many are not done."""
    states, runs = [trial.status for trial in ranked(trials)], len(trials[0].records)
    others = [f"{states.count(s)} {s}" for s in ("abandoned", "failed", "unfinished") if s in states]
    return ", ".join([f"{len(states)} trials of {runs} run{'s' * (runs > 1)} each", *others])


def write_plots(folder: Path, space: Space, trials: Sequence[Trial]) -> None:
    """Write parallel.png and axes.png; nothing where there is no axis."""
    if space.axes:
        save_figure(folder / "parallel.png", parallel_coordinates(space, trials))
        save_figure(folder / "axes.png", each_axis(space, trials))
