"""From the command to the first image: start, first learning, sixteen at once without a cache, a whole run.

python -m benchmarks.starts            # results/starts.json and .md; a quarter of an hour
python -m benchmarks.starts --quick    # the second starts alone; nothing is written
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import ROOT, markdown, say, write
from firstspike.data import load
from models import create_model
from s1c1 import S1C1
from tests.conftest import data_folder

TOGETHER, IMAGES = 16, 20
LIST = ("train.py", "--list-models")
FIRST = (
    "train.py",
    "--model",
    "mozafari2018",
    "--dataset",
    "mnist",
    "--first",
    "10",
    "--epochs",
    "1",
    "0",
    "0",
)
WHOLE = (
    "train.py",
    "--model",
    "mozafari2018",
    "--dataset",
    "mnist",
    "--epochs",
    "2",
    "4",
    "10",
    "--seed",
    "0",
)


def start(arguments: Sequence[str], caches: Path) -> subprocess.Popen:
    """A command with its caches in a folder."""
    places = {"NUMBA_CACHE_DIR": caches / "kernels", "FIRSTSPIKE_CACHE": caches / "data"}
    told = {name: str(place) for name, place in places.items()}
    told |= {"FIRSTSPIKE_DATA": str(data_folder() or "data"), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, **told}, stdout=subprocess.PIPE, text=True
    )


def seconds_until(arguments: Sequence[str], word: str, caches: Path) -> float:
    """Wall time from the start of a command to its first line with a word, or to its end without one."""
    began = time.perf_counter()
    with start(arguments, caches) as process:
        found = None
        for line in process.stdout:
            if word and found is None and line.startswith(word):
                found = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit status {process.returncode}")
    return found if found is not None else time.perf_counter() - began


def learn() -> str:
    """Learn a few images in every phase; the digest of all that changed."""
    digits, net = load("digits"), create_model("mozafari2018", window=10)
    latencies, labels = S1C1()(digits.train_images[:IMAGES]), digits.train_labels[:IMAGES]
    for phase in net.phases:
        net.fit_phase(phase, latencies, labels)
    answers = net.predict(latencies)
    arrays = (*net.state_dict().values(), answers)
    return hashlib.blake2b(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def together() -> dict[str, Any]:
    """Sixteen processes that start at once, with empty caches; whether all end well and alike."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        processes = [start(("-m", "benchmarks.starts", "--learn"), Path(folder)) for _ in range(TOGETHER)]
        answers = [process.communicate()[0].strip() for process in processes]
        seconds = time.perf_counter() - began
        again = seconds_until(("-m", "benchmarks.starts", "--learn"), "", Path(folder))
    good = sum(process.returncode == 0 for process in processes)
    return {
        "processes": TOGETHER,
        "succeeded": good,
        "results": len(set(answers)),
        "seconds": seconds,
        "one_more_seconds": again,
    }


def measure(quick: bool) -> dict[str, Any]:
    """All figures, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        caches, runs = Path(folder), ("--run-dir", str(Path(folder) / "runs"))
        cold = {"list_models": seconds_until(LIST, "", caches)}
        cold["first_image"] = seconds_until((*FIRST, *runs), "conv1", caches)
        say(f"first starts: {cold}")
        warm = {
            "list_models": min(seconds_until(LIST, "", caches) for _ in range(5)),
            "first_image": min(seconds_until((*FIRST, *runs), "conv1", caches) for _ in range(3)),
        }
    say(f"second starts: {warm}")
    if quick:
        return {"first": cold, "second": warm}
    with tempfile.TemporaryDirectory() as folder:
        whole = seconds_until((*WHOLE, "--run-dir", folder), "", Path(folder) / "caches")
    return {"first": cold, "second": warm, "together": together(), "whole_run": whole}


def table_of(found: dict[str, Any]) -> str:
    """The README's table."""
    whole, together = found["whole_run"], found["together"]
    body = [
        [
            "`train.py --list-models`",
            f"{found['first']['list_models']:.2f}",
            f"{found['second']['list_models']:.2f}",
        ],
        [
            "first image learnt",
            f"{found['first']['first_image']:.1f}",
            f"{found['second']['first_image']:.1f}",
        ],
        [f"`{' '.join(WHOLE)}`, empty caches, report included", f"{whole:.0f}", ""],
        [
            f"{together['succeeded']} of {together['processes']} processes at once, empty caches,"
            f" {together['results']} result",
            f"{together['seconds']:.0f}",
            f"{together['one_more_seconds']:.1f}",
        ],
    ]
    return markdown(["seconds", "first time", "second time"], body)


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the second starts alone; nothing is written")
    parser.add_argument("--learn", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.learn:
        print(learn())
        return
    found = measure(options.quick)
    if options.quick:
        print(found)
    else:
        write("starts", found, table_of(found))


if __name__ == "__main__":
    main()
