"""Progress for people: bars on a terminal, a line now and then elsewhere, and the time left."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from firstspike.report.callbacks import Callback, Result, Run
from firstspike.report.records import EpochRecord, Progress
from firstspike.report.text import human_duration

_SECONDS_BETWEEN_LINES = 10.0


def time_left(progress: Progress, plan: Mapping[str, int]) -> tuple[float, float]:
    """Seconds left of the phase and of the run, if all epochs to come take as long an image as this one."""
    epoch = progress.seconds * progress.total / max(progress.done, 1)
    phase = epoch * (progress.epochs - progress.epoch) - progress.seconds
    later = list(plan).index(progress.phase) + 1
    return max(phase, 0.0), max(phase, 0.0) + epoch * sum(list(plan.values())[later:])


class Console(Callback):
    """Tells a stream how the run goes; `clock` gives seconds."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._terminal = stream.isatty()
        self._bar: Any = None

    def on_run_start(self, run: Run) -> None:
        """Name the run and its layers."""
        self._plan, self._one_pace = run.plan, run.one_pace
        self._begun, self._told = self._clock(), self._clock()
        self._write(*table_lines(run.layer_table), f"run folder: {run.folder}")

    def on_phase_start(self, phase: str, epochs: int) -> None:
        """Remember the number of epochs."""
        self._epochs = epochs

    def on_batch(self, progress: Progress) -> None:
        """Move the bar, or write a line if the last one is some time ago."""
        if self._terminal:
            self._move_bar(progress)
        elif self._clock() - self._told >= _SECONDS_BETWEEN_LINES and progress.done < progress.total:
            share = 100 * progress.done / progress.total
            heading = f"{_heading(progress, progress.epochs)}  {share:3.0f} %"
            self._tell(f"{heading}{_tally(progress)}  {self._left(progress)}")

    def on_epoch(self, record: EpochRecord) -> None:
        """Replace the bar by a line with the epoch's figures."""
        self._close_bar()
        done = Progress(
            record.phase, record.epoch, self._epochs, record.images, record.images, record.seconds
        )
        self._tell(f"{_heading(record, self._epochs)}  {_figures(record)}  {self._left(done)}")

    def on_run_end(self, result: Result) -> None:
        """Say how long it took."""
        self._close_bar()
        self._write(f"trained in {human_duration(self._clock() - self._begun)}")

    def _left(self, progress: Progress) -> str:
        phase, run = map(human_duration, time_left(progress, self._plan))
        if self._one_pace:
            return f"left: {phase}" if phase == run else f"left: {phase}, whole run {run}"
        later = list(self._plan.items())[list(self._plan).index(progress.phase) + 1 :]
        return ", ".join([f"left: {phase}", *(f"then {name} {epochs}" for name, epochs in later if epochs)])

    def _move_bar(self, progress: Progress) -> None:
        if self._bar is None:
            from tqdm import tqdm

            name = _heading(progress, progress.epochs)
            self._bar = tqdm(
                total=progress.total,
                desc=name,
                file=self._stream,
                leave=False,
                unit=" images",
                dynamic_ncols=True,
            )
        self._bar.set_postfix_str(f"{self._left(progress)}{_tally(progress)}", refresh=False)
        self._bar.update(progress.done - self._bar.n)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _tell(self, line: str) -> None:
        self._told = self._clock()
        self._write(line)

    def _write(self, *lines: str) -> None:
        self._stream.writelines(f"{line}\n" for line in lines)
        self._stream.flush()


def table_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows of equal keys as aligned lines below a heading."""
    if not rows:
        return []
    cells = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _heading(event: Progress | EpochRecord, epochs: int) -> str:
    return f"{event.phase:<9} {event.epoch + 1:>{len(str(epochs))}}/{epochs}"


def _tally(progress: Progress) -> str:
    """The share of right answers so far, where there are answers."""
    if progress.right == progress.silent == 0:
        return ""
    return f"  right {100 * progress.right / progress.done:.1f} %"


def _figures(record: EpochRecord) -> str:
    figures = (
        ("accuracy", record.accuracy), ("silent", record.silent), ("validation", record.validation_accuracy)
    )  # fmt: skip
    shares = [f"{name} {100 * value:.2f} %" for name, value in figures if value is not None]
    if record.accuracy is None:
        shares += [
            f"w(1-w) {value:.4f}" for layer, value in record.convergence.items() if layer == record.phase
        ]
    if "spikes" in record.figures:
        shares += [f"loss {record.loss:.4f}", f"spikes a sample {record.figures['spikes']:,.1f}"]
    speed = f"{human_duration(record.seconds)}, {record.images_per_second:,.0f} images/s"
    return "  ".join([*shares, *(["best"] if record.best else []), speed])
