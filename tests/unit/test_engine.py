"""The engine: elections, turns, windows, counters, clipping, threads; what it refuses."""

import numpy as np
import pytest

from firstspike import engine as engine_module
from firstspike.errors import UserError
from firstspike.latencies import pool_latency
from firstspike.layers import Decision, Pool
from firstspike.network import elect
from tests.zoo import ZOO, fit_all, latencies, make_selective, small

HEADS = Decision(("decision_1", "decision_2", "decision_3"), fallback=(1, 0, 2))


# --- elections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("votes", "answer"),
    [
        ((4, 4, 4), 4),
        ((4, 4, 7), 4),
        ((4, 7, 4), 4),
        ((7, 4, 4), 4),
        ((1, 2, 3), 2),  # no two agree: head 2
        ((1, -1, 3), 1),  # head 2 is silent: head 1
        ((-1, -1, 3), 3),  # head 3 alone
        ((-1, 2, -1), 2),
        ((-1, 2, 3), 2),
        ((5, -1, 5), 5),  # two of three are enough, whoever is silent
        ((0, 0, -1), 0),
        ((-1, -1, -1), -1),  # two silent heads are no majority for silence
        ((6, -1, -1), 6),
        ((-1, -1, 0), 0),
    ],
)
def test_majority_of_three_heads(votes, answer):
    ballot = np.array(votes)[:, None]
    kept = ballot.copy()
    assert elect(ballot, HEADS).tolist() == [answer]
    np.testing.assert_array_equal(ballot, kept)


def test_an_election_of_many_is_many_elections():
    votes = np.random.default_rng(0).integers(-1, 3, (3, 200))
    one_by_one = [elect(votes[:, n : n + 1], HEADS)[0] for n in range(200)]
    np.testing.assert_array_equal(elect(votes, HEADS), one_by_one)


def test_a_single_head_answers_for_itself():
    np.testing.assert_array_equal(elect(np.array([[3, -1, 0]]), Decision()), [3, -1, 0])


def silence(net, *heads):
    for head in heads:
        net.set_weights(head, np.full_like(net.weights(head), -0.1))


