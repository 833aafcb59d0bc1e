"""The space of a sweep: options that are fixed, and axes, options with several values to try.

A point is one number an axis: the place of its value in the axis's list.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from firstspike.errors import UserError

Point = tuple[int, ...]


@dataclass(frozen=True)
class Axis:
    """An option and the values to try, in the order given."""

    name: str
    values: tuple[Any, ...]

    @property
    def numeric(self) -> bool:
        """Whether all values are numbers, so that they have an order of their own."""
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)

    @property
    def ranked(self) -> list[int]:
        """Places of the values in rising order, or as given where they have no order."""
        places = list(range(len(self.values)))
        return sorted(places, key=lambda place: self.values[place]) if self.numeric else places


@dataclass(frozen=True)
class Space:
    """Fixed options and axes."""

    fixed: Mapping[str, Any]
    axes: tuple[Axis, ...]

    @property
    def names(self) -> list[str]:
        """Names of the axes."""
        return [axis.name for axis in self.axes]

    def each_value(self) -> list[Point]:
        """Points that show every value once or more, the first one of all other axes beside it."""
        first = (0,) * len(self.axes)
        along = [(n, place) for n, axis in enumerate(self.axes) for place in range(1, len(axis.values))]
        return [first, *((*first[:n], place, *first[n + 1 :]) for n, place in along)]

    def grid(self) -> list[Point]:
        """All points, the last axis fastest."""
        return list(product(*(range(len(axis.values)) for axis in self.axes)))

    def options(self, point: Point) -> dict[str, Any]:
        """The options at a point."""
        chosen = zip(self.axes, point, strict=True)
        return {**self.fixed, **{axis.name: axis.values[place] for axis, place in chosen}}


def space_of(configuration: Mapping[str, Any], several: Collection[str]) -> Space:
    """Tell axes from fixed options: a list is an axis.

    Options named in ``several`` take several numbers: there a list of numbers is one value, a list of lists an axis.
    """
    axes, fixed = [], {}
    for name, value in configuration.items():
        if not isinstance(value, list) or (name in several and value and not _holds_lists(name, value)):
            fixed[name] = value
        else:
            axes.append(Axis(name, _checked(name, value, name in several)))
    return Space(fixed, tuple(axes))


def _holds_lists(name: str, value: Sequence[Any]) -> bool:
    nested = {isinstance(item, list) for item in value}
    if len(nested) == 2:
        raise UserError(
            f"{name}: {json.dumps(value)} mixes numbers and lists: give one list of numbers, or a list of lists to try"
        )
    return nested == {True}


def _checked(name: str, values: Sequence[Any], several: bool) -> tuple[Any, ...]:
    if not values:
        raise UserError(f"{name}: an empty list: give the values to try")
    for value in values:
        if isinstance(value, dict) or (isinstance(value, list) and not several):
            raise UserError(
                f"{name}: {json.dumps(value, default=str)} in a list: each value to try is a number or a word"
            )
    for place, value in enumerate(values):
        if any(value == other and type(value) is type(other) for other in values[:place]):
            raise UserError(f"{name}: {json.dumps(value, default=str)} stands twice among the values to try")
    return tuple(values)
