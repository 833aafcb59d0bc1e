"""Learning rules of a readout and the STDP forms under them, as frozen descriptions of compiled functions.

A new rule is one class: its kernel with the signature `kernels.readout_rules.RULE`, the constants and rates the
kernel reads, and, where the rates in force differ from the annealed ones, `in_force`. A new STDP form is one
class with a kernel of the signature `kernels.rows.CHANGE`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from firstspike.errors import UserError
from firstspike.kernels import readout_rules, rows


@dataclass(frozen=True)
class Additive:
    """STDP that adds the same whatever the weight; with `ignore_silent` silent inputs are not depressed."""

    ignore_silent: bool = False
    kernel: ClassVar[Callable] = staticmethod(rows.additive)

    def constants(self) -> tuple[float, ...]:
        """Give the constants of the kernel: none."""
        return ()


@dataclass(frozen=True)
class Multiplicative:
    """STDP whose steps shrink by e^(-beta d), d the distance to the opposite bound in units of the range.

    Querlioz et al. (2013), in the symmetric form that STDP-CSNN uses; `low`, `high`: the bounds.
    """

    beta: float
    low: float = 0.0
    high: float = 1.0
    ignore_silent: ClassVar[bool] = False
    kernel: ClassVar[Callable] = staticmethod(rows.multiplicative)

    def __post_init__(self) -> None:
        if not (0 <= self.beta <= 100 and self.low < self.high):
            raise UserError(
                f"beta {self.beta}, bounds {self.low} ... {self.high}; expected 0 <= beta <= 100, low < high"
            )

    def constants(self) -> tuple[float, ...]:
        """Give the constants of the kernel: beta and the bounds."""
        return (self.beta, self.low, self.high)


class Rule(Protocol):
    """What a rule offers; `rates` are those of the first epoch, by name, in the kernel's order.

    `alone`: it looks at the first neuron of all to fire and at no other.
    """

    kernel: ClassVar[Callable]
    alone: ClassVar[bool]
    stdp: Additive | Multiplicative

    def rates(self) -> dict[str, float]:
        """Give the starting rates."""
        ...

    def constants(self) -> tuple[float, ...]:
        """Give the constants of the kernel."""
        ...

    def in_force(self, rates: np.ndarray, accuracy: float) -> np.ndarray:
        """Give the rates of an epoch from the annealed ones and the last epoch's training accuracy."""
        ...


@dataclass(frozen=True)
class S2STDP:
    """S2-STDP: neurons learn by their error to a desired time before or after the mean spike time.

    Goupy et al. (2024). `ap` > 0 and `am` <= 0 are the rates on causal and other inputs for a neuron that is
    too late; one that is too early learns with both signs turned. `t_gap`, in units of the spike times, is
    the distance between the desired times of target and other neurons.
    """

    t_gap: float
    ap: float
    am: float
    stdp: Additive | Multiplicative = Additive()
    kernel: ClassVar[Callable] = staticmethod(readout_rules.s2stdp)
    alone: ClassVar[bool] = False
    ranges: ClassVar[bool] = False

    def rates(self) -> dict[str, float]:
        """Give the starting rates."""
        return {"ap": self.ap, "am": self.am}

    def constants(self) -> tuple[float, ...]:
        """Give t_gap and whether the desired times are ends of ranges."""
        return (self.t_gap, float(self.ranges))

    def in_force(self, rates: np.ndarray, accuracy: float) -> np.ndarray:
        """Give the annealed rates as they are."""
        return rates


@dataclass(frozen=True)
class SSTDP(S2STDP):
    """SSTDP (Liu et al., 2021, on one layer): S2-STDP with ranges, so that no neuron in its range learns."""

    ranges: ClassVar[bool] = True


@dataclass(frozen=True)
class RSTDP:
    """R-STDP: the first neuron to fire is rewarded or punished (Mozafari et al., 2018, on one layer).

    `anti_ap`, `anti_am`: the rates of punishment, -ap and -am where None. With `adaptive` the rates of reward
    are multiplied by the share of errors in the last epoch, those of punishment by that of hits.
    """

    ap: float
    am: float
    anti_ap: float | None = None
    anti_am: float | None = None
    adaptive: bool = True
    stdp: Additive | Multiplicative = Additive()
    kernel: ClassVar[Callable] = staticmethod(readout_rules.rstdp)
    alone: ClassVar[bool] = True

    def rates(self) -> dict[str, float]:
        """Give the starting rates."""
        anti_ap = -self.ap if self.anti_ap is None else self.anti_ap
        anti_am = -self.am if self.anti_am is None else self.anti_am
        return {"ap": self.ap, "am": self.am, "anti_ap": anti_ap, "anti_am": anti_am}

    def constants(self) -> tuple[float, ...]:
        """Give the constants of the kernel: none."""
        return ()

    def in_force(self, rates: np.ndarray, accuracy: float) -> np.ndarray:
        """Give the rates of an epoch after one of this training accuracy."""
        if not self.adaptive:
            return rates
        return rates * np.array([1 - accuracy, 1 - accuracy, accuracy, accuracy])


@dataclass(frozen=True)
class S4NN:
    """The output rule of S4NN (Kheradpisheh and Masquelier, 2020): normalised errors to the first spike.

    `ranges`: as in SSTDP, a neuron within its range does not learn.
    """

    t_gap: float
    lr: float
    ranges: bool = True
    stdp: Additive = Additive()
    kernel: ClassVar[Callable] = staticmethod(readout_rules.s4nn)
    alone: ClassVar[bool] = False

    def rates(self) -> dict[str, float]:
        """Give the starting rate."""
        return {"lr": self.lr}

    def constants(self) -> tuple[float, ...]:
        """Give t_gap and whether the desired times are ends of ranges."""
        return (self.t_gap, float(self.ranges))

    def in_force(self, rates: np.ndarray, accuracy: float) -> np.ndarray:
        """Give the annealed rate as it is."""
        return rates


RULES: dict[str, type] = {"s2stdp": S2STDP, "sstdp": SSTDP, "rstdp": RSTDP, "s4nn": S4NN}
