"""One run made ready: its data found and encoded, its network made."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from extractor_trainer import ExtractorTrainer, rebuilt
from firstspike.buffers import keep_freed_memory
from firstspike.data import DataMissing, Dataset, load
from firstspike.data.samples import Parts, Samples, Selection, chosen_rows, encoded
from firstspike.data.timed import TimedSet
from firstspike.errors import UserError
from firstspike.layers import RSTDP
from firstspike.readouts.extractors import Extractor
from firstspike.readouts.sources import FeatureSet, Place, planes
from firstspike.threads import available
from gradient_trainer import GradientTrainer, find_samples
from models import create_model, get_model
from network_trainer import NetworkTrainer
from readout_trainer import FeatureRequest, ReadoutTrainer
from s1c1 import S1C1
from utils import Launched, choose_device, human_duration, use_threads


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
    request = FeatureRequest(
        options, lambda asked: find_dataset(asked, say), selected(options), place, extractor_of
    )
    features = request.find()
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
    keep_freed_memory()
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
