"""Learning rates of one layer, as they stand between two windows or images."""

import numpy as np

from firstspike.errors import UserError
from firstspike.layers import STDP, BatchSTDP, Fitted, LinearSVM, Rule

REWARD_RATES = ("reward_ltp", "reward_ltd", "punish_ltp", "punish_ltd")
STDP_RATES = ("ltp", "ltd")


class LayerRates:
    """Learning rates of one layer: those of STDP with their counter, starting and current ones of R-STDP."""

    def __init__(self, rules: list[Rule]) -> None:
        exact = any(isinstance(rule, BatchSTDP) for rule in rules)
        self.stdp = np.zeros(2, np.float64 if exact else np.float32)
        self.seen = np.zeros(1, np.int64)
        self.start = np.zeros(4)
        self.reward = np.zeros(4, np.float32)
        self.names: tuple[str, ...] = ()
        for rule in rules:
            if isinstance(rule, LinearSVM | Fitted):
                continue
            names = STDP_RATES if isinstance(rule, STDP) else REWARD_RATES
            self.names += names
            self.set({name: getattr(rule, name) for name in names})

    def set(self, rates: dict[str, float]) -> None:
        """Set starting rates, and with them the current ones."""
        for name, rate in rates.items():
            if name not in self.names:
                raise UserError(f"rate {name}: this layer has {', '.join(self.names) or 'none'}")
            if name in STDP_RATES:
                self.stdp[STDP_RATES.index(name)] = rate
            else:
                self.start[REWARD_RATES.index(name)] = rate
                self.reward[REWARD_RATES.index(name)] = rate

    def adapt(self, reward: float, punish: float) -> None:
        """Set the current R-STDP rates to these parts of the starting ones."""
        self.reward[:] = self.start * np.array([reward, reward, punish, punish])

    def current(self) -> dict[str, float]:
        """The rates in force, by name."""
        values = dict(zip((*STDP_RATES, *REWARD_RATES), (*self.stdp, *self.reward), strict=True))
        return {name: float(values[name]) for name in self.names}

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint holds of the rates."""
        return {"stdp": self.stdp, "seen": self.seen, "start": self.start, "reward": self.reward}
