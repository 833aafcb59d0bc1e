"""firstspike.functional by example: one rule a test, each answer worked out by hand or by numpy loops."""

import numpy as np
import pytest
import torch

from firstspike import functional as f
from firstspike.coding import NEVER


def latencies(*rows):
    """One channel of one image."""
    return torch.tensor(rows, dtype=torch.uint8)[None, None]


def test_padding_is_a_frame_of_silent_neurons():
    padded = f.pad_latency(latencies([3]), 2)
    assert padded.shape == (1, 1, 5, 5)
    assert padded[0, 0, 2, 2] == 3
    assert (padded == NEVER).sum() == 24


@pytest.mark.parametrize(
    ("size", "window", "stride", "out"), [(14, 2, None, 7), (14, 3, None, 4), (7, 3, None, 2), (7, 3, 2, 3)]
)
def test_pooling_keeps_the_earliest_spike_and_drops_the_edge(size, window, stride, out):
    x = torch.arange(size * size, dtype=torch.uint8).view(1, 1, size, size)
    pooled = f.pool_latency(x, window, stride=stride)
    assert pooled.shape == (1, 1, out, out)
    step = stride or window
    assert torch.equal(pooled[0, 0, 1], x[0, 0, step, ::step][:out])


def test_a_window_larger_than_its_input_is_refused():
    with pytest.raises(RuntimeError, match="pooling window 3 is larger than the input of 2"):
        f.pool_latency(latencies([1, 2], [3, 4]), 3)


def test_a_potential_is_the_sum_of_the_weights_of_what_has_fired():
    weight = torch.tensor([[[[1.0, 2.0], [4.0, 8.0]]]], dtype=torch.float64)
    v = f.potentials(latencies([0, 2], [1, NEVER]), weight, steps=4)
    assert v.flatten().tolist() == [1, 5, 7, 7]
    assert f.final_potential(latencies([0, 2], [1, NEVER]), weight, steps=2).item() == 5


def test_a_latency_of_the_number_of_steps_is_silent():
    weight = torch.ones(1, 1, 1, 1)
    assert f.potentials(latencies([3]), weight, steps=3).sum() == 0
    assert f.final_potential(latencies([3]), weight, steps=3).sum() == 0


def test_a_neuron_fires_strictly_above_its_threshold():
    v = torch.tensor([0.0, 2.0, 2.5, 7.0]).view(1, 4, 1, 1, 1)
    assert [x.item() for x in f.fire(v, 2.0)] == [2, 2.5]
    assert [x.item() for x in f.fire(v, 7.0)] == [NEVER, 0]


def test_a_decision_layer_fires_at_the_last_step_if_its_potential_is_positive():
    v = torch.tensor([[9.0, 3.0], [9.0, 0.0], [9.0, -1.0]]).view(3, 2, 1, 1, 1)
    latency, potential = f.fire(v, None)
    assert latency.flatten().tolist() == [1, NEVER, NEVER]
    assert potential.flatten().tolist() == [3, 0, 0]


def test_inhibition_keeps_the_earliest_then_the_largest_then_the_lowest_map():
    latency = torch.tensor([[4, 2, 2, NEVER], [1, 2, 2, NEVER], [1, 3, 2, NEVER]], dtype=torch.uint8)
    potential = torch.tensor([[9.0, 5.0, 5.0, 0], [6.0, 7.0, 5.0, 0], [6.5, 9.0, 5.0, 0]])
    kept, left = f.inhibit(latency.view(1, 3, 2, 2), potential.view(1, 3, 2, 2))
    never = NEVER
    assert kept.view(3, 4).tolist() == [
        [never, never, 2, never],
        [never, 2, never, never],
        [1, never, never, never],
    ]
    assert left.view(3, 4).tolist() == [[0, 0, 5, 0], [0, 7, 0, 0], [6.5, 0, 0, 0]]


