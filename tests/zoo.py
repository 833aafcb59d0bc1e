"""What the tests of the convolutional zoo share: its names, small networks, latencies to show them."""

import numpy as np

from models import create_model, get_model, list_models
from network_trainer import NetworkTrainer

SIDE = 20  # the smallest image that all networks can be made for
ZOO = [name for name in list_models() if getattr(get_model(name), "build", None) is NetworkTrainer.build]


def small(name, *, classes=3, maps=6, **options):
    """A network with few maps that fire easily, so that every layer is busy."""
    known = get_model(name).known_options()
    shrunk = {option: maps for option in known if option.endswith("_maps")}
    eager = {option: 3.0 for option in known if option.endswith("_threshold") and known[option] > 0}
    sizes = {"classes": classes, "image_size": (SIDE, SIDE), "steps": 8, "window": 8}
    return create_model(name, **{**sizes, **shrunk, **eager, **options})


def latencies(n, *, seed=0, channels=6, side=SIDE, steps=8, blank=()):
    """Random latencies uint8 (n, C, side, side), most inputs silent; the images `blank` entirely so."""
    rng = np.random.default_rng(seed)
    shown = np.where(
        rng.random((n, channels, side, side)) < 0.8, 255, rng.integers(0, steps, (n, channels, side, side))
    )
    shown = shown.astype(np.uint8)
    shown[list(blank)] = 255
    return shown


def fit_all(net, shown, labels):
    """One epoch of every phase; the result of the last."""
    for phase in net.phases:
        result = net.fit_phase(phase, shown, labels, record=True)
    return result
