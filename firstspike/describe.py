"""Descriptions of networks as plain data, so that a checkpoint tells what it is of."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from firstspike.classifiers import CLASSIFIERS
from firstspike.description import Description
from firstspike.errors import UserError
from firstspike.layers import (
    RSTDP,
    STDP,
    BatchSTDP,
    Branches,
    Conv,
    Decision,
    Fitted,
    FlooredRSTDP,
    Graded,
    Inhibition,
    LinearSVM,
    MarginRSTDP,
    Phase,
    Pool,
    Readout,
)

KINDS = {
    kind.__name__: kind
    for kind in (
        BatchSTDP,
        Branches,
        Conv,
        Decision,
        Description,
        Fitted,
        FlooredRSTDP,
        Graded,
        Inhibition,
        LinearSVM,
        MarginRSTDP,
        Phase,
        Pool,
        Readout,
        RSTDP,
        STDP,
        *CLASSIFIERS.values(),
    )
}


def register(kind: type) -> type:
    """Class decorator: this kind of description can be kept in checkpoints."""
    if kind.__name__ in KINDS:
        raise ValueError(f"description {kind.__name__} is registered twice")
    KINDS[kind.__name__] = kind
    return kind


def to_plain(value: Any) -> Any:
    """A description as dicts, lists, numbers and strings."""
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: to_plain(item) for name, item in value.items()}
    if type(value).__name__ in KINDS:
        return {"kind": type(value).__name__} | {
            f.name: to_plain(getattr(value, f.name)) for f in fields(value)
        }
    return value


def from_plain(value: Any) -> Any:
    """The description that ``to_plain`` made plain."""
    if isinstance(value, list):
        return tuple(from_plain(item) for item in value)
    if not isinstance(value, Mapping):
        return value
    items = {name: from_plain(item) for name, item in value.items() if name != "kind"}
    if "kind" not in value:
        return items
    if value["kind"] not in KINDS:
        raise UserError(
            f"checkpoint: unknown kind of description {value['kind']!r}: it is of a newer version"
        )
    return KINDS[value["kind"]](**items)
