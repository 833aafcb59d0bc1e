"""Trials: the runs of one point of a space, one a fold, and what they say together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from firstspike.readouts.protocol import summarise
from firstspike.sweep.records import Record
from firstspike.sweep.space import Point

STATES = ("failed", "unfinished", "abandoned", "done")  # a trial is the worst of its runs


@dataclass(frozen=True)
class Trial:
    """A point, its axes' values by name, and the records of its runs, None where one is still to come."""

    point: Point
    values: Mapping[str, Any]
    records: tuple[Record | None, ...]

    @property
    def status(self) -> str:
        """Done, or the worst that became of a run: failed, unfinished, abandoned."""
        states = {"unfinished" if record is None else record.status for record in self.records}
        return next(state for state in STATES if state in states)

    def accuracy(self, kind: str) -> tuple[float, float] | None:
        """Mean and standard deviation over the runs of "validation" or "test"; None where a run has none."""
        found = [None if record is None else getattr(record, kind) for record in self.records]
        return None if None in found else summarise(found)

    @property
    def score(self) -> float | None:
        """What a search is told: the mean validation accuracy, None if a run failed."""
        validation = self.accuracy("validation")
        return None if self.status == "failed" or validation is None else validation[0]

    @property
    def seconds(self) -> float:
        """What its runs took together."""
        return sum(record.seconds for record in self.records if record is not None)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Distinct points, finished trials first, the best on validation at the top; ties as they were tried."""
    distinct = {trial.point: trial for trial in trials}.values()
    return sorted(distinct, key=lambda trial: (-STATES.index(trial.status), -(trial.score or 0.0)))


def best(trials: Sequence[Trial]) -> Trial | None:
    """The finished trial with the highest mean validation accuracy."""
    first = ranked(trials)[:1]
    return first[0] if first and first[0].status == "done" and first[0].score is not None else None
