"""Event-driven first-spike readouts trained by supervised STDP."""

from firstspike.readouts.competition import Free, Groups, OneThreshold, Regulation, TwoThresholds, groups_of
from firstspike.readouts.dropout import Dropout
from firstspike.readouts.engine import Epoch, ReadoutEngine
from firstspike.readouts.events import Events, from_dense, join
from firstspike.readouts.layer import Layer
from firstspike.readouts.readout import Readout
from firstspike.readouts.rules import RSTDP, RULES, S2STDP, S4NN, SSTDP, Additive, Multiplicative, Rule

__all__ = [
    "RSTDP",
    "RULES",
    "S2STDP",
    "S4NN",
    "SSTDP",
    "Additive",
    "Dropout",
    "Epoch",
    "Events",
    "Free",
    "Groups",
    "Layer",
    "Multiplicative",
    "OneThreshold",
    "Readout",
    "ReadoutEngine",
    "Regulation",
    "Rule",
    "TwoThresholds",
    "from_dense",
    "groups_of",
    "join",
]
