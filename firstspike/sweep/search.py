"""Searches: which points to try, in rounds. A search yields the points of a round and is sent their scores."""

from collections.abc import Generator, Sequence

from firstspike.errors import UserError
from firstspike.sweep.space import Axis, Point, Space

Search = Generator[list[Point], Sequence[float | None], None]  # a score is None where a trial failed


def grid(space: Space) -> Search:
    """Every point, in one round."""
    yield space.grid()


def tpe(space: Space, *, trials: int, seed: int, batch: int) -> Search:
    """So many points, each suggested by Optuna's tree-structured Parzen estimator from the rounds before it.

    A round has ``batch`` points whatever runs them, so a search is a function of its seed and the scores alone.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError("--search tpe needs Optuna: pip install 'firstspike[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    for first in range(0, trials, batch):
        asked = [study.ask() for _ in range(min(batch, trials - first))]
        scores = yield [tuple(_place(axis, trial) for axis in space.axes) for trial in asked]
        for trial, score in zip(asked, scores, strict=True):
            failed = optuna.trial.TrialState.FAIL if score is None else None
            study.tell(trial, score, state=failed)


def _place(axis: Axis, trial: "optuna.Trial") -> int:  # noqa: F821 (imported where it is needed)
    """The place of the value that is suggested; numbers are suggested by rank, so that near ones count as near."""
    if axis.numeric:
        return axis.ranked[trial.suggest_int(axis.name, 0, len(axis.values) - 1)]
    return trial.suggest_categorical(axis.name, list(range(len(axis.values))))
