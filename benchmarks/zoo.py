"""Milliseconds an image of the convolutional networks on MNIST, one thread, beside plain torch and Spyker's wheel.

    python -m benchmarks.zoo            # results/zoo.json and the README's table results/zoo.md
    python -m benchmarks.zoo --quick    # fewer images and repeats: a look, nothing is written

Weights are trained first (kept in the temporary folder). A learning step is timed from what its layer sees, as in
training, where the frozen layers below run once. Processor time: the best of the repeats, and their median.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import Timing, child, markdown, mnist, same, say, timed, write
from firstspike import checkpoint
from firstspike.backend import Backend
from firstspike.batched import DeviceDecision, DeviceThreshold, learn_together
from firstspike.errors import UserError
from models import create_model
from network_trainer import NetworkTrainer
from s1c1 import S1C1

TRAINED_ON, SEED = 20_000, 0
EPOCHS = {"conv1": 1, "conv2": 2, "conv3": 2, "decision": 2}
STEPS = {  # network: the phases whose learning is timed
    "mozafari2018": ("conv1", "conv2", "decision"),
    "deep2024": ("conv3", "decision"),
    "majority2024": ("decision",),
}
EPOCH_IMAGES = 54_000


@dataclass(frozen=True)
class Data:
    """Images with their latencies and labels; the first TRAINED_ON train the networks."""

    images: np.ndarray
    latencies: np.ndarray
    labels: np.ndarray

    def part(self, n: int) -> "Data":
        """The first n."""
        return Data(self.images[:n], self.latencies[:n], self.labels[:n])


@dataclass
class Row:
    """One step of one network: our time and those of others, by name."""

    network: str
    step: str
    ours: Timing
    others: dict[str, Timing] = field(default_factory=dict)


def trained(model: str, data: Data) -> NetworkTrainer:
    """A network that has learnt, from the temporary folder where it has been trained before."""
    net, data = create_model(model, seed=SEED), data.part(TRAINED_ON)
    kept = Path(tempfile.gettempdir()) / f"firstspike-benchmark-{model}-{len(data.images)}.safetensors"
    try:
        net.load_state_dict(checkpoint.load(kept)[0])
    except UserError:
        say(f"training {model} on {len(data.images):,} images")
        for phase in net.phases:
            inputs = net.inputs(phase, data.latencies)
            for _ in range(EPOCHS[phase]):
                net.fit_phase(phase, inputs, data.labels, from_inputs=True)
        checkpoint.save(kept, net.state_dict(), {"model": model, "settings": {}})
    return net


def learning(net: NetworkTrainer, phase: str, data: Data, repeats: int) -> Timing:
    """Time of a learning step from what its layer sees, from the trained state in every repeat."""
    inputs, state = net.inputs(phase, data.latencies), net.state_dict()
    return timed(
        lambda: net.fit_phase(phase, inputs, data.labels, from_inputs=True),
        len(inputs),
        repeats=repeats,
        prepare=lambda: net.load_state_dict(state),
    )


def rows(data: Data, images: int, repeats: int) -> Iterator[Row]:
    """Our times of every step."""
    encoder, shown = S1C1(threads=1), data.part(images)
    yield Row("all", "encode", timed(lambda: encoder(shown.images), images, repeats=repeats))
    for model, phases in STEPS.items():
        net = trained(model, data)
        net.engine.workers = 1
        for phase in phases:
            yield Row(model, phase, learning(net, phase, shown, repeats))
        answer = partial(lambda net: net.predict(encoder(shown.images)), net)
        yield Row(model, "inference", timed(answer, images, repeats=repeats))


def in_torch(data: Data, batch: int, images: int, repeats: int) -> Iterator[tuple[str, str, Timing]]:
    """The same steps of mozafari2018 in plain torch, so many images at once."""
    torch.set_num_threads(1)
    kinds = (
        partial(kind, batch=batch, device=torch.device("cpu")) for kind in (DeviceThreshold, DeviceDecision)
    )
    compiled, net = trained("mozafari2018", data), create_model("mozafari2018")
    net.backend = Backend(*kinds, learn_together)
    net.engine = net.build()
    net.engine.workers = 1
    net.load_state_dict(compiled.state_dict())
    encoder, shown = S1C1(threads=1), data.part(images)
    for phase in net.phases:
        inputs, state = compiled.inputs(phase, shown.latencies), compiled.state_dict()
        learn = partial(net.fit_phase, phase, inputs, shown.labels, from_inputs=True)
        time_of = timed(learn, images, repeats=repeats, prepare=partial(net.load_state_dict, state))
        yield "mozafari2018", phase, time_of
    parts = [shown.images[first : first + batch] for first in range(0, images, batch)]
    answer = timed(lambda: [net.predict(encoder(part)) for part in parts], images, repeats=repeats)
    yield "mozafari2018", "inference", answer


def spyker(data: Data, images: int, repeats: int) -> dict[str, Any]:
    """Times of Spyker's wheel from a process of its own, or why there are none."""
    net, shown = trained("mozafari2018", data), data.part(images)
    arrays = {"images": shown.images, "labels": shown.labels, "answers": net.predict(shown.latencies)}
    arrays |= {phase: net.inputs(phase, shown.latencies) for phase in net.phases}
    arrays |= {f"w{n}": net.weights(layer) for n, layer in enumerate(net.engine.nodes)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.npz"
        np.savez(path, **arrays)
        return child("benchmarks.peers", str(path), str(repeats))


def add_spyker(table: list[Row], found: dict[str, Any]) -> None:
    """Put Spyker's times beside ours."""
    for form, times in found.items():
        for row in table:
            if row.network in ("all", "mozafari2018") and isinstance(times.get(row.step), dict):
                row.others[f"Spyker, {form}"] = Timing(**times[row.step])


def scaling(data: Data, repeats: int) -> dict[str, Any]:
    """Wall time of one and of two threads, and whether the results are the same bits."""
    net, found = trained("mozafari2018", data), {}

    def run(step: str, workers: int) -> np.ndarray:
        net.engine.workers = workers
        if step == "encode":
            return S1C1(threads=workers)(data.images)
        return net.predict(data.latencies) if step == "inference" else net.inputs("decision", data.latencies)

    for step in ("encode", "inference", "features"):
        one, two = (
            timed(partial(run, step, n), len(data.images), repeats=repeats, clock=time.perf_counter)
            for n in (1, 2)
        )
        found[step] = {
            "one": asdict(one),
            "two": asdict(two),
            "gain": one.best / two.best,
            "gain_of_medians": one.median / two.median,
            "same": same(run(step, 1), run(step, 2)),
        }
    return found


def epoch(data: Data) -> dict[str, float]:
    """Seconds of an R-STDP epoch over EPOCH_IMAGES images from stored latencies."""
    net, data = trained("mozafari2018", data), data.part(EPOCH_IMAGES)
    net.engine.workers = 1
    inputs = net.inputs("decision", data.latencies)
    wall, busy = time.perf_counter(), time.process_time()
    net.fit_phase("decision", inputs, data.labels, from_inputs=True)
    return {
        "images": len(inputs),
        "wall_seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - busy,
    }


NAMES = {
    "encode": "encoding",
    "conv1": "STDP conv1",
    "conv2": "STDP conv2",
    "conv3": "STDP conv3",
    "decision": "R-STDP",
    "inference": "inference, image to class",
}
OTHERS = ("torch, one by one", "torch, 32 at once", "Spyker, dense", "Spyker, sparse")


def table_of(table: list[Row]) -> str:
    """The README's table: best time, median in brackets."""
    body = [
        [
            f"{row.network}: {NAMES[row.step]}" if row.network != "all" else NAMES[row.step],
            str(row.ours),
            *(f"{row.others[name].best:.3g}" if name in row.others else "" for name in OTHERS),
        ]
        for row in table
    ]
    return markdown(["ms an image, one thread: best (median)", "firstspike", *OTHERS], body)


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer images and repeats; nothing is written")
    quick = parser.parse_args().quick
    images, repeats, slow = (300, 3, 16) if quick else (2000, 9, 64)
    dataset, encoder = mnist(), S1C1(threads=1)
    part = slice(0, TRAINED_ON if quick else EPOCH_IMAGES)
    shown = dataset.train_images[part]
    data = Data(shown, encoder(shown), dataset.train_labels[part].astype(np.int64))
    table = list(rows(data, images, repeats))
    for batch, name in ((1, OTHERS[0]), (32, OTHERS[1])):
        for network, step, time_of in in_torch(data, batch, slow, 3):
            next(r for r in table if (r.network, r.step) == (network, step)).others[name] = time_of
    found = spyker(data, slow, repeats)
    add_spyker(table, {} if "error" in found else found)
    results = {
        "rows": [asdict(row) for row in table],
        "spyker": found,
        "two_threads": scaling(data.part(10_000), 3 if quick else 7),
        "epoch": epoch(data),
    }
    if quick:
        print(table_of(table), results["spyker"], results["two_threads"], results["epoch"], sep="\n")
    else:
        write("zoo", results, table_of(table))


if __name__ == "__main__":
    main()
