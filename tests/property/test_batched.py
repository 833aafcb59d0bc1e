"""Mini-batches of one learn by the compiled online rule; larger ones sum changes made with the same weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from firstspike import functional as f
from firstspike.compiled import DecisionLayer, learn_together
from firstspike.kernels.joint import Turn
from firstspike.layers import RSTDP, STDP, Conv
from firstspike.minibatch import Learner, Neurons, Pair, advance, learn_pair, learn_reward, learn_stdp, sizes
from firstspike.sums import potentials_in_float64, potentials_in_parts, split
from tests.property import zoo_reference as plain
from tests.property.test_kernels import (
    EXACT,
    LOWER,
    RULES,
    UPPER,
    decision_layer,
    poolings,
    rates_of,
    threshold_layer,
)
from tests.property.zoo_reference import cases

quick = settings(max_examples=20, deadline=None, derandomize=True)
SUMS = [potentials_in_float64, potentials_in_parts]
KINDS = (*EXACT, "normal")  # weights whose sums are exact, in float64 and in parts
REWARDS = (RSTDP(), RSTDP(stabilise=True), RSTDP(lower=0.0, upper=1.0, reward_ltp=0.2, punish_ltp=-0.2))
both_sums = pytest.mark.parametrize("sums", SUMS)


def tensors(case):
    return torch.from_numpy(case.weights), torch.from_numpy(case.seen)


# --- sums ------------------------------------------------------------------------------------------------------------


@both_sums
@quick
@given(case=cases(images=2, channels=12, maps=20, kernel=5, kinds=KINDS))
def test_sums_are_exact(sums, case):
    weight, _ = tensors(case)
    for n, padded in enumerate(torch.from_numpy(case.padded)):
        ordered = plain.ordered_potentials(case.padded[n], case.weights, case.steps)
        for step in range(case.steps):
            total = sums(weight)((padded <= step).unsqueeze(0))
            np.testing.assert_array_equal(total[0].numpy(), ordered[step])


@quick
@given(cases(images=1, kinds=plain.KINDS))
def test_parts_add_up_to_the_weight_and_each_sums_exactly(case):
    weight, _ = tensors(case)
    parts = split(weight)
    total = sum(part.double() for part in parts)
    room = (2 * weight[0].numel() - 1).bit_length()
    above = 2.0 ** np.ceil(np.log2(max(case.weights.max(), 1e-30)) + 1e-12)
    np.testing.assert_allclose(total.numpy(), case.weights, rtol=0, atol=2.0 ** (3 * room - 74) * above)
    for part in parts:
        whole = part.flatten(1).abs().double().sum(1) * 2
        np.testing.assert_array_equal(whole.float().double(), whole)


@both_sums
@quick
@given(case=cases(images=3, kinds=KINDS))
def test_first_spikes_are_those_of_all_steps(sums, case):
    weight, _ = tensors(case)
    padded, neurons = torch.from_numpy(case.padded), Neurons(case.layer, sums, case.steps)
    latency, potential = neurons.first_spikes(padded, weight)
    expected = f.fire(f.potentials(padded, weight.double(), steps=case.steps), case.layer.threshold)
    assert latency.dtype == torch.uint8
    np.testing.assert_array_equal(latency, expected[0])
    np.testing.assert_array_equal(potential, expected[1])
    last = neurons.last_spikes(padded, weight)
    np.testing.assert_array_equal(last, np.where(latency == 255, 255, case.steps - 1))


# --- one image at a time: the compiled rule ---------------------------------------------------------------------------


@both_sums
@quick
@given(
    case=cases(images=4, channels=8, maps=20, largest=6, kernel=5, kinds=KINDS), rule=st.sampled_from(RULES)
)
def test_batches_of_one_are_online_stdp(sums, case, rule):
    layer, rates, seen = threshold_layer(case), rates_of(rule), np.zeros(1, np.int64)
    winners, used = layer.learn(case.seen, rule, rates, seen, steps=case.steps)
    weight, latencies = tensors(case)
    before = weight.clone(), latencies.clone()
    mine, counter = rates_of(rule), np.zeros(1, np.int64)
    each = advance(rule, mine, counter, sizes(len(latencies), 1))
    learner = Learner(Neurons(case.layer, sums, case.steps), rule)
    learnt, won = learn_stdp(weight, latencies, each, learner, batch=1)
    np.testing.assert_array_equal(won, winners)
    np.testing.assert_array_equal(learnt, layer.weights)
    np.testing.assert_array_equal(each, used.astype(np.float32))
    np.testing.assert_array_equal(mine, rates)
    assert counter == seen
    assert torch.equal(weight, before[0])
    assert torch.equal(latencies, before[1])


def classified(case, group):
    """The case as a decision layer whose maps fill whole classes, and labels."""
    maps = max(1, len(case.weights) // group) * group
    weights = np.resize(case.weights, (maps, *case.weights.shape[1:]))
    layer = replace(case.layer, maps=maps, threshold=None)
    return replace(case, weights=weights, layer=layer), np.arange(len(case.seen)) % (maps // group)


@both_sums
@quick
@given(
    case=cases(images=5, channels=12, maps=24, largest=6, kernel=5, kinds=KINDS),
    rule=st.sampled_from(REWARDS),
    group=st.integers(1, 4),
    twice=st.booleans(),
)
def test_batches_of_one_are_online_reward_modulated_stdp(sums, case, rule, group, twice):
    case, labels = classified(case, group)
    head = decision_layer(case)
    shown = np.concatenate([case.seen, case.seen[::-1]], axis=1) if twice else case.seen
    winners, _ = head.learn(shown, labels, rule, rates_of(rule), steps=case.steps, group=group, clipped=False)
    weight, told = torch.from_numpy(case.weights), torch.from_numpy(labels)
    learner = Learner(Neurons(case.layer, sums, case.steps), rule)
    learnt, won = learn_reward(
        weight, torch.from_numpy(shown), told, rates_of(rule), learner, batch=1, group=group
    )
    np.testing.assert_array_equal(won[:, 0], winners)
    np.testing.assert_array_equal(learnt, head.weights)


@st.composite
def stacks(draw):
    """A threshold layer, a pooling, and a decision layer of three classes above them with its weights."""
    case = draw(cases(images=5, channels=6, maps=20, largest=8, kernel=3, kinds=KINDS))
    pool = draw(poolings(case))
    shape = pool.output(case.layer.output(case.shape))
    head = Conv("head", 6, draw(st.integers(1, 3)), pad=2)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    weights = plain.draw_weights(rng, draw(st.sampled_from(KINDS)), (6, shape[0], head.kernel, head.kernel))
    return case, pool, head, shape, weights


@both_sums
@quick
@given(stack=stacks(), learns=st.sampled_from([(True, True), (True, False), (False, True)]))
def test_batches_of_one_are_the_online_rule_of_two_layers(sums, stack, learns):
    case, pool, head, shape, weights = stack
    labels = np.arange(len(case.seen)) % 3
    lower, upper = threshold_layer(case), DecisionLayer(head, shape)
    upper.weights = weights
    turn = Turn(*learns, rates_of(LOWER), rates_of(UPPER), np.zeros(2, np.bool_))
    rules = LOWER, UPPER
    winners = learn_together(lower, upper, pool, case.seen, labels, rules, turn, steps=case.steps, group=2)
    pair = Pair(
        Learner(Neurons(case.layer, sums, case.steps), LOWER),
        Learner(Neurons(head, sums, case.steps), UPPER),
        pool,
        2,
    )
    given_weights = torch.from_numpy(case.weights), torch.from_numpy(weights)
    learnt, won = learn_pair(
        given_weights, torch.from_numpy(case.seen), torch.from_numpy(labels), turn, pair, batch=1
    )
    np.testing.assert_array_equal(won[0], winners[0])
    np.testing.assert_array_equal(won[1][:, 0], winners[1])
    np.testing.assert_array_equal(learnt[0], lower.weights)
    np.testing.assert_array_equal(learnt[1], upper.weights)


# --- mini-batches: the sum of changes ---------------------------------------------------------------------------------


@quick
@given(cases(images=6, channels=6, maps=12, largest=6, kernel=5, kinds=KINDS), st.sampled_from([2, 4, 6]))
def test_a_mini_batch_sums_the_changes_of_its_images(case, batch):
    rule = STDP(0.03, -0.0225, doubling_period=4)
    weight, latencies = tensors(case)
    learner = Learner(Neurons(case.layer, potentials_in_float64, case.steps), rule)
    each = advance(rule, rates_of(rule), np.zeros(1, np.int64), sizes(6, batch))
    learnt, won = learn_stdp(weight, latencies, each, learner, batch=batch)
    expected, chosen = weight, []
    for part, pair in zip(latencies.split(batch), each, strict=True):
        change = torch.zeros_like(weight)
        for image in part.split(1):
            free = Learner(learner.neurons, replace(rule, lower=0.0, upper=1.0))
            response = free.neurons.compete(image, expected)
            change += unclipped(expected, response, pair)
            chosen.append(response.won)
        expected = (expected + change).clamp(0, 1)
    np.testing.assert_array_equal(won, torch.cat(chosen))
    np.testing.assert_allclose(learnt, expected, rtol=0, atol=1e-6)


def unclipped(weight, response, rates):
    """The change of weights (M, C, k, k) by the winners of one image, straight from the rule."""
    change, k = torch.zeros_like(weight), weight.shape[-1]
    for m, r, q in response.won[0].tolist():
        if m >= 0:
            early = response.seen[0, :, r : r + k, q : q + k] <= response.inhibited[0, m, r, q]
            rate = torch.where(early, float(rates[0]), float(rates[1]))
            change[m] = rate * (weight[m] * (1 - weight[m]))
    return change


@quick
@given(cases(images=5, channels=6, maps=12, kinds=KINDS), st.integers(1, 3), st.permutations(range(5)))
def test_the_order_within_a_mini_batch_does_not_matter(case, group, order):
    case, labels = classified(case, group)
    weight, latencies = tensors(case)
    learner = Learner(Neurons(case.layer, potentials_in_float64, case.steps), RSTDP())
    told, order = torch.from_numpy(labels), torch.tensor(order)
    direct, won = learn_reward(weight, latencies, told, rates_of(RSTDP()), learner, batch=5, group=group)
    mixed, others = learn_reward(
        weight, latencies[order], told[order], rates_of(RSTDP()), learner, batch=5, group=group
    )
    np.testing.assert_array_equal(others, won[order])
    np.testing.assert_allclose(mixed, direct, rtol=0, atol=1e-6)


@given(st.integers(0, 9), st.lists(st.integers(1, 25), max_size=8))
def test_the_counter_advances_by_the_images(start, parts):
    """The rates of a mini-batch are those that the online rule has in force at its last image."""
    rule = STDP(doubling_period=10)
    counter, rates = np.array([start]), rates_of(rule)
    used = advance(rule, rates, counter, parts)
    ltp, one_by_one = np.float32(rule.ltp), []
    for image in range(start + 1, start + sum(parts) + 1):
        ltp = min(2 * ltp, np.float32(0.15)) if image % 10 == 0 else ltp
        one_by_one.append(ltp)
    last = np.cumsum(parts, dtype=int) - 1
    np.testing.assert_array_equal(used[:, 0], np.array(one_by_one, np.float32)[last])
    assert counter[0] == (start + sum(parts)) % 10
