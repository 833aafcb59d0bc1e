"""One run carried out and reported: callbacks, checkpoints, report."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from extractor_trainer import ExtractorTrainer
from firstspike import checkpoint
from firstspike.files import make_folder, remove_leftovers
from firstspike.report.activation import ActivationMaps
from firstspike.report.callbacks import Callback, HistoryFile
from firstspike.report.extractor_run import ExtractorRun
from firstspike.report.readout_run import ReadoutRun
from firstspike.report.records import Sample, load_position
from firstspike.report.run import Outcome, ZooRun
from firstspike.report.tensorboard import TensorBoard
from firstspike.report.timed_run import TimedRun
from firstspike.report.traces import TRACES, TraceFiles
from firstspike.report.writer import Answers, Learnt, write_report
from gradient_trainer import GradientTrainer
from network_trainer import Keeper, NetworkTrainer, Position, tell
from options import computed
from preparation import Experiment, about_encoder, budget, prepare
from readout_trainer import ReadoutTrainer
from s1c1 import S1C1
from utils import write_text

WATCHED, EMBEDDED = 6, 1000  # images whose activity is shown, and images in the projector


def watched(
    options: Mapping[str, Any], experiment: Experiment, folder: Path, epochs: Mapping[str, int]
) -> ZooRun | ReadoutRun | TimedRun:
    """The run as its callbacks see it."""
    dataset, test = experiment.dataset, experiment.parts.test
    first = np.array(
        [int(np.flatnonzero(test.labels == label)[0]) for label in np.unique(test.labels)[:WATCHED]]
    )
    probe = np.arange(min(EMBEDDED, len(test)))
    names = np.array(dataset.class_names)
    if isinstance(experiment.net, ReadoutTrainer):
        seen = [(test.take(rows), names[test.labels[rows]]) for rows in (first, probe)]
        return ReadoutRun(experiment.net.engine, options, folder, epochs, *seen)
    if isinstance(experiment.net, GradientTrainer):
        seen = [(test.take(rows), names[test.labels[rows]]) for rows in (first, probe)]
        return TimedRun(experiment.net.engine, options, folder, epochs, *seen, dataset.class_names)

    def some(rows: np.ndarray) -> Sample:
        images = dataset.test_images[rows]
        pictures = thumbnails(images if dataset.latency_steps is None else test.take(rows))
        return Sample(pictures, test.take(rows), names[test.labels[rows]])

    engine = experiment.net.engine
    if isinstance(experiment.net, ExtractorTrainer):
        shown = [
            (test.take(rows), thumbnails(dataset.test_images[rows]), names[test.labels[rows]])
            for rows in (first, probe)
        ]
        return ExtractorRun(engine, options, folder, epochs, *shown)
    return ZooRun(
        engine,
        options,
        folder,
        epochs,
        some(first),
        some(probe),
        polarities(engine.shape[0], experiment.encoder),
    )


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Images uint8 (N, H, W) or (N, C, H, W) as pictures (N, H, W[, 3]); what has no three colours is shown in grey."""
    if images.ndim == 3:
        return images
    if images.shape[1] == 3:
        return np.moveaxis(images, 1, -1)
    return (255 * (images < images.max()).mean(axis=1)).astype(np.uint8)


def polarities(channels: int, encoder: S1C1 | None) -> tuple[list[list[int]], list[list[int]]]:
    """On and off channels of each colour; channels alternate between both, filter by filter, plane after plane.

    Filters that take absolute responses have no off channels; events, which need no encoder, have no colours.
    """
    if encoder is not None and encoder.bank.absolute:
        return [list(range(channels))], [[]]
    planes = encoder.bank.planes if encoder else 1
    kinds = [
        [list(range(sign * planes + plane, channels, 2 * planes)) for plane in range(planes)]
        for sign in (0, 1)
    ]
    return kinds[0], kinds[1]


def resume(
    options: Mapping[str, Any], folder: Path, say: Callable[[str], None], *watchers: Callback
) -> tuple[Position, Answers]:
    """Go on where a run was left; a finished one reports again."""
    experiment = prepare(options, say)
    for place in (folder, Keeper(folder).path("last").parent):  # of a run that was killed
        remove_leftovers(place)
    position = left_at(experiment.net, folder, options)
    return position, train(options, experiment, folder, position, say, *watchers)


