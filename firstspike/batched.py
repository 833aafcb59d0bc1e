"""Layers that learn in mini-batches, on any device; they have the methods of those in ``compiled.py``.

The images of a call go to the device at once and the winners come back at its end: in between nothing is copied to the
host. A mini-batch ends with its call, so the last one of a window, or of the images between two reports of progress,
may be smaller.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from firstspike import compiled, functional
from firstspike.backend import Backend
from firstspike.errors import UserError
from firstspike.kernels.joint import Turn
from firstspike.layers import RSTDP, STDP, Conv, Pool, Shape
from firstspike.minibatch import (
    Learner,
    Neurons,
    Pair,
    advance,
    learn_pair,
    learn_reward,
    learn_stdp,
    pooled,
    sizes,
)
from firstspike.sums import potentials_on


class _Placed:
    """Where a layer's arrays go; shared by the layers below, which say what ``device`` and ``tensor`` are."""

    device: torch.device
    batch: int
    layer: Conv
    tensor: Tensor  # weights float32 (M, C, k, k)

    def put(self, array: np.ndarray) -> Tensor:
        """A copy of an array on the device."""
        return torch.tensor(array, device=self.device)

    def neurons(self, steps: int) -> Neurons:
        """The layer's neurons."""
        return Neurons(self.layer, potentials_on(self.device), steps)


