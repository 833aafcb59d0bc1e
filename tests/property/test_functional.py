"""Laws of firstspike.functional on random layers: rules against loops, batch equals loop, bounds, silence."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from firstspike import functional as f
from firstspike.coding import NEVER, latency_to_wave, wave_to_latency

STEPS = 5
quick = settings(max_examples=40, deadline=None)


@st.composite
def layers(draw, *, images=2):
    """Inputs and few-valued weights, so that ties are common."""
    channels, maps, size, k = draw(st.tuples(*(st.integers(1, 4),) * 2, st.integers(3, 7), st.integers(1, 3)))
    steps = st.sampled_from([*range(STEPS), NEVER])
    seen = draw(hnp.arrays(np.uint8, (images, channels, size, size), elements=steps))
    values = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
    weight = draw(hnp.arrays(np.float32, (maps, channels, k, k), elements=values))
    return torch.from_numpy(seen), torch.from_numpy(weight)


@st.composite
def activities(draw, *, images=2):
    """Latencies and few-valued potentials of a layer."""
    shape = (images, *draw(st.tuples(*(st.integers(1, 6),) * 3)))
    latency = draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, NEVER])))
    potential = draw(hnp.arrays(np.float64, shape, elements=st.sampled_from([1.0, 1.5, 2.0])))
    return torch.from_numpy(latency), torch.from_numpy(potential * (latency != NEVER))


def each(function, *batch):
    """The function on one image at a time, put together."""
    parts = [function(*(x[i : i + 1] for x in batch)) for i in range(len(batch[0]))]
    return [torch.cat(part) for part in zip(*parts, strict=True)]


def winners_by_loops(latency, potential, *, k, radius):
    neurons = [(latency[n], -potential[n], n) for n in np.ndindex(*latency.shape) if latency[n] != NEVER]
    chosen = []
    for _, _, (m, r, q) in sorted(neurons):
        clear = all(m != a and (radius == 0 or max(abs(r - b), abs(q - c)) > radius) for a, b, c in chosen)
        if clear and len(chosen) < k:
            chosen.append((m, r, q))
    return chosen + [(-1, -1, -1)] * (k - len(chosen))


@quick
@given(activities(), st.integers(1, 8), st.integers(0, 3))
def test_winners_follow_the_order_of_the_rule(activity, k, radius):
    before = [x.clone() for x in activity]
    won = f.winners(*activity, k=k, radius=radius)
    for latency, potential, expected in zip(*(x.numpy() for x in activity), won.tolist(), strict=True):
        assert [tuple(w) for w in expected] == winners_by_loops(latency, potential, k=k, radius=radius)
    assert all(torch.equal(a, b) for a, b in zip(before, activity, strict=True))


@quick
@given(activities())
def test_inhibition_leaves_one_map_at_most_and_never_the_worse_one(activity):
    latency, potential = f.inhibit(*activity)
    fired = latency != NEVER
    assert (fired.sum(1) == (activity[0] != NEVER).any(1)).all()
    score = torch.where(activity[0] != NEVER, -10.0 * activity[0] + activity[1], -torch.inf)
    best = torch.where(fired, score, -torch.inf).amax(1)
    assert torch.equal(best, score.amax(1))
    again = f.inhibit(latency, potential)
    assert torch.equal(again[0], latency)
    assert torch.equal(again[1], potential)


@quick
@given(layers(), st.sampled_from([None, 0.0, 0.5, 1.25, 3.0]))
def test_firing_is_the_first_crossing_of_the_wave(layer, threshold):
    seen, weight = layer
    v = f.potentials(seen, weight.double(), steps=STEPS)
    latency, potential = f.fire(v, threshold)
    for place in np.ndindex(*latency.shape):
        trace = v[place[0], :, *place[1:]].tolist()
        crossing = [t for t, x in enumerate(trace) if x > threshold] if threshold is not None else []
        if threshold is None and trace[-1] > 0:
            crossing = [STEPS - 1]
        assert latency[place] == (crossing[0] if crossing else NEVER)
        assert potential[place] == (trace[crossing[0]] if crossing else 0)


@quick
@given(layers())
def test_the_last_potential_is_the_potential_at_the_last_step(layer):
    seen, weight = layer
    v = f.potentials(seen, weight.double(), steps=STEPS)
    assert torch.equal(v[:, -1], f.final_potential(seen, weight.double(), steps=STEPS))
    assert (v.diff(dim=1) >= 0).all()


@quick
@given(layers(), st.integers(1, 3), st.integers(1, 3))
def test_pooling_latencies_is_pooling_the_wave(layer, window, stride):
    seen = layer[0]
    wave = latency_to_wave(seen, steps=STEPS).float()
    pooled = torch.nn.functional.max_pool2d(wave.flatten(0, 1), window, stride).unflatten(0, wave.shape[:2])
    assert torch.equal(wave_to_latency(pooled), f.pool_latency(seen, window, stride=stride))


@quick
@given(layers(images=3), st.integers(1, 4), st.integers(0, 2))
def test_a_batch_is_its_images_one_by_one(layer, k, radius):
    seen, weight = layer

    def layer_pass(images):
        latency, potential = f.fire(f.potentials(images, weight.double(), steps=STEPS), 1.0)
        kept = f.inhibit(latency, potential)
        return latency, potential, *kept, f.winners(*kept, k=k, radius=radius)

    assert all(torch.equal(a, b) for a, b in zip(layer_pass(seen), each(layer_pass, seen), strict=True))


@quick
@given(layers(), st.booleans(), st.floats(0, 0.5), st.floats(-0.5, 0))
def test_learning_stays_within_bounds_and_to_the_winners(layer, stabilise, ltp, ltd):
    seen, weight = layer
    latency, potential = f.fire(f.potentials(seen, weight.double(), steps=STEPS), 0.5)
    won = f.winners(latency, potential, k=2, radius=0)
    hashes = [hash(x.numpy().tobytes()) for x in (seen, weight, latency, won)]
    new = f.stdp(weight, seen, latency, won, ltp=ltp, ltd=ltd, stabilise=stabilise)
    assert hashes == [hash(x.numpy().tobytes()) for x in (seen, weight, latency, won)]
    assert (new >= 0).all()
    assert (new <= 1).all()
    losers = [m for m in range(len(weight)) if m not in won[..., 0]]
    assert torch.equal(new[losers], weight[losers])
    if stabilise:
        fixed = (weight == 0) | (weight == 1)
        assert torch.equal(new[fixed], weight[fixed])


@quick
@given(layers())
def test_silence_stays_silent(layer):
    seen, weight = layer
    latency, potential = f.fire(f.potentials(torch.full_like(seen, NEVER), weight, steps=STEPS), 0.0)
    assert (latency == NEVER).all()
    assert (f.winners(latency, potential, k=2, radius=1) == -1).all()
