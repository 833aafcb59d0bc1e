"""A threshold layer and the decision layer above it that learn from the same answer. Legend as in ``conv.py``."""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.conv import Geometry, Plasticity, Synapses
from firstspike.kernels.decision import Head, clip_head, decide, look, make_view, reinforce
from firstspike.kernels.fields import make_fields
from firstspike.kernels.final import make_cells, reach_one
from firstspike.kernels.jit import compiled
from firstspike.kernels.spikes import Window
from firstspike.kernels.winners import Competition, clip_all, find_winners, make_candidates, stdp


class Lower(NamedTuple):
    """The threshold layer: its synapses, how it competes, how it learns, and the pooling above it."""

    geometry: Geometry
    synapses: Synapses
    competition: Competition
    plasticity: Plasticity
    window: Window


class Upper(NamedTuple):
    """The decision layer: its weights, how they learn, and maps a class."""

    geometry: Geometry
    head: Head
    plasticity: Plasticity
    group: int


class Turn(NamedTuple):
    """One window: who learns, with which rates float32 (4,), and bool (2,) whether each layer has been clipped."""

    lower_learns: bool
    upper_learns: bool
    lower_rates: np.ndarray
    upper_rates: np.ndarray
    clipped: np.ndarray


@compiled
def learn_together(
    latencies: np.ndarray,
    labels: np.ndarray,
    lower: Lower,
    upper: Upper,
    turn: Turn,
    lower_winners: np.ndarray,
    upper_winners: np.ndarray,
) -> None:
    """One window of R-STDP of both layers over images (N, C, H, W): the lower layer's winners share the reward.

    The decision is made on all spikes of the lower layer, its learning on the winners after inhibition; a silent
    image changes nothing. ``lower_winners`` int16 (N, k, 3) and ``upper_winners`` int64 (N, 3) are written.
    """
    g, steps = lower.geometry, lower.competition.steps
    fields, found = make_fields(g, steps), make_candidates(g)
    cells = make_cells(g)
    spikes = np.empty((g.maps, lower.window.rows, lower.window.cols), np.uint8)
    view = make_view(upper.geometry, upper.head, g.maps)
    chosen = np.empty((lower_winners.shape[1], 4), np.int64)
    for n in range(len(latencies)):
        count = find_winners(latencies[n], g, lower.synapses, lower.competition, fields, found, chosen)
        lower_winners[n] = chosen[:, :3]
        threshold = lower.competition.threshold
        reach_one(latencies[n], g, lower.synapses, threshold, steps, lower.window, cells, spikes)
        look(spikes, upper.geometry, steps, view)
        decide(upper.geometry, upper.head, view, upper_winners[n])
        if upper_winners[n, 0] < 0:
            continue
        a = 0 if upper_winners[n, 0] // upper.group == labels[n] else 2
        if turn.lower_learns:
            for w in range(count):
                ltp, ltd = turn.lower_rates[a], turn.lower_rates[a + 1]
                stdp(latencies[n], g, lower.synapses, chosen[w], ltp, ltd, lower.plasticity)
            if not turn.clipped[0]:
                clip_all(g, lower.synapses, lower.plasticity)
                turn.clipped[0] = True
        if turn.upper_learns:
            ltp, ltd = turn.upper_rates[a], turn.upper_rates[a + 1]
            reinforce(upper.geometry, upper.head, view, upper_winners[n], ltp, ltd, upper.plasticity)
            if not turn.clipped[1]:
                clip_head(upper.geometry, upper.head, upper.plasticity)
                turn.clipped[1] = True
