"""SoftHebb in the form in which the zoo's training loop knows a network: see `extractors`."""

import numpy as np

from firstspike.readouts import softhebb
from firstspike.readouts.events import Events, from_dense, join
from firstspike.readouts.extractors import Extractor, Tell
from firstspike.readouts.preprocessing import as_floats
from firstspike.readouts.softhebb import INFERENCE_BATCH, SoftHebb, SoftHebbEngine, spike_times

POOLED = (4, 2)  # window and stride of the pooling between blocks
SHOWN = 96  # neurons of a layer that are drawn


class SoftHebbExtractor(Extractor):
    """SoftHebb with its features numbered row by row, column by column."""

    learns = softhebb.NAME
    shuffles = True

    def __init__(
        self, network: SoftHebb, *, shape: tuple[int, int, int], epochs: int, classes: int, seed: int, device: str
    ) -> None:  # fmt: skip
        self.layers = tuple(f"conv{number}" for number in range(1, len(network.blocks) + 1))
        engine = SoftHebbEngine(network, channels=shape[0], seed=seed, device=device)
        channels, *sides = engine.outputs(np.zeros((1, *shape), np.uint8)).shape[1:]
        size = tuple(sides[::-1] if network.transpose else sides)
        super().__init__(
            engine, shape=shape, features=(*size, channels), epochs=epochs, classes=classes, seed=seed
        )

    def seen(self, images: np.ndarray) -> np.ndarray:
        """The images as they are."""
        return images

    def learn(self, seen: np.ndarray, order: np.ndarray, tell: Tell) -> None:
        """One pass over the images."""
        self.engine.fit_phase(self.learns, seen, order=order, progress=lambda images: tell(images, 0, 0))

    def extract(self, images: np.ndarray) -> Events:
        """Features as spike times, the strongest of each image first."""
        starts = range(0, len(images), INFERENCE_BATCH)
        last = self.layers[-1]
        return join([from_dense(self.times(images[s : s + INFERENCE_BATCH], last)) for s in starts])

    def times(self, images: np.ndarray, layer: str) -> np.ndarray:
        """Spike times of a block's outputs, or of pixels: the brighter the earlier."""
        if layer == "input":
            return np.moveaxis(1 - as_floats(images), 1, -1)
        maps = self.engine.outputs(images, self.layers.index(layer) + 1)
        axes = (0, 3, 2, 1) if self.engine.network.transpose else (0, 2, 3, 1)
        return spike_times(maps.reshape(len(maps), -1)).reshape(maps.shape).transpose(axes)

    def chain(self, layer: str) -> list[tuple]:
        """Signed weights and pooling in turn; of the last layer some neurons."""
        chain: list[tuple] = []
        for name in self.layers[: self.layers.index(layer) + 1]:
            if chain:
                chain.append(("pool", *POOLED))
            weights = self.engine.weights(name)
            chain.append(("signed", weights.swapaxes(2, 3) if self.engine.network.transpose else weights))
        chain[-1] = (chain[-1][0], chain[-1][1][:SHOWN])
        return chain

    def polarities(self) -> tuple[list[list[int]], list[list[int]]]:
        """Pixels, which have no off channels."""
        colours = range(self.shape[0])
        return [[colour] for colour in colours], [[] for _ in colours]
