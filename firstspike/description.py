"""A network as data, and the options that change its numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any

from firstspike.errors import UserError
from firstspike.layers import (
    LARGEST,
    WHOLE,
    Branches,
    Conv,
    Decision,
    Layer,
    Phase,
    Readout,
    Shape,
    follows_classes,
    is_decision,
    walk,
)

RANGES = {  # of options, by their name or the last word of it
    "threshold": (0, LARGEST),
    "maps": (1, LARGEST),
    "k": (1, LARGEST),
    "radius": (0, LARGEST),
    "doubling_period": (1, LARGEST),
    "growth": (1, LARGEST),
    "window": (1, LARGEST),
    "adaptive_min": (0, 1),
    "margin": (0, 1),
    "halving": (1e-9, LARGEST),
    "cost": (1e-9, LARGEST),
    "passes": (1, LARGEST),
    "power": (0, 100),
    "components": (0, LARGEST),
    "shifts": (0, 254),
    "neighbours": (1, LARGEST),
    "dropout": (0, 1),
    "lower": (0, 1),
    "upper": (0, 1),
}
TURNS = ("together", "alternate", "original")
JOINS = {  # names of the original program and ours
    name: join
    for join, names in {
        "earliest": ("earliest", "first_spike", "logical_or"),
        "latest": ("latest", "logical_and"),
        "both": ("both", "add"),
    }.items()
    for name in names
}


@dataclass(frozen=True)
class Description:
    """All that makes a network: layers, phases, decision."""

    layers: tuple[Layer, ...]
    phases: tuple[Phase, ...]
    decision: Decision

    def for_classes(self, classes: int) -> "Description":
        """The description with as many maps in the decision layers as the classes need."""
        maps = self.decision.group * classes
        grown = edit(
            self.layers, lambda layer: replace(layer, maps=maps) if follows_classes(layer) else layer
        )
        return replace(self, layers=grown)

    def for_input(self, shape: Shape) -> "Description":
        """The description with kernels of a number of pixels, for an input (C, H, W)."""
        layers = []
        for layer in self.layers:
            if isinstance(layer, Conv) and layer.kernel == WHOLE:
                layer = replace(layer, kernel=min(shape[1:]) + 2 * layer.pad)
            layers.append(layer)
            shape = layer.output(shape)
        return replace(self, layers=tuple(layers))

    def with_options(self, options: Mapping[str, Any]) -> "Description":
        """The description with some of its numbers changed; `options` says which may be."""
        known = self.options()
        for name, value in options.items():
            if name not in known:
                raise UserError(f"option {name}: this network has {', '.join(sorted(known))}")
            check_option(name, value, known[name])
        layers = edit(self.layers, lambda layer: _changed(layer, options))
        phases = tuple(_phase_changed(phase, options) for phase in self.phases)
        return replace(self, layers=layers, phases=phases)

    def options(self) -> dict[str, Any]:
        """Every option and its default: fields of the rules, ``LAYER_FIELD`` of the layers, ``schedule``, ``join``."""
        known: dict[str, Any] = {}
        for phase in self.phases:
            for rule in phase.rules.values():
                known |= {name: value for name, value in vars(rule).items() if name not in known}
            if phase.turns != "together":
                known["schedule"] = phase.turns
            if phase.dropout:
                known["dropout"] = phase.dropout
        for layer in walk(self.layers):
            if isinstance(layer, Conv) and not is_decision(layer):
                known[f"{layer.name}_threshold"] = float(layer.threshold)
                free = () if follows_classes(layer) else ("k", "radius", "maps")
                known |= {f"{layer.name}_{name}": getattr(layer, name) for name in free}
            if isinstance(layer, Branches) and layer.join in JOINS:
                known["join"] = layer.join
            if isinstance(layer, Readout):
                known |= vars(layer.classifier)
        return known


def check_option(name: str, value: Any, default: Any) -> None:
    """Raise UserError unless a value is of its default's kind and in the range that makes sense."""
    if isinstance(default, bool | str):
        wanted = "a name" if isinstance(default, str) else "true or false"
        fits = isinstance(value, type(default))
    else:
        kind, what = (Integral, "whole number") if isinstance(default, int) else (Real, "number")
        low, high = RANGES.get(name) or RANGES.get(name.rsplit("_", 1)[-1]) or (-LARGEST, LARGEST)
        wanted = f"a {what} from {low:,} to {high:,}"
        fits = isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high
    if not fits:
        raise UserError(f"option {name}: {value!r} given, {wanted} needed, such as {default}")


def edit(layers: tuple[Layer, ...], change: Callable[[Layer], Layer]) -> tuple[Layer, ...]:
    """The network with every layer changed, those inside branches first."""
    edited = []
    for layer in layers:
        if isinstance(layer, Branches):
            layer = replace(layer, paths=tuple(edit(path, change) for path in layer.paths))
        edited.append(change(layer))
    return tuple(edited)


def _changed(layer: Layer, options: Mapping[str, Any]) -> Layer:
    if isinstance(layer, Conv):
        names = [f.name for f in fields(layer)]
        return replace(
            layer, **{n: options[f"{layer.name}_{n}"] for n in names if f"{layer.name}_{n}" in options}
        )
    if isinstance(layer, Readout):
        return replace(layer, classifier=_with_fields(layer.classifier, options))
    if isinstance(layer, Branches) and layer.join in JOINS and "join" in options:
        if options["join"] not in JOINS:
            raise UserError(f"option join: {options['join']!r} given, {', '.join(JOINS)} allowed")
        return replace(layer, join=JOINS[options["join"]])
    return layer


def _with_fields(described: Any, options: Mapping[str, Any]) -> Any:
    """A frozen description with those of its fields changed that the options name."""
    return replace(described, **{f.name: options[f.name] for f in fields(described) if f.name in options})


def _phase_changed(phase: Phase, options: Mapping[str, Any]) -> Phase:
    rules = {name: _with_fields(rule, options) for name, rule in phase.rules.items()}
    turns = options.get("schedule", phase.turns) if phase.turns != "together" else phase.turns
    if turns not in TURNS:
        raise UserError(f"option schedule: {turns!r} given, {', '.join(TURNS)} allowed")
    dropout = options.get("dropout", phase.dropout) if phase.dropout else 0.0
    return replace(phase, rules=rules, turns=turns, dropout=dropout)
