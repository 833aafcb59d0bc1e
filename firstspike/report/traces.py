"""Traces of the competition in a readout, epoch by epoch: files in the run, and their figure.

E epochs, P presentations of each, N neurons.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from firstspike.files import atomic_write, make_folder
from firstspike.readouts.competition import Groups
from firstspike.readouts.network import ReadoutNetwork
from firstspike.readouts.traces import EpochTrace
from firstspike.report.callbacks import Callback
from firstspike.report.plots import COLOURS, LINES, new_figure, tidy
from firstspike.report.records import Progress

TRACES = "traces"  # folder and figure of a run
MOST_CLASSES = 10  # that are drawn


class TraceFiles(Callback):
    """Writes what a readout's last epoch left, one file an epoch; a resumed run writes the ones to come."""

    def __init__(self, folder: Path, network: ReadoutNetwork) -> None:
        self.folder, self.network = make_folder(folder), network

    def on_batch(self, progress: Progress) -> None:
        """Write the epoch's file at its end, before the checkpoint says that the epoch is over."""
        if progress.done == progress.total:
            with atomic_write(self.folder / f"epoch_{progress.epoch + 1:04d}.npz") as file:
                np.savez(file, **vars(self.network.traced))


def read_traces(folder: Path) -> list[EpochTrace]:
    """The traces of a run's epochs, in order; none where it was not traced."""
    found = []
    for path in sorted(folder.glob("epoch_*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            found.append(EpochTrace(**{name: arrays[name] for name in arrays.files}))
    return found


def traces_figure(traces: list[EpochTrace], groups: Groups) -> Figure:
    """For each class, above: adaptive thresholds of its neurons over the epochs; below: each neuron's updates.

    Updates as a target of the sample's class, and others. Non-target neurons' thresholds are not regulated.
    """
    updates = sum(trace.updates for trace in traces)
    classes = min(MOST_CLASSES, len(updates) // groups.per_class)
    figure = new_figure(max(3.2, 2.4 * min(classes, 5)), 4.6 * -(-classes // 5) + 0.6)
    cells = figure.subplots(2 * -(-classes // 5), min(classes, 5), sharex="row", sharey=False, squeeze=False)
    for number in range(classes):
        own = slice(number * groups.per_class, (number + 1) * groups.per_class)
        row, column = 2 * (number // 5), number % 5
        _draw_thresholds(cells[row, column], traces, own, groups, f"class {number}")
        _draw_updates(cells[row + 1, column], updates[own])
        if column == 0:
            cells[row, 0].set_ylabel("threshold")
            cells[row + 1, 0].set_ylabel("updates")
    for cell in cells.ravel():
        if not cell.has_data():
            cell.set_axis_off()
    handles, names = cells[0, 0].get_legend_handles_labels()
    bars, kinds = cells[1, 0].get_legend_handles_labels()
    figure.legend(
        handles + bars,
        names + kinds,
        loc="outside lower center",
        ncols=min(7, len(names + kinds)),
        fontsize=8,
        frameon=False,
    )
    return figure


def _draw_thresholds(axes: Axes, traces: list[EpochTrace], own: slice, groups: Groups, title: str) -> None:
    tidy(axes, title, x="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for k in range(own.stop - own.start):
        values = [trace.thresholds[:, own.start + k] for trace in traces]
        places = [epoch + np.arange(1, len(each) + 1) / len(each) for epoch, each in enumerate(values)]
        kind = "non-target" if k < groups.non_target else "target"
        colour, line = COLOURS[k % len(COLOURS)], LINES[k // len(COLOURS) % len(LINES)]
        axes.plot(
            np.concatenate(places),
            np.concatenate(values),
            line,
            color=colour,
            lw=1,
            label=f"neuron {k} ({kind})",
        )


def _draw_updates(axes: Axes, updates: np.ndarray) -> None:
    tidy(axes, x="neuron of the class")
    places = np.arange(len(updates))
    axes.bar(places, updates[:, 0], width=0.7, color="#4D4D4D", label="updates as target")
    axes.bar(places, updates[:, 1], width=0.7, bottom=updates[:, 0], color="#BDBDBD", label="other updates")
    axes.set_xticks(places if len(places) <= 10 else places[:: -(-len(places) // 10)])
