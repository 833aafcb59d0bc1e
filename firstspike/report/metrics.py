"""What a network's answers are worth: silence (-1) counts as a wrong answer in every figure.

N images, K classes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from firstspike.errors import UserError

SILENT = -1


@dataclass(frozen=True)
class ClassMetrics:
    """One class against the rest; `roc_auc` is None where it has no image or there is no other class."""

    name: str
    images: int
    right: int
    silent: int
    precision: float
    recall: float
    f1: float
    roc_auc: float | None


@dataclass(frozen=True)
class Metrics:
    """All figures of an evaluation, without NaN.

    Macro averages run over the classes that have an image or an answer, `roc_auc` over those where it is
    defined (None if there are none). `confusion` is K x (K + 1): true classes in rows, silence last.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    roc_auc: float | None
    images: int
    right: int
    wrong: int
    silent: int
    classes: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers for JSON."""
        return asdict(self)


def evaluate(
    labels: np.ndarray,
    decisions: np.ndarray,
    scores: np.ndarray,
    *,
    classes: int,
    class_names: Sequence[str] | None = None,
) -> Metrics:
    """Compare labels (N,) with decisions (N,), -1 = silent, and scores (N, K), higher = nearer to the class.

    Scores of silent images count as 0. UserError if shapes or values do not fit.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    labels, decisions, scores = _checked(labels, decisions, scores, classes)
    names = [str(k) for k in range(classes)] if class_names is None else list(class_names)
    if len(names) != classes:
        raise UserError(f"{len(names)} class names for {classes} classes: give one name for each class")
    answers = np.where(decisions == SILENT, classes, decisions)
    confusion = confusion_matrix(labels, answers, labels=range(classes + 1))[:classes]
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, answers, labels=range(classes), zero_division=0.0
    )
    aucs = _one_vs_rest_aucs(labels, silenced(scores, decisions))
    met = (confusion.sum(axis=1) + confusion[:, :classes].sum(axis=0)) > 0
    defined = [auc for auc in aucs if auc is not None]
    right, silent = int(np.trace(confusion)), int(confusion[:, classes].sum())
    rows = zip(names, confusion.sum(axis=1), confusion.diagonal(), confusion[:, classes], strict=True)
    return Metrics(
        accuracy=right / len(labels),
        precision=_mean(precision[met]),
        recall=_mean(recall[met]),
        f1=_mean(f1[met]),
        roc_auc=_mean(defined) if defined else None,
        images=len(labels),
        right=right,
        wrong=len(labels) - right - silent,
        silent=silent,
        classes=tuple(
            ClassMetrics(name, int(n), int(hits), int(mute), float(p), float(r), float(f), auc)
            for (name, n, hits, mute), p, r, f, auc in zip(rows, precision, recall, f1, aucs, strict=True)
        ),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
    )


def silenced(scores: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    """Scores (N, K) with zeros where the network gave no answer."""
    return np.where((decisions == SILENT)[:, None], 0.0, scores)


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def _one_vs_rest_aucs(labels: np.ndarray, scores: np.ndarray) -> list[float | None]:
    """Area under each class's ROC curve; None where all or no images are of the class."""
    from sklearn.metrics import roc_auc_score

    present = set(labels.tolist())
    return [
        float(roc_auc_score(labels == k, scores[:, k])) if k in present and len(present) > 1 else None
        for k in range(scores.shape[1])
    ]


def _checked(
    labels: np.ndarray, decisions: np.ndarray, scores: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels, decisions = np.asarray(labels), np.asarray(decisions)
    scores = np.asarray(scores, dtype=np.float64)
    n = len(labels)
    if n == 0:
        raise UserError("no images to evaluate: give at least one")
    if labels.shape != (n,) or decisions.shape != (n,) or scores.shape != (n, classes):
        raise UserError(
            f"labels {labels.shape}, decisions {decisions.shape} and scores {scores.shape} do not fit: "
            f"give (N,), (N,) and (N, {classes})"
        )
    for name, values, lowest in (("labels", labels, 0), ("decisions", decisions, SILENT)):
        if not np.issubdtype(values.dtype, np.integer) or values.min() < lowest or values.max() >= classes:
            found = f"{name} from {values.min()} to {values.max()}"
            raise UserError(f"{found}: give whole numbers from {lowest} to {classes - 1}")
    if not np.isfinite(scores).all():
        raise UserError("scores hold NaN or infinity: give finite numbers")
    return labels.astype(np.int64), decisions.astype(np.int64), scores
