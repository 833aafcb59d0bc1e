"""Peak memory of training mozafari2018 on MNIST and on a set ten times as large, made by repetition.

    python -m benchmarks.memory            # results/memory.json and .md; some minutes
    python -m benchmarks.memory --quick    # a tenth of the images; nothing is written

The larger set is an IDX file of its own, trained with --memory-budget, which maps larger arrays from disk. The resident
size counts pages of mapped files that happen to be in memory; the system can drop those. The process's own pages, which
it cannot, are told apart.
"""

import argparse
import gzip
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import ROOT, markdown, mnist, say, write

BUDGET = 256  # megabytes
TIMES = (1, 10)
EPOCHS = ("1", "1", "1")
OWN, ALL = "RssAnon", "VmRSS"


@dataclass(frozen=True)
class Peak:
    """Largest sizes in megabytes, and how long it took."""

    images: int
    resident: float
    own: float
    seconds: float


def write_idx(path: Path, array: np.ndarray, times: int) -> None:
    """An IDX file (magic number, sizes, bytes) of an array repeated so many times."""
    sizes = (len(array) * times, *array.shape[1:])
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb") as file:
        file.write(bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in sizes))
        for _ in range(times):
            file.write(np.ascontiguousarray(array).data)


def repeated(folder: Path, times: int, images: int) -> None:
    """MNIST's files with the training images repeated, in torchvision's layout."""
    data, raw = mnist(), folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, array, n in (
        ("train-images-idx3-ubyte", data.train_images[:images], times),
        ("train-labels-idx1-ubyte", data.train_labels[:images].astype(np.uint8), times),
        ("t10k-images-idx3-ubyte", data.test_images, 1),
        ("t10k-labels-idx1-ubyte", data.test_labels.astype(np.uint8), 1),
    ):
        write_idx(raw / name, array, n)


def train(folder: Path, images: int, budget: int | None) -> Peak:
    """Train by the command and watch its memory."""
    command = [
        sys.executable,
        "train.py",
        "--model",
        "mozafari2018",
        "--dataset",
        "mnist",
        "--epochs",
        *EPOCHS,
    ]
    command += ["--seed", "0", "--run-dir", str(folder / "runs"), "--data-dir", str(folder)]
    command += [] if budget is None else ["--memory-budget", str(budget)]
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "FIRSTSPIKE_CACHE": str(folder / "cache")},
        stdout=subprocess.DEVNULL,
    )
    peaks = {OWN: 0.0, ALL: 0.0}
    while process.poll() is None:
        for name, size in sizes(process.pid).items():
            peaks[name] = max(peaks[name], size)
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}")
    return Peak(images, peaks[ALL], peaks[OWN], time.perf_counter() - began)


def sizes(process: int) -> dict[str, float]:
    """Resident and own megabytes of a process."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) / 1024 for name in (OWN, ALL) if name in fields}


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the images; nothing is written")
    quick = parser.parse_args().quick
    images, found = 6000 if quick else 60_000, {}
    for times in TIMES:
        for budget in (None, BUDGET) if times == 1 else (BUDGET,):
            with tempfile.TemporaryDirectory() as name:
                repeated(Path(name), times, images)
                peak = train(Path(name), images * times, budget)
            found[f"{times} x, {f'--memory-budget {budget}' if budget else 'no budget given'}"] = peak
            say(f"{times} x, budget {budget}: {peak}")
    body = [
        [name, f"{p.images:,}", f"{p.resident:,.0f}", f"{p.own:,.0f}", f"{p.seconds:.0f}"]
        for name, p in found.items()
    ]
    table = markdown(["data", "images", "peak resident, MB", "of it its own, MB", "seconds"], body)
    if quick:
        print(table)
    else:
        write("memory", {"peaks": {name: asdict(peak) for name, peak in found.items()}}, table)


if __name__ == "__main__":
    main()
