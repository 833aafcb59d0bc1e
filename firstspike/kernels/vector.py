"""The inner loops that numba's own loops leave slow: sums of table rows in registers, and looks at the lanes they fill.

A row is a run of lanes in memory; every row is a multiple of ``LANES`` long, so no tail is ever handled. All arrays are
flat: sums int32, tables int32 or uint8, entries uint16. Nothing is checked here: the caller owns the bounds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 32  # lanes of a block: two 512-bit registers of int32, or four of 256 bits
_REGISTER = 16  # lanes of a register
LANE = ir.IntType(32)
INDEX = ir.IntType(64)
_SUMS = ir.VectorType(LANE, _REGISTER)
_LOWEST = -(2**31)


def padded(maps: int) -> int:
    """Round a number of maps up to whole blocks."""
    return -(-maps // LANES) * LANES


def data_of(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    """Pointer to an array's first entry."""
    return context.make_array(array_type)(context, builder, array).data


def _registers(builder: Any, pointer: Any, start: Any, vector: Any, width: int) -> list[Any]:
    """Pointers to the registers that hold `width` lanes, `start` lanes behind a pointer."""
    first = builder.bitcast(builder.gep(pointer, [start]), vector.as_pointer())
    return [builder.gep(first, [INDEX(v)]) for v in range(width // _REGISTER)]


@contextmanager
def _blocks(builder: Any, lanes: Any) -> Iterator[Any]:
    """Loop over the blocks of a row; gives the first lane of each."""
    with cgutils.for_range_slice(builder, INDEX(0), lanes, INDEX(LANES)) as (start, _):
        yield start


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_signed(">", a, b), a, b)


def _reduce(builder: Any, name: str, vector: Any) -> Any:
    """Horizontal reduction of a register by the LLVM intrinsic of that name."""
    kind = ir.FunctionType(vector.type.element, [vector.type])
    reduction = cgutils.get_or_insert_function(
        builder.module, kind, f"llvm.vector.reduce.{name}.v{_REGISTER}i32"
    )
    return builder.call(reduction, [vector])


@intrinsic
def add_rows(
    typing_context: Any, sums: Any, at: Any, table: Any, start: Any, entries: Any, begin: Any, end: Any
) -> Any:
    """Add rows of one block of a table to a block of sums, and give the largest sum.

    ``sums[at : at + LANES] += table[start:].reshape(-1, LANES)[entries[begin:end]].sum(axis=0)``.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, at, table, start, entries, begin, end = arguments
        targets = _registers(builder, data_of(context, builder, signature.args[0], sums), at, _SUMS, LANES)
        table = builder.gep(data_of(context, builder, signature.args[2], table), [start])
        entries = builder.gep(data_of(context, builder, signature.args[4], entries), [begin])
        totals = [cgutils.alloca_once_value(builder, builder.load(target, align=4)) for target in targets]
        with cgutils.for_range(builder, builder.sub(end, begin)) as loop:
            row = builder.zext(builder.load(builder.gep(entries, [loop.index])), INDEX)
            sources = _registers(builder, table, builder.mul(row, INDEX(LANES)), _SUMS, LANES)
            for total, source in zip(totals, sources, strict=True):
                builder.store(builder.add(builder.load(total), builder.load(source, align=4)), total)
        for total, target in zip(totals, targets, strict=True):
            builder.store(builder.load(total), target, align=4)
        largest = _larger(builder, *(builder.load(total) for total in totals))
        return builder.sext(_reduce(builder, "smax", largest), INDEX)

    flat = types.int64
    return flat(sums, flat, table, flat, entries, flat, flat), emit


def _splat32(builder: Any, value: Any) -> Any:
    """A register with the same int32 in every lane."""
    element = builder.insert_element(_SUMS(ir.Undefined), value, LANE(0))
    return builder.shuffle_vector(element, _SUMS(ir.Undefined), _SUMS([0] * _REGISTER))


def _splat(builder: Any, value: Any) -> Any:
    """A register with the same int64 value, as int32, in every lane."""
    return _splat32(builder, builder.trunc(value, LANE))


@intrinsic
def count_at_least(typing_context: Any, sums: Any, at: Any, lanes: Any, limit: Any) -> Any:
    """``(sums[at : at + lanes] >= limit).sum()``."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, at, lanes, limit = arguments
        sums = builder.gep(data_of(context, builder, signature.args[0], sums), [at])
        limits = _splat(builder, limit)
        count = cgutils.alloca_once_value(builder, _SUMS([0] * _REGISTER))
        with _blocks(builder, lanes) as start:
            for source in _registers(builder, sums, start, _SUMS, LANES):
                reached = builder.icmp_signed(">=", builder.load(source, align=4), limits)
                builder.store(builder.sub(builder.load(count), builder.sext(reached, _SUMS)), count)
        return builder.sext(_reduce(builder, "add", builder.load(count)), INDEX)

    return types.int64(sums, types.int64, types.int64, types.int64), emit


@intrinsic
def mark_above(typing_context: Any, marks: Any, sums: Any, at: Any, lanes: Any, limit: Any, mark: Any) -> Any:
    """``marks = minimum(marks, where(sums > limit, mark, marks))`` on ``at : at + lanes``, all int32."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        marks, sums, at, lanes, limit, mark = arguments
        marks = builder.gep(data_of(context, builder, signature.args[0], marks), [at])
        sums = builder.gep(data_of(context, builder, signature.args[1], sums), [at])
        limits, new = _splat(builder, limit), _splat(builder, mark)
        with _blocks(builder, lanes) as start:
            targets, sources = (_registers(builder, array, start, _SUMS, LANES) for array in (marks, sums))
            for target, source in zip(targets, sources, strict=True):
                old = builder.load(target, align=4)
                above = builder.icmp_signed(">", builder.load(source, align=4), limits)
                earlier = builder.and_(above, builder.icmp_signed("<", new, old))
                builder.store(builder.select(earlier, new, old), target, align=4)
        return context.get_dummy_value()

    return types.void(marks, sums, types.int64, types.int64, types.int64, types.int64), emit


@intrinsic
def take_lower(typing_context: Any, target: Any, at: Any, source: Any, start: Any, lanes: Any) -> Any:
    """``target[at : at + lanes] = minimum(target[at : at + lanes], source[start : start + lanes])``, all int32."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, at, source, start, lanes = arguments
        target = builder.gep(data_of(context, builder, signature.args[0], target), [at])
        source = builder.gep(data_of(context, builder, signature.args[2], source), [start])
        with _blocks(builder, lanes) as lane:
            targets, sources = (_registers(builder, array, lane, _SUMS, LANES) for array in (target, source))
            for to, other in zip(targets, sources, strict=True):
                a, b = builder.load(to, align=4), builder.load(other, align=4)
                builder.store(builder.select(builder.icmp_signed("<", a, b), a, b), to, align=4)
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64, types.int64), emit


