"""How a sweep goes, for people: a line a run, with the time left."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from firstspike.report.text import human_duration
from firstspike.sweep.records import Record
from firstspike.sweep.tables import label

SECONDS_BETWEEN_TABLES = 10.0


class Progress:
    """Counts the runs of a sweep, ``total`` in all; `clock` gives seconds."""

    def __init__(self, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._clock, self._began, self._ended = total, clock, clock(), 0
        self._tabled = self._began

    def line(self, values: Mapping[str, Any], record: Record, done: int) -> str:
        """What to say of a run that ended as one of ``done``, and how long the rest takes if it goes on like this."""
        self._ended += 1
        left = (self._clock() - self._began) / self._ended * (self._total - done)
        accuracies = [("validation", record.validation), ("test", record.test)]
        parts = [
            f"{done:>{len(str(self._total))}}/{self._total}",
            *(f"{name} {label(value)}" for name, value in values.items()),
            *([f"fold {record.settings['fold']}"] if "fold" in record.settings else []),
            *([record.status] if record.status != "done" else []),
            *([record.error] if record.error else []),
            *(f"{kind} {100 * share:.2f} %" for kind, share in accuracies if share is not None),
            human_duration(record.seconds),
            f"left: {human_duration(left)}",
        ]
        return "  ".join(parts)

    def table_is_due(self) -> bool:
        """Whether the last table is some time ago; asking counts as writing one."""
        due = self._clock() - self._tabled >= SECONDS_BETWEEN_TABLES
        self._tabled = self._clock() if due else self._tabled
        return due
