"""Loops over steps whose state stays in the processor's registers: what the recurrences are made of.

A unit is a lane of a register. `steps` turns a function of one step into compiled code that runs it over many units
and steps; within the function the names of a `Unit` stand for registers, with Python's operators:

    @steps(constants="alpha", state="v", reads="x", writes="out")
    def leak(unit):
        unit.v = unit.alpha * unit.v + unit.x
        unit.out = unit.v

Every operation is rounded on its own, so neither the width of registers nor the place of a unit changes a bit.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from firstspike.kernels.registers import BIT, REGISTER, WORD, Lanes, Register, Words, as_lanes, call
from firstspike.kernels.spools import Spool, store_past
from firstspike.kernels.vector import INDEX, data_of

UNITS = 256
"""A multiple of this is how far a name's numbers lie apart in the packed arrays of constants and states."""

TOGETHER = (1, 2, 4, 6, 8)  # registers
AHEAD = 12  # steps


class Unit:
    """The names of a step: constants, state, what is read and written, and numbers that are the same for all units."""

    def __init__(self, loop: "_Loop", kind: ir.VectorType) -> None:
        self.__dict__.update(_loop=loop, kind=kind, _slots={})

    def __getattr__(self, name: str) -> Any:
        value = self._loop.builder.load(self._slots[name])
        words = isinstance(value.type.element, ir.IntType)
        return Words(self._loop.builder, value) if words else Lanes(self._loop.builder, value)

    def __setattr__(self, name: str, number: Register | float) -> None:
        value = as_lanes(self.kind, number)
        if name not in self._slots:
            self._slots[name] = cgutils.alloca_once(self._loop.builder, value.type)
        self._loop.builder.store(value, self._slots[name])

    def where(self, truths: Lanes, yes: Lanes | float, no: Lanes | float) -> Lanes:
        """`yes` in the lanes that hold true, else `no`."""
        both = [as_lanes(self.kind, each) for each in (yes, no)]
        return Lanes(self._loop.builder, self._loop.builder.select(truths.value, *both))

    @contextmanager
    def when(self, name: str) -> Iterator[None]:
        """Do what follows only if a number is above 0, or if an array that is read or written holds anything."""
        with self._loop.builder.if_then(self._loop.conditions[name]):
            yield


Step = Callable[[Unit], None]


