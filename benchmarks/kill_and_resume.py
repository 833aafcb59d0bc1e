"""Kill a run at random moments, resume it, and compare its end with that of a run left alone.

python -m benchmarks.kill_and_resume
python -m benchmarks.kill_and_resume --kills 10 --seed 3 -- --model deepr2024_greedy --dataset digits --epochs 1 1 1 3

What stands behind ``--`` goes to train.py. Every second kill is a Ctrl-C, the others are SIGKILL; each comes after a
random share of the time that the undisturbed run took. The last line says "equal" if the weights of all checkpoints
agree byte for byte, and the history but for its times; the status is 1 if they do not.
"""

import argparse
import csv
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from safetensors.numpy import load_file

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
OPTIONS = [
    *("--model", "mozafari2018", "--dataset", "digits", "--batch-size", "200"),
    *("--epochs", "2", "3", "10", "--patience", "10"),
]
TIMES = ("seconds", "images_per_second")


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(TRAIN), *arguments]


def run_of(folder: Path) -> Path:
    (config,) = folder.rglob("config.yaml")
    return config.parent


def history(run: Path) -> list[dict[str, str]]:
    """Rows without the times; none if the run was killed before it wrote any."""
    if not (run / "history.csv").exists():
        return []
    with open(run / "history.csv", newline="", encoding="utf-8") as file:
        return [
            {name: cell for name, cell in row.items() if name not in TIMES} for row in csv.DictReader(file)
        ]


def weights(run: Path) -> dict[str, dict[str, bytes]]:
    return {
        path.name: {name: array.tobytes() for name, array in load_file(path).items()}
        for path in (run / "checkpoints").iterdir()
    }


def begin(*arguments: str) -> subprocess.Popen:
    """Start the command; it has its run folder when this returns."""
    process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (process.stdout.readline() or "run folder:").startswith("run folder:"):
        pass
    return process


def undisturbed(options: list[str], folder: Path) -> float:
    """Run to the end; seconds from the run folder on."""
    process = begin(*options, "--run-dir", str(folder))
    began = time.monotonic()
    _, err = process.communicate()
    if process.returncode:
        sys.exit(f"the run itself fails: {err}")
    return time.monotonic() - began


def disturb(process: subprocess.Popen, after: float, how: signal.Signals) -> str:
    """Let it run a while and stop it; what happened."""
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(how)
    _, err = process.communicate()
    if "Traceback" in err:
        sys.exit(f"an interrupt left a traceback:\n{err}")
    return {0: "had ended", 130: "interrupted", -signal.SIGKILL: "killed"}.get(
        process.returncode, f"status {process.returncode}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("options", nargs="*", default=OPTIONS)
    given = parser.parse_args()
    moments = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = undisturbed(given.options, folder / "whole")
        whole = run_of(folder / "whole")
        print(f"undisturbed: {len(history(whole))} epochs, {seconds:.1f} s after loading")
        process = begin(*given.options, "--run-dir", str(folder / "killed"))
        run = run_of(folder / "killed")
        for kill in range(given.kills):
            how = signal.SIGINT if kill % 2 else signal.SIGKILL
            after = moments.uniform(0, seconds * 2 / given.kills)
            said = disturb(process, after, how)
            print(
                f"{kill + 1:>3}  {said:<12} after {after:5.2f} s, {len(history(run))} epochs in the history"
            )
            process = begin("--resume", str(run))
        _, err = process.communicate()
        print(f"resumed to the end: status {process.returncode} {err.strip()}")
        same = weights(run) == weights(whole) and history(run) == history(whole)
        verdict = "equal" if same else "DIFFERENT"
        print(f"weights of {len(weights(run))} checkpoints and {len(history(run))} rows: {verdict}")
        sys.exit(not same)


if __name__ == "__main__":
    main()
