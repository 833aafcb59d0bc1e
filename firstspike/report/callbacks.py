"""What watches a run: a callback gets the trainer's events in order and changes nothing in the run.

on_run_start; for each phase on_phase_start, for each epoch on_batch ... on_epoch, on_phase_end; on_run_end.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from firstspike.report.records import Embedding, EpochRecord, Progress, Sample
from firstspike.report.writer import Answers, write_history


class Network(Protocol):
    """What callbacks may ask of a network; `layers` names the learning layers from the input upwards."""

    layers: Sequence[str]

    def weights(self, layer: str) -> np.ndarray:
        """Weights float32 (maps, in, k, k)."""

    def rates(self, layer: str) -> Mapping[str, float]:
        """The learning rates in force."""


class Run(Protocol):
    """What callbacks may ask of a run, at any time between on_run_start and on_run_end.

    `plan`: epochs of each phase, in order. `one_pace`: whether an image costs about the same in every phase.
    `layer_table`: one dict a layer, the same keys in each.
    """

    network: Network
    settings: Mapping[str, Any]
    folder: Path
    plan: Mapping[str, int]
    one_pace: bool
    layer_table: Sequence[Mapping[str, Any]]
    sample: Sample

    def activity(self, layer: str) -> np.ndarray:
        """Latencies uint8 (n, maps, H, W) of the sample in a layer, 255 = never fired."""

    def features(self, layer: str) -> np.ndarray:
        """What a layer learnt, drawn back into the input: signed (maps, h, w[, 3])."""

    def embedding(self) -> Embedding:
        """What the last hidden layer makes of some images."""


class Result(Protocol):
    """How a run ended: what the best network says about the held-out images (None if there are none)."""

    answers: Answers | None


class Callback:
    """Does nothing on any event; subclasses override what they need."""

    def on_run_start(self, run: Run) -> None:
        """The run is set up; a resumed run begins with this, too."""

    def on_phase_start(self, phase: str, epochs: int) -> None:
        """A phase of so many epochs begins or is resumed."""

    def on_batch(self, progress: Progress) -> None:
        """Some more images of an epoch are done."""

    def on_epoch(self, record: EpochRecord) -> None:
        """An epoch is done."""

    def on_phase_end(self, phase: str) -> None:
        """A phase is done."""

    def on_run_end(self, result: Result) -> None:
        """All phases are done."""


class HistoryFile(Callback):
    """Keeps a CSV file with one line an epoch; a resumed run hands it the records of the epochs before."""

    def __init__(self, path: str | os.PathLike[str], known: Iterable[EpochRecord] = ()) -> None:
        self.path = path
        self._records = {(record.phase, record.epoch): record for record in known}

    def on_run_start(self, run: Run) -> None:
        """Bring the file in line with what the checkpoint knows."""
        write_history(self.path, self._records.values())

    def on_epoch(self, record: EpochRecord) -> None:
        """Write the file anew with one line more."""
        self._records[record.phase, record.epoch] = record
        write_history(self.path, self._records.values())
