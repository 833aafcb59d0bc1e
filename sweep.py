"""Try settings of any model: k folds, grids and searches, on the processors of this machine or on a cluster.

python sweep.py --config grid.yaml --kfold 10
python sweep.py --config grid.yaml --search tpe --trials 50 --jobs 4
python sweep.py --config grid.yaml --kfold 10 --cluster ADDRESS
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstspike import interrupt

if __name__ == "__main__":
    interrupt.leave_while_loading()

import yaml

from firstspike.errors import UserError
from firstspike.files import write_text
from firstspike.sweep.floor import Floor
from firstspike.sweep.pool import Pool, on_cluster, on_this_machine
from firstspike.sweep.progress import Progress
from firstspike.sweep.records import Log, Record, key_of, recorded
from firstspike.sweep.search import Search, grid, tpe
from firstspike.sweep.space import Point, Space, space_of
from firstspike.sweep.tables import summary, write_tables
from firstspike.sweep.trials import Trial, best
from firstspike.threads import available
from options import (
    ACTIONS,
    NOT_COMPUTED,
    Parser,
    computed,
    hyphenated,
    merged,
    named,
    read_config,
    taking_several,
    whole,
)
from options import build_parser as run_parser
from preparation import prepare
from sweep_run import Run, carry_out, lost
from utils import exit_status, wait_briefly

HELP = """In the configuration, a YAML file like a run's config.yaml, every list is an axis of values to try. Where an
option takes several numbers, `epochs: [2, 4, 10]` is one value, `epochs: [[2, 4, 10], [4, 8, 20]]` are two. Options of
train.py may stand on the command line too and hold for all runs (python train.py --model NAME --help lists them).

Killed or interrupted, the same command goes on, and repeats no run that had ended. The best trial is the best on
held-out training images; test images are only reported.
"""


def build_parser() -> Parser:
    """The options of a sweep, beside those of its runs."""
    parser = Parser(
        prog="sweep.py",
        usage="sweep.py --config FILE [options] [options of train.py]",
        description=__doc__,
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what is tried").add_argument
    what("--config", metavar="FILE", required=True, help="a YAML file of options; every list is an axis")
    what(
        "--kfold", type=whole(2), metavar="K", help="K runs a trial, each holds out one of K stratified folds"
    )
    what("--search", choices=("grid", "tpe"), default="grid", help="every point (default), or Optuna's TPE")
    what("--trials", type=whole(1), metavar="N", help="how many points TPE tries")
    what("--batch", type=whole(1), default=4, metavar="N", help="how many TPE suggests at once (default: 4)")
    what("--search-seed", type=whole(0), default=0, metavar="N", help="the seed of TPE (default: 0)")
    what("--floor", type=float, metavar="SHARE", help="abandon a run below this accuracy, such as 0.9")
    what("--floor-epochs", type=whole(0), default=3, metavar="N", help="but not in its first N (default: 3)")
    how = parser.add_argument_group("how and where").add_argument
    how("--jobs", type=whole(1), metavar="N", help="runs at a time (default: one a processor)")
    how("--cluster", metavar="ADDRESS", help="spread the runs over the Ray cluster there ('auto': find it)")
    how("--folder", metavar="DIR", help="where everything goes (default: sweeps/ and the file's name)")
    how("--retry", action="store_true", help="do again the runs that failed before")
    return parser


@dataclass(frozen=True)
class Attempt:
    """A point of the space, all options there, and its runs."""

    point: Point
    options: Mapping[str, Any]
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Plan:
    """A space of options and what is asked of each of its points; ``rest`` are arguments that hold for all."""

    source: str
    space: Space
    rest: tuple[str, ...]
    folder: Path
    kfold: int | None
    floor: Floor | None
    threads: int
    retry: bool

    def attempt(self, point: Point) -> Attempt:
        """A point with its runs; UserError for options that train.py would refuse."""
        options = merged(self.space.options(point), self.rest, source=self.source)
        options["threads"] = options["threads"] or self.threads
        every = [options] if self.kfold is None else folded(options, self.kfold)
        return Attempt(point, options, tuple(map(self._run, every)))

    def _run(self, options: Mapping[str, Any]) -> Run:
        key = key_of(computed(options))
        return Run(options, key, self.folder / "runs" / key, self.floor, Path.cwd())

    def values(self, attempt: Attempt) -> dict[str, Any]:
        """The options of an attempt that are axes."""
        return {name: attempt.options[name] for name in self.space.names}

    def trial(self, attempt: Attempt, known: Mapping[str, Record]) -> Trial:
        """An attempt with the records that are known."""
        return Trial(attempt.point, self.values(attempt), tuple(known.get(run.key) for run in attempt.runs))

    def known(self, records: Mapping[str, Record]) -> dict[str, Record]:
        """The records that say how runs of this plan end; not those below another floor, or failed and to retry."""
        floors = (None, self.floor and self.floor.limits)
        return {
            key: record
            for key, record in records.items()
            if record.floor in floors and not (self.retry and record.status == "failed")
        }


def folded(options: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The options of every fold; its number is added to the seed, as published (Goupy et al., NeurIPS 2024)."""
    if options["fold"] is not None or options["ratio"] != 1:
        raise UserError("--kfold: leave out fold and ratio; first takes fewer images, the same in every fold")
    return [{**options, "seed": options["seed"] + fold, "fold": f"{fold}/{count}"} for fold in range(count)]


