"""Run the benchmarks, each in a process of its own on one thread, and write their results.

    python -m benchmarks.run                  # what takes minutes: make bench
    python -m benchmarks.run zoo growth       # some of them
    python -m benchmarks.run --all            # also those that take an hour
    python -m benchmarks.run --list

A benchmark is a module of this folder with a ``main()``. It writes results/NAME.json and NAME.md itself, or what it
prints becomes results/NAME.txt.
"""

import argparse
import ast
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import RESULTS, ROOT

FOLDER = Path(__file__).parent
LONG = (
    "accuracy",
    "kill_and_resume",
    "memory",
    "neuron_accuracy",
    "robustness",
    "single_spike",
    "starts",
    "update_batch",
)
HELPERS = ("figures", "peers", "run")  # of use with arguments only


def benchmarks() -> list[str]:
    """Names of all modules here that can be run on their own."""
    names = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in HELPERS)
    return [name for name in names if "main" in functions(FOLDER / f"{name}.py")]


def functions(path: Path) -> set[str]:
    """Names of a module's functions, without importing it."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


def run(name: str) -> bool:
    """Run one benchmark; whether it went well."""
    one = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    began = time.time()
    print(f"\n== {name}", flush=True)
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **one}, stdout=subprocess.PIPE, text=True, check=False
    )
    print(done.stdout, f"{name}: {time.time() - began:.0f} s", flush=True)
    own = RESULTS / f"{name}.json"
    if done.returncode == 0 and not (own.exists() and own.stat().st_mtime >= began):
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.txt").write_text(done.stdout, encoding="utf-8")
    return done.returncode == 0


def main() -> int:
    """Run what the command line names; exit status 1 if one failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="benchmarks to run (default: the quick ones)"
    )
    parser.add_argument("--all", action="store_true", help="also those that take long")
    parser.add_argument("--list", action="store_true", help="print the names")
    options = parser.parse_args()
    known = benchmarks()
    if options.list:
        print(*(f"{name}{'  (long)' if name in LONG else ''}" for name in known), sep="\n")
        return 0
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"no benchmark {', '.join(unknown)}: choose from {', '.join(known)}")
    chosen = options.names or [name for name in known if options.all or name not in LONG]
    failed = [name for name in chosen if not run(name)]
    print(f"\nfailed: {', '.join(failed)}" if failed else f"\nresults are in {RESULTS}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
