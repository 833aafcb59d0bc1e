"""What learning does to one row of weights, those of one neuron: STDP, clipping, normalisation.

A row is float32 (I,), changed in place. An STDP form is an element-wise change of an array of weights,
`change(values, amount, potentiating, constants)`: `potentiating` says which of its two branches applies,
`amount` (float64) is |error| times the rate of that branch, `constants` float64 are the form's own. The
increment and the sum are taken in float64 and rounded once to float32.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from firstspike.kernels.jit import compiled

FLOATS = types.Array(types.float32, 1, "C")
DOUBLES = types.Array(types.float64, 1, "C")
CHANGE = types.void(FLOATS, types.float64, types.boolean, DOUBLES)

LOG2_E = 1.4426950408889634
LN2_HIGH = 6.93147180369123816490e-01  # the upper bits of ln 2, so that k * LN2_HIGH is exact for |k| < 2^20
LN2_LOW = 1.90821492927058770002e-10
WHOLE = 1.5 * 2.0**52  # a float64 of this size has no digits behind the point, and its last bits count units
TAYLOR = tuple(1 / math.factorial(k) for k in range(12, -1, -1))


@intrinsic
def multiply_add(typingctx: Any, a: types.Float, b: types.Float, c: types.Float) -> tuple:
    """Give a b + c, rounded once."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: tuple) -> ir.Value:
        return builder.fma(*args)

    return types.float64(types.float64, types.float64, types.float64), codegen


@compiled
def exponential(x: float) -> float:
    """Give e^x within 4e-16 relative, for |x| < 700, by arithmetic that compilers vectorise.

    x = k ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor polynomial of degree 12, times 2^k by its bits.
    """
    shifted = multiply_add(x, LOG2_E, WHOLE)
    k = shifted - WHOLE
    r = multiply_add(k, -LN2_LOW, multiply_add(k, -LN2_HIGH, x))
    power = TAYLOR[0]
    for coefficient in TAYLOR[1:]:
        power = multiply_add(power, r, coefficient)
    return power * np.int64((np.float64(shifted).view(np.int64) + 1023) << 52).view(np.float64)


@compiled(signature=CHANGE)
def additive(values: np.ndarray, amount: float, potentiating: bool, constants: np.ndarray) -> None:
    """Add the amount, whatever the weight."""
    for i in range(values.shape[0]):
        values[i] = np.float32(np.float64(values[i]) + amount)


@compiled(signature=CHANGE)
def multiplicative(values: np.ndarray, amount: float, potentiating: bool, constants: np.ndarray) -> None:
    """Add the amount times e^(-beta d), d the distance to the bound on the other side, 1 = the whole range.

    `constants`: beta, w_min, w_max. Potentiation measures from w_min, depression from w_max.
    """
    beta, w_min, w_max = constants[0], constants[1], constants[2]
    origin = w_min if potentiating else w_max
    slope = -beta / (w_max - w_min) if potentiating else beta / (w_max - w_min)
    for i in range(values.shape[0]):
        weight = np.float64(values[i])
        values[i] = np.float32(weight + amount * exponential(slope * (weight - origin)))


@compiled
def put(row: np.ndarray, which: np.ndarray, values: np.ndarray) -> None:
    """Set the weights of the inputs `which`."""
    for k in range(which.shape[0]):
        row[which[k]] = values[k]


@compiled
def apply_stdp(
    change: Callable,
    constants: np.ndarray,
    row: np.ndarray,
    seen: np.ndarray,
    causal: int,
    gains: np.ndarray,
    ignore_silent: bool,
) -> None:
    """Potentiate the row's causal inputs by gains[0] and depress the others by gains[1].

    `seen` int32: the inputs that fired, in order of time; the first `causal` of them fired no later than the
    neuron; -1 = the neuron is silent, and then every input counts as causal, silent ones too. With
    `ignore_silent` silent inputs are not depressed.
    """
    if causal < 0:
        if gains[0] != 0:
            change(row, gains[0], True, constants)
        return
    early, late = seen[:causal], seen[causal:]
    causals, others = row[early], row[late] if ignore_silent else row
    if gains[0] != 0:
        change(causals, gains[0], True, constants)
    if gains[1] != 0:
        change(others, gains[1], False, constants)
    if ignore_silent:
        put(row, late, others)
    put(row, early, causals)


