"""Train a network of the zoo, layer by layer, and report how well it does.

python train.py --model deep2024 --epochs 2 4 4 10 --tensorboard
python train.py --resume runs/deep2024/mnist/20260101-120000
python train.py --evaluate runs/deep2024/mnist/20260101-120000
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

if __name__ == "__main__":  # what follows takes a second to import; an interrupt in it needs no traceback

    def leave(*_: object) -> None:
        """End at once."""
        os.write(2, b"\ninterrupted: nothing was begun\n")
        os._exit(130)

    signal.signal(signal.SIGINT, leave)

import numpy as np
import yaml

from firstspike import checkpoint
from firstspike.data import DataMissing, Dataset, load
from firstspike.data.samples import Parts, Selection, encoded
from firstspike.errors import UserError
from firstspike.files import make_folder, write_refusal
from firstspike.layers import RSTDP
from firstspike.readouts.presets import list_presets
from firstspike.readouts.sources import FeatureSet, Place
from firstspike.report.activation import ActivationMaps
from firstspike.report.callbacks import HistoryFile
from firstspike.report.console import Console
from firstspike.report.readout_run import ReadoutRun
from firstspike.report.records import Sample
from firstspike.report.run import Outcome, ZooRun
from firstspike.report.tensorboard import TensorBoard
from firstspike.report.writer import Answers, Learnt, write_report
from firstspike.threads import available
from models import create_model, get_model, list_models
from network_trainer import Keeper, NetworkTrainer, Position, load_position, tell
from readout_trainer import ReadoutTrainer, find_features
from s1c1 import S1C1
from utils import choose_device, human_duration, write_text

WATCHED, EMBEDDED = 6, 1000  # images whose activity is shown, and images in the projector
# Options that say how a run is carried out, not what it computes: they may differ when it is resumed.
ACTIONS = ("resume", "evaluate", "config", "print_config", "list_models", "list_presets")
NOT_COMPUTED = (
    *ACTIONS,
    "run_dir",
    "threads",
    "device",
    "tensorboard",
    "activation_maps",
    "data_dir",
    "memory_budget",
)


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line; an option's underscores are hyphens."""

    def error(self, message: str) -> NoReturn:
        """Raise what main prints."""
        raise UserError(" ".join(message.split()))


def hyphenated(arguments: Sequence[str]) -> list[str]:
    """Options with hyphens where the user wrote underscores."""
    return [
        "=".join([name.replace("_", "-"), *value]) if name.startswith("--") else argument
        for argument in arguments
        for name, *value in [argument.split("=", 1)]
    ]


def build_parser() -> Parser:
    """Every option that does not depend on the model."""
    parser = Parser(
        prog="train.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model", default="deep2024", help="one of --list-models (default: deep2024)")
    add("--dataset", help="a name, or folder:PATH, or events:PATH (default: mnist, else the embedded digits)")
    add("--data-dir", help="where data sets lie (default: $FIRSTSPIKE_DATA, else data/)")
    add(
        "--image-size",
        type=whole(1),
        nargs="+",
        metavar="SIDE",
        help="resize images: one side, or height and width",
    )
    add(
        "--epochs",
        type=int,
        nargs="+",
        metavar="N",
        help="one number a phase (default: the model's own schedule)",
    )
    add(
        "--batch-size",
        type=whole(1),
        default=1000,
        metavar="N",
        help="images after which R-STDP adapts its rates",
    )
    add(
        "--update-batch",
        type=whole(1),
        default=1,
        metavar="N",
        help="images whose changes are summed and made at once; 1 is the exact online rule (default: 1)",
    )
    add(
        "--augment",
        action="store_true",
        help="add a rotated and shifted copy of every training image, anew each epoch",
    )
    add("--mirror", action="store_true", help="let --augment mirror images too")
    add("--ratio", type=float, default=1.0, help="share of the training set (default: 1)")
    add("--first", type=whole(1), metavar="N", help="use only the first N training images")
    add("--validation", type=float, default=0.1, help="share of the training images held out (default: 0.1)")
    add(
        "--patience",
        type=whole(0),
        help="labelled epochs without a better one till the end (default: the model's)",
    )
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    add(
        "--threads",
        type=whole(1),
        help="threads for encoding, frozen layers and answers (default: all cores)",
    )
    add("--memory-budget", type=whole(1), metavar="MB", help="arrays larger than this are mapped from disk")
    add("--seed", type=whole(0), default=0, help="every draw is a function of it (default: 0)")
    add("--tensorboard", action="store_true", help="write TensorBoard files into the run folder")
    add("--activation-maps", action="store_true", help="draw when neurons fire for a few images (takes time)")
    add("--run-dir", help="where runs go (default: runs/)")
    add("--resume", metavar="RUN", help="continue the run in this folder")
    add("--evaluate", metavar="RUN", help="no training: load the run's best network and report")
    add("--list-models", action="store_true", help="print the names of the models")
    add("--list-presets", action="store_true", help="print the names of the published settings of readouts")
    add("--config", metavar="FILE", help="take options from a YAML file, such as a run's config.yaml")
    add("--print-config", action="store_true", help="print all options as YAML")
    return parser


