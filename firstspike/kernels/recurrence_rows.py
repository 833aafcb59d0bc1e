"""What every recurrence shares: strided rows, packed units, the cut into independent tasks and their threads.

N samples, T steps, U units. A recurrence runs over T for the units of a sample, by the loops of `lanes`; samples, and
blocks of units, are independent tasks. In the loops that are left to the compiler rows are indexed
by unsigned numbers: a signed index is first tested for being negative, which keeps a loop from being vectorised.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from firstspike.kernels import jit
from firstspike.kernels.lanes import UNITS

compiled = partial(jit.compiled, error_model="numpy")
"""The one way a recurrence is compiled: a division by zero gives infinity instead of a branch that would keep the loop
from being vectorised."""


class Rows(NamedTuple):
    """A (N, T, U) array whose units lie side by side: element (b, t, n) is `data[b * sample + t * step + n]`."""

    data: np.ndarray
    sample: int
    step: int


class Decay(NamedTuple):
    """What a unit is made of, each (U,): synaptic and membrane decay, input gain, threshold, what a reset takes off."""

    alpha: np.ndarray
    beta: np.ndarray
    gain: np.ndarray
    theta: np.ndarray
    drop: np.ndarray


CONSTANTS = len(Decay._fields)

WORK_OF_A_THREAD = 1 << 20
"""Elements of a recurrence that take about a millisecond; handing a task to a thread takes 0.2."""


class Part(NamedTuple):
    """One task: samples b0..b1-1, units n0..n1-1."""

    b0: int
    b1: int
    n0: int
    n1: int


@cache
def nothing(dtype: np.dtype) -> Rows:
    """Rows that hold nothing: an input that reads as 0, an output that nobody asked for."""
    return Rows(np.empty(0, dtype), 0, 0)


@compiled
def put(target: np.ndarray, source: np.ndarray) -> None:
    """Copy a row (a plain loop: cheaper in compiled code than an array assignment)."""
    for j in range(target.size):
        target[j] = source[j]


@compiled
def room_of(units: int) -> int:
    """How far the constants of so many units, and their states, lie apart in packed arrays."""
    return -(-units // UNITS) * UNITS


@compiled
def pack(decay: Decay, n0: int, n1: int) -> np.ndarray:
    """Pack the constants of units n0..n1-1 into one array, all of one, then all of the next."""
    units, room = n1 - n0, room_of(n1 - n0)
    packed = np.zeros(CONSTANTS * room, decay.alpha.dtype)
    put(packed[:units], decay.alpha[n0:n1])
    put(packed[room : room + units], decay.beta[n0:n1])
    put(packed[2 * room : 2 * room + units], decay.gain[n0:n1])
    put(packed[3 * room : 3 * room + units], decay.theta[n0:n1])
    put(packed[4 * room : 4 * room + units], decay.drop[n0:n1])
    return packed


@compiled
def unpack_sums(packed: np.ndarray, sums: np.ndarray, n0: int, n1: int) -> None:
    """Copy the packed gradients of the constants of units n0..n1-1 to a sample's sums (5, U)."""
    room = room_of(n1 - n0)
    for k in range(CONSTANTS):
        put(sums[k, n0:n1], packed[k * room : k * room + n1 - n0])


@compiled
def offset(source: Rows, b: int, t: int, n: int) -> int:
    """Return where element (b, t, n) lies."""
    return b * source.sample + t * source.step + n


def parts(samples: int, units: int, threads: int, together: int = 1) -> Iterator[Part]:
    """Cut the work into tasks: by samples first, by unit blocks too where there are few of them.

    Where so many samples go `together`, tasks hold whole groups of them, and whole rows. A task's numbers do not
    depend on the cut, so neither does the result on `threads`.
    """
    groups = -(-samples // together)
    pieces = min(groups, 2 * threads if threads > 1 else 1)
    width = UNITS if threads > samples and together == 1 else max(units, 1)
    for k in range(pieces):
        b0, b1 = k * groups // pieces * together, (k + 1) * groups // pieces * together
        for n0 in range(0, units, width):
            yield Part(b0, min(b1, samples), n0, min(n0 + width, units))


@cache
def _workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="recurrence")


def launch(task: Callable[[Part], None], tasks: Iterator[Part], threads: int) -> None:
    """Run every task, on this thread and on others if there are to be more than one."""
    left = iter(list(tasks))  # which gives every task to one thread only
    others = [_workers(threads - 1).submit(_run_all, task, left) for _ in range(threads - 1)]
    _run_all(task, left)
    for other in others:
        if not other.cancel():
            other.result()


def _run_all(task: Callable[[Part], None], tasks: Iterator[Part]) -> None:
    for part in tasks:
        task(part)


def worthwhile(threads: int, work: int) -> int:
    """Return how many threads are faster than one for so many elements."""
    return min(threads, 1 + work // WORK_OF_A_THREAD)
