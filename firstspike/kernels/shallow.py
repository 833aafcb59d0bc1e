"""Layers that answer by their first spike: the winner of an image, and reward-modulated STDP of its map.

Legend as in ``conv.py``. The one winner is the earliest neuron, then the largest potential, then the lowest (map, row,
column): what pointwise inhibition and the search for k winners leave when k is 1.
"""

import numpy as np

from firstspike.kernels.conv import Geometry, Plasticity, Synapses, certify
from firstspike.kernels.fields import make_fields
from firstspike.kernels.jit import compiled
from firstspike.kernels.winners import Competition, clip_all, find_winners, make_candidates, stdp


@compiled
def learn_reward(
    latencies: np.ndarray,
    labels: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    rule: Competition,
    classes: np.ndarray,
    rates: np.ndarray,
    plasticity: Plasticity,
    clipped: bool,
    winners: np.ndarray,
) -> bool:
    """One window of R-STDP over images (N, C, H, W): reward when the winner's class is the label, else punishment.

    ``classes`` int64 (M,) of the maps; ``rates`` float32 (4,): reward ltp and ltd, punishment ltp and ltd; ``winners``
    int64 (N, 3) is written. Silent images change nothing. Returns whether the layer has been clipped (Mozafari et al.
    2018, section II-D).
    """
    fields, found = make_fields(g, rule.steps), make_candidates(g)
    chosen = np.empty((1, 4), np.int64)
    for n in range(len(latencies)):
        count = find_winners(latencies[n], g, synapses, rule, fields, found, chosen)
        winners[n] = chosen[0, :3]
        if count == 0:
            continue
        a = 0 if classes[chosen[0, 0]] == labels[n] else 2
        stdp(latencies[n], g, synapses, chosen[0], rates[a], rates[a + 1], plasticity)
        if not clipped:
            clip_all(g, synapses, plasticity)
            clipped = True
    return clipped


@compiled
def first_spikes(
    latencies: np.ndarray,
    g: Geometry,
    synapses: Synapses,
    rule: Competition,
    winners: np.ndarray,
    potentials: np.ndarray,
) -> None:
    """Winner of each image, map, row, column and step (N, 4), -1 where silent, and its potential (N,), else 0."""
    fields, found = make_fields(g, rule.steps), make_candidates(g)
    chosen = np.empty((1, 4), np.int64)
    for n in range(len(latencies)):
        count = find_winners(latencies[n], g, synapses, rule, fields, found, chosen)
        winners[n], potentials[n] = chosen[0], 0.0
        if count > 0:
            m, place, step = chosen[0, 0], chosen[0, 1] * g.cols + chosen[0, 2], chosen[0, 3]
            potentials[n] = certify(latencies[n], g, synapses.weight, m, place, step)
