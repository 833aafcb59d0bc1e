"""One run made ready, carried out and reported: data, encoder, network, callbacks, checkpoints, report."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from extractor_trainer import ExtractorTrainer, rebuilt
from firstspike import checkpoint
from firstspike.data import DataMissing, Dataset, load
from firstspike.data.samples import Parts, Samples, Selection, chosen_rows, encoded
from firstspike.data.timed import TimedSet
from firstspike.errors import UserError
from firstspike.files import make_folder, remove_leftovers
from firstspike.layers import RSTDP
from firstspike.readouts.extractors import Extractor
from firstspike.readouts.sources import FeatureSet, Place, planes
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
from firstspike.threads import available
from gradient_trainer import GradientTrainer, find_samples
from models import create_model, get_model
from network_trainer import Keeper, NetworkTrainer, Position, tell
from options import computed
from readout_trainer import ReadoutTrainer, find_features
from s1c1 import S1C1
from utils import Launched, choose_device, human_duration, use_threads, write_text

WATCHED, EMBEDDED = 6, 1000  # images whose activity is shown, and images in the projector


@dataclass(frozen=True)
class Experiment:
    """One run made ready: data, encoder (None for data that are latencies or features already), network."""

    dataset: Dataset | FeatureSet
    encoder: S1C1 | None
    parts: Parts
    net: NetworkTrainer


def prepare(options: Mapping[str, Any], say: Callable[[str], None]) -> Experiment:
    """Load and encode the data, make the network."""
    model = chosen_model(options)
    if issubclass(model, GradientTrainer):
        return prepare_in_time(options, say)
    if Launched.here().count > 1:
        raise UserError(f"torchrun: {model.name} learns in one process: start train.py by itself")
    if issubclass(model, ReadoutTrainer):
        return prepare_readout(options, say)
    if issubclass(model, ExtractorTrainer):
        return prepare_extractor(options, say)
    dataset = find_dataset(options, say)
    threads = options["threads"] or available()
    encoder = None
    if dataset.latency_steps is None:
        encoder = make_encoder(model.filters, dataset.channels, threads)
        encoder.output_size(*dataset.image_size)
    began = time.monotonic()
    parts = encoded(dataset, encoder, selected(options), cache=cache_folder(), memory_budget=budget(options))
    counts = f"{len(parts.train)} training, {len(parts.validation)} validation, {len(parts.test)} test images"
    say(
        f"data: {dataset.name}: {counts}{left_out(dataset)}; ready after {human_duration(time.monotonic() - began)}"
    )
    device = choose_device(options["device"], batched=model.fills_a_gpu(options["update_batch"]))
    say(str(device))
    steps = encoder.steps if encoder else dataset.latency_steps
    net = make_network({**options, "device": device.name}, dataset, parts, steps)
    net.engine.workers = threads
    return Experiment(dataset, encoder, parts, net)


def chosen_model(options: Mapping[str, Any]) -> type[NetworkTrainer]:
    """The class of the network asked for, read out as asked for."""
    return get_model(options["model"], options["readout"], options["readout_layer"])


def prepare_readout(options: Mapping[str, Any], say: Callable[[str], None]) -> Experiment:
    """The same for a readout: features take the place of encoded images."""
    refuse_altered(options, "a readout learns from features as they are")
    model = get_model(options["model"])
    chosen = {name: options[name] for name in model.known_options() if options[name] is not None}
    model.described(chosen, classes=2)  # before features are made, which takes time
    threads, began = options["threads"] or available(), time.monotonic()
    place = Place(cache_folder(), threads)
    features = find_features(
        options, lambda asked: find_dataset(asked, say), selected(options), place, extractor_of
    )
    parts = features.parts
    counts = (
        f"{len(parts.train)} training, {len(parts.validation)} validation, {len(parts.test)} test samples"
    )
    say(f"features: {features.name}: {counts}; ready after {human_duration(time.monotonic() - began)}")
    rows, columns, channels = features.shape
    net = create_model(
        options["model"],
        in_channels=channels,
        classes=features.classes,
        image_size=(rows, columns),
        seed=options["seed"],
        **chosen,
    )
    net.engine.workers = threads
    return Experiment(features, None, parts, net)


def refuse_altered(options: Mapping[str, Any], why: str) -> None:
    """Refuse what alters samples or how many learn at once."""
    for name, plain in (("augment", False), ("update_batch", 1)):
        if options[name] not in (None, plain):
            raise UserError(f"--{name.replace('_', '-')}: {why}: leave it out")


def prepare_extractor(options: Mapping[str, Any], say: Callable[[str], None]) -> Experiment:
    """The same for a feature extractor: it sees the images themselves."""
    refuse_altered(options, "a feature extractor learns from images as they are, one after the other")
    dataset, model = find_dataset(options, say), get_model(options["model"])
    if dataset.latency_steps is not None:
        raise UserError(f"--model {options['model']}: {dataset.name} holds events, not images")
    learn, held = chosen_rows(dataset.train_labels, selected(options))
    train, test = planes(dataset.train_images), planes(dataset.test_images)
    samples = [Samples(train, rows, dataset.train_labels[rows]) for rows in (learn, held)]
    parts = Parts(*samples, Samples(test, np.arange(len(test)), dataset.test_labels))
    counts = " ".join(
        f"{len(part)} {name}," for part, name in zip(samples, ("training", "validation"), strict=True)
    )
    say(f"data: {dataset.name}: {counts} {len(test)} test images")
    device = choose_device(options["device"], batched=model.fills_a_gpu(None))
    say(str(device))
    decided = {
        n: v for n, v in model.for_dataset(dataset.name, dataset.channels).items() if options[n] is None
    }
    net = make_network({**options, **decided, "device": device.name}, dataset, parts, 1)
    net.engine.workers = options["threads"] or available()
    return Experiment(dataset, None, parts, net)


def extractor_of(meta: Mapping[str, Any], state: dict[str, np.ndarray]) -> Extractor | None:
    """The feature extractor in a checkpoint, None where it is of another network."""
    model = get_model(meta["model"])
    return rebuilt(model, meta["network"], state) if issubclass(model, ExtractorTrainer) else None


def selected(options: Mapping[str, Any]) -> Selection:
    """Which images take part, as the options say."""
    return Selection(**{field.name: options[field.name] for field in fields(Selection)})


def prepare_in_time(options: Mapping[str, Any], say: Callable[[str], None]) -> Experiment:
    """The same for a network that is trained by gradients: samples in time take the place of encoded images."""
    for name, remedy in (("augment", "--data-augmentation"), ("update_batch", "--batch-size")):
        if options[name]:
            asked = f"--{name.replace('_', '-')}"
            raise UserError(f"{asked}: not for networks that are trained by gradients; give {remedy}")
    model, began = get_model(options["model"]), time.monotonic()
    chosen = {name: options[name] for name in model.known_options() if options[name] is not None}
    if "epochs" in chosen:
        chosen["epochs"] = chosen["epochs"][0]  # more numbers than phases are refused where all networks' are
    dataset, parts = find_samples(
        model, options, chosen, selected(options), size=sides(options), cache=cache_folder()
    )
    counts = (
        f"{len(parts.train)} training, {len(parts.validation)} validation, {len(parts.test)} test samples"
    )
    say(
        f"data: {dataset.name}: {counts}{left_out(dataset)}; ready after {human_duration(time.monotonic() - began)}"
    )
    device = choose_device(options["device"], batched=True)
    say(str(device))
    use_threads(options["threads"] or max(1, available() // Launched.here().count))
    net = create_model(
        options["model"],
        classes=dataset.classes,
        shape=dataset.shape,
        seed=options["seed"],
        device=device.name,
        **chosen,
    )
    net.tested = parts.test
    return Experiment(dataset, None, parts, net)


def left_out(dataset: Dataset | TimedSet) -> str:
    """How many bad recordings were left out, if any."""
    return f"; {dataset.skipped} bad ones left out" if dataset.skipped else ""


def make_encoder(filters: str, channels: int, threads: int) -> S1C1:
    """The encoder that a network wants: the zoo's own for grey images or for colours, else its filters on grey."""
    if filters == "dog":
        return S1C1("colour" if channels > 1 else "dog", threads=threads)
    colours = {"image_channels": channels, "planes": "grey"} if channels > 1 else {}
    return S1C1(filters, threads=threads, **colours)