@intrinsic
def fill_lanes(typing_context: Any, sums: Any, at: Any, lanes: Any, value: Any) -> Any:
    """``sums[at : at + lanes] = value``."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, at, lanes, value = arguments
        sums = builder.gep(data_of(context, builder, signature.args[0], sums), [at])
        values = _splat(builder, value)
        with _blocks(builder, lanes) as start:
            for target in _registers(builder, sums, start, _SUMS, LANES):
                builder.store(values, target, align=4)
        return context.get_dummy_value()

    return types.void(sums, types.int64, types.int64, types.int64), emit


def _sum_bytes(
    builder: Any, sums: Any, table: Any, lanes: Any, entries: Any, n: Any, start: Any, width: int
) -> None:
    """Add n rows of bytes to the `width` lanes from `start`: in 16 bits first, which hold 257 bytes, then in 32."""
    half, byte = ir.VectorType(ir.IntType(16), LANES), ir.VectorType(ir.IntType(8), LANES)
    totals = [cgutils.alloca_once_value(builder, half([0] * LANES)) for _ in range(width // LANES)]
    with cgutils.for_range(builder, n) as loop:
        row = builder.zext(builder.load(builder.gep(entries, [loop.index])), INDEX)
        first = builder.gep(table, [builder.add(builder.mul(row, lanes), start)])
        for v, total in enumerate(totals):
            source = builder.bitcast(builder.gep(first, [INDEX(v * LANES)]), byte.as_pointer())
            addend = builder.zext(builder.load(source, align=1), half)
            builder.store(builder.add(builder.load(total), addend), total)
    full = ir.VectorType(LANE, LANES)
    for v, total in enumerate(totals):
        first = builder.gep(sums, [builder.add(start, INDEX(v * LANES))])
        target = builder.bitcast(first, full.as_pointer())
        widened = builder.zext(builder.load(total), full)
        builder.store(builder.add(builder.load(target, align=4), widened), target, align=4)


@intrinsic
def add_bytes(
    typing_context: Any,
    sums: Any,
    at: Any,
    table: Any,
    base: Any,
    lanes: Any,
    entries: Any,
    begin: Any,
    end: Any,
) -> Any:
    """``sums[at : at + lanes] += table.reshape(-1, lanes)[base + entries[begin:end]].sum(axis=0)``, table uint8.

    At most 257 entries a call, so that 16 bits hold the sum of their bytes.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, at, table, base, lanes, entries, begin, end = arguments
        sums = builder.gep(data_of(context, builder, signature.args[0], sums), [at])
        table = builder.gep(data_of(context, builder, signature.args[2], table), [builder.mul(base, lanes)])
        entries = builder.gep(data_of(context, builder, signature.args[5], entries), [begin])
        n = builder.sub(end, begin)
        done = INDEX(0)
        for width in (4 * LANES, 2 * LANES, LANES):
            last = builder.and_(lanes, INDEX(-width))
            with cgutils.for_range_slice(builder, done, last, INDEX(width)) as (start, _):
                _sum_bytes(builder, sums, table, lanes, entries, n, start, width)
            done = last
        return context.get_dummy_value()

    flat = types.int64
    return types.void(sums, flat, table, flat, flat, entries, flat, flat), emit