def follow(options: Mapping[str, Any], folder: Path | None) -> None:
    """What the further processes of torchrun do: learn along, from where the run in a folder stands; write nothing."""
    experiment = prepare(options, lambda line: None)
    position = Position() if folder is None else left_at(experiment.net, folder, options)
    experiment.net.train(
        experiment.parts.train,
        experiment.parts.validation,
        epochs=experiment.net.epochs(options["epochs"]),
        patience=patience_of(experiment.net, options),
        position=position,
    )


def left_at(net: NetworkTrainer, folder: Path, options: Mapping[str, Any]) -> Position:
    """Where the run in a folder stands, the network as it was there; the beginning without a checkpoint."""
    last = Keeper(folder).path("last")
    return take_over(net, last, computed(options)) if last.exists() else Position()


def patience_of(net: NetworkTrainer, options: Mapping[str, Any]) -> int:
    """Epochs without a better one till the end: as asked, or the network's."""
    return net.patience if options["patience"] is None else options["patience"]


def take_over(net: NetworkTrainer, place: Path, settings: Mapping[str, Any]) -> Position:
    """Load a checkpoint of a run with the same settings; returns the position that it holds."""
    state, meta = checkpoint.load(place)
    checkpoint.check(meta, model=net.name, settings=settings)
    net.load_state_dict(state)
    return load_position(meta)


def train(
    options: Mapping[str, Any],
    experiment: Experiment,
    folder: Path,
    position: Position,
    say: Callable[[str], None],
    *watchers: Callback,
) -> Answers:
    """Train in a run folder from a position on, which moves to the end, and report; the answers to the test images."""
    net, settings = experiment.net, computed(options)
    epochs = net.epochs(options["epochs"])
    keeper = Keeper(folder, settings, about_encoder(experiment.encoder), budget(options))
    write_text(folder / "config.yaml", yaml.safe_dump({**settings, **net.pinned()}, sort_keys=False))
    run = watched(options, experiment, folder, epochs)
    callbacks = [*watchers, HistoryFile(folder / "history.csv", position.records)]
    if options["tensorboard"]:
        callbacks.append(TensorBoard(folder / "tensorboard", done=len(position.records)))
    if options["activation_maps"]:
        callbacks.append(ActivationMaps(folder / "activation_maps"))
    if options.get("traces"):
        callbacks.append(TraceFiles(folder / TRACES, net.engine))
    tell(callbacks, "on_run_start", run)
    net.train(
        experiment.parts.train,
        experiment.parts.validation,
        epochs=epochs,
        patience=patience_of(net, options),
        callbacks=callbacks,
        keeper=keeper,
        position=position,
    )
    answers = report(options, experiment, run, folder, position, say)
    tell(callbacks, "on_run_end", Outcome(answers))
    return answers


def report(
    options: Mapping[str, Any],
    experiment: Experiment,
    run: ZooRun | ReadoutRun | TimedRun,
    folder: Path,
    position: Position,
    say: Callable[[str], None],
) -> Answers:
    """Show the network the test images, write what it says, and say how well it does."""
    net, test, dataset = experiment.net, experiment.parts.test, experiment.dataset
    every = slice(None)
    answers = Answers(
        test.labels, net.predict(test.take(every)), net.scores(test.take(every)), dataset.class_names
    )
    features, per_row = run.learnt()
    about = {
        "model": net.name,
        "dataset": dataset.name,
        "seed": options["seed"],
        "best_epoch": position.best_epoch,
    }
    further = net.measured(test, position.records)
    learnt = Learnt(position.records, features, per_row, run.drawings())
    metrics = write_report(folder, answers, learnt, about={**about, **further})
    say(
        f"test accuracy {metrics.accuracy:.2%}, silent {metrics.silent} of {metrics.images}; report in {folder}"
    )
    for line in net.told(further):
        say(line)
    return answers


def evaluate(options: Mapping[str, Any], run: Path, say: Callable[[str], None]) -> None:
    """Report on the best network of a run, without training."""
    experiment, keeper, settings = prepare(options, say), Keeper(run), computed(options)
    position = take_over(experiment.net, keeper.path("last"), settings)  # knows the whole history
    if position.best_epoch >= 0:
        take_over(experiment.net, keeper.path("best"), settings)
    folder = make_folder(options["run_dir"] or run)
    watch = watched(options, experiment, folder, experiment.net.epochs(options["epochs"]))
    report(options, experiment, watch, folder, position, say)
