"""Gradient-trained spiking neurons as plain torch modules: a current (N, T, units, ...) in, an output of that shape
out.
"""

from firstspike.neurons.base import Activity, Neuron
from firstspike.neurons.integrator import Integrator, NonSpiking
from firstspike.neurons.lif import LIF
from firstspike.neurons.modes import MODES
from firstspike.neurons.paralif import ParaLIF
from firstspike.neurons.plif import PLIF
from firstspike.neurons.single_spike import SingleSpike, TwinLIF
from firstspike.neurons.spsn import SPSN

__all__ = [
    "LIF",
    "MODES",
    "PLIF",
    "SPSN",
    "Activity",
    "Integrator",
    "Neuron",
    "NonSpiking",
    "ParaLIF",
    "SingleSpike",
    "TwinLIF",
]
