"""Work spread over processes of this machine or of a Ray cluster, both through joblib; results as they come."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from firstspike.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
_RAY = "ray of firstspike"  # what joblib knows our backend by


@dataclass(frozen=True)
class Pool:
    """``jobs`` workers that joblib reaches by a backend; None: one after the other in this process.

    ``deaths`` are the errors that say that a worker died.
    """

    jobs: int
    backend: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    deaths: tuple[type[Exception], ...] = ()

    def each(
        self, work: Callable[[Item], Result], items: Sequence[Item], lost: Callable[[Item, Exception], Result]
    ) -> Iterator[Result]:
        """What ``work``, which raises no Exception, makes of each item; ``lost`` tells it where a process died."""
        if self.backend is None:
            yield from map(work, items)
            return
        pending = dict(enumerate(items))
        while pending:
            try:
                yield from self._spread(work, pending, list(pending))
            except (
                self.deaths
            ):  # and took the others along: each of those at work by itself, to see whose it was
                for place in list(pending)[: self.jobs]:
                    try:
                        yield from self._spread(work, pending, [place])
                    except self.deaths as error:
                        yield lost(pending.pop(place), error)

    def _spread(
        self, work: Callable[[Item], Result], pending: dict[int, Item], places: Sequence[int]
    ) -> Iterator[Result]:
        """Results as they come, their items taken from those pending."""
        from joblib import Parallel, delayed

        settings = {"return_as": "generator_unordered", "batch_size": 1, "pre_dispatch": "n_jobs"}
        parallel = Parallel(n_jobs=self.jobs, backend=self.backend, **settings, **self.details)
        with _interrupts_ignored():
            results = parallel(delayed(_numbered)(work, place, pending[place]) for place in places)
        for place, result in results:
            del pending[place]
            yield result


def _numbered(work: Callable[[Item], Result], place: int, item: Item) -> tuple[int, Result]:
    return place, work(item)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore interrupts, as do processes for good that start meanwhile: they leave them to this one."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def on_this_machine(jobs: int) -> Pool:
    """So many processes; one job is done in this process."""
    if jobs == 1:
        return Pool(1)
    return Pool(jobs, "loky", {"initializer": _end_with, "initargs": (os.getpid(),)}, (BrokenExecutor,))


def _end_with(parent: int) -> None:
    """End this process when its parent does: a sweep that is killed leaves none at work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # if it was started late, in place of another

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def on_cluster(address: str, jobs: int | None) -> Pool:
    """So many workers, or one a processor, of the Ray cluster at an address."""
    try:
        import ray
        from joblib import register_parallel_backend
        from ray.util.joblib.ray_backend import RayBackend
    except ImportError as error:
        raise UserError("--cluster needs Ray: pip install 'firstspike[cluster]'") from error

    class Streaming(RayBackend):
        """Ray's backend; its pool calls back as results come, which is all that a generator needs."""

        supports_return_generator = True

    try:
        ray.init(address, logging_level="ERROR", log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"--cluster {address}: no Ray cluster answers there ({error}); is RAY_AUTH_MODE the same?"
        ) from error
    register_parallel_backend(_RAY, Streaming)
    jobs = jobs or int(ray.cluster_resources().get("CPU", 0))
    if jobs < 2:
        raise UserError(f"--cluster {address}: {jobs} job at a time: leave --cluster out")
    return Pool(jobs, _RAY, deaths=(ray.exceptions.RayError,))
