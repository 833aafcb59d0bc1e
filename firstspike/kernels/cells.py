"""Counts of a layer's cells and bits of its inputs, many at a time: what ``fields.py`` is made of.

A block is ``CELLS`` cells; arrays are flat, and nothing is checked here: the caller owns the bounds. Counts are uint16,
latencies uint8, bits uint64 or uint32.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from firstspike.kernels.vector import INDEX, LANE, as_index, counted, data_of

CELLS = 32  # cells of a block: a 512-bit register of 16-bit counts
UNASKED = 8  # bits that are listed without asking whether they are there
_BYTES, _WORD_BITS = ir.VectorType(ir.IntType(8), 64), 64
_MARKS = ir.VectorType(ir.IntType(1), CELLS)
_CELL_BYTES, _CELLS = ir.VectorType(ir.IntType(8), CELLS), ir.VectorType(ir.IntType(16), CELLS)


def _vector_at(builder: Any, context: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
    """Pointer to the vector that begins at an index of an array."""
    return builder.bitcast(builder.gep(data_of(context, builder, kind, array), [index]), vector.as_pointer())


def _everywhere(builder: Any, vector: Any, value: Any) -> Any:
    """A vector with the low bits of an int64 in every lane."""
    element = builder.insert_element(vector(ir.Undefined), builder.trunc(value, vector.element), LANE(0))
    return builder.shuffle_vector(
        element, vector(ir.Undefined), ir.VectorType(LANE, vector.count)([0] * vector.count)
    )


@intrinsic
def pack_at_most(
    typing_context: Any, words: Any, at: Any, values: Any, start: Any, n: Any, limit: Any
) -> Any:
    """Set the bits of n words to ``values[start:][: 64 * n] <= limit``; words uint64 from `at` on, values uint8."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, at, values, start, n, limit = arguments
        words = builder.gep(data_of(context, builder, signature.args[0], words), [at])
        limits = _everywhere(builder, _BYTES, limit)
        with cgutils.for_range(builder, n) as loop:
            first = builder.add(start, builder.mul(loop.index, INDEX(_WORD_BITS)))
            row = builder.load(
                _vector_at(builder, context, signature.args[2], values, first, _BYTES), align=1
            )
            bits = builder.bitcast(builder.icmp_unsigned("<=", row, limits), INDEX)
            builder.store(bits, builder.gep(words, [loop.index]))
        return context.get_dummy_value()

    flat = types.int64
    return types.void(words, flat, values, flat, flat, flat), emit


@intrinsic
def count_at_most(
    typing_context: Any, counts: Any, at: Any, values: Any, start: Any, n: Any, limit: Any
) -> Any:
    """``counts[at:][:n] += values[start:][:n] <= limit``; counts uint16, values uint8, n in whole blocks of cells."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        counts, at, values, start, n, limit = arguments
        limits = _everywhere(builder, _CELL_BYTES, limit)
        with cgutils.for_range_slice(builder, INDEX(0), n, INDEX(CELLS)) as (cell, _):
            target = _vector_at(builder, context, signature.args[0], counts, builder.add(at, cell), _CELLS)
            first = builder.add(start, cell)
            source = _vector_at(builder, context, signature.args[2], values, first, _CELL_BYTES)
            reached = builder.icmp_unsigned("<=", builder.load(source, align=1), limits)
            total = builder.sub(builder.load(target, align=2), builder.sext(reached, _CELLS))
            builder.store(total, target, align=2)
        return context.get_dummy_value()

    flat = types.int64
    return types.void(counts, flat, values, flat, flat, flat), emit


@intrinsic
def add_cells(typing_context: Any, target: Any, at: Any, source: Any, start: Any, n: Any) -> Any:
    """``target[at:][:n] += source[start:][:n]``, both uint16, n in whole blocks of cells."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, at, source, start, n = arguments
        with cgutils.for_range_slice(builder, INDEX(0), n, INDEX(CELLS)) as (cell, _):
            to, other = (
                _vector_at(builder, context, kind, array, builder.add(first, cell), _CELLS)
                for kind, array, first in (
                    (signature.args[0], target, at),
                    (signature.args[2], source, start),
                )
            )
            builder.store(builder.add(builder.load(to, align=2), builder.load(other, align=2)), to, align=2)
        return context.get_dummy_value()

    flat = types.int64
    return types.void(target, flat, source, flat, flat), emit


@intrinsic
def cells_above(typing_context: Any, counts: Any, at: Any, limit: Any) -> Any:
    """The cells of ``counts[at:][:32]``, uint16, that are larger than a limit, as the bits of a uint32."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        counts, at, limit = arguments
        row = builder.load(_vector_at(builder, context, signature.args[0], counts, at, _CELLS), align=2)
        above = builder.icmp_unsigned(">", row, _everywhere(builder, _CELLS, limit))
        return builder.bitcast(above, LANE)

    return types.uint32(counts, types.int64, types.int64), emit


def _compress(builder: Any, entries: Any, word: Any, base: Any) -> None:
    """All bits at once, by the instruction that AVX-512 has for it."""
    kind = ir.FunctionType(_CELLS, [_CELLS, _MARKS, _CELLS])
    name = f"llvm.experimental.vector.compress.v{CELLS}i16"
    compress = cgutils.get_or_insert_function(builder.module, kind, name)
    bits = builder.add(_CELLS(list(range(CELLS))), _everywhere(builder, _CELLS, base))
    listed = builder.call(compress, [bits, builder.bitcast(word, _MARKS), _CELLS(ir.Undefined)])
    builder.store(listed, builder.bitcast(entries, _CELLS.as_pointer()), align=2)


def _peel(builder: Any, entries: Any, word: Any, base: Any) -> None:
    """Bit by bit, the first few unasked: a wrong guess of the processor costs more than all of them."""
    left, sixteen = cgutils.alloca_once_value(builder, word), _CELLS.element

    def list_next(index: Any) -> None:
        bits = builder.load(left)
        bit = builder.trunc(counted(builder, bits, "cttz", ir.IntType(1)(0)), sixteen)
        builder.store(builder.add(bit, builder.trunc(base, sixteen)), builder.gep(entries, [index]))
        builder.store(builder.and_(bits, builder.sub(bits, LANE(1))), left)

    for index in range(UNASKED):
        list_next(INDEX(index))
    count = as_index(builder, counted(builder, word, "ctpop"))
    with cgutils.for_range_slice(builder, INDEX(UNASKED), count, INDEX(1)) as (index, _):
        list_next(index)


@intrinsic
def list_ones(typing_context: Any, entries: Any, at: Any, word: Any, base: Any) -> Any:
    """Write ``base +`` each bit that is set in a uint32 to ``entries[at:]``, uint16; returns how many there are.

    All of ``entries[at:][:32]`` may be written.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        entries, at, word, base = arguments
        entries = builder.gep(data_of(context, builder, signature.args[0], entries), [at])
        _, _, features = context.codegen().magic_tuple()
        write = _compress if "+avx512vbmi2" in features else _peel
        write(builder, entries, word, base)
        return as_index(builder, counted(builder, word, "ctpop"))

    return types.int64(entries, types.int64, types.uint32, types.int64), emit