def test_heads_of_which_some_are_silent_decide_and_learn():
    net, shown, labels = small("majority2024"), latencies(16), np.arange(16) % 3
    for phase in net.phases[:-1]:
        net.fit_phase(phase, shown)
    silence(net, "decision_2")
    before = {head: net.weights(head) for head in net.decision.heads}
    result = net.fit_phase("decision", shown[:8], labels[:8], record=True)
    assert (result.winners["decision_2"] == -1).all()
    votes = np.stack([result.winners[head][:, 0, 0] for head in net.decision.heads])
    np.testing.assert_array_equal(
        result.decisions, np.where(votes[0] < 0, -1, votes[0] // 20)
    )  # head 1 speaks
    np.testing.assert_array_equal(net.weights("decision_2"), before["decision_2"])
    assert (net.weights("decision_1") != before["decision_1"]).any()
    assert (net.weights("decision_3") != before["decision_3"]).any()
    shares = result.counts[0] / 8
    for head in net.decision.heads:  # all heads get the shares of the network's answer
        start = net.engine.rates[head].start
        expected = np.float32(start * np.array([shares[1], shares[1], shares[0], shares[0]]))
        np.testing.assert_array_equal(result.rates[head][0], expected)
    silence(net, "decision_1", "decision_3")
    assert (net.predict(shown) == -1).all()
    assert (net.scores(shown) == 0).all()
    state = net.state_dict()
    result = net.fit_phase("decision", shown[:4], labels[:4])
    assert result.counts.tolist() == [[0, 0, 4]]
    for head in net.decision.heads:
        np.testing.assert_array_equal(net.weights(head), state[f"{head}.weight"])
        assert set(net.rates(head).values()) == {0.0}  # nobody was right and nobody wrong


def test_each_head_learns_by_its_own_vote():
    """Heads are shown the same image; those whose own vote is right are rewarded, whatever the answer is."""
    net, shown = small("majority2024", window=1), latencies(12)
    for phase in net.phases[:-1]:
        net.fit_phase(phase, shown)
    for head in net.decision.heads:  # rates that tell reward from punishment
        net.set_weights(head, net.weights(head).clip(0.3, 0.7))
    for n in range(12):
        for head in net.decision.heads:
            net.set_rates(head, reward_ltp=0.01, reward_ltd=0.01, punish_ltp=-0.01, punish_ltd=-0.01)
        before = {head: net.weights(head) for head in net.decision.heads}
        result = net.fit_phase("decision", shown[n : n + 1], np.array([n % 3]), record=True)
        for head in net.decision.heads:
            winner = result.winners[head][0, 0, 0]
            change = (net.weights(head) - before[head])[winner]
            assert (change > 0).all() if winner // 20 == n % 3 else (change < 0).all()


# --- turns of the greedy network ---------------------------------------------------------------------------------


def turns_taken(net, shown, labels, epochs):
    """For each window: which layers' weights moved, and the rates of both layers after it."""
    taken, rates = [], []
    names = ("conv3", "decision")
    last = {name: net.weights(name) for name in names}

    def look(done, right, silent):
        now = {name: net.weights(name) for name in names}
        taken.append("".join(name[0] for name in names if (now[name] != last[name]).any()))
        last.update(now)
        rates.append(tuple(net.engine.rates[name].reward.copy() for name in names))

    counts = []
    for _ in range(epochs):
        result = net.engine.fit_phase("decision", shown, labels, progress=look)
        counts.extend(result.counts)
    return taken, rates, counts


def greedy(**options):
    net, shown, labels = small("deepr2024_greedy", window=5, **options), latencies(15), np.arange(15) % 3
    for phase in net.phases[:-1]:
        net.fit_phase(phase, shown)
    net.set_rates("conv3", reward_ltp=0.02, reward_ltd=-0.02, punish_ltp=-0.02, punish_ltd=0.02)
    return net, shown, labels


def scaled(net, name, counts):
    right, wrong = counts[0] / sum(counts), counts[1] / sum(counts)
    return np.float32(net.engine.rates[name].start * np.array([wrong, wrong, right, right]))


def test_layers_take_turns_through_all_epochs():
    """Three windows an epoch: conv3 in windows 0, 2, 4, ... of the phase, whatever the epoch."""
    net, shown, labels = greedy()
    taken, rates, counts = turns_taken(net, shown, labels, epochs=3)
    assert taken == ["c", "d", "c", "d", "c", "d", "c", "d", "c"]
    for window, (conv3, decision) in enumerate(rates):  # both layers' rates follow every window
        np.testing.assert_array_equal(conv3, scaled(net, "conv3", counts[window]))
        np.testing.assert_array_equal(decision, scaled(net, "decision", counts[window]))


def test_layers_take_turns_in_the_first_epoch_only_as_the_original_does():
    """epoch + (window mod 2) = 0: conv3; and after a window the rates of the layer whose turn comes."""
    net, shown, labels = greedy(schedule="original")
    taken, rates, counts = turns_taken(net, shown, labels, epochs=3)
    assert taken == ["c", "d", "c", "d", "d", "d", "d", "d", "d"]
    adapted = ["d", "c", "d", "d", "d", "d", "d", "d", "d"]  # window 2: i' = 3 is odd, still with epoch 0
    before = tuple(net.engine.rates[name].start.astype(np.float32) for name in ("conv3", "decision"))
    for window, after in enumerate(rates):
        changed = int(adapted[window] == "d")
        name = ("conv3", "decision")[changed]
        np.testing.assert_array_equal(after[changed], scaled(net, name, counts[window]))
        np.testing.assert_array_equal(after[1 - changed], before[1 - changed])
        before = after


def test_turns_go_on_over_calls_and_checkpoints():
    net, shown, labels = greedy()
    turns_taken(net, shown[:5], labels[:5], epochs=1)
    other = small("deepr2024_greedy", window=5)
    other.load_state_dict(net.state_dict())
    for each in (net, other):
        assert turns_taken(each, shown, labels, epochs=1)[0] == ["d", "c", "d"]


def test_both_layers_learn_together_in_the_joint_network():
    net, shown, labels = small("deepr2024", window=5), latencies(15), np.arange(15) % 3
    for phase in net.phases[:-1]:
        net.fit_phase(phase, shown)
    taken, rates, counts = turns_taken(net, shown, labels, epochs=2)
    assert taken == ["cd"] * 6
    for window, (conv3, decision) in enumerate(rates):
        np.testing.assert_array_equal(conv3, scaled(net, "conv3", counts[window]))
        np.testing.assert_array_equal(decision, scaled(net, "decision", counts[window]))


def test_conv3_learns_with_fewer_winners_than_it_may_have():
    net, shown, labels = small("deepr2024", maps=9, window=5), latencies(15), np.arange(15) % 3
    for phase in net.phases[:-1]:
        net.fit_phase(phase, shown)
    net.set_weights(
        "conv3", net.weights("conv3") * (np.arange(9) < 4)[:, None, None, None]
    )  # 5 of 9 never fire
    before = net.weights("conv3")
    result = net.fit_phase("decision", shown, labels, record=True)
    number = (result.winners["conv3"][:, :, 0] >= 0).sum(axis=1)
    assert 0 < number.max() < 15
    moved = (net.weights("conv3") != before).any(axis=(1, 2, 3))
    assert moved[:4].any()
    assert not moved[4:].any()


# --- windows, counters, clipping ---------------------------------------------------------------------------------


def ready(name="mozafari2018", **options):
    net, shown, labels = small(name, **options), latencies(22), np.arange(22) % 3
    for phase in net.phases[:-1]:
        net.fit_phase(phase, shown)
    return net, shown, labels


def test_a_window_may_be_shorter_than_the_rest():
    net, shown, labels = ready(window=8)
    result = net.fit_phase("decision", shown, labels, record=True)
    assert result.counts.sum(axis=1).tolist() == [8, 8, 6]
    for counts, rates in zip(result.counts, result.rates["decision"], strict=True):
        np.testing.assert_array_equal(rates, scaled(net, "decision", counts))  # shares of 6, not of 8


def test_the_first_window_of_an_epoch_runs_with_the_rates_of_the_last():
    net, shown, labels = ready(window=8)
    net.fit_phase("decision", shown, labels)
    last = net.rates("decision")
    state = net.state_dict()
    at_once, by_window = net, small("mozafari2018", window=8)
    by_window.load_state_dict(state)
    assert by_window.rates("decision") == last
    first = at_once.fit_phase("decision", shown[:16], labels[:16])
    second = [by_window.fit_phase("decision", shown[i : i + 8], labels[i : i + 8]) for i in (0, 8)]
    np.testing.assert_array_equal(first.decisions, np.concatenate([r.decisions for r in second]))
    np.testing.assert_array_equal(at_once.weights("decision"), by_window.weights("decision"))


def test_silent_images_lower_both_pairs_of_rates():
    net, shown, labels = ready(window=22)
    shown[:11] = 255
    result = net.fit_phase("decision", shown, labels, record=True)
    right, wrong, silent = result.counts[0]
    assert silent == 11
    np.testing.assert_array_equal(
        result.rates["decision"][0], scaled(net, "decision", (right, wrong, silent))
    )
    assert right + wrong == 11


def test_the_first_update_clips_maps_that_did_not_win():
    net, shown, labels = ready(window=100)
    assert net.weights("decision").max() > 0.81
    silent = latencies(3, blank=range(3))
    net.fit_phase("decision", silent, labels[:3])
    assert net.weights("decision").max() > 0.81  # silence changes nothing
    before = net.weights("decision")
    result = net.fit_phase("decision", shown[:1], labels[:1], record=True)
    winner = result.winners["decision"][0, 0, 0]
    after = net.weights("decision")
    others = np.arange(len(after)) != winner
    np.testing.assert_array_equal(after[others], before[others].clip(np.float32(0.2), np.float32(0.8)))
    assert (before[others] > 0.8).any()


def test_unclipped_weights_are_in_use_until_the_first_update():
    """Half of N(0.8, 0.05) lies above 0.8: the first image is decided by weights as they were drawn."""
    net, shown, labels = ready()
    drawn = net.predict(shown[:1])
    assert net.fit_phase("decision", shown[:1], labels[:1]).decisions == drawn


def test_the_whole_layer_is_clipped_by_stdp_without_any_winner():
    net = small("mozafari2018")
    weights = net.weights("conv1")
    weights[:, 0] = 1.25
    net.set_weights("conv1", weights)
    net.fit_phase("conv1", latencies(1, blank=(0,)))
    np.testing.assert_array_equal(net.weights("conv1"), weights.clip(0, 1))


def test_the_doubling_counter_goes_on_over_calls_and_counts_silent_images():
    net, shown = small("mozafari2018", doubling_period=10), latencies(24, blank=(2, 3, 9, 20))
    rates = [net.fit_phase("conv1", shown[i : i + 6], record=True).rates["conv1"] for i in (0, 6, 12, 18)]
    ltp = np.concatenate(rates)[:, 0].astype(np.float32)
    expected = np.float32([0.004] * 9 + [0.008] * 10 + [0.016] * 5)  # image 10 learns with the doubled rate
    np.testing.assert_array_equal(ltp, expected)
    ltd = np.concatenate(rates)[:, 1].astype(np.float32)
    np.testing.assert_array_equal(ltd, np.where(ltp < 0.005, np.float32(-0.003), np.float32(-0.75) * ltp))
    assert net.state_dict()["conv1.rates.seen"] == 4


def test_rates_double_to_the_ceiling_as_the_method_says():
    net = small("mozafari2018", doubling_period=1)
    rates = net.fit_phase("conv1", latencies(8), record=True).rates["conv1"]
    np.testing.assert_allclose(rates[:, 0], [0.008, 0.016, 0.032, 0.064, 0.128, 0.15, 0.15, 0.15], rtol=1e-6)
    np.testing.assert_allclose(rates[:, 1], -0.75 * rates[:, 0], rtol=1e-6)
    assert rates[-1].astype(np.float32).tolist() == [np.float32(0.15), np.float32(-0.75) * np.float32(0.15)]


def test_set_rates_leaves_counters_alone():
    net, shown = small("mozafari2018", doubling_period=10), latencies(8)
    net.fit_phase("conv1", shown)
    net.set_rates("conv1", ltp=0.02, ltd=-0.015)
    used = net.fit_phase("conv1", shown[:3], record=True).rates["conv1"][:, 0]
    np.testing.assert_array_equal(used.astype(np.float32), np.float32([0.02, 0.04, 0.04]))


def test_every_branch_counts_its_own_images():
    net, shown = small("inception2024", doubling_period=10), latencies(7)
    for phase in ("conv1", "conv2"):
        net.fit_phase(phase, shown)
    for phase, calls in (("conv3_1", 2), ("conv3_2", 1), ("conv3_3", 3)):
        for _ in range(calls):
            net.fit_phase(phase, shown)
    seen = [int(net.state_dict()[f"conv3_{n}.rates.seen"][0]) for n in (1, 2, 3)]
    assert seen == [4, 7, 1]
    ltp = [net.rates(f"conv3_{n}")["ltp"] for n in (1, 2, 3)]
    np.testing.assert_allclose(ltp, [0.008, 0.004, 0.016], rtol=1e-6)


def test_the_joint_phase_starts_from_its_own_rates():
    net, shown = small("deepr2024", doubling_period=5), latencies(22)
    for phase in net.phases[:-1]:
        net.fit_phase(phase, shown)
    rates = {name: round(rate, 7) for name, rate in net.rates("conv3").items()}
    assert rates == {
        "ltp": 0.064, "ltd": -0.048,
        "reward_ltp": 0.001, "reward_ltd": -0.00075, "punish_ltp": -0.001, "punish_ltd": 0.000125,
    }  # fmt: skip


# --- order, chunks, threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["deep2024", "deepr2024_greedy", "majority2024"])
def test_an_order_is_the_images_in_that_order(name):
    shown, labels = latencies(20), np.arange(20) % 3
    order = np.random.default_rng(5).permutation(20)
    direct, by_order = small(name), small(name)
    for phase in direct.phases:
        direct.fit_phase(phase, shown[order], labels[order])
        by_order.engine.fit_phase(phase, shown, labels, order=order)
    for key, array in direct.state_dict().items():
        np.testing.assert_array_equal(array, by_order.state_dict()[key])


@pytest.mark.parametrize("name", ZOO)
def test_chunks_of_images_change_nothing(name, monkeypatch):
    shown, labels = latencies(20), np.arange(20) % 3
    results = []
    for chunk in (1000, 3):
        monkeypatch.setattr(engine_module, "CHUNK", chunk)
        net = small(name)
        result = fit_all(net, shown, labels)
        results.append((*net.state_dict().values(), result.decisions, net.predict(shown), net.scores(shown)))
    for whole, pieces in zip(*results, strict=True):
        np.testing.assert_array_equal(whole, pieces)


@pytest.mark.parametrize(
    "name", ["mozafari2018", "inception2024", "majority2024", "resnet2024", "firstspike2026"]
)
def test_threads_change_nothing(name):
    shown = latencies(700)
    fitted = small(name)
    fit_all(fitted, shown[:20], np.arange(20) % 3)
    results = []
    for workers in (1, 2, 8):
        net = small(name)
        net.load_state_dict(fitted.state_dict())
        net.engine.workers = workers
        last = net.phases[-1]
        results.append(
            (net.predict(shown), net.scores(shown), net.inputs(last, shown), net.features(shown, "conv2"))
        )
    for other in results[1:]:
        for one, many in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, many)
    one_by_one = np.concatenate([net.predict(shown[n : n + 1]) for n in range(50)])
    np.testing.assert_array_equal(results[0][0][:50], one_by_one)


