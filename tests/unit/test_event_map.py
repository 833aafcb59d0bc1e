"""Batches as events: the same currents, gradients and training as dense ones, for any number of threads."""

import numpy as np
import pytest
import torch

from firstspike.buffers import SMALLEST
from firstspike.data.binning import HalfOpen, binned
from firstspike.data.event_batch import Events
from firstspike.data.recordings import Recordings, joined
from firstspike.data.sequences import LatencyCoded, latency_table
from firstspike.neurons.event_map import currents, event_count
from firstspike.neurons.networks import Dense, Fast
from firstspike.neurons.optimisation import Recipe
from firstspike.neurons.training import Arrays, GradientEngine


def recorded(count=40, units=12, seed=0):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 60, size=count)
    pairs = [
        (np.sort(random.integers(0, 20_000, size=n)).astype(np.int32), random.integers(units, size=n))
        for n in sizes
    ]
    times, own, offsets = joined(pairs)
    labels = random.integers(3, size=count)
    return binned(Recordings(times, own.astype(np.uint16), offsets, labels, (units,), 1e-6), HalfOpen(1e-3))


def latencies():
    random = np.random.default_rng(1)
    images = random.integers(256, size=(30, 5, 4), dtype=np.uint8)
    return LatencyCoded(images, random.integers(3, size=30), latency_table("fastsnn", steps=50), 50)


SOURCES = {"recordings": recorded, "latencies": latencies}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("steps", [None, 7])
def test_events_are_the_dense_batch(name, steps):
    source, chosen = SOURCES[name](), np.array([4, 0, 11, 4])
    events = source.events(chosen, steps=steps)
    dense = source.batch(chosen)
    assert np.array_equal(events.dense(), dense if steps is None else dense[:, :steps])
    assert event_count(events) == events.dense().sum()


def test_what_lay_in_the_memory_of_a_batch_is_gone():
    source, chosen = recorded(), np.arange(40)
    expected = np.zeros((40, int(source.lengths.max()), 12), np.float32)
    for n in chosen:
        rows = slice(source.offsets[n], source.offsets[n + 1])
        np.add.at(expected[n], (source.bins[rows], source.units[rows]), 1)
    out = np.full_like(expected, 7)
    assert np.array_equal(source.batch(chosen, out=out), expected)
    backwards = Events(
        source.bins[::-1].copy(), source.units[::-1].copy(), source.offsets[[0, -1]], chosen[:1], 5, 12
    )
    out = np.full((1, 5, 12), 7, np.float32)
    assert np.array_equal(backwards.dense(out=out)[0], expected.sum(0)[:5])  # events in any order


def test_large_batches_share_memory_one_after_the_other_only():
    source, chosen = recorded(units=4000), np.arange(20)
    held = source.batch(chosen)
    before = held.copy()
    assert held.nbytes > SMALLEST
    source.batch(chosen[::-1])
    again = source.batch(np.arange(20, 40))
    assert np.array_equal(held, before)
    assert not np.shares_memory(held, again)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_currents_and_gradients_are_those_of_the_product(name, dtype):
    events = SOURCES[name]().events(np.array([3, 8, 1, 0]))
    x = torch.from_numpy(events.dense()).to(dtype)
    layer = torch.nn.Linear(events.inputs, 9, dtype=dtype)
    g = torch.randn(4, events.steps, 9, dtype=dtype)
    found = []
    for batch in (events, x):
        layer.zero_grad()
        out = currents(layer, batch)
        out.backward(g)
        found.append((out.detach(), layer.weight.grad, layer.bias.grad))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_threads_change_no_bit():
    events, layer = recorded().events(np.arange(40)), torch.nn.Linear(12, 9)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 8):
        torch.set_num_threads(threads)
        layer.zero_grad()
        out = currents(layer, events)
        (out * out).sum().backward()
        found.append([t.clone() for t in (out, layer.weight.grad, layer.bias.grad)])
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("network", [Dense(12, 3, "LIF", (10,)), Fast(12, 3, 10)], ids=["Dense", "Fast"])
def test_training_on_events_is_training_on_dense_batches(network):
    source = recorded()
    plain = Arrays(source.batch(np.arange(40)), source.labels)
    engines = [
        GradientEngine(network.build(1), Recipe(batch=16, pad_to=plain.samples.shape[1])) for _ in range(2)
    ]
    losses = [
        [engine.fit_phase("train", data).loss for _ in range(3)]
        for engine, data in zip(engines, (source, plain), strict=True)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    assert engines[0].evaluate(source).operations == engines[1].evaluate(plain).operations


def test_what_augments_or_mixes_gets_dense_batches():
    source, seen = recorded(), []
    engine = GradientEngine(Dense(12, 3, "LIF", (10,)).build(1), Recipe(batch=40))
    engine.fit_phase("train", source, augment=lambda x, indices, epoch: seen.append(type(x)) or x)
    engine.fit_phase("train", source, mix=lambda x, y, seed: seen.append(type(x)) or (x, y))
    assert seen == [np.ndarray, torch.Tensor]
