"""The files of a report, each written whole: figures of the answers, history, what the layers learnt."""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from firstspike.files import write_json, write_text
from firstspike.report.metrics import Metrics, evaluate, silenced
from firstspike.report.records import EpochRecord, flat_rows

if TYPE_CHECKING:  # matplotlib takes a while to import
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Answers:
    """What a network said about N images: decisions (N,), -1 = silent, scores (N, K); true labels (N,).

    `index` (N,) numbers the images as in their data set; absent, they count from 0.
    """

    labels: np.ndarray
    decisions: np.ndarray
    scores: np.ndarray
    class_names: Sequence[str]
    index: np.ndarray | None = None

    def metrics(self) -> Metrics:
        """The figures of these answers."""
        classes = len(self.class_names)
        return evaluate(
            self.labels, self.decisions, self.scores, classes=classes, class_names=self.class_names
        )


@dataclass(frozen=True)
class Learnt:
    """What training left to show: its history, and signed features (M, h, w[, 3]) of each layer.

    `per_row` sets how many pictures of a layer stand in a row (20 shows a decision layer class by class). `drawings`
    are further figures, by the names of their files.
    """

    records: Sequence[EpochRecord] = ()
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    per_row: Mapping[str, int] = field(default_factory=dict)
    drawings: Mapping[str, "Figure"] = field(default_factory=dict)


def write_report(
    folder: str | os.PathLike[str], answers: Answers, learnt: Learnt, *, about: Mapping[str, Any]
) -> Metrics:
    """Write metrics.json, predictions.csv, the figures, and the history if there is one; return the metrics.

    `about` (model, data set, seed, ...) stands at the head of metrics.json.
    """
    from firstspike.report import plots

    folder, metrics = Path(folder), answers.metrics()
    write_json(folder / "metrics.json", {**about, **metrics.as_dict()})
    write_predictions(folder / "predictions.csv", answers)
    plots.save_figure(folder / "confusion_matrix.png", plots.confusion_matrix(metrics))
    curves = plots.roc(answers.labels, answers.decisions, answers.scores, metrics)
    plots.save_figure(folder / "roc.png", curves)
    if learnt.records:
        write_history(folder / "history.csv", learnt.records)
        plots.save_figure(folder / "history.png", plots.history(learnt.records))
    if learnt.features:
        plots.save_figure(folder / "features.png", plots.features(learnt.features, per_row=learnt.per_row))
    for name, figure in learnt.drawings.items():
        plots.save_figure(folder / f"{name}.png", figure)
    return metrics


def write_history(path: str | os.PathLike[str], records: Iterable[EpochRecord]) -> None:
    """Write one line an epoch; what a phase does not have stays empty."""
    columns, rows = flat_rows(records)
    write_table(path, columns, ([row.get(column, "") for column in columns] for row in rows))


def write_predictions(path: str | os.PathLike[str], answers: Answers) -> None:
    """Write one line an image: number, label, decision (-1 = silent), whether it is right, top score."""
    count = len(answers.labels)
    index = np.arange(count) if answers.index is None else answers.index
    right = (answers.decisions == answers.labels).astype(int)
    top = silenced(answers.scores, answers.decisions).max(axis=1)
    columns = (index, answers.labels, answers.decisions, right, np.round(top, 6))
    rows = zip(*(np.asarray(column).tolist() for column in columns), strict=True)
    write_table(path, ["index", "label", "decision", "correct", "score"], rows)


def write_table(path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    write_text(path, text.getvalue())
