"""How the tests type the command: in this process, or in one of its own that can be killed."""

import csv
import os
import subprocess
import sys
from pathlib import Path

from safetensors.numpy import load_file

import train

TRAIN = Path(train.__file__).resolve()
TINY = [
    *("--model", "mozafari2018", "--dataset", "digits", "--first", "80", "--batch-size", "20"),
    *("--conv1-maps", "8", "--conv2-maps", "12", "--epochs", "1", "1", "2", "--threads", "1"),
]
REPORT = ("metrics.json", "predictions.csv", "confusion_matrix.png", "features.png", "config.yaml")
TIMES = ("seconds", "images_per_second")


def typed(*arguments):
    """The exit status of the command in this process."""
    return train.main([str(argument) for argument in arguments])


def start(*arguments, cwd, **options):
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(TRAIN), *map(str, arguments)],
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


def finish(*arguments, cwd, **options):
    """Exit status, output and errors of the command in a process of its own."""
    process = start(*arguments, cwd=cwd, **options)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def the_run(folder):
    """The only run below a folder."""
    (config,) = Path(folder).rglob("config.yaml")
    return config.parent


def tree(folder):
    """Every file and folder below a folder with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(Path(folder).rglob("*"))
    }


def history(run):
    """Rows of a run's history without the times."""
    with open(run / "history.csv", newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def same_run(run, other, report=REPORT):
    """Equal but for the times."""
    assert history(run) == history(other)
    assert {path.name for path in run.iterdir()} == {path.name for path in other.iterdir()}
    for name in report:
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    for path in (other / "checkpoints").iterdir():
        one, two = load_file(run / "checkpoints" / path.name), load_file(path)
        assert {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in two.items()}, path.name
