"""What every recurrence shares: strided rows, packed units, the cut into independent tasks and their threads.

N samples, T steps, U units, K steps of a block. A recurrence runs over T for up to UNITS units of a sample at once: a
row of units is the vector that the compiler works on, and (sample, unit block) pairs are independent tasks.

Habits that keep the inner loops vectorised: rows are indexed by unsigned numbers (a signed index is first tested for
being negative); all constants of a unit lie in one array, all its state in another, UNITS apart, so that the compiler
need not ask whether they overlap; blocks are walked backwards through an `order` array, because a check for overlap
that is hoisted out of a descending loop always says yes.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

STEPS = 64
"""Steps of a block: states are kept once a block, and the steps in between are computed again on the way back."""

UNITS = 256
"""Units of a block: a few scratch blocks of STEPS x UNITS numbers stay within a core's second-level cache."""

ALPHA, BETA, GAIN, THETA, DROP = (UNITS * k for k in range(5))
PACKED = 5 * UNITS
"""Where a block's constants lie in its packed array of 5 x UNITS numbers; their gradients likewise."""

compiled = numba.njit(cache=True, nogil=True, error_model="numpy")
"""The one way a kernel is compiled: no fastmath, so neither vector width nor threads change a bit; a division by zero
gives infinity instead of a branch that would keep the loop from being vectorised."""


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


def rows(array: np.ndarray) -> Rows:
    """View a C-contiguous (N, T, U) array as rows."""
    _, steps, units = array.shape
    return Rows(array.reshape(-1), steps * units, units)


def nothing(dtype: np.dtype) -> Rows:
    """Rows that hold nothing: an input that reads as 0, an output that nobody asked for."""
    return Rows(np.empty(0, dtype), 0, 0)


def block_count(length: int) -> int:
    """Return how many blocks of STEPS cover `length` steps."""
    return -(-length // STEPS)


@intrinsic
def _prefetch(typingctx: Any, array: Any, index: Any) -> tuple:
    """Ask for the cache line of array[index] without waiting for it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        hint = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, hint, "llvm.prefetch.p0")
        builder.call(function, [builder.bitcast(builder.gep(data, [args[1]]), byte), i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


@compiled
def prefetch(source: Rows, start: int, units: int) -> None:
    """Ask for a row ahead of time: blocks are walked downwards, which the processor does not foresee."""
    line = 64 // source.data.itemsize
    for j in range(0, units if source.data.size else 0, line):
        _prefetch(source.data, start + j)


@compiled
def put(target: np.ndarray, source: np.ndarray) -> None:
    """Copy a row (a plain loop: cheaper in compiled code than an array assignment)."""
    for j in range(target.size):
        target[j] = source[j]


@compiled
def accumulate(weights: np.ndarray, by: np.ndarray, into: np.ndarray) -> None:
    """Add sum_i by[i] weights[i, :] to `into`, four rows at a time in a fixed order; rows whose factor is 0 are left
    out.
    """
    live = np.nonzero(by)[0]
    whole = live.size // 4 * 4
    for k in range(0, whole, 4):
        p, q, r, s = live[k], live[k + 1], live[k + 2], live[k + 3]
        a, b, c, d = by[p], by[q], by[r], by[s]
        for j in range(into.size):
            into[j] += (a * weights[p, j] + b * weights[q, j]) + (c * weights[r, j] + d * weights[s, j])
    for k in range(whole, live.size):
        p = live[k]
        for j in range(into.size):
            into[j] += by[p] * weights[p, j]


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


@compiled
def read_block(source: Rows, start: int, steps: int, block: np.ndarray) -> None:
    """Copy `steps` rows from `start` into a scratch block; rows that hold nothing read as 0."""
    units = np.uint64(block.shape[1])
    for i in range(steps):
        row = np.uint64(start + i * source.step)
        if source.data.size:
            for j in range(units):
                block[i, j] = source.data[row + j]
        else:
            for j in range(units):
                block[i, j] = 0


@compiled
def add_block(source: Rows, start: int, steps: int, block: np.ndarray) -> None:
    """Add `steps` rows from `start` to a scratch block; rows that hold nothing add nothing."""
    units = np.uint64(block.shape[1])
    if source.data.size:
        for i in range(steps):
            row = np.uint64(start + i * source.step)
            for j in range(units):
                block[i, j] += source.data[row + j]


@compiled
def write_block(target: Rows, start: int, steps: int, block: np.ndarray) -> None:
    """Copy `steps` rows of a scratch block to the rows from `start`; a target that holds nothing is left alone."""
    units = np.uint64(block.shape[1])
    if target.data.size:
        for i in range(steps):
            row = np.uint64(start + i * target.step)
            for j in range(units):
                target.data[row + j] = block[i, j]


def parts(samples: int, units: int, threads: int, whole_rows: bool = False) -> Iterator[Part]:
    """Cut the work into tasks: by samples first, by unit blocks too where there are few of them.

    A task's numbers do not depend on the cut, so neither does the result on `threads`.
    """
    pieces = min(samples, 4 * threads if threads > 1 else 1)
    width = UNITS if threads > samples and not whole_rows else max(units, 1)
    for k in range(pieces):
        for n0 in range(0, units, width):
            yield Part(k * samples // pieces, (k + 1) * samples // pieces, n0, min(n0 + width, units))


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
