"""How the time an image takes grows with maps, image side, steps and threads: mozafari2018 on MNIST, one thread.

    python -m benchmarks.growth            # results/growth.json, .md and .png
    python -m benchmarks.growth --quick    # fewer images, small factors; nothing is written

Every network is trained briefly first, so that its layers are as sparse as in use.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.machine import RESULTS, Timing, markdown, mnist, say, timed, write
from firstspike.data import Dataset
from firstspike.data.dataset import resized
from models import create_model
from network_trainer import NetworkTrainer
from s1c1 import S1C1

STEPS = ("encode", "conv1", "conv2", "decision", "inference")
MAPS, SIDES, TIMES, THREADS = (1, 2, 4, 8), (28, 56, 112, 224), (8, 16, 32, 64), (1, 2)
PASSES = 8  # after which weights have settled, as they have in use
LEARNT_FROM, SHOWN = 2000, 200  # images of side 28; fewer of larger ones, for the same number of pixels


@dataclass(frozen=True)
class Point:
    """Times of one setting: ``size`` is what grows (maps, pixels, steps or threads) as a multiple of the first."""

    axis: str
    label: str
    size: float
    times: dict[str, Timing]


def prepared(
    images: np.ndarray, labels: np.ndarray, encoder: S1C1, **options: Any
) -> tuple[NetworkTrainer, np.ndarray]:
    """A network that has learnt from the images, and their latencies."""
    latencies = encoder(images)
    shape = latencies.shape[2:]
    net = create_model("mozafari2018", image_size=shape, steps=encoder.steps, **options)
    net.engine.workers = 1
    for phase in net.phases:
        seen = net.inputs(phase, latencies)
        for _ in range(PASSES):
            net.fit_phase(phase, seen, labels, from_inputs=True)
    return net, latencies


def times(
    images: np.ndarray, labels: np.ndarray, encoder: S1C1, repeats: int, **options: Any
) -> dict[str, Timing]:
    """Times of every step of one setting."""
    net, latencies = prepared(images, labels, encoder, **options)
    count = max(20, SHOWN * len(images) // LEARNT_FROM)
    shown, labels = latencies[:count], labels[:count]
    state = net.state_dict()
    measured = {"encode": timed(lambda: encoder(images[:count]), count, repeats=repeats)}
    for phase in net.phases:
        learn = partial(net.fit_phase, phase, net.inputs(phase, shown), labels, from_inputs=True)
        restore = partial(net.load_state_dict, state)
        measured[phase] = timed(learn, count, repeats=repeats, prepare=restore)
    measured["inference"] = timed(lambda: net.predict(encoder(images[:count])), count, repeats=repeats)
    return measured


def points(data: Dataset, repeats: int, largest: int) -> Iterator[Point]:
    """Every setting, one at a time; ``largest`` bounds the factors."""
    images, labels = data.train_images[:LEARNT_FROM], data.train_labels[:LEARNT_FROM].astype(np.int64)
    encoder = S1C1(threads=1)
    for factor in (m for m in MAPS if m <= largest):
        maps = {"conv1_maps": 30 * factor, "conv2_maps": 250 * factor}
        grown = times(images, labels, encoder, repeats, conv2_maps=maps["conv2_maps"])
        grown["conv1"] = times(images, labels, encoder, repeats, conv1_maps=maps["conv1_maps"])["conv1"]
        yield Point("maps", f"{30 * factor}, {250 * factor}", factor, grown)
    for side in (s for s in SIDES if s <= 28 * largest):
        few = max(200, LEARNT_FROM * 28 * 28 // side**2)
        part = {"train_images": images[:few], "train_labels": data.train_labels[:few]}
        part |= {"test_images": images[:1], "test_labels": data.train_labels[:1]}
        larger = resized(replace(data, **part), (side, side)).train_images
        yield Point("pixels", str(side), (side / 28) ** 2, times(larger, labels[:few], encoder, repeats))
    for steps in (t for t in TIMES if t <= 8 * largest):
        slower = replace(encoder, steps=steps)
        yield Point("steps", str(steps), steps / TIMES[0], times(images, labels, slower, repeats))


def in_threads(data: Dataset, repeats: int) -> Iterator[Point]:
    """Wall time of what runs in threads."""
    images = data.train_images[: 5 * LEARNT_FROM]
    net, _ = prepared(images[:LEARNT_FROM], data.train_labels[:LEARNT_FROM].astype(np.int64), S1C1(threads=1))
    latencies = S1C1(threads=1)(images)
    for threads in THREADS:
        net.engine.workers, encoder = threads, S1C1(threads=threads)
        clocked: Callable = partial(timed, images=len(images), repeats=repeats, clock=time.perf_counter)
        yield Point(
            "threads",
            str(threads),
            threads,
            {
                "encode": clocked(partial(encoder, images)),
                "inference": clocked(partial(net.predict, latencies)),
            },
        )


def table_of(found: list[Point]) -> str:
    """Milliseconds of every setting, and in brackets the growth since the axis's first."""
    first = {}
    body = []
    for point in found:
        base = first.setdefault(point.axis, point)
        cells = [
            f"{point.times[s].best:.3f} ({point.times[s].best / base.times[s].best:.2f})"
            if s in point.times
            else ""
            for s in STEPS
        ]
        body.append([f"{point.axis} {point.label}", f"{point.size:g}", *cells])
    names = ("encoding", "STDP conv1", "STDP conv2", "R-STDP", "inference")
    return markdown(["ms an image: best (growth)", "size", *names], body)


def plot(found: list[Point]) -> None:
    """results/growth.png: growth of each step beside the straight line."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    axes = tuple(dict.fromkeys(point.axis for point in found))
    figure = Figure(figsize=(3.4 * len(axes), 3.4), layout="constrained")
    for axis, panel in zip(axes, figure.subplots(1, len(axes)), strict=True):
        line = [point for point in found if point.axis == axis]
        sizes = [point.size for point in line]
        linear = [1 / size if axis == "threads" else size for size in sizes]
        panel.plot(sizes, linear, "--", color="0.6", label="in proportion")
        for step in line[0].times:
            panel.plot(sizes, [p.times[step].best / line[0].times[step].best for p in line], "o-", label=step)
        panel.set(xscale="log", yscale="log", xlabel=f"{axis}, relative", ylabel="time, relative")
        panel.set_xticks(sizes, [f"{size:g}" for size in sizes], minor=False)
        panel.yaxis.set_major_locator(LogLocator(2, numticks=20))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.minorticks_off()
        panel.legend(fontsize=8, frameon=False)
    figure.savefig(RESULTS / "growth.png", dpi=120)


def main() -> None:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small factors; nothing is written")
    quick = parser.parse_args().quick
    data, found = mnist(), []
    for point in (*points(data, 3 if quick else 5, 2 if quick else 8), *in_threads(data, 3 if quick else 7)):
        say(f"{point.axis} {point.label}: { ({step: t.best for step, t in point.times.items()}) }")
        found.append(point)
    if quick:
        print(table_of(found))
        return
    write("growth", {"points": [asdict(point) for point in found]}, table_of(found))
    plot(found)


if __name__ == "__main__":
    main()
