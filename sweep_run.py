"""One run of a sweep, wherever a worker carries it out: begun or gone on with, reported, recorded."""

import os
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from experiment import resume
from firstspike import checkpoint
from firstspike.errors import UserError
from firstspike.files import make_folder
from firstspike.report.console import Console
from firstspike.report.records import EpochRecord, load_position
from firstspike.sweep.floor import Floor, Hopeless
from firstspike.sweep.records import Record
from network_trainer import Keeper
from options import computed


@dataclass(frozen=True)
class Run:
    """One run to carry out: its options, what it is known by, its folder, the floor below which it is abandoned."""

    options: Mapping[str, Any]
    key: str
    folder: Path
    floor: Floor | None
    place: Path  # where relative paths begin


def carry_out(run: Run) -> Record:
    """Begin a run or go on with it, and report; whatever stops it becomes its record."""
    began = time.monotonic()
    with suppress(OSError):  # a worker elsewhere may have no such place
        os.chdir(run.place)
    try:
        make_folder(run.folder)
        with open(run.folder / "log.txt", "a", encoding="utf-8", buffering=1) as log:
            figures = {"status": "done", **trained(run, log)}
    except Hopeless as low:
        figures = {"status": "abandoned", "floor": run.floor.limits, **low.figures}
    except Exception as error:
        figures = {"status": "failed", "error": one_line(error)}
    return Record(computed(run.options), seconds=time.monotonic() - began, **figures)


def trained(run: Run, log: TextIO) -> dict[str, Any]:
    """Train and report as train.py does, telling a file; the figures for the record."""
    watchers = [Console(log), *([run.floor] if run.floor else [])]
    try:
        for record in recorded_epochs(run.folder) if run.floor else ():
            run.floor.on_epoch(record)  # it may have been killed when it was just below
        position, answers = resume(run.options, run.folder, partial(print, file=log), *watchers)
    except Exception:
        traceback.print_exc(file=log)
        raise
    kept = [r.validation_accuracy for r in position.records if r.best and r.validation_accuracy is not None]
    metrics = answers.metrics()
    return {
        "epochs": len(position.records),
        "validation": kept[-1] if kept else None,
        "test": metrics.accuracy,
        "silent": metrics.silent / metrics.images,
    }


def recorded_epochs(folder: Path) -> list[EpochRecord]:
    """The epochs that a run's checkpoint knows of."""
    last = Keeper(folder).path("last")
    return load_position(checkpoint.load(last)[1]).records if last.exists() else []


def lost(run: Run, error: Exception) -> Record:
    """The record of a run whose process died."""
    return Record(computed(run.options), "failed", 0.0, error=f"its process died: {one_line(error)}")


def one_line(error: Exception) -> str:
    """What went wrong, in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