@compiled
def peak(row: np.ndarray) -> float:
    """Give the greatest weight, or 0 where all are negative (over the bits, see `readout.least_gap`)."""
    greatest = np.int32(0)
    for i in range(row.shape[0]):
        greatest = max(greatest, np.float32(row[i]).view(np.int32))
    return np.int32(greatest).view(np.float32)


@compiled
def clip(row: np.ndarray, low: float, high: float) -> float:
    """Bring every weight into [low, high]; give the `peak` of what is left."""
    greatest = np.int32(0)
    for i in range(row.shape[0]):
        weight = np.float32(min(max(row[i], low), high))
        row[i] = weight
        greatest = max(greatest, weight.view(np.int32))
    return np.int32(greatest).view(np.float32)


@intrinsic
def sum_lanes(typingctx: Any, row: types.Array, start: types.Integer, stop: types.Integer) -> tuple:
    """Sum |row[start:stop]| in eight interleaved float32 sums, then those by twos; a multiple of 8 numbers.

    Written as vector instructions, because compilers do not make eight scalar sums into one vector of eight.
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: tuple) -> ir.Value:
        lanes = ir.VectorType(ir.FloatType(), 8)
        magnitude = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(lanes, [lanes]), "llvm.fabs.v8f32"
        )
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        total = cgutils.alloca_once_value(builder, ir.Constant(lanes, [0.0] * 8))
        with cgutils.for_range_slice(builder, args[1], args[2], ir.Constant(args[1].type, 8)) as (i, _):
            address = builder.bitcast(builder.gep(data, [i]), lanes.as_pointer())
            values = builder.call(magnitude, [builder.load(address, align=4)])
            builder.store(builder.fadd(builder.load(total), values), total)
        whole = builder.load(total)
        parts = [builder.extract_element(whole, ir.IntType(32)(k)) for k in range(8)]
        while len(parts) > 1:
            parts = [builder.fadd(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    return types.float32(FLOATS, types.intp, types.intp), codegen


@compiled(signature=types.float32(FLOATS, types.intp, types.intp))
def sum_magnitudes(row: np.ndarray, start: int, stop: int) -> float:
    """Sum |w| over row[start:stop] in float32, in the order of numpy's pairwise sum.

    Up to 128 numbers in eight interleaved sums and a rest, more by halves that are multiples of eight.
    """
    count = stop - start
    if count > 128:
        middle = start + count // 16 * 8
        return sum_magnitudes(row, start, middle) + sum_magnitudes(row, middle, stop)
    rest = stop - count % 8
    total = sum_lanes(row, start, rest)
    for i in range(rest, stop):
        total += abs(row[i])
    return total


@compiled
def scale(row: np.ndarray, factor: float) -> float:
    """Multiply the row by a float32 factor; give the `peak` of the result."""
    greatest = np.int32(0)
    for i in range(row.shape[0]):
        weight = np.float32(row[i] * factor)
        row[i] = weight
        greatest = max(greatest, weight.view(np.int32))
    return np.int32(greatest).view(np.float32)


@compiled
def normalise(row: np.ndarray, target: float) -> float:
    """Scale the row so that its magnitudes sum to `target`; a row of zeros stays. Give its `peak`."""
    total = sum_magnitudes(row, 0, row.shape[0])
    return scale(row, np.float32(target / total)) if total > 0 else np.float32(0)


@compiled
def any_below(row: np.ndarray, low: float) -> bool:
    """Say whether any weight is less than `low`."""
    count = 0
    for i in range(row.shape[0]):
        count += row[i] < low
    return count > 0


@compiled
def peaks(weights: np.ndarray) -> np.ndarray:
    """Give `peak` of every row, float32 (N,)."""
    found = np.empty(weights.shape[0], np.float32)
    for n in range(weights.shape[0]):
        found[n] = peak(weights[n])
    return found
