"""Train a network of the zoo, layer by layer, and report how well it does.

python train.py --model deep2024 --epochs 2 4 4 10 --tensorboard
python train.py --resume runs/deep2024/mnist/20260101-120000
python train.py --evaluate runs/deep2024/mnist/20260101-120000
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from firstspike import interrupt

if __name__ == "__main__":
    interrupt.leave_while_loading()

import yaml

from experiment import evaluate, follow, resume, train
from firstspike.errors import UserError
from firstspike.files import make_folder, write_refusal
from firstspike.report.console import Console, table_lines
from models import get_model, list_models
from network_trainer import Position
from options import ACTIONS, computed, hyphenated, named, parse
from preparation import prepare
from utils import Launched, exit_status, wait_briefly


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
    return exit_status("train.py", lambda: command(arguments))


def command(arguments: Sequence[str]) -> int:
    """What the options ask for."""
    options = parse(arguments)
    if Launched.here().count > 1 and any(
        options[name] for name in ACTIONS if name not in ("resume", "config")
    ):
        raise UserError("torchrun: several processes can only train: start train.py by itself for the rest")
    if options["list_models"]:
        print(*list_models(), sep="\n")
    elif options["list_presets"]:
        print(*table_lines(preset_table()), sep="\n")
    elif options["resume"] and options["evaluate"]:
        raise UserError("--resume and --evaluate: give one of them")
    elif options["evaluate"]:
        evaluate(kept(options["evaluate"], arguments), Path(options["evaluate"]), print)
    elif options["print_config"] and not options["resume"]:
        print(yaml.safe_dump(computed(options), sort_keys=False), end="")
    elif Launched.here().count > 1:
        learn_together(options, arguments)
    else:
        learn(options, arguments)
    return 0


def learn(options: dict[str, Any], arguments: Sequence[str]) -> None:
    """A new run, or one that goes on."""
    if not options["resume"]:
        return start(options, print)
    with resumable(Path(options["resume"])):
        options = kept(options["resume"], arguments)
        resume(options, Path(options["resume"]), print, Console(sys.stdout))
    return None


def learn_together(options: dict[str, Any], arguments: Sequence[str]) -> None:
    """The same in one of the processes that torchrun started: the first one leads, and alone speaks and writes."""
    from torch.cuda import device_count

    from firstspike.neurons.processes import joined

    here, run = Launched.here(), options["resume"]
    with joined(gpus=options["device"] != "cpu" and device_count() >= here.count):
        if here.rank == 0:
            learn(options, arguments)
        else:
            follow(kept(run, arguments) if run else options, Path(run) if run else None)


def preset_table() -> list[dict[str, str]]:
    """All published settings, each with the model that it belongs to."""
    return [
        {"preset": preset, "model": name} for name in list_models() for preset in get_model(name).presets()
    ]


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
            train(options, experiment, folder, Position(), say, Console(sys.stdout))
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


def hear_once(failure: threading.ExceptHookArgs) -> None:
    """Keep quiet about a thread that could not write: TensorBoard's raises the same error where it is called."""
    if not issubclass(failure.exc_type, OSError):
        threading.__excepthook__(failure)


if __name__ == "__main__":
    interrupt.ready()
    wait_briefly()
    threading.excepthook = hear_once
    sys.exit(main())
