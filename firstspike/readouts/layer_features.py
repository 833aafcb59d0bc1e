"""What a layer of a convolutional network says about images, coded as spike times for a readout.

Latencies come in few steps, and the times of a readout's neurons can be no finer. Potentials at the last step say more:
the nearer a feature's potential comes to the largest that training images gave it, the earlier it fires.

N images; X, Y, M rows, columns, maps of the features.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from firstspike.coding import BANKS, encode_compiled
from firstspike.engine import Engine
from firstspike.errors import UserError
from firstspike.readouts.events import BLOCK, Events, from_dense, in_blocks
from firstspike.threads import available

CODINGS = ("latency", "potential")
AT_ONCE = 250  # images whose unpooled activity is in memory at a time


@dataclass(frozen=True)
class LayerFeatures:
    """Features of one layer; `filters` names the bank that encodes its images, None for latencies.

    `coding`: "latency" or "potential"; `pool`: side of windows, side by side, of which the strongest or earliest
    counts; `largest` float32 (X, Y, M): the potentials that fire at time 0.
    """

    network: Engine
    layer: str
    filters: str | None
    coding: str = "latency"
    pool: int = 1
    threads: int | None = None
    largest: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.coding not in CODINGS:
            raise UserError(f"option coding: {self.coding!r} given, {', '.join(CODINGS)} allowed")
        if self.pool < 1:
            raise UserError(f"option pool: {self.pool} given, a whole number from 1 needed")

    def key(self) -> str:
        """What the activity depends on beside the network's weights."""
        return f"{self.layer} {self.filters} {self.network.steps} {self.coding} {self.pool}"

    def activity(self, images: np.ndarray) -> np.ndarray:
        """Latencies uint8 or potentials float32 of images (N, C, H, W), pooled, (N, X, Y, M)."""
        starts = range(0, len(images), AT_ONCE)
        return np.concatenate([self._pooled(images[start : start + AT_ONCE]) for start in starts])

    def _pooled(self, images: np.ndarray) -> np.ndarray:
        found = self.network.features(self._encoded(images), self.layer, self.coding)
        count, maps, *sides = found.shape
        rows, columns = (side // self.pool for side in sides)
        if min(rows, columns) < 1:
            raise UserError(
                f"option pool: {self.pool} given, {self.layer} has {sides[0]} x {sides[1]} places"
            )
        whole = found[:, :, : rows * self.pool, : columns * self.pool]
        windows = whole.reshape(count, maps, rows, self.pool, columns, self.pool)
        least = self.coding == "latency"
        return np.moveaxis(windows.min(axis=(3, 5)) if least else windows.max(axis=(3, 5)), 1, -1)

    def _encoded(self, images: np.ndarray) -> np.ndarray:
        if self.filters is None:
            return images
        threads = self.threads or available()
        return encode_compiled(images, BANKS[self.filters](), steps=self.network.steps, threads=threads)

    def fitted(self, images: Callable[[slice], np.ndarray], count: int) -> "LayerFeatures":
        """The same, with the largest potentials of so many training images, given slice by slice."""
        if self.coding == "latency":
            return self
        starts = range(0, count, BLOCK)
        largest = [self.activity(images(slice(start, start + BLOCK))).max(axis=0) for start in starts]
        return replace(self, largest=np.max(largest, axis=0))

    def events(self, images: np.ndarray) -> Events:
        """Features of images as events."""
        return in_blocks(self._block, images)

    def _block(self, images: np.ndarray) -> Events:
        found = self.activity(images)
        if self.coding == "latency":
            return from_dense(found, scale=self.network.steps)
        shares = np.divide(found, self.largest, out=np.zeros_like(found), where=self.largest > 0)
        return from_dense(np.clip(1 - shares, 0, 1))
