"""The README's figures, from a finished run.

    python -m benchmarks.figures RUN

encoder.png: a test image on its way through S1C1; features.png, history.png and confusion_matrix.png: the run's own;
film.gif and raster.png: the same image on its way through the network.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from firstspike.coding import BANKS, Bank, filter_planes, local_normalisation, rank_code
from firstspike.data import load
from firstspike.report.film import film, raster
from firstspike.report.open_run import open_journeys, open_network
from firstspike.report.plots import save_figure

IMAGES = Path(__file__).parents[1] / "images"
COPIED = ("features.png", "history.png", "confusion_matrix.png")
TITLES = ("response", "above the threshold", "by local contrast", "latency: early is bright")


def stages(image: np.ndarray, bank: Bank) -> list[np.ndarray]:
    """Responses, what passes the threshold, local contrast and latencies (255 = never), each (C, H, W)."""
    pixels = torch.from_numpy(image[None, None].astype(np.float64))
    response = filter_planes(pixels, bank.kernels, padding=bank.padding)
    passed = torch.where(response >= bank.threshold, response, 0)
    contrast = local_normalisation(passed, bank.radius)
    latency = rank_code(contrast, steps=bank.steps)
    return [stage[0].numpy() for stage in (response, passed, contrast, latency)]


def encoder_figure(image: np.ndarray, bank: Bank) -> Figure:
    """One row a stage, one column a filter; the image at the left."""
    rows = stages(image, bank)
    channels = len(rows[0])
    figure = Figure(figsize=(1.5 * (channels + 1), 6.4), layout="constrained")
    axes = figure.subplots(len(rows), channels + 1)
    for axis in axes.flat:
        axis.set_axis_off()
    axes[0, 0].imshow(image, cmap="gray")
    axes[0, 0].set_title("image", fontsize=9)
    for line, stage, title in zip(axes, rows, TITLES, strict=True):
        line[1].set_title(title, fontsize=9, loc="left")
        for axis, plane in zip(line[1:], stage, strict=True):
            if stage is rows[-1]:
                axis.imshow(np.ma.masked_equal(plane, 255), cmap="inferno_r", vmin=0, vmax=bank.steps - 1)
                axis.patch.set_facecolor("0.15")
                axis.set_axis_on()
                axis.set_xticks([])
                axis.set_yticks([])
            else:
                axis.imshow(plane, cmap="gray")
    return figure


def main() -> None:
    """Draw and copy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run on grey images")
    parser.add_argument("--image", type=int, default=7, help="number of the test image that is shown")
    given = parser.parse_args()
    _, meta = open_network(given.run)
    images = load(meta["settings"]["dataset"]).test_images
    bank = BANKS[meta["network"]["encoder"]["filters"]]()
    save_figure(IMAGES / "encoder.png", encoder_figure(images[given.image], bank))
    for name in COPIED:
        shutil.copyfile(given.run / name, IMAGES / name)
    journey = open_journeys(given.run)(str(given.image))
    film(IMAGES / "film.gif", journey)
    save_figure(IMAGES / "raster.png", raster(journey))


if __name__ == "__main__":
    main()
