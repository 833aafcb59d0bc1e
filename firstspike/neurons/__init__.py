"""Gradient-trained spiking neurons as plain torch modules."""
