"""Giving up early: a run below an accuracy floor is abandoned."""

from collections.abc import Sequence
from dataclasses import dataclass

from firstspike.report.callbacks import Callback
from firstspike.report.records import EpochRecord


@dataclass(frozen=True)
class Floor(Callback):
    """Ends a run once an accuracy is below ``share`` behind its first ``grace`` labelled epochs.

    Goupy et al. (NeurIPS 2024) look at training and validation accuracy from the fourth epoch on.
    """

    share: float
    grace: int = 3

    def on_epoch(self, record: EpochRecord) -> None:
        """Look at the accuracies of an epoch; phases without labels have none."""
        if is_hopeless(record.epoch, (record.accuracy, record.validation_accuracy), self):
            raise Hopeless(record)

    @property
    def limits(self) -> tuple[float, int]:
        """What a record says of it."""
        return self.share, self.grace


class Hopeless(Exception):
    """A run is below its floor after an epoch."""

    def __init__(self, record: EpochRecord) -> None:
        super().__init__(f"below the floor after {record.epoch + 1} epochs of {record.phase}")
        self.figures = {"epochs": record.epoch + 1, "validation": record.validation_accuracy}


def is_hopeless(epoch: int, accuracies: Sequence[float | None], floor: Floor) -> bool:
    """Whether an epoch (from 0) is behind the first ones and an accuracy, where there is one, below the floor."""
    return epoch >= floor.grace and any(a is not None and a < floor.share for a in accuracies)