def test_inhibition_of_silent_maps_leaves_nothing():
    kept, left = f.inhibit(torch.full((1, 2, 1, 1), NEVER, dtype=torch.uint8), torch.ones(1, 2, 1, 1))
    assert (kept == NEVER).all()
    assert (left == 0).all()


def test_winners_are_earliest_then_largest_then_first():
    latency = torch.full((1, 3, 1, 4), 5, dtype=torch.uint8)
    potential = torch.ones(1, 3, 1, 4)
    latency[0, 2, 0, 3] = 4  # earliest
    potential[0, 1, 0, 2] = 2  # then largest
    won = f.winners(latency, potential, k=5, radius=0)
    assert won[0].tolist() == [[2, 0, 3], [1, 0, 2], [0, 0, 0], [-1] * 3, [-1] * 3]


def test_a_radius_excludes_the_neighbourhood_in_all_maps_and_radius_0_nothing():
    latency = torch.full((1, 2, 5, 5), NEVER, dtype=torch.uint8)
    potential = torch.zeros(1, 2, 5, 5)
    latency[0, 0, 2, 2], latency[0, 1, 1, 2] = 0, 1
    assert f.winners(latency, potential, k=2, radius=0)[0].tolist() == [[0, 2, 2], [1, 1, 2]]
    assert f.winners(latency, potential, k=2, radius=1)[0].tolist() == [[0, 2, 2], [-1] * 3]
    latency[0, 1, 2, 2] = 1
    assert f.winners(latency, potential, k=2, radius=0)[0].tolist() == [[0, 2, 2], [1, 1, 2]]


def example(*, images=1, seed=0):
    """Weights, inputs and winners of a small layer: 6 maps, 3 channels, 3x3 kernels, 7x7 inputs."""
    g = np.random.default_rng(seed)
    weight = torch.from_numpy(g.random((6, 3, 3, 3), dtype=np.float32))
    latency_in = torch.from_numpy(g.choice(np.array([0, 1, 2, 3, NEVER], np.uint8), (images, 3, 7, 7)))
    latency_out = torch.from_numpy(g.integers(0, 4, (images, 6, 5, 5), np.uint8))
    maps = np.stack([g.permutation(6)[:3] for _ in range(images)])
    winners = torch.from_numpy(np.concatenate([maps[..., None], g.integers(0, 5, (images, 3, 2))], 2))
    return weight, latency_in, latency_out, winners


def learnt_by_loops(weight, latency_in, latency_out, winners, *, ltp, ltd, lower, upper, stabilise):
    """One image, synapse by synapse, each operation rounded to float32."""
    new, f32 = weight.clone().numpy(), np.float32
    for m, r, q in winners[0].tolist():
        for c, i, j in np.ndindex(*new.shape[1:]):
            early = latency_in[0, c, r + i, q + j] <= latency_out[0, m, r, q]
            rate, w = f32(ltp if early else ltd), new[m, c, i, j]
            change = f32(rate * f32(f32(w - f32(lower)) * f32(f32(upper) - w))) if stabilise else rate
            new[m, c, i, j] = f32(w + change)
    return np.clip(new, f32(lower), f32(upper))


@pytest.mark.parametrize("stabilise", [True, False])
@pytest.mark.parametrize(("lower", "upper"), [(0, 1), (0.2, 0.8)])
def test_stdp_rounds_as_the_rule_says(stabilise, lower, upper):
    rule = {"ltp": 0.15, "ltd": -0.1125, "lower": lower, "upper": upper, "stabilise": stabilise}
    seen = example()
    assert np.array_equal(f.stdp(*seen, **rule).numpy(), learnt_by_loops(*seen, **rule))


def test_all_maps_are_clipped_even_without_a_winner():
    weight, latency_in, latency_out, winners = example()
    new = f.stdp(weight + 0.5, latency_in, latency_out, torch.full_like(winners, -1), ltp=0.1, ltd=-0.1)
    assert torch.equal(new, (weight + 0.5).clamp(0, 1))


