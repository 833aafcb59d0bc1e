"""Recordings a second and core into binned batches: as events, and dense, beside the floor of writing their zeros.

    python -m benchmarks.loading

Every figure includes the binning of the events: once for a set, and then batches of 128. "Floor" is the time to fill
a batch of that size, used again, with one value; no dense batch can be made faster. Reading is files to events,
checks included. Then what a network makes of a batch of 64: forward and backward of the map to 128 hidden units, as a
product with the dense batch and from its events. Writes results/loading.json and loading.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.machine import markdown, say, timed, write
from firstspike.data import Recordings, load, load_recordings
from firstspike.data.binning import Binned, Equal, HalfOpen, Rule, binned
from firstspike.data.event_batch import Events
from firstspike.data.sequences import LatencyCoded, latency_table
from firstspike.neurons.event_map import Batch, currents
from tests.conftest import data_folder

BATCH, RATES = 128, ("events", "dense", "floor")


@dataclass(frozen=True)
class Case:
    """A data set, how it is binned, the type of a dense batch, and the rate that is aimed at."""

    title: str
    name: str
    rule: Rule
    dtype: type
    aim: int


CASES = (
    Case("N-MNIST, 64 steps, float32", "nmnist-real", Equal(64), np.float32, 25_000),
    Case("N-MNIST, 64 steps, uint8", "nmnist-real", Equal(64), np.uint8, 25_000),
    Case("FSDD-spikes, 10 ms, float32", "fsdd-spikes", HalfOpen(1e-2), np.float32, 12_000),
    Case("FSDD-spikes, 1 ms, float32", "fsdd-spikes", HalfOpen(1e-3), np.float32, 12_000),
    Case("FSDD-spikes, 1 ms, uint8", "fsdd-spikes", HalfOpen(1e-3), np.uint8, 12_000),
)


def batches(count: int) -> list[np.ndarray]:
    """Indices of whole batches (of all, where there are fewer than a batch)."""
    size = min(BATCH, count)
    return [np.arange(k, k + size) for k in range(0, count - size + 1, size)]


def seconds(run: Callable[[], object], recordings: int) -> float:
    """Best processor time a recording."""
    return timed(run, recordings, repeats=5).best / 1e3


def measure(case: Case, recordings: Recordings) -> dict[str, Any]:
    """Rates of a case, recordings a second."""
    own = binned(recordings, case.rule)
    parts = batches(len(own))
    count = sum(map(len, parts))
    binning = seconds(lambda: binned(recordings, case.rule), len(own))
    out = own.batch(parts[0], dtype=case.dtype)
    return {
        "case": case.title,
        "kilobytes": out.nbytes / len(out) / 1e3,
        "aim": case.aim,
        "events": 1 / (binning + seconds(lambda: sparse(own, parts), count)),
        "dense": 1 / (binning + seconds(lambda: dense(own, parts, case.dtype), count)),
        "floor": 1 / seconds(lambda: out.fill(1), len(out)),
    }


def dense(own: Binned, parts: list[np.ndarray], dtype: type) -> None:
    """Make all batches, one after the other."""
    for part in parts:
        own.batch(part, dtype=dtype)


def sparse(own: Binned, parts: list[np.ndarray]) -> None:
    """Make all batches as events."""
    for part in parts:
        own.events(part)


def reading(name: str) -> dict[str, Any]:
    """Recordings a second from files, both parts."""
    found = load_recordings(name, data_folder())
    count = len(found.train) + len(found.test)
    return {"name": name, "reading": 1 / seconds(lambda: load_recordings(name, data_folder()), count)}


def first_layer(title: str, events: Events) -> dict[str, Any]:
    """Milliseconds of the map to 128 units, forward and backward, from a dense batch and from events."""
    layer, x = torch.nn.Linear(events.inputs, 128), torch.from_numpy(events.dense())
    g = torch.randn(*events.shape[:2], 128)

    def both(batch: Batch) -> Callable[[], None]:
        def run() -> None:
            layer.zero_grad()
            currents(layer, batch).backward(g)

        return run

    product, added = (timed(both(batch), 1).best for batch in (x, events))
    filled = events.count / x.numel()
    return {"title": title, "filled": filled, "product": product, "events": added}


def layers() -> list[dict[str, Any]]:
    """Recordings in two grains, and images of one spike a pixel."""
    chosen, rows = np.arange(64), []
    for case in (CASES[0], CASES[2]):
        own = binned(load_recordings(case.name, data_folder()).train, case.rule)
        rows.append(first_layer(case.title.rpartition(",")[0], own.events(chosen)))
    images = load("fashion-mnist", data_folder())
    coded = LatencyCoded(images.train_images, images.train_labels, latency_table("fastsnn"), 100)
    return [*rows, first_layer("Fashion-MNIST, 100 steps", coded.events(chosen))]


def table(rows: list[dict[str, Any]], read: list[dict[str, Any]], maps: list[dict[str, Any]]) -> str:
    """Rates as Markdown."""
    head = ["recordings a second", "kB each", "aim", *RATES]
    text = markdown(
        head,
        [
            [
                row["case"],
                f"{row['kilobytes']:.0f}",
                f"{row['aim']:,}",
                *(f"{row[k]:,.0f}" for k in RATES),
            ]
            for row in rows
        ],
    )
    files = markdown(
        ["read from files", "recordings a second"], [[r["name"], f"{r['reading']:,.0f}"] for r in read]
    )
    first = markdown(
        ["first layer, batch of 64", "cells filled, %", "product, ms", "events, ms"],
        [[m["title"], f"{100 * m['filled']:.1f}", f"{m['product']:.1f}", f"{m['events']:.1f}"] for m in maps],
    )
    return f"{text}\n{files}\n{first}"


def main() -> None:
    """Run as a command."""
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        rows.append(measure(case, load_recordings(case.name, data_folder()).train))
        say(str(rows[-1]))
    read, maps = [reading(name) for name in ("nmnist-real", "fsdd-spikes")], layers()
    write("loading", {"rows": rows, "reading": read, "maps": maps}, table(rows, read, maps))


if __name__ == "__main__":
    main()
