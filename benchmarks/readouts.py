"""Time of a readout's training step and test beside the published framework's: one thread, best of repeats.

    python -m benchmarks.readouts

Synthetic samples of 5,880 inputs, 577 of them active. Processor time, so that other work on the machine
matters less; the best of the repeats.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from firstspike.readouts import (
    RSTDP,
    S2STDP,
    S4NN,
    SSTDP,
    Additive,
    Events,
    Groups,
    Layer,
    Multiplicative,
    Readout,
    ReadoutEngine,
    TwoThresholds,
)
from firstspike.readouts.csnn import PUBLISHED, CSNNEngine
from firstspike.readouts.preprocessing import code_all, difference_of_gaussians, fit_coding

INPUTS, ACTIVE, CLASSES, SAMPLES = 5880, 577, 10, 400


@dataclass(frozen=True)
class Timing:
    """Microseconds a sample: a training step, a test of all neurons, a test of the class alone."""

    name: str
    train: float
    respond: float
    predict: float


def best_time(run: Callable[[], object], samples: int = SAMPLES, *, repeats: int = 15) -> float:
    """Least processor time of a call, in microseconds a sample."""
    run()
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best / samples * 1e6


def synthetic(active: int = ACTIVE, seed: int = 0) -> tuple[Events, np.ndarray]:
    """Samples with so many random inputs at random times, and random labels."""
    generator = np.random.default_rng(seed)
    index = np.concatenate([generator.permutation(INPUTS)[:active] for _ in range(SAMPLES)])
    times = np.sort(generator.random((SAMPLES, active), np.float32), axis=1).ravel()
    offsets = np.arange(SAMPLES + 1) * active
    return Events(offsets, index.astype(np.int32), times, INPUTS), generator.integers(0, CLASSES, SAMPLES)


def variants() -> dict[str, Readout]:
    """The readouts that are timed, by name."""
    layer = Layer(100.0, mean=0.3)
    scaled = Layer(100.0, mean=0.3, normalise=True)
    five, one = Groups(5, 1, inhibit=True), Groups(1)
    additive, multiplicative = Additive(), Multiplicative(1.0)
    regulation = TwoThresholds(1.0, 0.7)
    return {
        "R-STDP, 50 neurons, additive": Readout(layer, RSTDP(0.01, -0.001, stdp=additive), Groups(5)),
        "R-STDP, 50 neurons, multiplicative": Readout(
            layer, RSTDP(0.01, -0.001, stdp=multiplicative), Groups(5)
        ),
        "S2-STDP, 10 neurons, additive": Readout(layer, S2STDP(0.02, 0.01, -0.001, additive), one),
        "S2-STDP, 10 neurons, multiplicative": Readout(
            layer, S2STDP(0.02, 0.01, -0.001, multiplicative), one
        ),
        "S2-STDP+NCG, 50 neurons, additive": Readout(
            layer, S2STDP(0.02, 0.01, -0.001, additive), five, regulation
        ),
        "S2-STDP+NCG, 50 neurons, multiplicative": Readout(
            layer, S2STDP(0.02, 0.01, -0.001, multiplicative), five, regulation
        ),
        "S2-STDP+NCG, 50 neurons, normalised": Readout(
            scaled, S2STDP(0.02, 0.01, -0.001, additive), five, regulation
        ),
        "SSTDP+NCG, 50 neurons, additive": Readout(
            layer, SSTDP(0.02, 0.01, -0.001, additive), five, regulation
        ),
        "S4NN+NCG, 50 neurons": Readout(
            Layer(100.0, mean=0.3, low=-1000.0, high=1000.0), S4NN(0.02, 0.01), five, regulation
        ),
    }


def measure(name: str, readout: Readout, events: Events, labels: np.ndarray) -> Timing:
    """Time one readout on one thread."""
    engine = ReadoutEngine(readout, inputs=INPUTS, classes=CLASSES)
    return Timing(
        name,
        best_time(lambda: engine.fit_phase("readout", events, labels)),
        best_time(lambda: engine.respond(events, threads=1)),
        best_time(lambda: engine.predict(events, threads=1)),
    )


def linearity() -> list[tuple[int, Timing]]:
    """Time R-STDP with a half, the usual and twice the number of active inputs, thresholds in proportion."""
    usual = variants()["R-STDP, 50 neurons, additive"]
    timings = []
    for active in (ACTIVE // 2, ACTIVE, ACTIVE * 2):
        layer = replace(usual.layer, threshold=usual.layer.threshold * active / ACTIVE)
        timings.append((active, measure(str(active), replace(usual, layer=layer), *synthetic(active))))
    return timings


def extraction(images: np.ndarray) -> tuple[float, float]:
    """Microseconds of STDP-CSNN: a patch of training, and an image from pixels to features; one thread."""
    coding = fit_coding(images, difference_of_gaussians(), threads=1)
    engine = CSNNEngine(PUBLISHED["mnist"], coding)
    times = code_all(coding, images, threads=1)
    train = best_time(lambda: engine.fit_phase("conv1", times), len(images))
    return train, best_time(lambda: engine.features(images, threads=1), len(images), repeats=3)


def strokes(count: int = SAMPLES, seed: int = 0) -> np.ndarray:
    """Images 28 x 28 with about as many bright pixels as handwritten digits: smooth random strokes."""
    generator = np.random.default_rng(seed)
    steps = generator.normal(0, 1.5, (count, 60, 2)).cumsum(axis=1)
    places = np.clip(14 + steps * 0.7, 2, 25).astype(int)
    images = np.zeros((count, 28, 28), np.uint8)
    for dx, dy in ((0, 0), (0, 1), (1, 0), (1, 1)):
        images[np.arange(count)[:, None], places[..., 0] + dx, places[..., 1] + dy] = 220
    return images


def main() -> None:
    """Print one line a readout, then how time grows with the active inputs, then the extractor's times."""
    events, labels = synthetic()
    for name, readout in variants().items():
        t = measure(name, readout, events, labels)
        print(f"{name:42s} train {t.train:7.1f} us   test {t.respond:6.1f} us   class {t.predict:6.1f} us")
    for active, t in linearity():
        print(f"{active:5d} active inputs: train {t.train:.1f} us, test {t.respond:.1f} us")
    patch, image = extraction(strokes())
    print(f"STDP-CSNN: {patch:.1f} us a patch, {image:.0f} us an image")


if __name__ == "__main__":
    main()
