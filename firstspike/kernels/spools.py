"""What a loop over steps writes: at its place, past the caches, or near first and past the caches a few rows at a time.

A line of memory that is written in full need not be read before, nor take the place of something else in a cache; but
rows of, say, 100 numbers do not begin with lines. So rows of a large array that follow each other without a gap are
written to a small spool that stays in the nearest cache, and go from there, line by line.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from firstspike.kernels.registers import BIT, REGISTER, WORD, call
from firstspike.kernels.vector import INDEX

PAST_CACHES = 1 << 24
"""Bytes from which on an array is written past the caches: it would not fit them, and a line that is written through
them is read first."""

NEAR = 1 << 14
"""Bytes that a spool takes up before they go on."""


class Spool:
    """The rows that one array gets of a loop: row i of `units` numbers lies at start + i * stride.

    Those of a large array are written in place and `past` the caches if they are whole registers, by the spool, which
    is then `used`, if there is no gap between them; and as ever if there is one row, which is read next.
    """

    def __init__(
        self,
        builder: ir.IRBuilder,
        kind: ir.VectorType,
        array: Any,
        begin: tuple[ir.Value, ir.Value],
        size: tuple[ir.Value, ir.Value],
    ) -> None:
        b, (self.start, self.stride), (self.units, count) = builder, begin, size
        self.builder, self.kind, self.bytes = builder, kind, REGISTER // kind.count
        self.data = self.base = b.bitcast(array.data, kind.element.as_pointer())
        self.near = cgutils.alloca_once(b, kind, size=WORD(NEAR // REGISTER + 1))
        self.near.align = REGISTER
        large = b.icmp_signed(">=", b.mul(array.nitems, INDEX(self.bytes)), INDEX(PAST_CACHES))
        many = b.and_(large, b.icmp_signed(">", count, INDEX(1)))
        place = b.or_(self._address(self.start), b.mul(self.stride, INDEX(self.bytes)))
        rest = b.and_(b.or_(place, b.mul(self.units, INDEX(self.bytes))), INDEX(REGISTER - 1))
        self.past = b.and_(many, b.icmp_signed("==", rest, INDEX(0)))
        up, down = (b.icmp_signed("==", self.stride, each) for each in (self.units, b.neg(self.units)))
        fits = b.and_(b.or_(up, down), b.icmp_signed("<=", self.units, INDEX(NEAR // self.bytes)))
        self.used = b.and_(b.and_(many, fits), b.not_(self.past))

    def _address(self, number: ir.Value) -> ir.Value:
        b = self.builder
        return b.add(b.ptrtoint(self.data, INDEX), b.mul(number, INDEX(self.bytes)))

    @property
    def rows(self) -> ir.Value:
        """How many rows a spool takes."""
        none = self.builder.icmp_signed("<", self.units, INDEX(1))
        return self.builder.sdiv(INDEX(NEAR // self.bytes), self.builder.select(none, INDEX(1), self.units))

    def open(self, first: ir.Value, count: ir.Value) -> None:
        """Let `count` rows from row `first` on be written."""
        b = self.builder
        last = b.add(first, b.sub(count, INDEX(1)))
        downwards = b.icmp_signed("<", self.stride, INDEX(0))
        lowest = b.add(self.start, b.mul(self.stride, b.select(downwards, last, first)))
        self.shift = b.sdiv(b.and_(self._address(lowest), INDEX(REGISTER - 1)), INDEX(self.bytes))
        self.lowest = lowest
        near = b.bitcast(self.near, self.kind.element.as_pointer())
        self.base = b.select(self.used, b.gep(near, [b.sub(self.shift, lowest)]), self.data)

    def close(self, count: ir.Value) -> None:
        """Send on what so many rows have left in the spool."""
        b, width = self.builder, self.kind.count
        end = b.add(self.shift, b.mul(count, self.units))
        target = b.bitcast(b.gep(self.data, [b.sub(self.lowest, self.shift)]), self.kind.as_pointer())
        lines = b.sdiv(b.add(end, INDEX(width - 1)), INDEX(width))
        with b.if_then(self.used), cgutils.for_range(b, lines) as loop:
            first = b.mul(loop.index, INDEX(width))
            value = b.load(b.gep(self.near, [loop.index]), align=REGISTER)
            place = b.gep(target, [loop.index])
            begun = b.icmp_signed(">=", first, self.shift)
            full = b.and_(begun, b.icmp_signed("<=", b.add(first, INDEX(width)), end))
            with b.if_else(full) as (whole, part):
                with whole:
                    store_past(b, value, place)
                with part:
                    self._store_part(value, place, first, end)

    def _store_part(self, value: ir.Value, place: ir.Value, first: ir.Value, end: ir.Value) -> None:
        """Store those numbers of a line that belong to the rows."""
        b, width = self.builder, self.kind.count
        mask = ir.VectorType(BIT, width)(ir.Undefined)
        for lane in range(width):
            number = b.add(first, INDEX(lane))
            inside = b.and_(b.icmp_signed(">=", number, self.shift), b.icmp_signed("<", number, end))
            mask = b.insert_element(mask, inside, WORD(lane))
        call(b, "llvm.masked.store", ir.VoidType(), [value, place, WORD(REGISTER), mask])


def store_past(builder: ir.IRBuilder, value: ir.Value, place: ir.Value) -> None:
    """Store a register past the caches."""
    store = builder.store(value, place, align=REGISTER)
    store.set_metadata("nontemporal", builder.module.add_metadata([WORD(1)]))
