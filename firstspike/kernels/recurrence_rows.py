"""What every recurrence shares: strided rows, packed units, the cut into independent tasks and their threads.

N samples, T steps, U units. A recurrence runs over T for up to UNITS units of a sample at once, by the loops of
`lanes`; (sample, unit block) pairs are independent tasks. In the loops that are left to the compiler rows are indexed
by unsigned numbers: a signed index is first tested for being negative, which keeps a loop from being vectorised.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from firstspike.kernels import jit
from firstspike.kernels.lanes import UNITS

ALPHA, BETA, GAIN, THETA, DROP = (UNITS * k for k in range(5))
PACKED = 5 * UNITS
"""Where a block's constants lie in its packed array of 5 x UNITS numbers; their gradients likewise."""

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


class Part(NamedTuple):
    """One task: samples b0..b1-1, units n0..n1-1."""

    b0: int
    b1: int
    n0: int
    n1: int


def nothing(dtype: np.dtype) -> Rows:
    """Rows that hold nothing: an input that reads as 0, an output that nobody asked for."""
    return Rows(np.empty(0, dtype), 0, 0)


@compiled
def put(target: np.ndarray, source: np.ndarray) -> None:
    """Copy a row (a plain loop: cheaper in compiled code than an array assignment)."""
    for j in range(target.size):
        target[j] = source[j]


@compiled
def pack(decay: Decay, n0: int, n1: int) -> np.ndarray:
    """Pack the constants of units n0..n1-1 (at most UNITS) into one array of 5 x UNITS."""
    packed, units = np.zeros(PACKED, decay.alpha.dtype), n1 - n0
    put(packed[ALPHA : ALPHA + units], decay.alpha[n0:n1])
    put(packed[BETA : BETA + units], decay.beta[n0:n1])
    put(packed[GAIN : GAIN + units], decay.gain[n0:n1])
    put(packed[THETA : THETA + units], decay.theta[n0:n1])
    put(packed[DROP : DROP + units], decay.drop[n0:n1])
    return packed


@compiled
def pack_all(decay: Decay, n0: int, n1: int) -> np.ndarray:
    """Pack the constants of units n0..n1-1 block by block, PACKED numbers each."""
    packed = np.zeros(-(-(n1 - n0) // UNITS) * PACKED, decay.alpha.dtype)
    for k in range(packed.size // PACKED):
        first = n0 + k * UNITS
        put(packed[k * PACKED : (k + 1) * PACKED], pack(decay, first, min(first + UNITS, n1)))
    return packed


@compiled
def unpack_sums(packed: np.ndarray, sums: np.ndarray, n0: int, n1: int) -> None:
    """Copy a block's packed gradients to a sample's sums (5, U)."""
    for k in range(5):
        put(sums[k, n0:n1], packed[k * UNITS : k * UNITS + n1 - n0])


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
    pieces = min(groups, 4 * threads if threads > 1 else 1)
    width = UNITS if threads > samples and together == 1 else max(units, 1)
    for k in range(pieces):
        b0, b1 = k * groups // pieces * together, (k + 1) * groups // pieces * together
        for n0 in range(0, units, width):
            yield Part(b0, min(b1, samples), n0, min(n0 + width, units))


@cache
def _workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="recurrence")


def launch(task: Callable[[Part], None], tasks: Iterator[Part], threads: int) -> None:
    """Run every task, on `threads` threads when there is more than one."""
    if threads <= 1:
        for part in tasks:
            task(part)
    else:
        for _ in _workers(threads).map(task, tasks):
            pass
