"""One image on its way through a network: a film of the spikes, step by step, and a raster of all of them.

    python -m firstspike.report.film RUN IMAGE [--out film.gif]

M maps of a stage; a latency is the step of a neuron's only spike, 255 = never.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, cycle
from pathlib import Path
from typing import TextIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont

from firstspike.errors import UserError
from firstspike.files import atomic_write
from firstspike.report.activation import NEVER, step_colours
from firstspike.report.plots import COLOURS, full_rows, new_figure, save_figure, sheet, tidy

FORMATS = {".gif": "GIF", ".png": "PNG"}
_WIDTH, _HEIGHT = 540, 400  # pixels; the room for a stage's picture
_MARGIN, _LINE = 16, 22  # pixels around panels, and height of a line of text
_MILLISECONDS, _HOLD = 350, 2500  # a step's, and the last one's
_PAPER, _INK, _BAR, _FLASH = (12, 12, 12), (220, 220, 220), (90, 90, 120), (255, 255, 255)


@dataclass(frozen=True)
class Journey:
    """What one image uint8 (H, W[, 3]) sets off: latencies uint8 (M, H', W') of the stages from the input on.

    `scores` is what the decision layer says of each class after the last step (empty: not shown); `caption`
    stands over the film. No latency is `steps` or more, except 255.
    """

    image: np.ndarray
    stages: Mapping[str, np.ndarray]
    steps: int
    scores: Mapping[str, float] = field(default_factory=dict)
    caption: str = ""


def film(path: str | os.PathLike[str], journey: Journey) -> None:
    """Write an animated GIF or, as .png, an APNG: neurons flash as they fire, then keep their colour."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"cannot write a film as {path.name}: choose a name that ends in .gif or .png")
    first, *rest = frames(journey)
    durations = [_MILLISECONDS] * len(rest) + [_HOLD]
    with atomic_write(path) as file:
        kind = FORMATS[path.suffix.lower()]
        first.save(file, format=kind, save_all=True, append_images=rest, duration=durations, loop=0)


def frames(journey: Journey) -> list[Image.Image]:
    """One picture for each step."""
    return [_frame(journey, step) for step in range(journey.steps)]


