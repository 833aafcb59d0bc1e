"""Laws of events: none is lost, bins are half open, batches do not depend on their companions."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from firstspike.data.binning import Equal, HalfOpen, Nearest, binned, first_event_latencies
from firstspike.data.recordings import Recordings, coarser, grouped, joined, merge_polarities
from firstspike.kernels import events as kernel

SHAPE = (2, 3, 4)
PLACE = st.integers(0, 33)


@st.composite
def recordings(draw):
    """A few recordings of int32 microseconds on a small sensor, some events at the same time."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    pairs = []
    for size in draw(st.lists(st.integers(1, 30), min_size=1, max_size=6)):
        times = np.sort(random.integers(0, draw(st.sampled_from([1, 10, 5000, 400_000])), size)).astype(
            np.int32
        )
        pairs.append((times, random.integers(0, 24, size).astype(np.uint16)))
    times, units, offsets = joined(pairs)
    return Recordings(times, units, offsets, np.arange(len(pairs)), SHAPE, 1e-6)


def counted(r, bin_of, steps):
    """The plain twin: one event after the other."""
    out = np.zeros((len(r), steps, 24))
    for n in range(len(r)):
        for time, unit in zip(*r.events(n), strict=True):
            if bin_of(n, int(time)) < steps:
                out[n, bin_of(n, int(time)), unit] += 1
    return out


@settings(deadline=None)
@given(recordings(), st.sampled_from([1, 7, 1000, 5000]), st.booleans())
def test_half_open_bins_are_integer_division(r, width, from_first):
    if r.times.max() / width > 60_000:
        width = 1000
    store = binned(r, HalfOpen(width * 1e-6, from_first=from_first))
    steps = int(store.lengths.max())
    origin = [int(r.events(n)[0][0]) if from_first else 0 for n in range(len(r))]
    wanted = counted(r, lambda n, t: (t - origin[n]) // width, steps)
    batch = store.batch(np.arange(len(r)))
    assert np.array_equal(batch, wanted)
    assert batch.sum() == len(r.times)  # events in = events out
    assert np.array_equal(np.flatnonzero(batch.any(axis=(0, 2)))[-1:] + 1, [steps])


@settings(deadline=None)
@given(recordings(), st.integers(1, 40))
def test_equal_bins_lose_nothing(r, steps):
    batch = binned(r, Equal(steps)).batch(np.arange(len(r)))
    assert batch.shape[1] == steps
    assert np.array_equal(batch.sum(axis=(1, 2)), np.diff(r.offsets))

    def bin_of(n, t):
        first, last = (int(r.events(n)[0][i]) for i in (0, -1))
        return (t - first) * steps // (last - first + 1)

    assert np.array_equal(batch, counted(r, bin_of, steps))


@settings(deadline=None)
@given(recordings(), st.integers(1, 254))
def test_latencies_are_the_first_nonzero_bins(r, steps):
    counts = binned(r, Equal(steps)).batch(np.arange(len(r)))
    wanted = np.where(counts.any(axis=1), (counts > 0).argmax(axis=1), 255)
    assert np.array_equal(first_event_latencies(r, steps).reshape(len(r), -1), wanted)


@settings(deadline=None)
@given(recordings(), st.randoms(use_true_random=False))
def test_a_batch_does_not_depend_on_companions_or_on_parts(r, random):
    store = binned(r, HalfOpen(0.01))
    order = list(range(len(r)))
    random.shuffle(order)
    batch = store.batch(np.array(order), steps=41, dtype=np.uint8)
    for steps in (1, 2, 39):  # what falls beyond goes nowhere, least of all into the next row
        assert np.array_equal(store.batch(np.array(order), steps=steps), batch[:, :steps])
    for row, n in enumerate(order):
        assert np.array_equal(batch[row], store.batch([n], steps=41, dtype=np.uint8)[0])
        assert np.array_equal(batch[row : row + 1], r.take([n]).bins([0], 41, 0.01, dtype=np.uint8))
        part = r.part(n, n + 1)
        assert np.array_equal(part.times, r.events(n)[0])


def test_binning_in_parts_changes_nothing(monkeypatch):
    random = np.random.default_rng(0)
    sizes = random.integers(1, 50, 40)
    times = np.concatenate([np.sort(random.integers(0, 9999, size)) for size in sizes]).astype(np.int32)
    units = random.integers(0, 24, sizes.sum()).astype(np.uint16)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    r = Recordings(times, units, offsets, np.arange(40), SHAPE, 1e-6)
    whole = [binned(r, rule).bins for rule in (HalfOpen(0.001), Equal(9), Nearest(1, 300))]
    latencies = first_event_latencies(r, 9)
    monkeypatch.setattr("firstspike.data.binning.AT_ONCE", 100)
    parts = [binned(r, rule).bins for rule in (HalfOpen(0.001), Equal(9), Nearest(1, 300))]
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))
    assert np.array_equal(latencies, first_event_latencies(r, 9))


@settings(deadline=None)
@given(recordings())
def test_maps_of_units_keep_every_event(r):
    merged = merge_polarities(r)
    assert np.array_equal(merged.offsets, r.offsets)
    assert np.array_equal(merged.units, r.units % 12)
    small = coarser(r, (2, 2))
    p, y, x = np.unravel_index(r.units, SHAPE)
    assert np.array_equal(small.units, (p * 2 + y * 2 // 3) * 2 + x * 2 // 4)
    assert grouped(Recordings(r.times, r.units, r.offsets, r.labels, (24,), 1e-6), 5).shape == (5,)


@settings(deadline=None)
@given(st.lists(st.tuples(PLACE, PLACE, st.integers(0, 1), st.integers(0, 2**23 - 1)), min_size=1))
def test_decoding_inverts_the_format(events):
    raw = b"".join(bytes([x, y]) + ((p << 23) | t).to_bytes(3, "big") for x, y, p, t in events)
    times, units = np.empty(len(events), np.int32), np.empty(len(events), np.uint16)
    kernel.decode_nmnist(np.frombuffer(raw, np.uint8), times, units)
    assert times.tolist() == [t for *_, t in events]
    assert units.tolist() == [x + 34 * y + 1156 * p for x, y, p, _ in events]


@settings(deadline=None)
@given(recordings(), st.data())
def test_every_fault_is_found_and_nothing_is_written_to(r, data):
    found = np.empty((len(r), 2), np.int64)
    before = r.times.copy(), r.units.copy()
    kernel.faults(r.times, r.units, r.offsets, 24, found)
    assert np.all(found == 0)
    assert np.array_equal(r.times, before[0])
    n = data.draw(st.integers(0, len(r) - 1))
    e = data.draw(st.integers(0, int(np.diff(r.offsets)[n]) - 1))
    r.units[r.offsets[n] + e] = 24
    kernel.faults(r.times, r.units, r.offsets, 24, found)
    assert found[n].tolist() == [kernel.OUT_OF_RANGE, e]
    assert np.count_nonzero(found[:, 0]) == 1