class _Stdp(_Placed):
    def learn(
        self, latencies: np.ndarray, rule: STDP, rates: np.ndarray, seen: np.ndarray, *, steps: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """One pass of STDP; returns winners int16 (N, k, 3) and the rates used, float64 (N, 2)."""
        parts = sizes(len(latencies), self.batch)
        used = advance(rule, rates, seen, parts)
        learner = Learner(self.neurons(steps), rule)
        self.tensor, won = learn_stdp(self.tensor, self.put(latencies), used, learner, batch=self.batch)
        return to_host(won).astype(np.int16), np.repeat(used.astype(np.float64), parts, axis=0)


class _Reward(_Placed):
    def learn(
        self,
        latencies: np.ndarray,
        labels: np.ndarray,
        rule: RSTDP,
        rates: np.ndarray,
        *,
        steps: int,
        group: int,
        clipped: bool,
    ) -> tuple[np.ndarray, bool]:
        """One window of R-STDP; returns winners int64 (N, 3). Every update clips the whole layer: ``clipped`` stays."""
        learner = Learner(self.neurons(steps), rule)
        self.tensor, won = learn_reward(
            self.tensor,
            self.put(latencies),
            self.put(labels),
            rates,
            learner,
            batch=self.batch,
            group=group,
        )
        return to_host(won)[:, 0], clipped


def to_host(tensor: Tensor) -> np.ndarray:
    """An array of a tensor's values."""
    return tensor.cpu().numpy()


class _OnHost:
    """The weights are those that the compiled kernels answer with."""

    device = torch.device("cpu")

    @property
    def tensor(self) -> Tensor:
        """Weights float32 (M, C, k, k); a copy."""
        return torch.from_numpy(self.weights)

    @tensor.setter
    def tensor(self, tensor: Tensor) -> None:
        self.weights = tensor.numpy()


@dataclass
class HostThreshold(_OnHost, _Stdp, compiled.ThresholdLayer):
    """A threshold layer on the CPU: learns in mini-batches, answers by the compiled kernels."""


@dataclass
class HostDecision(_OnHost, _Reward, compiled.DecisionLayer):
    """A decision layer on the CPU: learns in mini-batches, answers by the compiled kernels."""

    batch: int


@dataclass
class _OnDevice(_Placed):
    """A layer whose weights live on a device."""

    layer: Conv
    shape: Shape
    batch: int
    device: torch.device

    def __post_init__(self) -> None:
        self.geometry = compiled.geometry(self.layer, self.shape)
        self.tensor = torch.zeros(0)

    @property
    def weights(self) -> np.ndarray:
        """Weights float32 (M, C, k, k); a copy."""
        return to_host(self.tensor.clone())

    @weights.setter
    def weights(self, weights: np.ndarray) -> None:
        self.tensor = self.put(weights)


class DeviceThreshold(_Stdp, _OnDevice):
    """A threshold layer on a device."""

    def propagate(
        self, latencies: np.ndarray, *, steps: int, pool: Pool = compiled.IDENTITY, timed: bool = True
    ) -> np.ndarray:
        """Pooled latencies uint8 (N, M, R, Q); untimed, a neuron that fires is dated to the last step."""
        neurons, weight = self.neurons(steps), self.layer.handing_on(self.tensor)
        seen = functional.pad_latency(self.put(latencies), self.layer.pad)
        fired = neurons.first_spikes(seen, weight)[0] if timed else neurons.last_spikes(seen, weight)
        return to_host(pooled(fired, pool))


class DeviceDecision(_Reward, _OnDevice):
    """A decision layer on a device."""

    def decide(self, latencies: np.ndarray, *, steps: int) -> np.ndarray:
        """Winners int64 (N, 3), -1 where silent."""
        return to_host(self.neurons(steps).decide(self.put(latencies), self.tensor).won)[:, 0]

    def scores(self, latencies: np.ndarray, *, steps: int, group: int) -> np.ndarray:
        """Each class's largest potential as a share of the winner's, float32 (N, classes), 0 for silent images."""
        potential, _ = self.neurons(steps).last_potentials(self.put(latencies), self.tensor)
        best = potential.unflatten(1, (-1, group)).amax((2, 3, 4)).clamp(min=0)
        highest = best.amax(1, keepdim=True)
        return to_host(torch.where(highest > 0, best / highest, 0).float())


def learn_together(
    lower: _Stdp,
    upper: _Reward,
    pool: Pool,
    latencies: np.ndarray,
    labels: np.ndarray,
    rules: tuple[RSTDP, RSTDP],
    turn: Turn,
    *,
    steps: int,
    group: int,
) -> tuple[np.ndarray, np.ndarray]:
    """One window in which a threshold layer shares the reward; returns the winners of both layers."""
    learners = (Learner(node.neurons(steps), rule) for node, rule in zip((lower, upper), rules, strict=True))
    (lower.tensor, upper.tensor), won = learn_pair(
        (lower.tensor, upper.tensor),
        lower.put(latencies),
        lower.put(labels),
        turn,
        Pair(*learners, pool, group),
        batch=lower.batch,
    )
    return to_host(won[0]).astype(np.int16), to_host(won[1])[:, 0]


def backend(device: str, update_batch: int) -> Backend:
    """Layers for a device: on the CPU compiled kernels answer, elsewhere everything runs on the device."""
    if device == "cpu":
        kinds = [partial(kind, batch=update_batch) for kind in (HostThreshold, HostDecision)]
        in_turn = partial(compiled.BatchLayer, batch=update_batch)
    else:
        place = usable(device)
        kinds = [
            partial(kind, batch=update_batch, device=place) for kind in (DeviceThreshold, DeviceDecision)
        ]
        in_turn = refuse_in_turn
    return Backend(*kinds, learn_together, refuse_first, in_turn)


def refuse_first(layer: Conv, shape: Shape) -> None:
    """A layer that answers by its first spike has no mini-batched twin."""
    raise UserError(
        f"layer {layer.name} answers by its first spike: it learns image after image on the CPU,"
        " so leave out --device and --update-batch"
    )


def refuse_in_turn(layer: Conv, shape: Shape) -> None:
    """Changes that are made one after the other leave a device idle: there is no twin."""
    raise UserError(
        f"layer {layer.name}: the images of its mini-batches change the weights in turn, on the CPU: leave out --device"
    )


def usable(device: str) -> torch.device:
    """The device of that name, if there is one here."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without it
        reason = str(error).splitlines()[0]
        raise UserError(f"device {device}: not available here ({reason}): use cpu") from error