def test_updates_of_a_batch_are_summed_from_the_same_weights():
    weight, latency_in, latency_out, winners = (
        x.double() if x.is_floating_point() else x for x in example(images=4)
    )
    rule = {"ltp": 0.1, "ltd": -0.05, "lower": -9, "upper": 9, "stabilise": False}
    together = f.stdp(weight, latency_in, latency_out, winners, **rule)
    alone = [
        f.stdp(weight, latency_in[i : i + 1], latency_out[i : i + 1], winners[i : i + 1], **rule)
        for i in range(4)
    ]
    torch.testing.assert_close(together, weight + sum(w - weight for w in alone))


def test_rates_may_differ_by_winner():
    weight, latency_in, latency_out, winners = example()
    ltp = torch.tensor([[0.1, 0.2, 0.3]])
    new = f.stdp(weight, latency_in, latency_out, winners, ltp=ltp, ltd=-ltp)
    for i, rate in enumerate(ltp[0].tolist()):
        one = f.stdp(weight, latency_in, latency_out, winners[:, i : i + 1], ltp=rate, ltd=-rate)
        assert torch.equal(new[winners[0, i, 0]], one[winners[0, i, 0]])


def test_reward_and_punishment_are_stdp_with_their_own_rates():
    seen, pairs = example(images=2), {"reward": (0.02, -0.015), "punish": (-0.02, 0.0025)}
    bounds = {"lower": 0.2, "upper": 0.8, "stabilise": False}
    for told, (ltp, ltd) in ((1, pairs["reward"]), (-1, pairs["punish"])):
        new = f.rstdp(*seen, torch.tensor([told, told]), **pairs)
        assert torch.equal(new, f.stdp(*seen, ltp=ltp, ltd=ltd, **bounds))


def test_a_silent_image_teaches_nothing_and_clips_nothing():
    weight, *seen = example(images=2)
    pairs = {"reward": (0.02, -0.015), "punish": (-0.02, 0.0025)}
    assert torch.equal(f.rstdp(weight, *seen, torch.tensor([0, 0]), **pairs), weight)
    alone = f.rstdp(weight, *(x[1:] for x in seen), torch.tensor([1]), **pairs)
    assert torch.equal(f.rstdp(weight, *seen, torch.tensor([0, 1]), **pairs), alone)


def test_decision_and_outcome():
    winners = torch.tensor([[[39, 0, 0]], [[40, 1, 1]], [[-1, -1, -1]]])
    decision = f.decide(winners, maps_per_class=20)
    assert decision.tolist() == [1, 2, -1]
    assert f.outcome(decision, torch.tensor([1, 0, -1])).tolist() == [1, -1, 0]


def test_nothing_is_copied_to_the_host():
    """A learning pass of a batch on the device that holds no data: any peek at a value would fail there."""
    images = torch.empty(32, 3, 9, 9, dtype=torch.uint8, device="meta")
    weight = torch.empty(6, 3, 3, 3, device="meta")
    seen = f.pad_latency(f.pool_latency(images, 2), 1)
    latency, potential = f.fire(f.potentials(seen, weight.double(), steps=15), 10.0)
    winners = f.winners(*f.inhibit(latency, potential), k=3, radius=1)
    assert f.stdp(weight, seen, latency, winners, ltp=0.1, ltd=-0.1).shape == weight.shape
    told = f.outcome(f.decide(winners, maps_per_class=2), torch.empty(32, dtype=torch.int64, device="meta"))
    pairs = {"reward": (0.1, -0.1), "punish": (-0.1, 0.1)}
    assert f.rstdp(weight, seen, latency, winners, told, **pairs).shape == weight.shape
    assert f.fire(f.final_potential(seen, weight, steps=15)[:, None], None)[0].shape == (32, 6, 4, 4)
