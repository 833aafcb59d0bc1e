"""Registers of numbers and of words in code that is being written for LLVM, with Python's operators."""

from collections.abc import Callable
from typing import Self

from llvmlite import ir
from numba.core import cgutils

from firstspike.kernels.vector import INDEX

BIT, WORD = ir.IntType(1), ir.IntType(32)
REGISTER = 64  # bytes; narrower processors take several of theirs


class Register:
    """What is in a register; what meets it may be a plain number."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder, self.value = builder, value

    def _other(self, number: float) -> Self:
        return type(self)(self.builder, as_lanes(self.value.type, number))

    def _with(self, operation: Callable, other: "Register | float") -> Self:
        return type(self)(self.builder, operation(self.value, as_lanes(self.value.type, other)))


class Words(Register):
    """A register of 32-bit words, a lane each."""

    def __add__(self, other: "Words | int") -> "Words":
        return self._with(self.builder.add, other)

    def __mul__(self, other: "Words | int") -> "Words":
        return self._with(self.builder.mul, other)

    def __xor__(self, other: "Words | int") -> "Words":
        return self._with(self.builder.xor, other)

    def __rshift__(self, bits: int) -> "Words":
        return self._with(self.builder.lshr, bits)

    def as_numbers(self, kind: ir.VectorType) -> "Lanes":
        """The same, below 2 ** 31, as numbers of this kind."""
        return Lanes(self.builder, self.builder.sitofp(self.value, kind))


class Lanes(Register):
    """A register of numbers, or of truths, with Python's operators."""

    def __add__(self, other: "Lanes | float") -> "Lanes":
        return self._with(self.builder.fadd, other)

    def __sub__(self, other: "Lanes | float") -> "Lanes":
        return self._with(self.builder.fsub, other)

    def __mul__(self, other: "Lanes | float") -> "Lanes":
        return self._with(self.builder.fmul, other)

    def __truediv__(self, other: "Lanes | float") -> "Lanes":
        return self._with(self.builder.fdiv, other)

    def __radd__(self, other: float) -> "Lanes":
        return self + other

    def __rsub__(self, other: float) -> "Lanes":
        return self._other(other) - self

    def __rmul__(self, other: float) -> "Lanes":
        return self * other

    def __rtruediv__(self, other: float) -> "Lanes":
        return self._other(other) / self

    def __gt__(self, other: "Lanes | float") -> "Lanes":
        return self._with(lambda a, b: self.builder.fcmp_ordered(">", a, b), other)

    def __lt__(self, other: "Lanes | float") -> "Lanes":
        return self._with(lambda a, b: self.builder.fcmp_ordered("<", a, b), other)

    def __neg__(self) -> "Lanes":
        return Lanes(self.builder, self.builder.fneg(self.value))

    def __abs__(self) -> "Lanes":
        return self._called("llvm.fabs")

    def fused(self, by: "Lanes | float", plus: "Lanes | float") -> "Lanes":
        """This times `by` and `plus`, rounded once."""
        return self._called("llvm.fma", by, plus)

    def nearest(self, by: float) -> tuple["Lanes", "Lanes"]:
        """The whole numbers nearest to this times `by`, and 2 to their power, for powers that are normal numbers.

        A large enough number is added whose own bits are 0 where the whole ones come to lie; shifted, they are
        exponents.
        """
        kind, single = self.value.type, isinstance(self.value.type.element, ir.FloatType)
        whole, shift, bias = (WORD, 23, 127) if single else (INDEX, 52, 1023)
        large, vector = 1.5 * 2.0**shift, ir.VectorType(whole, kind.count)
        moved = self.fused(by, large)
        bits = self.builder.bitcast(moved.value, vector)
        exponent = self.builder.shl(bits, vector([shift] * kind.count))
        power = self.builder.add(exponent, vector([bias << shift] * kind.count))
        return moved - large, Lanes(self.builder, self.builder.bitcast(power, kind))

    def _called(self, name: str, *others: "Lanes | float") -> "Lanes":
        own = [self.value, *(as_lanes(self.value.type, other) for other in others)]
        return Lanes(self.builder, call(self.builder, name, self.value.type, own))


def as_lanes(kind: ir.VectorType, number: Register | float) -> ir.Value:
    """A register's value, or a plain number in all lanes."""
    if isinstance(number, Register):
        return number.value
    return kind([number if isinstance(kind.element, ir.IntType) else float(number)] * kind.count)


def call(builder: ir.IRBuilder, name: str, kind: ir.Type, arguments: list[ir.Value]) -> ir.Value:
    """Call an LLVM intrinsic on a vector type, named after it: llvm.NAME.v16f32 (and .p0 where it takes a pointer)."""
    vector = next(a.type for a in arguments if isinstance(a.type, ir.VectorType) and a.type.element != BIT)
    pointer = ".p0" if any(isinstance(a.type, ir.PointerType) for a in arguments) else ""
    width = 32 if isinstance(vector.element, ir.FloatType) else 64
    function = ir.FunctionType(kind, [a.type for a in arguments])
    full = f"{name}.v{vector.count}f{width}{pointer}"
    return builder.call(cgutils.get_or_insert_function(builder.module, function, full), arguments)