@pytest.mark.parametrize("name", ["mozafari2018", "deepr2024", "majority2024"])
def test_permuting_the_labels_permutes_the_answers(name):
    shown, labels, permutation = latencies(24, side=28), np.arange(24) % 3, np.array([2, 0, 1])
    net, permuted = (small(name, image_size=(28, 28), maps=24) for _ in range(2))
    make_selective(net)
    permuted.load_state_dict(net.state_dict())
    for head in net.decision.heads:  # class c's maps become those of class permutation[c]
        weights = net.weights(head)
        moved = weights.reshape(3, -1, *weights.shape[1:])[np.argsort(permutation)]
        permuted.set_weights(head, moved.reshape(weights.shape))
    first = net.fit_phase("decision", shown, labels).decisions
    second = permuted.fit_phase("decision", shown, permutation[labels]).decisions
    assert len(set(first)) > 1
    np.testing.assert_array_equal(second, permutation[first])
    np.testing.assert_array_equal(permuted.predict(shown), permutation[net.predict(shown)])
    np.testing.assert_array_equal(permuted.scores(shown)[:, permutation], net.scores(shown))


@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("window", [1, 2, 3])
def test_pooling_takes_the_earliest_of_each_window(window, stride, pad):
    seen = latencies(2, channels=2, side=7)
    pool = Pool(window, stride, pad)
    framed = np.pad(seen, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=255)
    out = pool_latency(seen, pool)
    assert out.shape[1:] == pool.output(seen.shape[1:])
    for r, q in np.ndindex(*out.shape[2:]):
        place = framed[:, :, r * stride : r * stride + window, q * stride : q * stride + window]
        np.testing.assert_array_equal(out[:, :, r, q], place.min(axis=(2, 3)))


