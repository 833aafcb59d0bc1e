"""Which layers an engine runs: compiled ones, or those of ``batched.py`` for mini-batches and other devices."""

from collections.abc import Callable
from dataclasses import dataclass

from firstspike.compiled import (
    BatchLayer,
    DecisionLayer,
    FirstSpikeLayer,
    ThresholdLayer,
    learn_together,
)
from firstspike.errors import UserError
from firstspike.graded import GradedLayer


@dataclass(frozen=True)
class Backend:
    """How layers are made, from (layer, shape), and how two learn together.

    ``threshold`` layers hand on spikes, ``decision`` layers answer by the last potentials, ``first`` ones by the first
    spike; ``in_turn`` layers hand on spikes and learn by BatchSTDP, ``graded`` ones answer by potentials to which early
    spikes add more. The layers have the methods of those in ``compiled.py``.
    """

    threshold: Callable = ThresholdLayer
    decision: Callable = DecisionLayer
    learn_together: Callable = learn_together
    first: Callable = FirstSpikeLayer
    in_turn: Callable = BatchLayer
    graded: Callable = GradedLayer


def choose(device: str, update_batch: int) -> Backend:
    """The layers for a device that learn so many images at once; compiled ones for the online rule on the CPU."""
    if update_batch < 1:
        raise UserError(f"update batch {update_batch}: one image or more learn at once")
    if device == "cpu" and update_batch == 1:
        return Backend()
    from firstspike import batched  # torch takes a second to import

    return batched.backend(device, update_batch)