def find_dataset(options: Mapping[str, Any], say: Callable[[str], None]) -> Dataset:
    """The data set asked for; without a name MNIST, or the embedded digits where MNIST is not to be had."""
    wanted = {
        "root": options["data_dir"],
        "image_size": sides(options),
        "seed": options["seed"],
        "skip_bad": options["skip_bad"],
        "cache": cache_folder(),
    }
    if options["dataset"] is not None:
        return load(options["dataset"], **wanted)
    try:
        return load("mnist", **wanted)
    except DataMissing:
        say(
            "MNIST is neither on disk nor to be downloaded: the embedded digits take its place (--data-dir, --dataset)"
        )
        return load("digits", **wanted)


def sides(options: Mapping[str, Any]) -> tuple[int, int] | None:
    """The rows and columns that are asked for."""
    size = options["image_size"]
    if size is not None and len(size) > 2:
        raise UserError(f"--image-size {' '.join(map(str, size))}: give one side, or height and width")
    return None if size is None else (size[0], size[-1])


def make_network(options: Mapping[str, Any], dataset: Dataset, parts: Parts, steps: int) -> NetworkTrainer:
    """The network for this data, with the options that were given."""
    known = chosen_model(options).known_options()
    chosen = {name: options[name] for name in known if options.get(name) is not None}
    if known.get("window") == RSTDP.window:  # a network that states another one keeps it
        chosen.setdefault("window", options["batch_size"])
    channels, height, width = parts.train.shape
    return create_model(
        options["model"],
        in_channels=channels,
        classes=dataset.classes,
        image_size=(height, width),
        steps=steps,
        seed=options["seed"],
        device=options["device"],
        update_batch=options["update_batch"],
        readout=options["readout"],
        readout_layer=options["readout_layer"],
        **chosen,
    )


def about_encoder(encoder: S1C1 | None) -> dict[str, Any]:
    """The encoder's settings, for the checkpoint."""
    return {"filters": encoder.filters, "steps": encoder.steps} if encoder else {}


def cache_folder() -> Path:
    """Where encoded images are kept between runs: $FIRSTSPIKE_CACHE, else the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("FIRSTSPIKE_CACHE") or Path(base) / "firstspike")


def budget(options: Mapping[str, Any]) -> int | None:
    """Bytes of the largest array that is held in memory."""
    return None if options["memory_budget"] is None else options["memory_budget"] * 2**20


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
