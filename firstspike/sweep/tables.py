"""The tables of a sweep: a line a trial, best first (CSV and Markdown), and a line a run (CSV)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firstspike.files import write_text
from firstspike.report.text import human_duration
from firstspike.report.writer import write_table
from firstspike.sweep.trials import Trial, best, ranked

Row = list[Any]


def label(value: Any) -> str:
    """A value as people write it: 2 4 10 for a list, 0.001, true."""
    if isinstance(value, list | tuple):
        return " ".join(map(label, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else "default" if value is None else str(value)


def percent(accuracy: tuple[float, float] | None, runs: int) -> str:
    """Mean ± standard deviation in per cent, the mean alone where there is one run."""
    if accuracy is None:
        return "–"
    mean, deviation = (100 * value for value in accuracy)
    return f"{mean:.2f}" if runs == 1 else f"{mean:.2f} ± {deviation:.2f}"


def trial_rows(axes: Sequence[str], trials: Sequence[Trial]) -> tuple[Row, list[Row]]:
    """Columns and a row a trial, best first; accuracies are fractions, empty where there is none."""
    columns = [*axes, "status", "runs", "validation", "validation_sd", "test", "test_sd", "seconds"]
    rows = []
    for trial in ranked(trials):
        accuracies = [trial.accuracy(kind) or ("", "") for kind in ("validation", "test")]
        runs = len(trial.records) - trial.records.count(None)
        values = [label(trial.values[name]) for name in axes]
        rows.append([*values, trial.status, runs, *accuracies[0], *accuracies[1], round(trial.seconds, 1)])
    return columns, rows


def run_rows(axes: Sequence[str], trials: Sequence[Trial]) -> tuple[Row, list[Row]]:
    """Columns and a row a run; ``run`` names its folder."""
    settings = [name for name in ("fold", "seed") if name not in axes]
    figures = ["status", "epochs", "validation", "test", "silent", "seconds", "error", "key"]
    rows = []
    for trial in ranked(trials):
        values = [label(trial.values[name]) for name in axes]
        for record in filter(None, trial.records):
            found = [
                *(record.settings.get(name) for name in settings),
                *(getattr(record, name) for name in figures),
            ]
            rows.append(values + ["" if value is None else value for value in found])
    return [*axes, *settings, *figures[:-1], "run"], rows


def markdown(axes: Sequence[str], trials: Sequence[Trial]) -> str:
    """The page of a sweep: the best trial, a table with the best one first, failures, plots."""
    columns = [*axes, "validation, %", "test, %", "status", "time"]
    rows = [
        [
            *(label(trial.values[name]) for name in axes),
            percent(trial.accuracy("validation"), len(trial.records)),
            percent(trial.accuracy("test"), len(trial.records)),
            trial.status,
            human_duration(trial.seconds),
        ]
        for trial in ranked(trials)
    ]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in [columns, *rows]]
    table = "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])
    pictures = ["![every trial](parallel.png)", "![each axis](axes.png)"] if axes else []
    return "\n\n".join([summary(axes, trials), table, *pictures]) + "\n"


def summary(axes: Sequence[str], trials: Sequence[Trial]) -> str:
    """The best trial in a line, and a line for each reason why runs failed."""
    chosen = best(trials)
    if chosen is None:
        line = "no trial is done with an accuracy on held-out images: none is the best"
    else:
        settings = ", ".join(f"{name} {label(chosen.values[name])}" for name in axes) or "these settings"
        kinds = ("validation", "test")
        figures = [f"{kind} {percent(chosen.accuracy(kind), len(chosen.records))} %" for kind in kinds]
        line = f"best on validation: {settings}: {', '.join(figures)}"
    return "\n".join([line, *failures(trials)])


def failures(trials: Sequence[Trial]) -> list[str]:
    """A line for each reason why runs failed, with their number."""
    records = [record for trial in trials for record in trial.records if record is not None]
    errors = [record.error for record in records if record.status == "failed"]
    return [
        f"failed, {errors.count(error)} of {len(records)} runs: {error}" for error in dict.fromkeys(errors)
    ]


def write_tables(folder: Path, axes: Sequence[str], trials: Sequence[Trial]) -> None:
    """Write results.csv and results.md, a line a trial, and runs.csv, a line a run."""
    write_table(folder / "results.csv", *trial_rows(axes, trials))
    write_table(folder / "runs.csv", *run_rows(axes, trials))
    write_text(folder / "results.md", markdown(axes, trials))