@intrinsic
def dot_counts(typing_context: Any, weights: Any, at: Any, counts: Any, start: Any, n: Any) -> Any:
    """``(weights[at : at + n] * counts[start : start + n]).sum()`` in float64; n in whole registers.

    Weights are float32, counts uint8. Products are exact while counts are small; the order of the sum depends on n
    alone.
    """
    single, double = (ir.VectorType(kind(), _REGISTER) for kind in (ir.FloatType, ir.DoubleType))
    byte = ir.VectorType(ir.IntType(8), _REGISTER)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        weights, at, counts, start, n = arguments
        weights = builder.gep(data_of(context, builder, signature.args[0], weights), [at])
        counts = builder.gep(data_of(context, builder, signature.args[2], counts), [start])
        total = cgutils.alloca_once_value(builder, double([0.0] * _REGISTER))
        with cgutils.for_range_slice(builder, INDEX(0), n, INDEX(_REGISTER)) as (lane, _):
            w = builder.load(builder.bitcast(builder.gep(weights, [lane]), single.as_pointer()), align=4)
            c = builder.load(builder.bitcast(builder.gep(counts, [lane]), byte.as_pointer()), align=1)
            product = builder.fpext(builder.fmul(w, builder.uitofp(c, single)), double)
            builder.store(builder.fadd(builder.load(total), product), total)
        lanes = builder.load(total)
        result = builder.extract_element(lanes, LANE(0))
        for lane in range(1, _REGISTER):
            result = builder.fadd(result, builder.extract_element(lanes, LANE(lane)))
        return result

    flat = types.int64
    return types.float64(weights, flat, counts, flat, flat), emit


def counted(builder: Any, value: Any, name: str, *flags: Any) -> Any:
    """An LLVM intrinsic that counts bits, of a word or of each lane."""
    kind = value.type
    suffix = f"v{kind.count}i32" if isinstance(kind, ir.VectorType) else f"i{kind.width}"
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(kind, [kind, *(flag.type for flag in flags)]),
        f"llvm.{name}.{suffix}",
    )
    return builder.call(function, [value, *flags])