def whole(least: int) -> Any:
    """A type of option: a whole number from `least` on."""

    def number(text: str) -> int:
        if not text.lstrip("+-").isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} given, a whole number from {least} on needed")
        return int(text)

    return number


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """All options with their values: defaults, then the configuration file, then the command line."""
    arguments, parser = hyphenated(arguments), build_parser()
    first, _rest = parser.parse_known_args(arguments)
    given = read_config(first.config) if first.config else {}
    model = first.model if named(arguments, "--model") else str(given.get("model", first.model))
    if not first.list_models:
        add_model_options(parser, get_model(model))
    try:
        stated = as_arguments(given, parser)
        parser.parse_args(stated)
    except UserError as error:
        raise UserError(f"{first.config}: {error}") from error
    return vars(parser.parse_args([*stated, *arguments]))


def as_arguments(given: Mapping[str, Any], parser: Parser) -> list[str]:
    """Options of a file as they stand on a command line, so that both are checked alike."""
    actions = {a.dest: a for a in parser._actions if a.dest not in (*ACTIONS, "help")}
    arguments = []
    for name, value in given.items():
        if name not in actions:
            raise UserError(f"unknown option {name}")
        action = actions[name]
        if value is None:
            continue
        if action.nargs == 0:
            if not isinstance(value, bool):
                raise UserError(f"option {name}: {value!r} given, true or false needed")
            arguments += action.option_strings[:1] if value else action.option_strings[1:]
        elif isinstance(value, list) and action.nargs == "+":
            arguments += [action.option_strings[0], *map(str, value)]
        else:
            arguments.append(f"{action.option_strings[0]}={value}")
    return arguments


def named(arguments: Sequence[str], option: str) -> bool:
    """Whether an option stands on the command line."""
    return any(argument == option or argument.startswith(f"{option}=") for argument in arguments)


def add_model_options(parser: Parser, model: type[NetworkTrainer]) -> None:
    """The model's own options, from its description."""
    group = parser.add_argument_group(f"options of {model.name}")
    for name, default in model.known_options().items():
        kind = type(default) if default is not None else float
        if kind is bool:
            group.add_argument(
                f"--{name.replace('_', '-')}", action=argparse.BooleanOptionalAction, default=None
            )
        else:
            group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=str(default), default=None)


def read_config(path: str) -> dict[str, Any]:
    """Options from a YAML file."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise UserError(f"{path}: a mapping of options is needed, such as a run's config.yaml")
    return {name.replace("-", "_"): value for name, value in content.items()}


@dataclass(frozen=True)
class Experiment:
    """One run made ready: data, encoder (None for data that are latencies or features already), network."""

    dataset: Dataset | FeatureSet
    encoder: S1C1 | None
    parts: Parts
    net: NetworkTrainer


def prepare(options: Mapping[str, Any], say: Callable[[str], None]) -> Experiment:
    """Load and encode the data, make the network."""
    if issubclass(get_model(options["model"]), ReadoutTrainer):
        return prepare_readout(options, say)
    dataset = find_dataset(options, say)
    threads = options["threads"] or available()
    encoder = None
    if dataset.latency_steps is None:
        encoder = make_encoder(get_model(options["model"]).filters, dataset.channels, threads)
        encoder.output_size(*dataset.image_size)
    names = ("seed", "ratio", "validation", "first", "augment", "mirror")
    selection = Selection(**{name: options[name] for name in names})
    began = time.monotonic()
    parts = encoded(dataset, encoder, selection, cache=cache_folder(), memory_budget=budget(options))
    counts = f"{len(parts.train)} training, {len(parts.validation)} validation, {len(parts.test)} test images"
    say(f"data: {dataset.name}: {counts}; ready after {human_duration(time.monotonic() - began)}")
    device = choose_device(options["device"], batched=options["update_batch"] > 1)
    say(str(device))
    steps = encoder.steps if encoder else dataset.latency_steps
    net = make_network({**options, "device": device.name}, dataset, parts, steps)
    net.engine.workers = threads
    return Experiment(dataset, encoder, parts, net)


def prepare_readout(options: Mapping[str, Any], say: Callable[[str], None]) -> Experiment:
    """The same for a readout: features take the place of encoded images."""
    for name, plain in (("augment", False), ("update_batch", 1)):
        if options[name] != plain:
            raise UserError(
                f"--{name.replace('_', '-')}: a readout learns from features as they are: leave it out"
            )
    model = get_model(options["model"])
    chosen = {name: options[name] for name in model.known_options() if options[name] is not None}
    model.described(chosen, classes=2)  # before features are made, which takes time
    threads, began = options["threads"] or available(), time.monotonic()
    selection = Selection(**{name: options[name] for name in ("seed", "ratio", "validation", "first")})
    place = Place(cache_folder(), budget(options), threads)
    features = find_features(options, lambda asked: find_dataset(asked, say), selection, place)
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


def make_encoder(filters: str, channels: int, threads: int) -> S1C1:
    """The encoder that a network wants: the zoo's own for grey images or for colours, else its filters on grey."""
    if filters == "dog":
        return S1C1("colour" if channels > 1 else "dog", threads=threads)
    colours = {"image_channels": channels, "planes": "grey"} if channels > 1 else {}
    return S1C1(filters, threads=threads, **colours)