def test_rows_that_fill_no_window_are_lost():
    """7 pooled by 3 gives 2: row 6 and column 6 are not looked at."""
    seen = np.full((1, 1, 7, 7), 255, np.uint8)
    seen[0, 0, 6, :] = seen[0, 0, :, 6] = 3
    assert (pool_latency(seen, Pool(3)) == 255).all()


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "given"),
    [
        (latencies(2).astype(np.float32), "float32"),
        (latencies(2)[0], r"\(6, 20, 20\)"),
        (latencies(2, channels=5), r"\(2, 5, 20, 20\)"),
        (latencies(2, side=21), r"\(2, 6, 21, 21\)"),
        (np.full((2, 6, 20, 20), np.nan), "float64"),
    ],
)
def test_latencies_of_another_kind_are_refused(shown, given):
    net = small("mozafari2018")
    for call in (
        net.predict,
        net.scores,
        lambda x: net.fit_phase("conv1", x),
        lambda x: net.inputs("conv2", x),
    ):
        with pytest.raises(UserError, match=rf"{given}.* needed: encode the images first"):
            call(shown)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "one label an image: 0 for 4"),
        ([0, 1], "one label an image: 2 for 4"),
        ([0, 1, 2, 3], "labels 0 to 3 given, 0 to 2 allowed"),
        ([0, -1, 2, 1], "labels -1 to 2 given, 0 to 2 allowed"),
    ],
)
def test_labels_must_fit(labels, message):
    net = small("mozafari2018")
    before = net.state_dict()
    with pytest.raises(UserError, match=message):
        net.fit_phase("decision", latencies(4), None if labels is None else np.array(labels))
    for key, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


