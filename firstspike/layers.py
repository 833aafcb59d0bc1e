"""Frozen descriptions of a network: its layers, the rules they learn by, the phases in which they do, its decision.

A network is data: a tuple of layers from the input upwards, a tuple of phases, one decision. ``engine.py`` runs it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from firstspike.classifiers import Classifier
from firstspike.errors import UserError

Shape = tuple[int, int, int]  # channels, height, width
LARGEST = 10**9  # of any number; no layer's potential comes near it
WHOLE = 0  # as a kernel: the largest square that the layer's input holds


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
class Graded(Conv):
    """A decision layer for which earlier spikes count for more: ((T - t) / T) ** ``power`` at step t of T."""

    power: float = 0.5


@dataclass(frozen=True)
class Inhibition:
    """Lateral inhibition: the ``first`` maps to fire at a place silence the others.

    Spikes that pass are dated back from the end: the step in which the last of them come becomes the last of all.
    """

    first: int = 8

    def output(self, shape: Shape) -> Shape:
        """Shape behind the inhibition."""
        return shape


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


@dataclass(frozen=True)
class Readout:
    """A decision by a classical classifier of when the neurons below fire; ``maps`` 0 follow from the classes."""

    name: str
    classifier: Classifier
    maps: int = 0

    def output(self, shape: Shape) -> Shape:
        """Shape behind the layer."""
        return self.maps, 1, 1


Layer = Conv | Pool | Inhibition | Branches | Readout


def output_shape(layers: tuple[Layer, ...], shape: Shape) -> Shape:
    """Shape behind a path of layers."""
    for layer in layers:
        shape = layer.output(shape)
    return shape


def placed(layers: tuple[Layer, ...], shape: Shape) -> Iterator[tuple[Layer, Shape]]:
    """Every layer of a network with its input's shape, from the input upwards; of a branching those of its paths."""
    for layer in layers:
        if isinstance(layer, Branches):
            for path in layer.paths:
                yield from placed(path, shape)
        else:
            yield layer, shape
        shape = layer.output(shape)


def convolutions(layers: tuple[Layer, ...], shape: Shape) -> Iterator[tuple[Conv, Shape]]:
    """Every convolution of a network with the shape of its input, from the input upwards."""
    return ((layer, below) for layer, below in placed(layers, shape) if isinstance(layer, Conv))


def readouts(layers: tuple[Layer, ...], shape: Shape) -> Iterator[tuple[Readout, Shape]]:
    """Every readout of a network with the shape of its input."""
    return ((layer, below) for layer, below in placed(layers, shape) if isinstance(layer, Readout))


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

    def factors(self, right: float, wrong: float, windows: int) -> tuple[float, float]:
        """What reward and punishment rates are multiplied by after so many windows, the last with these shares."""
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

    def factors(self, right: float, wrong: float, windows: int) -> tuple[float, float]:
        """What reward and punishment rates are multiplied by after so many windows, the last with these shares."""
        reward, punish = (self.adaptive_min + (1 - self.adaptive_min) * share for share in (wrong, right))
        return reward, punish


@dataclass(frozen=True)
class MarginRSTDP(RSTDP):
    """R-STDP that stops where the answer is clear, without depression, with rates that halve every ``halving`` windows.

    A right winner that leads the best map of the other classes by the share ``margin`` of its own potential learns
    nothing. ``told`` the class, the layer rewards the best map of the class and punishes the best of the others;
    otherwise it knows right from wrong alone, and the winner is the only map to learn.
    """

    reward_ltd: float = 0.0
    punish_ltd: float = 0.0
    lower: float = 0.0
    upper: float = 1.0
    margin: float = 0.01
    told: bool = False
    halving: float = 100.0

    def factors(self, right: float, wrong: float, windows: int) -> tuple[float, float]:
        """What reward and punishment rates are multiplied by after so many windows."""
        left = 0.5 ** (windows / self.halving)
        return left, left


@dataclass(frozen=True)
class LinearSVM:
    """A decision layer that takes its weights from a linear support vector machine on which of its inputs fire.

    ``cost`` is the machine's C; it sees all images ``passes`` times.
    """

    cost: float = 2.4
    passes: int = 20


@dataclass(frozen=True)
class Fitted:
    """The classifier of a Readout is fitted to all images at once."""


Rule = STDP | RSTDP | LinearSVM | Fitted


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
        return any(isinstance(rule, RSTDP | LinearSVM | Fitted) for rule in self.rules.values())


@dataclass(frozen=True)
class WholePhase:
    """The one phase of a network that is trained as a whole, by labels."""

    name: str
    epochs: int
    supervised: bool = True

    @property
    def number(self) -> str:
        """Name of the number of epochs that the phase follows."""
        return self.name


@dataclass(frozen=True)
class Decision:
    """How winners answer: map m of a head votes for class m // ``group``.

    With several heads a class with more than half of the votes wins; otherwise the first of ``fallback`` that voted.
    """

    heads: tuple[str, ...] = ("decision",)
    group: int = 20
    fallback: tuple[int, ...] = field(default=(0,))


def is_decision(layer: Layer) -> bool:
    """Whether a layer decides by its potentials at the last step."""
    return isinstance(layer, Conv) and layer.threshold is None


def follows_classes(layer: Layer) -> bool:
    """Whether a layer of a description has as many maps as the classes need."""
    return isinstance(layer, Conv | Readout) and layer.maps == 0


def walk(layers: tuple[Layer, ...]) -> Iterator[Layer]:
    """Every layer of a network, and behind each branching the layers of its paths."""
    for layer in layers:
        yield layer
        if isinstance(layer, Branches):
            for path in layer.paths:
                yield from walk(path)