def find_dataset(options: Mapping[str, Any], say: Callable[[str], None]) -> Dataset:
    """The data set asked for; without a name MNIST, or the embedded digits where MNIST is not to be had."""
    size = options["image_size"]
    if size is not None and len(size) > 2:
        raise UserError(f"--image-size {' '.join(map(str, size))}: give one side, or height and width")
    wanted = {
        "root": options["data_dir"],
        "image_size": None if size is None else (size[0], size[-1]),
        "seed": options["seed"],
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


def make_network(options: Mapping[str, Any], dataset: Dataset, parts: Parts, steps: int) -> NetworkTrainer:
    """The network for this data, with the options that were given."""
    known = get_model(options["model"]).known_options()
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
        **chosen,
    )


def computed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that decide what a run computes; those that are not given are left out."""
    return {name: value for name, value in options.items() if name not in NOT_COMPUTED and value is not None}


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


# --- a run and its report --------------------------------------------------------------------------------------------


def watched(
    options: Mapping[str, Any], experiment: Experiment, folder: Path, epochs: Mapping[str, int]
) -> ZooRun | ReadoutRun:
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

    def some(rows: np.ndarray) -> Sample:
        images = dataset.test_images[rows]
        pictures = thumbnails(images if dataset.latency_steps is None else test.take(rows))
        return Sample(pictures, test.take(rows), names[test.labels[rows]])

    engine = experiment.net.engine
    return ZooRun(
        engine,
        options,
        folder,
        epochs,
        some(first),
        some(probe),
        polarities(engine.shape[0], dataset.channels, experiment.encoder),
    )


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Images uint8 (N, H, W) or (N, C, H, W) as pictures (N, H, W[, 3]); what has no three colours is shown in grey."""
    if images.ndim == 3:
        return images
    if images.shape[1] == 3:
        return np.moveaxis(images, 1, -1)
    return (255 * (images < images.max()).mean(axis=1)).astype(np.uint8)


def polarities(channels: int, planes: int, encoder: S1C1 | None) -> tuple[list[list[int]], list[list[int]]]:
    """On and off channels of each colour; channels alternate between both, filter by filter, plane after plane.

    Filters that take absolute responses have no off channels.
    """
    if encoder is not None and encoder.bank.absolute:
        return [list(range(channels))], [[]]
    planes = encoder.bank.planes if encoder else planes
    kinds = [
        [list(range(sign * planes + plane, channels, 2 * planes)) for plane in range(planes)]
        for sign in (0, 1)
    ]
    return kinds[0], kinds[1]