def plan_of(asked: argparse.Namespace, rest: Sequence[str], *, threads: int) -> Plan:
    """Read the configuration; UserError for one that makes no sense."""
    given = read_config(asked.config)
    for option in (*ACTIONS, "run_dir"):
        if option in given or named(rest, flag(option)):
            raise UserError(f"{flag(option)}: has no meaning in a sweep: leave it out")
    stated = run_parser().parse_known_args(rest)[0].model
    models = stated if named(rest, "--model") else given.get("model", stated)
    several = set.union(*(taking_several(str(m)) for m in (models if isinstance(models, list) else [models])))
    space = space_of(given, several)
    for name in space.names:
        if named(rest, flag(name)) or name in NOT_COMPUTED:
            raise UserError(f"{flag(name)}: a list in {asked.config}, where one value is needed")
    if asked.floor is not None and not 0 <= asked.floor <= 1:
        raise UserError(f"--floor {asked.floor:g}: give a share from 0 to 1, such as 0.9")
    floor = None if asked.floor is None else Floor(asked.floor, asked.floor_epochs)
    folder = Path(asked.folder or Path("sweeps") / Path(asked.config).stem).resolve()
    return Plan(asked.config, space, tuple(rest), folder, asked.kfold, floor, threads, asked.retry)


def flag(option: str) -> str:
    """An option as it stands on the command line."""
    return f"--{option.replace('_', '-')}"


def search_of(asked: argparse.Namespace, space: Space) -> Search:
    """The search asked for."""
    if asked.search == "grid":
        if asked.trials is not None:
            raise UserError("--trials: a grid tries every point: leave it out, or add --search tpe")
        return grid(space)
    if asked.trials is None or not space.axes:
        raise UserError("--search tpe: needs --trials N, and a list of values in the configuration")
    return tpe(space, trials=asked.trials, seed=asked.search_seed, batch=asked.batch)


def check(plan: Plan, points: Sequence[Point], known: Mapping[str, Record]) -> None:
    """UserError, before anything is written, where no point can be made ready; its encoded data are kept."""
    for point in plan.space.each_value():
        plan.attempt(point)
    refusal = None
    for run in (run for point in points for run in plan.attempt(point).runs if run.key not in known):
        try:
            make_ready(run)
            return
        except UserError as error:
            refusal = refusal or error
    if refusal is not None:
        raise refusal


