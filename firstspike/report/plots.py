"""The figures of a report: each function draws one and returns it for `save_figure` or `pixels`.

Nothing here touches matplotlib's global state (no pyplot), so figures may be drawn on any thread.
"""

import os
from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from firstspike.files import atomic_write
from firstspike.report.metrics import Metrics, silenced
from firstspike.report.records import EpochRecord

# Okabe and Ito's palette, told apart with every kind of colour vision
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", ":", "-.")
INK, PALE = "#333333", "#F2F2F2"
_PALEST = 0.4  # of the strongest picture of a layer: below that, pictures are drawn paler
_MOST_NAMED = 14  # classes that get a line and a legend entry, or a number in each cell, of their own


def save_figure(path: str | os.PathLike[str], figure: Figure) -> None:
    """Write a figure as PNG, atomically."""
    with atomic_write(path) as file:
        figure.savefig(file, format="png")


def pixels(figure: Figure) -> np.ndarray:
    """A figure as uint8 (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of the house's style; sizes in inches."""
    return Figure(figsize=(width, height), dpi=130, layout="constrained", facecolor="white")


def tidy(axes: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Title, labels, and no more frame than needed."""
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)


def confusion_matrix(metrics: Metrics) -> Figure:
    """True classes in rows, answers in columns, silence apart at the right; shades are shares of a row."""
    names = [row.name for row in metrics.classes]
    counts = np.array(metrics.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(16.0, 4.0 + 0.34 * len(names))
    figure = new_figure(side + 0.9, side)
    left, right, scale = figure.subplots(1, 3, width_ratios=[len(names), 1.0, 0.02 * len(names) + 0.3])
    image = _cells(left, shares[:, :-1], counts[:, :-1])
    _cells(right, shares[:, -1:], counts[:, -1:])
    size = 9 if len(names) <= 20 else 7
    left.set_xticks(range(len(names)), names, fontsize=size, rotation=90 if max(map(len, names)) > 2 else 0)
    left.set_yticks(range(len(names)), names, fontsize=size)
    right.set_xticks([0], ["silent"], fontsize=size, rotation=90)
    right.set_yticks([])
    left.set_xlabel("answer", color=INK)
    left.set_ylabel("true class", color=INK)
    figure.colorbar(image, cax=scale).set_label("share of the true class", color=INK)
    figure.suptitle(_headline(metrics), fontsize=11, color=INK)
    return figure


def _headline(metrics: Metrics) -> str:
    right = f"{metrics.right:,} of {metrics.images:,} right ({100 * metrics.accuracy:.2f} %)"
    return f"{right}, {metrics.silent:,} silent"


def _cells(axes: Axes, shares: np.ndarray, counts: np.ndarray) -> AxesImage:
    """A block of the matrix, with its counts where they can be read."""
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(np.arange(-0.5, shares.shape[1]), minor=True)
    axes.set_yticks(np.arange(-0.5, shares.shape[0]), minor=True)
    axes.grid(which="minor", color="white", linewidth=0.8)
    axes.tick_params(which="both", length=0, colors=INK)
    axes.spines[:].set_visible(False)
    if shares.shape[0] <= 2 * _MOST_NAMED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            ink = "white" if shares[row, column] > 0.55 else INK
            axes.text(
                column, row, f"{counts[row, column]}", ha="center", va="center", color=ink, fontsize=7.5
            )
    return image


def roc(labels: np.ndarray, decisions: np.ndarray, scores: np.ndarray, metrics: Metrics) -> Figure:
    """One-vs-rest ROC curves of labels (N,), decisions (N,) and scores (N, K), and their mean."""
    from sklearn.metrics import roc_curve

    figure = new_figure(8.4, 6.0)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":", label="chance")
    scores = silenced(scores, decisions)
    areas = {k: row.roc_auc for k, row in enumerate(metrics.classes) if row.roc_auc is not None}
    curves = {k: roc_curve(labels == k, scores[:, k])[:2] for k in areas}
    named = list(areas) if len(areas) <= _MOST_NAMED else sorted(areas, key=areas.__getitem__)[:3]
    for k in [k for k in areas if k not in named]:
        axes.plot(*curves[k], color="#999999", linewidth=0.6, alpha=0.5)
    for k, style in zip(named, _styles(len(named)), strict=True):
        axes.plot(*curves[k], label=f"{metrics.classes[k].name}   {areas[k]:.3f}", **style)
    if areas:
        x, y = _mean_curve(list(curves.values()))
        axes.plot(x, y, color=INK, linewidth=2.6, label=f"mean of {len(areas)}   {metrics.roc_auc:.3f}")
    else:
        axes.text(0.6, 0.3, "not defined: images of one class only", ha="center", color=INK)
    axes.set(xlim=(-0.01, 1), ylim=(0, 1.01))
    title = "class and area" if len(named) == len(areas) else "three lowest and mean area"
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5), title=title)
    tidy(
        axes,
        "ROC, each class against the rest",
        "share of other images taken for it",
        "share of the class found",
    )
    return figure


def _mean_curve(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The mean height of ROC curves, which all begin at (0, 0)."""
    grid = np.linspace(0, 1, 501)
    heights = np.mean([np.interp(grid, x, y) for x, y in curves], axis=0)
    return np.concatenate([[0.0], grid]), np.concatenate([[0.0], heights])


def _styles(count: int) -> list[dict[str, object]]:
    """Pairs of colour and dashes, each colour drawn through before the dashes change."""
    return [
        {"color": colour, "linestyle": LINES[i // len(COLOURS) % len(LINES)], "linewidth": 1.4}
        for i, colour in enumerate(islice(cycle(COLOURS), count))
    ]


def history(records: Sequence[EpochRecord]) -> Figure:
    """Learning curves: accuracy and silence where there are decisions, convergence of each layer."""
    decided = [r for r in records if r.accuracy is not None or r.validation_accuracy is not None]
    panels = [
        *([(_accuracy_panel, decided)] if decided else []),
        *([(_cost_panel, records)] if any("spikes" in record.figures for record in records) else []),
        *([(_convergence_panel, records)] if any(record.convergence for record in records) else []),
    ]
    figure = new_figure(7.2 * max(1, len(panels)), 4.2)
    if not panels:
        tidy(figure.subplots(), "nothing was trained", "epoch")
        return figure
    for axes, (draw, rows) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        draw(axes, rows)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        aside = 1.16 if draw is _cost_panel else 1.0  # beyond its second scale
        axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(aside, 0.5))
    return figure


def _accuracy_panel(axes: Axes, records: Sequence[EpochRecord]) -> None:
    epochs = np.arange(1, len(records) + 1)
    for colour, name, attribute in (
        (COLOURS[0], "training", "accuracy"),
        (COLOURS[1], "validation", "validation_accuracy"),
        ("#888888", "silent (training)", "silent"),
    ):
        values = [getattr(record, attribute) for record in records]
        if any(value is not None for value in values):
            percent = [np.nan if value is None else 100 * value for value in values]
            marker = "o" if len(records) <= 30 else None
            axes.plot(epochs, percent, color=colour, label=name, marker=marker, markersize=3.5, linewidth=1.6)
    tested = [100 * record.figures.get("test_accuracy", np.nan) for record in records]
    if not np.isnan(tested).all():
        axes.plot(epochs, tested, color="#888888", linestyle=":", marker=".", label="test (decides nothing)")
    best = [i for i, record in enumerate(records) if record.best and record.validation_accuracy is not None]
    if best:
        height = 100 * records[best[-1]].validation_accuracy
        axes.plot(best[-1] + 1, height, "*", color=COLOURS[1], markersize=13, label=f"best: {height:.2f} %")
    axes.set(xlim=(0.5, len(records) + 0.5), ylim=(0, 101))
    axes.grid(axis="y", color="#E5E5E5")
    tidy(axes, "Accuracy", f"epoch of {_phases(records)}", "% of images")


def _cost_panel(axes: Axes, records: Sequence[EpochRecord]) -> None:
    """Loss on the left scale, spikes a sample on the right one."""
    epochs, right = np.arange(1, len(records) + 1), axes.twinx()
    held_out = [record.figures.get("validation_loss", np.nan) for record in records]
    axes.plot(epochs, [record.loss for record in records], color=COLOURS[0], label="loss, training")
    if not np.isnan(held_out).all():
        axes.plot(epochs, held_out, color=COLOURS[1], label="loss, validation")
    spikes = [record.figures.get("spikes", np.nan) for record in records]
    right.plot(epochs, spikes, color=COLOURS[2], linestyle="--")
    axes.plot([], [], color=COLOURS[2], linestyle="--", label="spikes a sample")
    axes.set(xlim=(0.5, len(records) + 0.5))
    axes.set_ylim(bottom=0)
    tidy(axes, "Loss and spikes", f"epoch of {_phases(records)}", "loss")
    right.set_ylim(bottom=0)
    right.set_ylabel("spikes a sample, training", color=INK)
    right.spines["top"].set_visible(False)
    right.tick_params(colors=INK, labelsize=9)


def _phases(records: Sequence[EpochRecord]) -> str:
    return ", ".join(dict.fromkeys(record.phase for record in records))


def _convergence_panel(axes: Axes, records: Sequence[EpochRecord]) -> None:
    epochs = np.arange(1, len(records) + 1)
    layers = list(dict.fromkeys(layer for record in records for layer in record.convergence))
    for layer, style in zip(layers, _styles(len(layers)), strict=True):
        values = [record.convergence.get(layer, np.nan) for record in records]
        marker = "o" if len(records) <= 30 else None
        axes.plot(epochs, np.maximum(values, 1e-6), label=layer, marker=marker, markersize=3.5, **style)
    axes.set_yscale("log")
    _shade_phases(axes, records)
    tidy(axes, "Convergence of the weights", "epoch of the run", "mean w (1 - w)")


def _shade_phases(axes: Axes, records: Sequence[EpochRecord]) -> None:
    """Bands behind the curves, one for each phase, with its name at the top where there is room for it."""
    phases = [record.phase for record in records]
    starts = [i for i in range(len(phases)) if i == 0 or phases[i] != phases[i - 1]]
    axes.set_xlim(0.5, len(phases) + 0.5)
    axes.set_ylim(top=2 * axes.get_ylim()[1])  # room for the names
    for n, (start, end) in enumerate(zip(starts, [*starts[1:], len(phases)], strict=True)):
        axes.axvspan(start + 0.5, end + 0.5, color=PALE if n % 2 == 0 else "white", zorder=0)
        if end - start > 0.018 * len(phases) * len(phases[start]):
            at = (0.5 * (start + end + 1), 0.985)
            axes.annotate(
                phases[start], at, xycoords=axes.get_xaxis_transform(), va="top", ha="center", size=8
            )


def features(layers: Mapping[str, np.ndarray], *, per_row: Mapping[str, int] | None = None) -> Figure:
    """Each layer's features in a block: signed (M, h, w), on light and off dark, or colour (M, h, w, 3).

    `per_row` sets how many pictures of a layer stand in a row; see `mosaic` for the shades.
    """
    pictures = {}
    for name, images in layers.items():
        maps, rows, columns = images.shape[:3]
        title = f"{name}: {maps} maps, each sees {rows} × {columns} pixels"
        pictures[title] = mosaic(images, (per_row or {}).get(name))
    return stacked(pictures)


def stacked(pictures: Mapping[str, np.ndarray]) -> Figure:
    """Pictures uint8 (height, width, 3) one below the other, each under its title, wide where they may."""
    width, largest_pixel = 11.0, 0.09  # inches
    heights = [
        picture.shape[0] * min(width / picture.shape[1], largest_pixel) + 0.45
        for picture in pictures.values()
    ]
    figure = new_figure(width, sum(heights))
    blocks = np.atleast_1d(figure.subplots(len(pictures), 1, height_ratios=heights))
    for axes, (title, picture) in zip(blocks, pictures.items(), strict=True):
        axes.imshow(picture, interpolation="nearest")
        axes.set_anchor("W")
        tidy(axes, title)
        axes.set_axis_off()
    return figure


def mosaic(images: np.ndarray, per_row: int | None = None) -> np.ndarray:
    """Pictures (M, h, w) or (M, h, w, 3), values of either sign, as one uint8 picture (height, width, 3).

    Zero is middle grey; each picture is scaled by its own largest absolute value, but one that is weak beside
    the strongest stays pale, so that maps which learnt nothing do not look as if they had.
    """
    peaks = np.abs(images).reshape(len(images), -1).max(axis=1)
    scale = np.maximum(peaks, _PALEST * peaks.max()).reshape(-1, *[1] * (images.ndim - 1))
    tones = np.uint8(np.rint(127.5 + 127.5 * images / np.where(scale > 0, scale, 1)))
    tones = tones if tones.ndim == 4 else np.repeat(tones[..., None], 3, axis=-1)
    return sheet(tones, per_row)


def sheet(tiles: np.ndarray, per_row: int | None = None, *, paper: int = 255) -> np.ndarray:
    """Tiles uint8 (M, h, w, 3) in rows, one pixel of paper apart, as one picture (height, width, 3)."""
    maps, height, width = tiles.shape[:3]
    columns = min(maps, per_row or full_rows(maps, aspect=2.5))
    rows = -(-maps // columns)
    page = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, 3), paper, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = 1 + i // columns * (height + 1), 1 + i % columns * (width + 1)
        page[top : top + height, left : left + width] = tile
    return page


def full_rows(maps: int, *, aspect: float) -> int:
    """Square tiles in a row for a sheet `aspect` times as wide as high, in full rows where that is near."""
    wanted = max(1, round((aspect * maps) ** 0.5))
    nearby = [n for n in range(max(1, wanted - wanted // 4), wanted + wanted // 4 + 1) if maps % n == 0]
    return min(nearby, key=lambda n: abs(n - wanted), default=wanted)
