"""Data sets by name, augmentation, splits and the latency cache."""
