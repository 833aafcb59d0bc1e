"""The options of the command: parsed from the command line and from a run's config.yaml, a model's own among them."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from firstspike.classifiers import CLASSIFIERS
from firstspike.data.splits import fold_of
from firstspike.errors import UserError
from models import get_model
from network_trainer import NetworkTrainer

DESCRIPTION = """Train a network of the zoo, layer by layer, and report how well it does.

python train.py --model deep2024 --epochs 2 4 4 10 --tensorboard
python train.py --resume runs/deep2024/mnist/20260101-120000
python train.py --evaluate runs/deep2024/mnist/20260101-120000
"""
# Options that say how a run is carried out, not what it computes: they may differ when it is resumed.
ACTIONS = ("resume", "evaluate", "config", "print_config", "list_models", "list_presets")
NOT_COMPUTED = (
    *ACTIONS,
    "run_dir",
    "threads",
    "batch_parts",
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
        description=DESCRIPTION,
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
        metavar="N",
        help="images that learn at once; 1 is the exact online rule (default: the model's, mostly 1)",
    )
    add(
        "--readout",
        help=f"{', '.join(CLASSIFIERS)}: a classifier of when neurons fire, instead of the decision",
    )
    add(
        "--readout-layer",
        metavar="LAYER",
        help="the layer that it sees (default: what the decision would see)",
    )
    add(
        "--augment",
        action="store_true",
        help="add a rotated and shifted copy of every training image, anew each epoch",
    )
    add("--mirror", action="store_true", help="let --augment or --data-augmentation mirror images too")
    add("--ratio", type=float, default=1.0, help="share of the training set (default: 1)")
    add("--first", type=whole(1), metavar="N", help="use only the first N training images")
    add("--validation", type=float, default=0.1, help="share of the training images held out (default: 0.1)")
    add("--fold", type=fold, metavar="F/K", help="hold out fold F (from 0) of K stratified ones instead")
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
    add("--skip-bad", action="store_true", help="leave out recordings that are damaged, and say how many")
    add("--seed", type=whole(0), default=0, help="every draw is a function of it (default: 0)")
    add("--tensorboard", action="store_true", help="write TensorBoard files into the run folder")
    add("--activation-maps", action="store_true", help="draw when neurons fire for a few images (takes time)")
    add("--run-dir", help="where runs go (default: runs/)")
    add("--resume", metavar="RUN", help="continue the run in this folder")
    add("--evaluate", metavar="RUN", help="no training: load the run's best network and report")
    add("--list-models", action="store_true", help="print the names of the models")
    add("--list-presets", action="store_true", help="print the published settings and the model of each")
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


def fold(text: str) -> str:
    """A type of option: a fold and how many there are, such as 0/10."""
    try:
        return "/".join(map(str, fold_of(text)))
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """All options with their values: defaults, then the configuration file, then the command line."""
    arguments = hyphenated(arguments)
    config = glance(build_parser(), arguments).config
    return merged(read_config(config) if config else {}, arguments, source=config)


def merged(given: Mapping[str, Any], arguments: Sequence[str], *, source: str | None) -> dict[str, Any]:
    """All options with their values: defaults, then those given, which come from a file, then the command line."""
    parser = build_parser()
    first = glance(parser, arguments)
    model = first.model if named(arguments, "--model") else str(given.get("model", first.model))
    if not first.list_models:
        asked = [getattr(first, name) or given.get(name) for name in ("readout", "readout_layer")]
        add_model_options(parser, get_model(model, *asked))
    try:
        stated = as_arguments(given, parser)
        parser.parse_args(stated)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    return vars(parser.parse_args([*stated, *arguments]))


def glance(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """What a parser knows of the arguments, before the model's own options are known and help can name them."""
    return parser.parse_known_args([each for each in arguments if each not in ("-h", "--help")])[0]


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
    common = {action.dest for action in parser._actions}
    for name, default in model.known_options().items():
        kind = type(default) if default is not None else float
        option = f"--{name.replace('_', '-')}"
        if name in common:  # the command has it; unless it is given, the model's own value holds
            if parser.get_default(name) != default:
                parser.set_defaults(**{name: None})
        elif kind is bool:
            group.add_argument(option, action=argparse.BooleanOptionalAction, default=None)
        elif kind is tuple:
            shown = " ".join(map(str, default))
            group.add_argument(option, type=type(default[0]), nargs="+", metavar=shown, default=None)
        else:
            group.add_argument(option, type=kind, metavar=str(default), default=None)


def taking_several(model: str) -> set[str]:
    """Names of a model's options that take several numbers."""
    parser = build_parser()
    add_model_options(parser, get_model(model))
    return {action.dest for action in parser._actions if action.nargs == "+"}


def read_config(path: str) -> dict[str, Any]:
    """Options from a YAML file."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise UserError(f"{path}: a mapping of options is needed, such as a run's config.yaml")
    return {name.replace("-", "_"): value for name, value in content.items()}


def computed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that decide what a run computes; those that are not given are left out."""
    return {name: value for name, value in options.items() if name not in NOT_COMPUTED and value is not None}
