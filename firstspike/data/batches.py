"""Batches that are made while the one before is being used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np


class Source(Protocol):
    """Samples that come in batches: binned recordings, sequential images, rate or latency codes."""

    labels: np.ndarray

    def batch(self, indices: np.ndarray) -> np.ndarray:
        """Samples (len(indices), T, ...)."""
        ...


def ahead(tasks: Iterable[Callable[[], Any]]) -> Iterator[Any]:
    """The results of `tasks` in order, each computed on another thread while its forerunner is in use."""
    with ThreadPoolExecutor(1) as thread:
        before = None
        for task in tasks:
            running = thread.submit(task)
            if before is not None:
                yield before.result()
            before = running
        if before is not None:
            yield before.result()


def batches(
    source: Source, order: np.ndarray, size: int, *, drop_last: bool = False, **how: Any
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(samples, labels, indices) of `order`, `size` at a time, the next batch made in the background.

    `how` goes to `source.batch`. With `drop_last` an incomplete last batch is left out.
    """
    stop = len(order) // size * size if drop_last else len(order)
    chosen = [order[start : min(start + size, stop)] for start in range(0, stop, size)]
    return ahead(_task(source, indices, how) for indices in chosen)


def _task(source: Source, indices: np.ndarray, how: dict[str, Any]) -> Callable[[], tuple[np.ndarray, ...]]:
    return lambda: (source.batch(indices, **how), source.labels[indices], indices)
