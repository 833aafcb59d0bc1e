"""Frozen descriptions of a network: its layers, the rules they learn by, the phases in which they do, its decision.

A network is data: a tuple of layers from the input upwards, a tuple of phases, one decision. ``engine.py`` runs it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any

from firstspike.errors import UserError

Shape = tuple[int, int, int]  # channels, height, width
LARGEST = 10**9  # of any number; no layer's potential comes near it
WHOLE = 0  # as a kernel: the largest square that the layer's input holds
RANGES = {  # of options, by their name or the last word of it
    "threshold": (0, LARGEST),
    "maps": (1, LARGEST),
    "k": (1, LARGEST),
    "radius": (0, LARGEST),
    "doubling_period": (1, LARGEST),
    "growth": (1, LARGEST),
    "window": (1, LARGEST),
    "adaptive_min": (0, 1),
    "cost": (1e-9, LARGEST),
    "passes": (1, LARGEST),
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
class Pool:
    """Max-pooling of spikes, which is min-pooling of latencies; the stride is the window unless given."""

    window: int
    stride: int | None = None
    pad: int = 0

    @property
    def step(self) -> int:
        """The stride."""
        return self.stride or self.window

    def output(self, shape: Shape) -> Shape:
        """Shape behind the pooling: floor, so that what is left at the lower and right edge is ignored."""
        channels, *sides = shape
        height, width = ((side + 2 * self.pad - self.window) // self.step + 1 for side in sides)
        if min(height, width) < 1:
            raise UserError(
                f"pooling {self.window} does not fit an input of {sides[0]}x{sides[1]}: use larger images"
            )
        return channels, height, width


@dataclass(frozen=True)
class Conv:
    """A convolution of neurons that fire at most once: stride 1, no bias, no leak.

    ``threshold`` None makes a decision layer, which looks at the potentials of the last step only. ``maps`` 0 in a
    description follow from the number of classes, ``kernel`` WHOLE from the size of the input. ``k`` winners with
    inhibition ``radius`` learn in an image. Initial weights are N(mean, std). A ``binary`` layer hands on spikes by its
    weights rounded to 0 and 1, and learns with the weights as they are.
    """

    name: str
    maps: int
    kernel: int
    threshold: float | None = None
    pad: int = 0
    k: int = 1
    radius: int = 0
    mean: float = 0.8
    std: float = 0.05
    binary: bool = False

    def handing_on(self, weights: Any) -> Any:
        """The weights, array or tensor, that spikes are handed on by."""
        return (weights >= 0.5) * 1.0 if self.binary else weights

    def output(self, shape: Shape) -> Shape:
        """Shape behind the layer."""
        _, height, width = shape
        rows, cols = height + 2 * self.pad - self.kernel + 1, width + 2 * self.pad - self.kernel + 1
        if min(rows, cols) < 1:
            raise UserError(
                f"layer {self.name}: kernel {self.kernel} does not fit its input of {height}x{width}"
                f" padded by {self.pad}: use larger images"
            )
        return self.maps, rows, cols


@dataclass(frozen=True)
class Branches:
    """Paths that see the same input side by side.

    ``join``: "channels" concatenates their latencies, each padded by its entry of ``pads``; "earliest" and "latest"
    take the minimum and the maximum of each neuron's latencies; "both" lets the next layer see each input twice, once
    a path; "votes" leaves decision layers apart.
    """

    paths: tuple[tuple["Layer", ...], ...]
    pads: tuple[int, ...] = ()
    join: str = "channels"

    def output(self, shape: Shape) -> Shape:
        """Shape behind the join; the paths must agree."""
        shapes = [output_shape(path, shape) for path in self.paths]
        if self.join == "votes":
            return shapes[0]
        pads = self.pads or (0,) * len(shapes)
        padded = [(c, h + 2 * p, w + 2 * p) for (c, h, w), p in zip(shapes, pads, strict=True)]
        stacked = self.join == "channels"
        if len({s[1:] if stacked else s for s in padded}) > 1:
            raise UserError(
                f"branches of different shapes cannot be joined: {padded}: use other kernels or pads"
            )
        return (sum(s[0] for s in padded), *padded[0][1:]) if stacked else padded[0]


Layer = Conv | Pool | Branches


def output_shape(layers: tuple[Layer, ...], shape: Shape) -> Shape:
    """Shape behind a path of layers."""
    for layer in layers:
        shape = layer.output(shape)
    return shape


def convolutions(layers: tuple[Layer, ...], shape: Shape) -> Iterator[tuple[Conv, Shape]]:
    """Every convolution of a network with the shape of its input, from the input upwards."""
    for layer in layers:
        if isinstance(layer, Conv):
            yield layer, shape
        if isinstance(layer, Branches):
            for path in layer.paths:
                yield from convolutions(path, shape)
        shape = layer.output(shape)


@dataclass(frozen=True)
class STDP:
    """Unsupervised STDP of a layer's winners; both rates double every ``doubling_period`` images.

    ltp doubles up to ``ltp_ceiling``; ltd = ``ltd_per_ltp`` * ltp from then on (Kheradpisheh et al. 2018, section 2.3).
    """

    ltp: float = 0.004
    ltd: float = -0.003
    lower: float = 0.0
    upper: float = 1.0
    stabilise: bool = True
    doubling_period: int = 500
    ltp_ceiling: float = 0.15
    ltd_per_ltp: float = -0.75


@dataclass(frozen=True)
class BatchSTDP(STDP):
    """STDP in mini-batches whose images compete with the same weights; their changes are made one after the other.

    Computed in float64. Both rates grow by ``growth`` every ``doubling_period`` images; the mini-batch that completes a
    period learns with the grown ones (Rezghi Shirsavar & Dehaqani 2022, as released).
    """

    doubling_period: int = 640
    ltp_ceiling: float = 0.1
    growth: float = 2.0


@dataclass(frozen=True)
class RSTDP:
    """Reward-modulated STDP; after every ``window`` images the rates follow the shares of right and wrong answers.

    Reward rates are the starting ones times the share of wrong answers, punishment rates times the share of right
    ones (Mozafari et al. 2019, section 2.5). A window ends with its epoch at the latest.
    """

    reward_ltp: float = 0.004
    reward_ltd: float = -0.003
    punish_ltp: float = -0.004
    punish_ltd: float = 0.0005
    lower: float = 0.2
    upper: float = 0.8
    stabilise: bool = False
    window: int = 1000

    def factors(self, right: float, wrong: float) -> tuple[float, float]:
        """What reward and punishment rates are multiplied by after a window with these shares."""
        return wrong, right


@dataclass(frozen=True)
class FlooredRSTDP(RSTDP):
    """R-STDP whose rates keep a part of the starting ones: ``adaptive_min + (1 - adaptive_min) * share`` of them.

    1 makes the rates constant (Mozafari et al. 2018, as released, with 0.2).
    """

    lower: float = 0.0
    upper: float = 1.0
    stabilise: bool = True
    adaptive_min: float = 0.2

    def factors(self, right: float, wrong: float) -> tuple[float, float]:
        """What reward and punishment rates are multiplied by after a window with these shares."""
        reward, punish = (self.adaptive_min + (1 - self.adaptive_min) * share for share in (wrong, right))
        return reward, punish


@dataclass(frozen=True)
class LinearSVM:
    """A decision layer that takes its weights from a linear support vector machine on which of its inputs fire.

    ``cost`` is the machine's C; it sees all images ``passes`` times.
    """

    cost: float = 2.4
    passes: int = 20


Rule = STDP | RSTDP | LinearSVM


@dataclass(frozen=True)
class Phase:
    """A stretch of training: which layers learn by which rule, and for how many epochs unless told otherwise.

    ``turns`` says who learns in a window of a phase with two reward-modulated layers: "together", "alternate" (the
    lower layer in even windows, the upper in odd ones) or "original" (so in the first epoch only, afterwards the upper
    layer alone). ``counted_as`` names the number of epochs that several phases share. ``dropout`` is the probability
    with which each map of the learning layer is left out, for an epoch at a time. ``exclusive`` lets only the earliest
    map of each place into what the phase learns from, of several the lowest; answers and features see all.
    """

    name: str
    rules: dict[str, Rule]
    epochs: int
    turns: str = "together"
    counted_as: str = ""
    dropout: float = 0.0
    exclusive: bool = False

    @property
    def number(self) -> str:
        """Name of the number of epochs that the phase follows; several phases may share one."""
        return self.counted_as or self.name

    @property
    def supervised(self) -> bool:
        """Whether the phase needs labels."""
        return any(isinstance(rule, RSTDP | LinearSVM) for rule in self.rules.values())


@dataclass(frozen=True)
class Decision:
    """How winners answer: map m of a head votes for class m // ``group``.

    With several heads a class with more than half of the votes wins; otherwise the first of ``fallback`` that voted.
    """

    heads: tuple[str, ...] = ("decision",)
    group: int = 20
    fallback: tuple[int, ...] = field(default=(0,))


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


def is_decision(layer: Layer) -> bool:
    """Whether a layer decides by its potentials at the last step."""
    return isinstance(layer, Conv) and layer.threshold is None


def follows_classes(layer: Layer) -> bool:
    """Whether a layer of a description has as many maps as the classes need."""
    return isinstance(layer, Conv) and layer.maps == 0


def walk(layers: tuple[Layer, ...]) -> Iterator[Layer]:
    """Every layer of a network, and behind each branching the layers of its paths."""
    for layer in layers:
        yield layer
        if isinstance(layer, Branches):
            for path in layer.paths:
                yield from walk(path)


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
    if isinstance(layer, Branches) and layer.join in JOINS and "join" in options:
        if options["join"] not in JOINS:
            raise UserError(f"option join: {options['join']!r} given, {', '.join(JOINS)} allowed")
        return replace(layer, join=JOINS[options["join"]])
    return layer


def _phase_changed(phase: Phase, options: Mapping[str, Any]) -> Phase:
    rules = {
        name: replace(rule, **{f.name: options[f.name] for f in fields(rule) if f.name in options})
        for name, rule in phase.rules.items()
    }
    turns = options.get("schedule", phase.turns) if phase.turns != "together" else phase.turns
    if turns not in TURNS:
        raise UserError(f"option schedule: {turns!r} given, {', '.join(TURNS)} allowed")
    dropout = options.get("dropout", phase.dropout) if phase.dropout else 0.0
    return replace(phase, rules=rules, turns=turns, dropout=dropout)