def _frame(journey: Journey, step: int) -> Image.Image:
    """Thumbnail and caption above, panels in rows of two below them."""
    panels = [
        _stage_panel(name, latencies, journey.steps, step) for name, latencies in journey.stages.items()
    ]
    if journey.scores:
        panels.append(_score_panel(journey.scores, shown=step == journey.steps - 1))
    rows = [panels[start : start + 2] for start in range(0, len(panels), 2)]
    heights = [max(panel.height for panel in row) for row in rows]
    page = Image.new("RGB", (_MARGIN + 2 * (_WIDTH + _MARGIN), 4 * _LINE + sum(heights)), _PAPER)
    thumbnail = Image.fromarray(journey.image).convert("RGB").resize((2 * _LINE, 2 * _LINE))
    page.paste(thumbnail, (_MARGIN, _LINE // 2))
    headline = f"step {step + 1} of {journey.steps}     {journey.caption}"
    ImageDraw.Draw(page).text((2 * _MARGIN + 2 * _LINE, _LINE), headline, font=_font(), fill=_INK)
    for row, top in zip(rows, accumulate(heights, initial=3 * _LINE), strict=False):
        for column, panel in enumerate(row):
            page.paste(panel, (_MARGIN + column * (_WIDTH + _MARGIN), top))
    return page


def _stage_panel(name: str, latencies: np.ndarray, steps: int, step: int) -> Image.Image:
    """The maps of a stage at a step, every neuron a square of one size, under a line that counts spikes."""
    colours = np.concatenate([step_colours(steps), [_FLASH]]).astype(np.uint8)
    shown = np.where(latencies < step, np.minimum(latencies, steps), steps)
    tiles = colours[np.where(latencies == step, steps + 1, shown)]
    maps, height, width = latencies.shape
    per_row = full_rows(maps, aspect=_WIDTH / _HEIGHT * (height + 1) / (width + 1))
    picture = Image.fromarray(sheet(tiles, per_row, paper=_PAPER[0]))
    times = max(1, min(_WIDTH // picture.width, _HEIGHT // picture.height))
    now, so_far = int((latencies == step).sum()), int((latencies <= step).sum())
    panel = _panel(f"{name}: {now:,} spikes now, {so_far:,} so far", picture.height * times)
    panel.paste(
        picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST), (0, _LINE)
    )
    return panel


def _score_panel(scores: Mapping[str, float], *, shown: bool) -> Image.Image:
    """A bar for each class, the longest one bright; empty until they are shown."""
    panel = _panel("decision: after the last step", len(scores) * _LINE)
    draw, top_score = ImageDraw.Draw(panel), max(scores.values())
    for row, (name, score) in enumerate(scores.items(), start=1):
        draw.text((0, row * _LINE), f"{name}   {score:.4g}" if shown else name, font=_font(), fill=_INK)
        if shown and score > 0:
            bar = (
                _WIDTH // 4,
                row * _LINE + 3,
                _WIDTH // 4 + int(0.75 * _WIDTH * score / top_score),
                (row + 1) * _LINE - 3,
            )
            draw.rectangle(bar, fill=_FLASH if score == top_score else _BAR)
    return panel


def _panel(title: str, height: int) -> Image.Image:
    """An empty panel with its title."""
    panel = Image.new("RGB", (_WIDTH, height + _LINE + _MARGIN), _PAPER)
    ImageDraw.Draw(panel).text((0, 0), title, font=_font(), fill=_INK)
    return panel


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=15)


def raster(journey: Journey) -> Figure:
    """All spikes of a journey: a dot for each neuron at its step, and how many fire in each step."""
    figure = new_figure(10.0, 2.1 * len(journey.stages) + 0.3)
    rows = figure.subplots(len(journey.stages), 2, width_ratios=(3, 2), sharex=True, squeeze=False)
    for (left, right), (name, latencies), colour in zip(
        rows, journey.stages.items(), cycle(COLOURS), strict=False
    ):
        _raster_row(left, right, latencies, colour)
        fired = 100 * (latencies != NEVER).mean()
        tidy(left, name, "", "map")
        tidy(right, f"{fired:.1f} % of {latencies.size:,} neurons fired", "", "spikes")
    for axes in rows[-1]:
        axes.set(xlim=(-0.6, journey.steps - 0.4), xlabel="step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(journey.caption, fontsize=11)
    return figure


def _raster_row(left: Axes, right: Axes, latencies: np.ndarray, colour: str) -> None:
    """Dots for neurons: within the field of a map and a step, each has its place in the map."""
    maps, height, width = latencies.shape
    fired = np.nonzero(latencies != NEVER)
    steps = latencies[fired].astype(int)
    x, y = steps + 0.8 * ((fired[2] + 0.5) / width - 0.5), fired[0] - 0.8 * ((fired[1] + 0.5) / height - 0.5)
    left.plot(x, y, "s", color=colour, markersize=1.0, markeredgewidth=0, rasterized=True)
    left.set_ylim(-0.6, maps - 0.4)
    left.yaxis.set_major_locator(MaxNLocator(integer=True))
    counts = np.bincount(steps, minlength=1)
    right.bar(np.arange(len(counts)), counts, width=0.8, color=colour)


def main(
    arguments: Sequence[str],
    *,
    open_run: Callable[[Path], Callable[[str], Journey]],
    out: TextIO,
    err: TextIO,
) -> int:
    """The command: film and raster of one image; `open_run` opens a run's folder and gives journeys by image.

    Returns the exit status: 2 where something given does not fit, after one line that says what.
    """
    parser = argparse.ArgumentParser(
        prog="python -m firstspike.report.film", description=__doc__.split("\n")[0]
    )
    parser.add_argument("run", type=Path, help="folder of a trained run")
    parser.add_argument("image", help="number of a test image, or an image file")
    parser.add_argument("--out", type=Path, help="the film: .gif or .png (default: RUN/film_IMAGE.gif)")
    given = parser.parse_args(arguments)
    target = given.out or given.run / f"film_{Path(given.image).stem}.gif"
    raster_target = target.with_name(f"{target.stem}_raster.png")
    try:
        journey = open_run(given.run)(given.image)
        film(target, journey)
        save_figure(raster_target, raster(journey))
    except UserError as error:
        err.write(f"{error}\n")
        return 2
    out.write(f"{target}\n{raster_target}\n")
    return 0


if __name__ == "__main__":
    from firstspike.report.open_run import open_journeys

    sys.exit(main(sys.argv[1:], open_run=open_journeys, out=sys.stdout, err=sys.stderr))
