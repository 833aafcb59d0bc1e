"""Products of a matrix with what is mostly 0: only the rows that take part are read, or added to.

What is fed back in a step is a vector with little above 0: spikes, or membranes cut off at 0. `find_positive` lists
that; `add_rows` adds the rows of a matrix that it picks to a vector, `add_to_rows` a vector to the rows of a matrix.
"""

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from firstspike.kernels import jit
from firstspike.kernels.lanes import Unit, steps
from firstspike.kernels.vector import LANE, LANES, data_of, lowest_one

compiled = partial(jit.compiled, error_model="numpy")


@intrinsic
def _positive(typing_context: Any, data: Any, start: Any) -> Any:
    """Which of the numbers ``data[start : start + 32]`` are above 0, as the bits of a word."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        real = signature.args[0].dtype
        kind = ir.VectorType(context.get_value_type(real), LANES)
        first = builder.gep(data_of(context, builder, signature.args[0], arguments[0]), [arguments[1]])
        numbers = builder.load(builder.bitcast(first, kind.as_pointer()), align=real.bitwidth // 8)
        return builder.bitcast(builder.fcmp_ordered(">", numbers, kind([0.0] * LANES)), LANE)

    return types.uint32(data, types.int64), emit


@compiled
def find_positive(
    data: np.ndarray, start: int, count: int, first: int, live: np.ndarray, by: np.ndarray, found: int
) -> int:
    """List what is above 0 of ``data[start : start + count]`` from place `found` on: its number, from `first`, and what
    it is; return how many there are by then. Data goes on to a multiple of 32 numbers, with zeros.
    """
    for n in range(0, count, LANES):
        word = _positive(data, start + n)
        while word != 0:
            i = n + lowest_one(word)
            word &= word - np.uint32(1)
            live[found], by[found] = first + i, data[start + i]
            found += 1
    return found


@steps(constants="", state="sum", reads="weight", spread="by", rows="live", picked="weight")
def add_rows(unit: Unit) -> None:
    """Add the listed rows of a matrix, each times its number, to the state."""
    unit.sum = unit.weight.fused(unit.by, unit.sum)


@steps(constants="one", state="", reads="row", spread="by", writes="into", rows="live", picked="row into")
def add_to_rows(unit: Unit) -> None:
    """Add the constants, times a number each, to the listed rows of a matrix."""
    unit.into = unit.one.fused(unit.by, unit.row)
