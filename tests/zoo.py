"""What the tests of the convolutional zoo share: its names, small networks, latencies to show them."""

import numpy as np

from firstspike.layers import RSTDP, is_decision, walk
from models import create_model, get_model, list_models
from network_trainer import NetworkTrainer


def by_reward(model):
    """Whether layers that look at their last potentials decide, and learn by reward."""
    potentials = {layer.name for layer in walk(model.layers) if is_decision(layer)}
    rules = [model.plan[-1].rules.get(head) for head in model.decision.heads]
    return set(model.decision.heads) <= potentials and all(isinstance(rule, RSTDP) for rule in rules)


SIDE = 20  # the smallest image that all networks can be made for
BUILT = [name for name in list_models() if getattr(get_model(name), "build", None) is NetworkTrainer.build]
ZOO = [name for name in BUILT if by_reward(get_model(name))]


def small(name, *, classes=3, maps=6, **options):
    """A network with few maps that fire easily, so that every layer is busy."""
    known = get_model(name).known_options()
    shrunk = {option: maps for option in known if option.endswith("_maps")}
    eager = {option: 3.0 for option in known if option.endswith("_threshold") and known[option] > 0}
    sizes = {"classes": classes, "image_size": (SIDE, SIDE), "steps": 8, "window": 8}
    return create_model(name, **{**sizes, **shrunk, **eager, **options})


def latencies(n, *, seed=0, channels=6, side=SIDE, steps=8, blank=()):
    """Random latencies uint8 (n, C, side, side) in a square of half the side, the rest and all of `blank` silent."""
    rng = np.random.default_rng(seed)
    shown = np.full((n, channels, side, side), 255, np.uint8)
    half = side // 2
    for image, (row, col) in zip(shown, rng.integers(0, side - half + 1, (n, 2)), strict=True):
        fired = rng.random((channels, half, half)) < 0.5
        image[:, row : row + half, col : col + half][fired] = rng.integers(0, steps, fired.sum())
    shown[list(blank)] = 255
    return shown


def make_selective(net, *, seed=0):
    """Give every layer that fires maps that differ: few strong weights, many weak ones."""
    rng = np.random.default_rng(seed)
    for layer in net.engine.nodes:
        if layer not in net.decision.heads:
            shape = net.weights(layer).shape
            net.set_weights(layer, (rng.random(shape) < 0.15).astype(np.float32))


def fit_all(net, shown, labels):
    """One epoch of every phase; the result of the last."""
    for phase in net.phases:
        result = net.fit_phase(phase, shown, labels, record=True)
    return result
