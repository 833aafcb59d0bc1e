"""firstspike: spiking networks whose neurons fire at most once and learn by spike timing."""

__version__ = "0.1.0"