def test_unknown_layers_phases_and_rates_list_the_known_ones():
    net = small("mozafari2018")
    for call in (net.weights, net.rates):
        with pytest.raises(UserError, match="layer conv9: this network has conv1, conv2, decision"):
            call("conv9")
    with pytest.raises(UserError, match="phase conv9: this network has conv1, conv2, decision"):
        net.fit_phase("conv9", latencies(1))
    with pytest.raises(UserError, match="rate reward_ltp: this layer has ltp, ltd"):
        net.set_rates("conv1", reward_ltp=1)
    with pytest.raises(UserError, match="rate ltp: this layer has none"):
        small("resnet2024").set_rates("skip", ltp=1)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((6, 6, 5, 4)), r"shape \(6, 6, 5, 4\) given, \(6, 6, 5, 5\) needed"),
        (np.full((6, 6, 5, 5), np.nan), "finite"),
        (np.full((6, 6, 5, 5), np.inf), "finite"),
        (np.full((6, 6, 5, 5), -0.1), "below 0"),
    ],
)
def test_weights_must_fit(weights, message):
    net = small("mozafari2018")
    before = net.weights("conv1")
    with pytest.raises(UserError, match=message):
        net.set_weights("conv1", weights)
    np.testing.assert_array_equal(net.weights("conv1"), before)


