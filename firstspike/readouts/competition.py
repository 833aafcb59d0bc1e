"""Competition in a readout: groups of neurons a class, and the regulation of their thresholds.

Neuronal Competition Groups (Goupy et al., NeurIPS 2024): the neurons of a class inhibit one another while
they learn, some may be labelled non-target, and adaptive thresholds let the others take turns. Paired
Competing Neurons (Goupy et al., 2024) are groups of two, one of them non-target, without regulation.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from firstspike.errors import UserError
from firstspike.kernels.supervised import Competition


@dataclass(frozen=True)
class Groups:
    """The neurons of each class: how many, the first `non_target` of them non-target, inhibiting or not."""

    per_class: int = 1
    non_target: int = 0
    inhibit: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.non_target < self.per_class:
            raise UserError(
                f"{self.non_target} non-target neurons of {self.per_class} a class; "
                "expected fewer, so that at least one target neuron is left"
            )


class Regulation:
    """How adaptive thresholds behave beside the update of each step: this one leaves them where they are.

    `rate`, in units of the membrane, is what a step moves at most, `anneal` its factor an epoch.
    """

    rate: float
    anneal: float
    targets_only: ClassVar[bool] = True

    def floor(self, threshold: float) -> float:
        """Give the least value of an adaptive threshold."""
        return threshold

    def start_epoch(self, adaptive: np.ndarray, base: np.ndarray) -> None:
        """Prepare the adaptive thresholds (N,) for an epoch, in place."""

    def end_epoch(self, adaptive: np.ndarray, base: np.ndarray) -> None:
        """Carry the epoch's adaptive thresholds over to the test thresholds `base` (N,), in place."""


@dataclass(frozen=True)
class Free(Regulation):
    """No regulation: training and test thresholds are one and the same constant."""

    rate: ClassVar[float] = 0.0
    anneal: ClassVar[float] = 1.0


@dataclass(frozen=True)
class TwoThresholds(Regulation):
    """Regulation with two compartments: adaptive thresholds rule target neurons on samples of their class.

    They start each epoch at the test threshold and never fall below it.
    """

    rate: float
    anneal: float

    def start_epoch(self, adaptive: np.ndarray, base: np.ndarray) -> None:
        """Reset the adaptive thresholds to the test thresholds."""
        adaptive[:] = base


@dataclass(frozen=True)
class OneThreshold(Regulation):
    """Regulation with one threshold: it rules every neuron on every sample, has no floor and is not reset.

    The test thresholds are those at the end of the last epoch.
    """

    rate: float
    anneal: float
    targets_only: ClassVar[bool] = False

    def floor(self, threshold: float) -> float:
        """Give no lower bound."""
        return -np.inf

    def end_epoch(self, adaptive: np.ndarray, base: np.ndarray) -> None:
        """Test with what was learnt."""
        base[:] = adaptive


REGULATIONS: dict[str, type] = {"two": TwoThresholds, "one": OneThreshold, "none": Free}


def groups_of(neurons: int, classes: int, *, non_target: int = 0, inhibit: bool = False) -> Groups:
    """Share so many neurons among the classes; UserError where that leaves a rest."""
    if neurons < classes or neurons % classes:
        raise UserError(f"{neurons} neurons for {classes} classes; expected a multiple of {classes}")
    return Groups(neurons // classes, non_target, inhibit)


def assemble(
    groups: Groups,
    regulation: Regulation,
    *,
    rate: float,
    floor: float,
    adaptive: np.ndarray,
    base: np.ndarray,
) -> Competition:
    """Give the kernels' view of the competition; it shares the threshold arrays (N,)."""
    sizes = (groups.per_class, groups.non_target, groups.inhibit)
    return Competition(*sizes, regulation.targets_only, float(rate), np.float32(floor), adaptive, base)
