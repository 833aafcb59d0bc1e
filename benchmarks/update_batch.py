"""What summing the changes of N images does to accuracy and speed: mozafari2018 by the command, N = 1, 8, 32, 128.

    python -m benchmarks.update_batch            # results/update_batch.json and .md; about an hour
    python -m benchmarks.update_batch --quick    # a few hundred images; nothing is written

N = 1 is the exact online rule, compiled; the others run in plain torch on one thread.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, markdown, say, write
from tests.conftest import data_folder

BATCHES = (1, 8, 32, 128)
PHASES = ("conv1", "conv2", "decision")
RUNS = {  # data set: its options
    "digits": ("--dataset", "digits", "--epochs", "4", "8", "20"),
    "MNIST, first 4,000": ("--dataset", "mnist", "--first", "4000", "--epochs", "1", "2", "6"),
}
FEW = ("--first", "300", "--epochs", "1", "1", "1")


def run(options: tuple[str, ...], batch: int) -> dict[str, Any]:
    """Train by the command; test accuracy, and images a second of the phases' fastest epochs."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["train.py", "--model", "mozafari2018", *options, "--seed", "0", "--threads", "1"]
        command += ["--device", "cpu", "--update-batch", str(batch), "--run-dir", folder]
        say(f"python {' '.join(command)}")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "FIRSTSPIKE_DATA": str(data_folder() or "data")}
        subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL
        )
        (metrics,) = Path(folder).rglob("metrics.json")
        found = json.loads(metrics.read_text())
        with (metrics.parent / "history.csv").open() as file:
            history = list(csv.DictReader(file))
    speed = {
        phase: max(float(row["images_per_second"]) for row in history if row["phase"] == phase)
        for phase in PHASES
    }
    return {"command": command[:-2], "accuracy": found["accuracy"], "images_per_second": speed}


def table_of(found: dict[str, dict[int, dict[str, Any]]]) -> str:
    """The README's table."""
    body = []
    for dataset, runs in found.items():
        for batch, result in runs.items():
            speeds = [f"{result['images_per_second'][phase]:,.0f}" for phase in PHASES]
            body.append([dataset, batch, f"{result['accuracy']:.2%}", *speeds])
    return markdown(
        ["data", "N", "test accuracy", *(f"{name}, images/s" for name in ("conv1", "conv2", "R-STDP"))], body
    )


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few hundred images; nothing is written")
    quick = parser.parse_args().quick
    found = {
        name: {batch: run(options + FEW if quick else options, batch) for batch in BATCHES}
        for name, options in RUNS.items()
    }
    if quick:
        print(table_of(found))
    else:
        write("update_batch", {"runs": found}, table_of(found))


if __name__ == "__main__":
    main()