def make_ready(run: Run) -> None:
    """Make a run ready as train.py does; UserError where it refuses to."""
    net = prepare(run.options, print).net
    try:
        net.epochs(run.options["epochs"])
    except UserError as error:
        raise UserError(f"{error} (several to try: a list of lists, such as [[5], [10]])") from error


class Sweep:
    """The trials of a plan, tried in a pool and written down; runs whose records are known are not repeated."""

    def __init__(self, plan: Plan, log: Log, known: dict[str, Record], pool: Pool) -> None:
        self.plan, self.log, self.known, self.pool = plan, log, known, pool
        self.attempts: list[Attempt] = []

    def trials(self) -> list[Trial]:
        """What is known of every attempt so far."""
        return [self.plan.trial(attempt, self.known) for attempt in self.attempts]

    def carry_out(self, search: Search, points: list[Point], progress: Progress) -> None:
        """Try the points of a search, from those of its first round on."""
        try:
            while points:
                fresh = [self.plan.attempt(point) for point in points]
                self.attempts += fresh
                self._round(fresh, progress)
                points = sent(search, [self.plan.trial(attempt, self.known).score for attempt in fresh])
        finally:
            write_tables(self.plan.folder, self.plan.space.names, self.trials())

    def _round(self, attempts: Sequence[Attempt], progress: Progress) -> None:
        runs = {run.key: (run, self.plan.values(attempt)) for attempt in attempts for run in attempt.runs}
        missing = [run for key, (run, _) in runs.items() if key not in self.known]
        for record in self.pool.each(carry_out, missing, lost):
            self.log.add(record)
            self.known[record.key] = record
            done = sum(run.key in self.known for attempt in self.attempts for run in attempt.runs)
            print(progress.line(runs[record.key][1], record, done), flush=True)
            if progress.table_is_due():
                write_tables(self.plan.folder, self.plan.space.names, self.trials())

    def conclude(self) -> None:
        """Plots, the best settings as a configuration for train.py, and what there is to say at the end."""
        from firstspike.sweep.plots import write_plots

        folder, trials = self.plan.folder, self.trials()
        write_plots(folder, self.plan.space, trials)
        chosen = best(trials)
        if chosen is not None:
            options = self.attempts[trials.index(chosen)].options
            write_text(folder / "best.yaml", yaml.safe_dump(computed(options), sort_keys=False))
        print(summary(self.plan.space.names, trials), f"tables and plots: {folder}", sep="\n")


def sent(search: Search, scores: Sequence[float | None]) -> list[Point]:
    """The next points of a search that is sent scores; none at its end."""
    try:
        return search.send(scores)
    except StopIteration:
        return []


def command(arguments: Sequence[str]) -> int:
    """What the options ask for."""
    asked, rest = build_parser().parse_known_args(arguments)
    jobs = asked.jobs or available()
    plan = plan_of(asked, rest, threads=1 if asked.cluster else max(1, available() // jobs))
    search = search_of(asked, plan.space)
    points, path = next(search), plan.folder / "records.jsonl"
    check(plan, points, plan.known(recorded(path)))
    pool = on_cluster(asked.cluster, asked.jobs) if asked.cluster else on_this_machine(jobs)
    total = (asked.trials or len(points)) * (asked.kfold or 1)
    with closing(Log(path)) as log:
        print(f"{total} runs, {pool.jobs} at a time; {plan.folder}/runs has a log.txt of each", flush=True)
        sweep = Sweep(plan, log, plan.known(log.records), pool)
        try:
            sweep.carry_out(search, points, Progress(total))
            sweep.conclude()
        except KeyboardInterrupt as stop:
            again = shlex.join(["python", "sweep.py", *arguments])
            raise KeyboardInterrupt(f"the same command goes on: {again}") from stop
        return int(all(trial.status == "failed" for trial in sweep.trials()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = hyphenated(sys.argv[1:] if arguments is None else arguments)
    return exit_status("sweep.py", lambda: command(arguments))


if __name__ == "__main__":
    interrupt.ready()
    wait_briefly()
    sys.exit(main())