def as_index(builder: Any, value: Any) -> Any:
    """A word of at most 64 bits as int64."""
    return value if value.type == INDEX else builder.zext(value, INDEX)


@intrinsic
def count_ones(typing_context: Any, word: Any) -> Any:
    """How many bits of a uint32 or uint64 are set."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return as_index(builder, counted(builder, arguments[0], "ctpop"))

    return types.int64(word), emit


@intrinsic
def lowest_one(typing_context: Any, word: Any) -> Any:
    """The lowest bit that is set in a uint32 or uint64; as many as it has where none is."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return as_index(builder, counted(builder, arguments[0], "cttz", ir.IntType(1)(0)))

    return types.int64(word), emit


@intrinsic
def count_shared(
    typing_context: Any, counts: Any, seen: Any, at: Any, n: Any, patterns: Any, start: Any
) -> Any:
    """Count for each lane of a block the bits that ``seen[at : at + n]`` and its pattern share, into ``counts[:32]``.

    All are 32 bits wide; ``patterns[start : start + n * 32]`` holds word after word, 32 lanes of each.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        counts, seen, at, n, patterns, start = arguments
        kinds = signature.args
        seen = builder.gep(data_of(context, builder, kinds[1], seen), [at])
        patterns = builder.gep(data_of(context, builder, kinds[4], patterns), [start])
        totals = [
            cgutils.alloca_once_value(builder, _SUMS([0] * _REGISTER)) for _ in range(LANES // _REGISTER)
        ]
        with cgutils.for_range(builder, n) as loop:
            word = _splat32(builder, builder.load(builder.gep(seen, [loop.index])))
            sources = _registers(builder, patterns, builder.mul(loop.index, INDEX(LANES)), _SUMS, LANES)
            for total, source in zip(totals, sources, strict=True):
                shared = builder.and_(builder.load(source, align=4), word)
                builder.store(builder.add(builder.load(total), counted(builder, shared, "ctpop")), total)
        places = _registers(builder, data_of(context, builder, kinds[0], counts), INDEX(0), _SUMS, LANES)
        for total, place in zip(totals, places, strict=True):
            builder.store(builder.load(total), place, align=4)
        return context.get_dummy_value()

    flat = types.int64
    return types.void(counts, seen, flat, flat, patterns, flat), emit


def _reached(builder: Any, values: list[Any], limits: list[Any]) -> Any:
    """The lanes of a block whose values reach their limits, as the bits of a word."""
    result = LANE(0)
    for v, (value, limit) in enumerate(zip(values, limits, strict=True)):
        reached = builder.icmp_signed(">=", builder.load(value, align=4), limit)
        mask = builder.zext(builder.bitcast(reached, ir.IntType(_REGISTER)), LANE)
        result = builder.or_(result, builder.shl(mask, LANE(v * _REGISTER)))
    return result


@intrinsic
def lanes_reached(typing_context: Any, counts: Any, limits: Any, first: Any) -> Any:
    """The lanes of ``counts[:32]`` that reach ``limits[first:][:32]``, both int32, as the bits of a uint32."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        counts, limits, first = arguments
        counts = _registers(
            builder, data_of(context, builder, signature.args[0], counts), INDEX(0), _SUMS, LANES
        )
        limits = _registers(
            builder, data_of(context, builder, signature.args[1], limits), first, _SUMS, LANES
        )
        return _reached(builder, counts, [builder.load(limit, align=4) for limit in limits])

    return types.uint32(counts, limits, types.int64), emit


@intrinsic
def lanes_at_least(typing_context: Any, sums: Any, at: Any, limit: Any) -> Any:
    """The lanes of ``sums[at:][:32]``, int32, that reach one limit, as the bits of a uint32."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, at, limit = arguments
        sums = _registers(builder, data_of(context, builder, signature.args[0], sums), at, _SUMS, LANES)
        return _reached(builder, sums, [_splat(builder, limit)] * len(sums))

    return types.uint32(sums, types.int64, types.int64), emit