class _Loop:
    """One compiled loop in the making: its arguments, and the blocks of code that go through units and steps."""

    def __init__(
        self,
        step: Step,
        names: dict[str, list[str]],
        backwards: bool,
        context: Any,
        builder: ir.IRBuilder,
        kinds: Any,
        given: Any,
    ) -> None:
        self.step, self.names, self.builder, self.backwards = step, names, builder, backwards
        constants, state, numbers, arrays, starts, strides, self.units, self.count, self.room = given
        real = kinds[0].dtype
        self.kind = ir.VectorType(context.get_value_type(real), REGISTER // (real.bitwidth // 8))
        self.constants = data_of(context, builder, kinds[0], constants)
        self.state = data_of(context, builder, kinds[1], state)
        self.numbers, self.conditions = {}, {}
        for k, name in enumerate(names["numbers"]):
            number = context.cast(builder, builder.extract_value(numbers, k), kinds[2][k], real)
            self.numbers[name] = self._everywhere(number)
            self.conditions[name] = builder.fcmp_ordered(">", number, number.type(0))
        self.streams, self.spools = {}, {}
        self.picks = {name: rows for rows in names["rows"] for name in names["picked"]}
        for k, name in enumerate(names["reads"] + names["spread"] + names["writes"] + names["rows"]):
            array = context.make_array(kinds[3][k])(context, builder, builder.extract_value(arrays, k))
            start, stride = (
                context.cast(builder, builder.extract_value(each, k), kind[k], types.int64)
                for each, kind in ((starts, kinds[4]), (strides, kinds[5]))
            )
            self.streams[name] = (array.data, start, stride)
            self.conditions[name] = builder.icmp_signed(">", array.nitems, INDEX(0))
            if name in names["writes"] and name not in self.picks:  # which are perhaps read a few steps later
                self.spools[name] = Spool(
                    builder, self.kind, array, (start, stride), (self.units, self.count)
                )

    def emit(self) -> None:
        """All steps, as many at once as spools take where any is used."""
        builder, spools = self.builder, list(self.spools.values())
        used = functools.reduce(builder.or_, (spool.used for spool in spools), BIT(0))
        past = functools.reduce(builder.or_, (spool.past for spool in spools), used)
        at_once = self.count
        if spools:
            at_once = builder.select(used, spools[0].rows, self.count)
        with cgutils.for_range_slice(builder, INDEX(0), self.count, at_once, inc=True) as (first, _):
            left = builder.sub(self.count, first)
            count = builder.select(builder.icmp_signed("<", left, at_once), left, at_once)
            self.span = first, builder.add(first, count)
            for spool in spools:
                spool.open(first, count)
            self._all_units()
            for spool in spools:
                spool.close(count)
        with builder.if_then(past):
            builder.fence("seq_cst")  # stores past the caches are in nobody else's order

    def _all_units(self) -> None:
        """As many registers at once as go together; what is left in one masked go of as few as will do."""
        builder, width, most = self.builder, self.kind.count, TOGETHER[-1]
        whole = builder.sub(self.units, builder.srem(self.units, INDEX(most * width)))
        with cgutils.for_range_slice(builder, INDEX(0), whole, INDEX(most * width), inc=True) as (first, _):
            self._steps([builder.add(first, INDEX(r * width)) for r in range(most)], [None] * most)
        left = builder.sub(self.units, whole)
        for fewer, registers in itertools.pairwise((0, *TOGETHER)):
            more = builder.icmp_signed(">", left, INDEX(fewer * width))
            fits = builder.icmp_signed("<=", left, INDEX(registers * width))
            with builder.if_then(builder.and_(more, fits)):
                self._masked(whole, registers)

    def _masked(self, first: ir.Value, registers: int) -> None:
        """The units that are left from `first` on, at most so many registers of them."""
        left = self._everywhere(self.builder.trunc(self.builder.sub(self.units, first), WORD))
        width = self.kind.count
        lanes = [left.type([r * width + lane for lane in range(width)]) for r in range(registers)]
        masks = [self.builder.icmp_signed("<", register, left) for register in lanes]
        self._steps([self.builder.add(first, INDEX(r * width)) for r in range(registers)], masks)

    def _steps(self, firsts: list[ir.Value], masks: list[ir.Value | None]) -> None:
        """Run the steps over the units of a few registers."""
        units = [self._begin(first) for first in firsts]
        with cgutils.for_range_slice(self.builder, *self.span, INDEX(1), inc=True) as (index, _):
            rows = {name: self._row(name, index) for name in self.streams}
            for name, by in self.picks.items():
                rows[name] = self._row(name, self.builder.load(rows[by]))
            spread = {name: self._everywhere(self.builder.load(rows[name])) for name in self.names["spread"]}
            registers = list(zip(firsts, units, masks, strict=True))
            for first, unit, mask in reversed(registers) if self.backwards else registers:
                at = {name: self._register(row, first) for name, row in rows.items()}
                for name, value in spread.items():
                    setattr(unit, name, Register(self.builder, value))
                self._read(unit, at, mask)
                self.step(unit)
                self._write(unit, at, mask)
        for first, unit in zip(firsts, units, strict=True):
            for k, name in enumerate(self.names["state"]):
                self._store(getattr(unit, name).value, self._packed(self.state, k, first), None)

    def _row(self, name: str, index: ir.Value) -> ir.Value:
        """Where step `index` of a stream lies."""
        data, start, stride = self.streams[name]
        data = self.spools[name].base if name in self.spools else data
        return self.builder.gep(data, [self.builder.add(start, self.builder.mul(stride, index))])

    def _begin(self, first: ir.Value) -> Unit:
        """The units of a register before the first step."""
        unit = Unit(self, self.kind)
        for packed, names in ((self.constants, self.names["constants"]), (self.state, self.names["state"])):
            for k, name in enumerate(names):
                setattr(unit, name, Lanes(self.builder, self._load(self._packed(packed, k, first), None)))
        for name, number in self.numbers.items():
            setattr(unit, name, Lanes(self.builder, number))
        for name in self.names["writes"]:
            setattr(unit, name, 0)
        start = self._everywhere(self.builder.trunc(first, WORD))
        unit.place = Words(self.builder, self.builder.add(start, start.type(list(range(self.kind.count)))))
        return unit

    def _read(self, unit: Unit, at: dict[str, ir.Value], mask: ir.Value | None) -> None:
        """Load a step's numbers, 0 from an array that holds nothing."""
        for name in self.names["reads"]:
            setattr(unit, name, 0)
            with unit.when(name):
                setattr(unit, name, Lanes(self.builder, self._load(at[name], mask)))
                if name in self.names["ahead"]:
                    self._call_for(at[name], self.streams[name][2])

    def _write(self, unit: Unit, at: dict[str, ir.Value], mask: ir.Value | None) -> None:
        """Store a step's numbers where an array wants them."""
        for name in self.names["writes"]:
            with unit.when(name):
                value = getattr(unit, name).value
                goes_past = self.spools[name].past if name in self.spools else BIT(0)
                if mask is not None:
                    goes_past = self.builder.and_(goes_past, self._all(mask))
                with self.builder.if_else(goes_past) as (past, through):
                    with past:
                        store_past(self.builder, value, at[name])
                    with through:
                        self._store(value, at[name], mask)

    def _all(self, mask: ir.Value) -> ir.Value:
        """Whether a mask holds in all lanes: it holds in the first ones, so the last one tells."""
        return self.builder.extract_element(mask, WORD(self.kind.count - 1))

    def _call_for(self, address: ir.Value, stride: ir.Value) -> None:
        """Call what is AHEAD of an address into the cache."""
        byte = ir.IntType(8).as_pointer()
        hint = ir.FunctionType(ir.VoidType(), [byte, WORD, WORD, WORD])
        prefetch = cgutils.get_or_insert_function(self.builder.module, hint, "llvm.prefetch.p0")
        number = self.builder.bitcast(address, self.kind.element.as_pointer())
        later = self.builder.gep(number, [self.builder.mul(stride, INDEX(AHEAD))])
        self.builder.call(prefetch, [self.builder.bitcast(later, byte), WORD(0), WORD(3), WORD(1)])

    def _packed(self, packed: ir.Value, k: int, first: ir.Value) -> ir.Value:
        return self._register(packed, self.builder.add(first, self.builder.mul(self.room, INDEX(k))))

    def _register(self, data: ir.Value, index: ir.Value) -> ir.Value:
        return self.builder.bitcast(self.builder.gep(data, [index]), self.kind.as_pointer())

    def _everywhere(self, number: ir.Value) -> ir.Value:
        vector = ir.VectorType(number.type, self.kind.count)
        one = self.builder.insert_element(vector(ir.Undefined), number, WORD(0))
        first = ir.VectorType(WORD, vector.count)([0] * vector.count)
        return self.builder.shuffle_vector(one, vector(ir.Undefined), first)

    def _load(self, pointer: ir.Value, mask: ir.Value | None) -> ir.Value:
        if mask is None:
            return self.builder.load(pointer, align=self._align)
        nothing = as_lanes(self.kind, 0)
        return call(self.builder, "llvm.masked.load", self.kind, [pointer, WORD(self._align), mask, nothing])

    def _store(self, value: ir.Value, pointer: ir.Value, mask: ir.Value | None) -> None:
        if mask is None:
            self.builder.store(value, pointer, align=self._align)
        else:
            arguments = [value, pointer, WORD(self._align), mask]
            call(self.builder, "llvm.masked.store", ir.VoidType(), arguments)

    @property
    def _align(self) -> int:
        return REGISTER // self.kind.count


def steps(
    *,
    constants: str,
    state: str,
    numbers: str = "",
    reads: str = "",
    ahead: str = "",
    spread: str = "",
    writes: str = "",
    rows: str = "",
    picked: str = "",
    backwards: bool = False,
) -> Callable[[Step], Any]:
    """Decorator: a function of one step becomes compiled code over units and steps, called in compiled code as

        f(constants, state, numbers, arrays, starts, strides, units, count, room)

    Constants and state are flat and packed: name k of unit j lies at k * room + j, and room is a multiple of UNITS;
    `place` is j. Numbers, arrays, starts and strides are tuples in the order of the names: `reads`, `spread`
    (one number, or word of 32 bits, for all units), `writes`, `rows`; step i of unit j lies at start + i * stride + j.
    What is `picked` of them lies at start + r * stride + j instead, r being step i of the int64 array `rows`. An array
    of no elements reads as 0 and is not written, but one that is `spread` is read whatever it holds. Of what is read,
    `ahead` names what is called into the cache some steps before. Where steps go `backwards` through memory, the
    registers of a step do too: the processor then sees one stream and calls for more of it by itself. Nothing is
    checked: the caller owns the bounds.
    """
    given = {"constants": constants, "state": state, "numbers": numbers}
    given |= {
        "reads": reads,
        "ahead": ahead,
        "spread": spread,
        "writes": writes,
        "rows": rows,
        "picked": picked,
    }
    names = {kind: text.split() for kind, text in given.items()}

    def made(step: Step) -> Any:
        def typed(
            typing_context: Any, c: Any, s: Any, n: Any, a: Any, b: Any, d: Any, u: Any, k: Any, r: Any
        ) -> Any:
            def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                _Loop(step, names, backwards, context, builder, signature.args, arguments).emit()
                return context.get_dummy_value()

            return types.void(c, s, n, a, b, d, types.int64, types.int64, types.int64), emit

        typed.__name__ = step.__name__
        return intrinsic(typed)

    return made
