"""What makes a readout, as one frozen description: layer, rule, competition, dropout."""

from dataclasses import dataclass, field

from firstspike.readouts.competition import Free, Groups, Regulation
from firstspike.readouts.dropout import Dropout
from firstspike.readouts.layer import Layer
from firstspike.readouts.rules import Rule


@dataclass(frozen=True)
class Readout:
    """Everything that makes a readout, apart from the data.

    `annealing` is the factor of all learning rates after each epoch.
    """

    layer: Layer
    rule: Rule
    groups: Groups = field(default_factory=Groups)
    regulation: Regulation = field(default_factory=Free)
    dropout: Dropout = field(default_factory=Dropout)
    annealing: float = 1.0