def test_a_state_of_another_network_changes_nothing():
    net = small("mozafari2018")
    before = net.state_dict()
    for name, options in (
        ("inception2024", {}),
        ("mozafari2018", {"maps": 7}),
        ("mozafari2018", {"classes": 4}),
    ):
        with pytest.raises(UserError, match="it is of another network"):
            net.load_state_dict(small(name, **options).state_dict())
    for key, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


def test_a_state_with_more_than_the_network_has_is_refused():
    with pytest.raises(UserError, match="it is of another network"):
        small("mozafari2018").load_state_dict(small("deep2024").state_dict())


def moved_weights():
    """A network that has learnt, and a fresh one that was given its weights."""
    net, shown = small("mozafari2018"), latencies(10)
    fit_all(net, shown, np.arange(10) % 3)
    fresh = small("mozafari2018", seed=9)
    for layer in net.engine.nodes:
        fresh.set_weights(layer, net.weights(layer))
    return net, fresh, shown


def test_answers_follow_from_the_weights_alone():
    net, fresh, shown = moved_weights()
    np.testing.assert_array_equal(fresh.predict(shown), net.predict(shown))


def test_scores_follow_from_the_weights_alone():
    net, fresh, shown = moved_weights()
    np.testing.assert_array_equal(fresh.scores(shown), net.scores(shown))
