"""Independent pieces of work on all cores: the result does not depend on how many there are."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

CHUNK = 250  # images that one thread takes at a time


def available() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_chunks(work: Callable[[slice], None], n: int, *, threads: int, chunk: int = CHUNK) -> None:
    """Call ``work(rows)`` for consecutive slices of ``range(n)``, several at a time; the first error is raised."""
    slices = [slice(first, min(first + chunk, n)) for first in range(0, n, chunk)]
    if threads == 1 or len(slices) < 2:
        for rows in slices:
            work(rows)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, rows) for rows in slices]:
            done.result()
