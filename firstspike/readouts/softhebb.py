"""SoftHebb: features from three convolutional layers that learn without labels, by a soft Hebbian rule.

Blocks of batch normalisation, convolution, Triangle activation and pooling, all learning on the same forward
pass, in one epoch. Source: Journé et al. (ICLR 2023), with the constants and the coding into spike times of
Goupy et al. (NeurIPS 2024). N images, B of a batch; C channels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from firstspike.data.splits import stream
from firstspike.errors import UserError
from firstspike.readouts.events import Events, from_dense, join
from firstspike.readouts.preprocessing import as_floats

NAME = "hebbian"
BATCH = 10
INFERENCE_BATCH = 200
INITIAL_GAIN = 25.0
LEAST_STEP = 1e-30  # in the denominator of the update's scale
LEAST_DISTANCE = 1e-10  # of a norm from 1, so that a neuron at norm 1 keeps a rate


@dataclass(frozen=True)
class Block:
    """One block of the network.

    `channels` out; odd `kernel` with reflected edges; the softmax's inverse temperature; the Triangle's
    power; pooling "max" (4, stride 2, padding 1) or "average" (2, stride 2); the rate `lr`.
    """

    channels: int
    kernel: int
    inverse_temperature: float
    power: float
    pooling: str
    lr: float

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """Pool maps (B, C, H, W)."""
        if self.pooling == "max":
            return functional.max_pool2d(maps, 4, 2, 1)
        return functional.avg_pool2d(maps, 2, 2)


@dataclass(frozen=True)
class SoftHebb:
    """The network: its blocks, and whether image axes are exchanged first, as published."""

    blocks: tuple[Block, ...] = (
        Block(96, 5, 1.0, 0.7, "max", 0.08),
        Block(384, 3, 0.65, 1.4, "max", 0.005),
        Block(1536, 3, 0.25, 1.0, "average", 0.01),
    )
    transpose: bool = True

    def with_maps(self, *maps: int) -> "SoftHebb":
        """Give the same network with so many maps in each block; UserError for fewer than two in one."""
        if min(maps) < 2:
            raise UserError(f"maps {' '.join(map(str, maps))}: a layer that competes needs 2 or more")
        blocks = [replace(block, channels=count) for block, count in zip(self.blocks, maps, strict=True)]
        return replace(self, blocks=tuple(blocks))


@dataclass
class Layer:
    """The state of a block: weights (C', C, K, K), running mean and variance (C,) of its input."""

    block: Block
    weight: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor

    def drive(self, maps: torch.Tensor, *, training: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the normalised input with its reflected margin, and the potentials u."""
        normal = functional.batch_norm(
            maps, self.mean, self.variance, training=training, momentum=0.1, eps=1e-5
        )
        margin = self.block.kernel // 2
        padded = functional.pad(normal, (margin,) * 4, mode="reflect")
        return padded, functional.conv2d(padded, self.weight)

    def output(self, potentials: torch.Tensor) -> torch.Tensor:
        """Apply Triangle, what is above the mean over channels to a power, and pool."""
        above = functional.relu(potentials - potentials.mean(dim=1, keepdim=True))
        return self.block.pool(above.pow(self.block.power))

    def rates(self) -> torch.Tensor:
        """Give each neuron's rate (C',): lr times the root of its norm's distance from 1."""
        norms = self.weight.flatten(1).norm(dim=1)
        return self.block.lr * ((norms - 1).abs() + LEAST_DISTANCE).sqrt()

    def learn(self, padded: torch.Tensor, potentials: torch.Tensor) -> None:
        """Move each position's winner towards its patch and, softly, all losers away from it."""
        activity = torch.softmax(potentials * self.block.inverse_temperature, dim=1)
        winner = potentials.argmax(dim=1, keepdim=True)
        signed = -activity
        signed.scatter_(1, winner, activity.gather(1, winner))
        patches = functional.conv2d(padded.transpose(0, 1), signed.transpose(0, 1)).transpose(0, 1)
        pull = (signed * potentials).sum(dim=(0, 2, 3))
        step = patches - pull[:, None, None, None] * self.weight
        step = step / (step.abs().max() + LEAST_STEP)
        self.weight += self.rates()[:, None, None, None] * step


class SoftHebbEngine:
    """The network with its state, on one torch device."""

    phases = (NAME,)

    def __init__(self, network: SoftHebb, *, channels: int = 1, seed: int = 0, device: str = "cpu") -> None:
        self.network, self.seed, self.device = network, seed, torch.device(device)
        self.epochs = 0
        self.layers: list[Layer] = []
        for number, block in enumerate(network.blocks):
            shape = (block.channels, channels, block.kernel, block.kernel)
            drawn = stream(seed, NAME, number).standard_normal(shape, np.float32)
            weight = self._tensor(drawn * np.float32(INITIAL_GAIN / np.sqrt(channels * block.kernel**2)))
            self.layers.append(
                Layer(block, weight, self._tensor(np.zeros(channels)), self._tensor(np.ones(channels)))
            )
            channels = block.channels

    def weights(self, layer: str) -> np.ndarray:
        """Give a copy of the weights of conv1, conv2, ..., float32 (C', C, K, K)."""
        return self._layer(layer).weight.cpu().numpy().copy()

    def set_weights(self, layer: str, weights: np.ndarray) -> None:
        """Set the weights of conv1, conv2, ..."""
        own = self._layer(layer)
        if np.shape(weights) != tuple(own.weight.shape):
            raise UserError(
                f"{layer} weights of shape {np.shape(weights)}; expected {tuple(own.weight.shape)}"
            )
        own.weight = self._tensor(weights)

    def rates(self, layer: str) -> dict[str, float]:
        """Give the mean rate over the neurons of a layer."""
        return {"lr": float(self._layer(layer).rates().mean())}

    @torch.no_grad()
    def fit_phase(
        self,
        phase: str,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        order: np.ndarray | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Learn from images (N, H, W) or (N, C, H, W) once, in batches of 10, in the order given or drawn.

        `progress(images)` hears of each batch.
        """
        if phase != NAME:
            raise UserError(f"no phase {phase!r} in SoftHebb; it has {NAME!r}")
        if order is None:
            order = stream(self.seed, NAME, "order", self.epochs).permutation(len(images))
        for start in range(0, len(order), BATCH):
            maps = self._input(images[order[start : start + BATCH]])
            updates = []
            for layer in self.layers:
                padded, potentials = layer.drive(maps, training=True)
                updates.append((layer, padded, potentials))
                maps = layer.output(potentials)
            for layer, padded, potentials in updates:
                layer.learn(padded, potentials)
            if progress:
                progress(len(maps))
        self.epochs += 1

    @torch.no_grad()
    def features(self, images: np.ndarray) -> np.ndarray:
        """Give the features of images, flattened (channel, column, row), float32 (N, features)."""
        return self.outputs(images).reshape(len(images), -1)

    @torch.no_grad()
    def outputs(self, images: np.ndarray, blocks: int | None = None) -> np.ndarray:
        """Give what the first so many blocks (None = all) make of images, float32 (N, channel, column, row)."""
        return np.concatenate(list(self._batches(images, blocks)))

    def events(self, images: np.ndarray) -> Events:
        """Give the features as spike times: see `spike_times`."""
        return join(
            [from_dense(spike_times(batch.reshape(len(batch), -1))) for batch in self._batches(images)]
        )

    @torch.no_grad()
    def _batches(self, images: np.ndarray, blocks: int | None = None) -> Iterator[np.ndarray]:
        for start in range(0, len(images), INFERENCE_BATCH):
            maps = self._input(images[start : start + INFERENCE_BATCH])
            for layer in self.layers[:blocks]:
                maps = layer.output(layer.drive(maps, training=False)[1])
            yield maps.cpu().numpy()

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Give what a continuation needs: arrays, and numbers that JSON keeps."""
        arrays = {}
        for number, layer in enumerate(self.layers, 1):
            for name in ("weight", "mean", "variance"):
                arrays[f"conv{number}.{name}"] = getattr(layer, name).cpu().numpy().copy()
        return arrays, {"epochs": self.epochs}

    def load_state(self, arrays: dict[str, np.ndarray], counters: dict[str, Any]) -> None:
        """Go on from a state of a network of the same sizes; UserError if it is another's."""
        for name, array in self.state()[0].items():
            if name not in arrays or arrays[name].shape != array.shape:
                raise UserError(f"SoftHebb state: {name} belongs to another network")
        for number, layer in enumerate(self.layers, 1):
            for name in ("weight", "mean", "variance"):
                setattr(layer, name, self._tensor(arrays[f"conv{number}.{name}"]))
        self.epochs = int(counters["epochs"])

    def _layer(self, name: str) -> Layer:
        names = [f"conv{number}" for number in range(1, len(self.layers) + 1)]
        if name not in names:
            raise UserError(f"no layer {name!r} in SoftHebb; it has {', '.join(names)}")
        return self.layers[names.index(name)]

    def _input(self, images: np.ndarray) -> torch.Tensor:
        planes = as_floats(images if images.ndim == 4 else images[:, None])
        return self._tensor(planes.swapaxes(2, 3) if self.network.transpose else planes)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(np.ascontiguousarray(array, np.float32), device=self.device)


def spike_times(features: np.ndarray) -> np.ndarray:
    """Code features (N, F) as float32 times 1 - f / max f of the sample: the strongest at 0, 0 silent at 1.

    A sample without any positive feature is silent throughout.
    """
    features = np.float32(features)
    greatest = features.max(axis=1, keepdims=True)
    shares = np.divide(features, greatest, out=np.zeros_like(features), where=greatest > 0)
    return np.float32(1) - shares
