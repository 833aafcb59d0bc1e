"""What all benchmarks share: the machine, the data, timing, results as JSON and as a Markdown table."""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import firstspike
from firstspike.data import Dataset, load
from firstspike.files import write_json, write_text
from tests.conftest import data_folder

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "numba", "torch", "spyker")


@dataclass(frozen=True)
class Timing:
    """Milliseconds an image: the best of the repeats and their median."""

    best: float
    median: float

    def __str__(self) -> str:
        return f"{self.best:.3f} ({self.median:.3f})"


def timed(
    run: Callable[[], object],
    images: int,
    *,
    repeats: int = 7,
    prepare: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.process_time,
) -> Timing:
    """Time a call that handles so many images; ``prepare`` runs before each repeat and is not timed.

    Processor time of all threads unless another clock is given, so that other work on the machine matters less.
    """
    prepare()
    run()  # compiled, and in the caches
    spent = []
    for _ in range(repeats):
        prepare()
        began = clock()
        run()
        spent.append((clock() - began) / images * 1e3)
    return Timing(min(spent), statistics.median(spent))


def mnist() -> Dataset:
    """MNIST: from $FIRSTSPIKE_DATA or beside the repository, else downloaded to data/."""
    return load("mnist", data_folder())


def threads() -> int:
    """Threads that numba and torch were told to use; the number of processors where they were told nothing."""
    told = os.environ.get("OMP_NUM_THREADS") or os.environ.get("NUMBA_NUM_THREADS")
    return int(told) if told else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """Processor, memory, versions and date."""
    versions = {package: version(package) for package in PACKAGES}
    return {
        "processor": processor(),
        "processors": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"firstspike": firstspike.__version__, **{k: v for k, v in versions.items() if v}},
        "threads": threads(),
        "date": date.today().isoformat(),
    }


def version(package: str) -> str | None:
    """Installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """Name of the processor, and its widest vector instructions where the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    vectors = [name for name in ("avx2", "avx512f") if name in fields.get("flags", "").split()]
    return " ".join([fields.get("model name", platform.processor()), *vectors[-1:]])


def write(name: str, results: dict[str, Any], table: str) -> None:
    """results/NAME.json with the machine, and the table as results/NAME.md; both are printed."""
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{name}.json", {"machine": machine(), **results})
    write_text(RESULTS / f"{name}.md", table)
    print(table)


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column holds words, the others numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def say(text: str) -> None:
    """A line of progress, at once."""
    print(text, file=sys.stderr, flush=True)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays agree bit for bit."""
    return one.dtype == other.dtype and np.array_equal(one, other)


def child(module: str, *arguments: str, limit: float | None = None) -> dict[str, Any]:
    """Run a benchmark module in a process of its own on one thread; the JSON on its last line."""
    import subprocess

    one = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, **one},
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"error": f"{module}: {reason}"}
    return json.loads(done.stdout.splitlines()[-1])
