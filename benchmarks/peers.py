"""Spyker 0.1.0's wheel on the layers of mozafari2018: what ``benchmarks.zoo`` shows beside our times.

    python -m benchmarks.peers SAMPLES.npz      # prints JSON; pip install firstspike[bench]

In a process of its own, because the wheel brings its own OpenMP. Its encoder has no local normalisation and its sparse
layers neither a decision nor R-STDP.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import spyker
from spyker import sparse

from benchmarks.machine import timed

STEPS, CLASSES, THRESHOLDS = 15, 10, (15.0, 10.0)
SIGMAS = [(3, 6), (6, 3), (7, 14), (14, 7), (13, 26), (26, 13)]  # ninths of a pixel
CUT = 0.01  # of its filters' responses to pixels from 0 to 1: about as many spikes as our encoder gives
STDP = (0.15, -0.1125)  # the rates that training ends with
REWARD, PUNISH = (0.004, -0.003), (-0.004, 0.0005)


@dataclass
class Samples:
    """What is shown: images, labels, our answers, and the latencies that conv1, conv2 and decision see."""

    images: np.ndarray
    labels: np.ndarray
    answers: np.ndarray
    conv1: np.ndarray
    conv2: np.ndarray
    decision: np.ndarray
    weights: list[np.ndarray]

    def waves(self, layer: str) -> list[np.ndarray]:
        """Spike waves uint8 (1, T, C, H, W) of every image."""
        times = np.arange(STEPS, dtype=np.uint8)[:, None, None, None]
        return [(latency <= times).astype(np.uint8)[None] for latency in getattr(self, layer)]

    def pixels(self) -> list[np.ndarray]:
        """Images float32 (1, 1, H, W) from 0 to 1."""
        return [image[None, None].astype(np.float32) / 255 for image in self.images]


class Dense:
    """The network as dense waves."""

    def __init__(self, weights: list[np.ndarray]) -> None:
        filters = [spyker.DoGFilter(near / 9, far / 9) for near, far in SIGMAS]
        self.filters = spyker.DoG(6, filters, pad=6)
        self.conv1, self.conv2, self.conv3 = (
            spyker.Conv(w.shape[1], w.shape[0], w.shape[2], pad=pad)
            for w, pad in zip(weights, (2, 1, 2), strict=True)
        )
        for layer, w in zip((self.conv1, self.conv2, self.conv3), weights, strict=True):
            spyker.to_tensor(w).to(layer.kernel)
        self.conv1.stdpconfig = [spyker.STDPConfig(*STDP)]
        self.conv2.stdpconfig = [spyker.STDPConfig(*STDP)]
        self.conv3.stdpconfig = [spyker.STDPConfig(*rates, False, 0.2, 0.8) for rates in (REWARD, PUNISH)]

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels to a wave."""
        return spyker.code(spyker.threshold(self.filters(pixels), CUT), STEPS)

    def stdp(self, layer: spyker.Conv, wave: np.ndarray, threshold: float, radius: int, k: int) -> None:
        """Learn one image."""
        output = spyker.inhibit(spyker.threshold(layer(wave), threshold))
        layer.stdp(wave, spyker.convwta(output, radius, k), spyker.fire(output))

    def decide(self, wave: np.ndarray) -> tuple[list, np.ndarray, list[int]]:
        """Winners, output and classes, -1 = silent."""
        output = spyker.infinite(self.conv3(wave))
        winners = spyker.convwta(output, 0, 1)
        group = output.shape[2] // CLASSES
        return winners, output, [image[0].z // group if image else -1 for image in winners]

    def reward(self, wave: np.ndarray, label: int) -> None:
        """Learn one image by reward or punishment."""
        winners, output, (answer,) = self.decide(wave)
        for winner in winners[0]:
            winner.c = int(answer != label)
        self.conv3.stdp(wave, winners, spyker.fire(output))

    def answer(self, wave: np.ndarray) -> list[int]:
        """Classes of a batch of waves."""
        wave = spyker.pool(spyker.fire(self.conv1(wave), THRESHOLDS[0]), 2)
        return self.decide(spyker.pool(spyker.fire(self.conv2(wave), THRESHOLDS[1]), 3))[2]


class Sparse(Dense):
    """The two lower layers as sparse events."""

    def encode(self, pixels: np.ndarray) -> spyker.SparseTensor:
        """Pixels to events."""
        return sparse.code(spyker.threshold(self.filters(pixels), CUT), STEPS)

    def stdp(
        self, layer: spyker.Conv, wave: spyker.SparseTensor, threshold: float, radius: int, k: int
    ) -> None:
        """Learn one image."""
        output = sparse.inhibit(layer(wave, threshold))
        layer.stdp(wave, sparse.convwta(output, radius, k))

    def below_conv2(self, wave: spyker.SparseTensor) -> spyker.SparseTensor:
        """Events that conv2 sees."""
        return sparse.pool(self.conv1(wave, THRESHOLDS[0]), 2)

    def features(self, wave: spyker.SparseTensor) -> np.ndarray:
        """Pooled first spikes of conv2."""
        wave = self.conv2(self.below_conv2(wave), THRESHOLDS[1])
        return spyker.to_numpy(sparse.gather(sparse.pool(wave, 3)))


def dense(samples: Samples, repeats: int) -> Iterator[tuple[str, object]]:
    """Times of the dense network."""
    net, pixels, n = Dense(samples.weights), samples.pixels(), len(samples.images)
    ones, twos, threes = (samples.waves(layer) for layer in ("conv1", "conv2", "decision"))
    yield "encode", timed(lambda: [net.encode(x) for x in pixels], n, repeats=repeats)
    yield "inference", timed(lambda: [net.answer(net.encode(x)) for x in pixels], n, repeats=repeats)
    batch = np.concatenate(pixels)
    yield "inference, all at once", timed(lambda: net.answer(net.encode(batch)), n, repeats=repeats)
    yield "share of our spikes", spikes_agree(net, ones, samples.conv2)
    yield "share of our answers", float(np.mean([net.answer(x)[0] for x in ones] == samples.answers))
    yield (
        "conv1",
        timed(lambda: [net.stdp(net.conv1, x, THRESHOLDS[0], 3, 5) for x in ones], n, repeats=repeats),
    )
    yield (
        "conv2",
        timed(lambda: [net.stdp(net.conv2, x, THRESHOLDS[1], 1, 8) for x in twos], n, repeats=repeats),
    )
    pairs = list(zip(threes, samples.labels, strict=True))
    yield "decision", timed(lambda: [net.reward(x, label) for x, label in pairs], n, repeats=repeats)


def spikes_agree(net: Dense, waves: list[np.ndarray], latencies: np.ndarray) -> float:
    """Share of conv1's pooled first spikes that are ours: whether it does the same work."""
    ours = np.minimum(latencies, STEPS)
    theirs = [STEPS - spyker.pool(spyker.fire(net.conv1(x), THRESHOLDS[0]), 2).sum((0, 1)) for x in waves]
    return float(np.mean(np.array(theirs) == ours))


def events(samples: Samples, repeats: int) -> Iterator[tuple[str, object]]:
    """Times of the sparse network."""
    net, pixels, n = Sparse(samples.weights), samples.pixels(), len(samples.images)
    yield "encode", timed(lambda: [net.encode(x) for x in pixels], n, repeats=repeats)
    features = timed(lambda: [net.features(net.encode(x)) for x in pixels], n, repeats=repeats)
    yield "inference, two layers only", features
    ones, twos = (
        [spyker.SparseTensor(spyker.to_tensor(wave), 0.0) for wave in samples.waves(layer)]
        for layer in ("conv1", "conv2")
    )
    yield (
        "conv1",
        timed(lambda: [net.stdp(net.conv1, x, THRESHOLDS[0], 3, 5) for x in ones], n, repeats=repeats),
    )
    yield (
        "conv2",
        timed(lambda: [net.stdp(net.conv2, x, THRESHOLDS[1], 1, 8) for x in twos], n, repeats=repeats),
    )


def main(path: str, repeats: int) -> None:
    """Print the times of both forms of the network as one line of JSON."""
    spyker.set_max_threads(1)
    with np.load(path, allow_pickle=False) as file:
        names = ("images", "labels", "answers", "conv1", "conv2", "decision")
        samples = Samples(*(file[name] for name in names), [file[f"w{n}"] for n in range(3)])
    found = {}
    for form, run in (("dense", dense), ("sparse", events)):
        found[form] = {
            step: value if isinstance(value, float) else asdict(value)
            for step, value in run(samples, repeats)
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