def resume(options: Mapping[str, Any], folder: Path, say: Callable[[str], None]) -> None:
    """Go on where a run was left; a finished one reports again."""
    experiment = prepare(options, say)
    position, last = Position(), Keeper(folder).path("last")
    if last.exists():
        position = take_over(experiment.net, last, computed(options))
    train(options, experiment, folder, position, say)


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
) -> None:
    """Train in a run folder from a position on, and report."""
    net, settings = experiment.net, computed(options)
    epochs = net.epochs(options["epochs"])
    keeper = Keeper(folder, settings, about_encoder(experiment.encoder), budget(options))
    write_text(folder / "config.yaml", yaml.safe_dump(dict(settings), sort_keys=False))
    run = watched(options, experiment, folder, epochs)
    callbacks = [Console(sys.stdout), HistoryFile(folder / "history.csv", position.records)]
    if options["tensorboard"]:
        callbacks.append(TensorBoard(folder / "tensorboard", done=len(position.records)))
    if options["activation_maps"]:
        callbacks.append(ActivationMaps(folder / "activation_maps"))
    tell(callbacks, "on_run_start", run)
    position = net.train(
        experiment.parts.train,
        experiment.parts.validation,
        epochs=epochs,
        patience=net.patience if options["patience"] is None else options["patience"],
        callbacks=callbacks,
        keeper=keeper,
        position=position,
    )
    answers = report(options, experiment, run, folder, position, say)
    tell(callbacks, "on_run_end", Outcome(answers))


def report(
    options: Mapping[str, Any],
    experiment: Experiment,
    run: ZooRun | ReadoutRun,
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
    metrics = write_report(folder, answers, Learnt(position.records, features, per_row), about=about)
    say(
        f"test accuracy {metrics.accuracy:.2%}, silent {metrics.silent} of {metrics.images}; report in {folder}"
    )
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


# --- the command -----------------------------------------------------------------------------------------------------


def place_of_runs(options: Mapping[str, Any]) -> Path:
    """The folder of all runs of a model on a data set: RUNS/model/data set."""
    dataset = options["dataset"].replace(":", "-").replace("/", "-").strip("-")
    return Path(options["run_dir"] or "runs") / options["model"] / dataset


def new_folder(place: Path) -> Path:
    """A fresh run folder, named by the time."""
    make_folder(place)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for name in (stamp, *(f"{stamp}-{n}" for n in range(2, 1000))):
        try:
            (place / name).mkdir()
        except FileExistsError:  # another run began in the same second
            continue
        except OSError as error:
            raise write_refusal(place / name, error) from error
        return place / name
    raise UserError(f"{place}: a thousand runs began in this second: try again")


def remove_empty(folder: Path, *, above: Path) -> None:
    """Remove a folder and those between it and `above`, as far as they are empty."""
    with suppress(OSError):
        while folder != above:
            with suppress(FileNotFoundError):
                folder.rmdir()
            folder = folder.parent


def kept(run: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The options of an earlier run, with those of the command line that may change in between."""
    config = Path(run) / "config.yaml"
    if named(arguments, "--config"):
        raise UserError(f"--config: the run in {run} has its own configuration: leave it out")
    if not config.is_file():
        raise UserError(f"{run}: no run here (no config.yaml): give a run's folder")
    return parse(["--config", str(config), *arguments])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = hyphenated(sys.argv[1:] if arguments is None else arguments)
    try:
        return command(arguments)
    except UserError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"train.py: not enough memory: {error or 'take fewer images or maps'}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"\ninterrupted: {str(interrupt) or 'nothing was begun'}", file=sys.stderr)
        return 130


def command(arguments: Sequence[str]) -> int:
    """What the options ask for."""
    options = parse(arguments)
    if options["list_models"]:
        print(*list_models(), sep="\n")
    elif options["list_presets"]:
        print(*list_presets(), sep="\n")
    elif options["resume"] and options["evaluate"]:
        raise UserError("--resume and --evaluate: give one of them")
    elif options["evaluate"]:
        evaluate(kept(options["evaluate"], arguments), Path(options["evaluate"]), print)
    elif options["resume"]:
        with resumable(Path(options["resume"])):
            resume(kept(options["resume"], arguments), Path(options["resume"]), print)
    elif options["print_config"]:
        print(yaml.safe_dump(computed(options), sort_keys=False), end="")
    else:
        start(options, print)
    return 0


def start(options: dict[str, Any], say: Callable[[str], None]) -> None:
    """A new run in a folder of its own, made when everything else is ready."""
    experiment = prepare(options, say)
    options = {**options, "dataset": options["dataset"] or experiment.dataset.name}
    experiment.net.epochs(options["epochs"])
    folder = place = place_of_runs(options)
    there = next(path for path in (place, *place.parents) if path.exists())
    try:
        folder = new_folder(place)
        with resumable(folder):
            train(options, experiment, folder, Position(), say)
    except BaseException:
        remove_empty(folder, above=there)
        raise


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """An interrupt says how to go on."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(f"go on with --resume {folder}") from interrupt


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
