"""What the original program of the zoo gets wrong, and what is done here instead: a test each.

Point 22, a comparison the wrong way round in a rule that no network uses, has no counterpart here.
"""

import numpy as np
import pytest
import torch

from firstspike import checkpoint
from firstspike.compiled import DecisionLayer, ThresholdLayer
from firstspike.data import Dataset, augment, load
from firstspike.data.binning import first_event_latencies
from firstspike.data.recordings import Recordings
from firstspike.data.samples import Selection, encoded
from firstspike.engine import elect
from firstspike.errors import UserError
from firstspike.layers import STDP, Conv, Decision
from firstspike.report.metrics import evaluate
from firstspike.report.records import Sample
from firstspike.report.run import ZooRun
from firstspike.spyketorch import snn
from models import create_model
from network_trainer import Keeper, Position
from s1c1 import S1C1
from tests.zoo import ZOO, fit_all, latencies, small


def speck(*pixels):
    """A dark image with a few bright pixels."""
    image = np.zeros((1, 28, 28), np.uint8)
    for row, column in pixels:
        image[0, row, column] = 255
    return image


def test_01_blank_and_nearly_blank_images_are_encoded():
    blank, faint = S1C1()(speck()), S1C1(steps=100)(speck((14, 14)) // 5)
    assert (blank == 255).all()
    fired = np.sort(faint[faint < 255])
    assert 0 < len(fired) < 100  # fewer entries than steps: one a step
    np.testing.assert_array_equal(fired, np.arange(len(fired)))
    net = create_model("mozafari2018")
    fit_all(net, np.concatenate([blank, blank]), np.array([0, 1]))
    assert net.predict(blank).tolist() == [-1]


def test_02_each_step_has_as_many_spikes_and_the_weakest_remainder_none():
    images = load("digits").test_images[:20]
    for latency in S1C1()(images):
        counts = np.bincount(latency[latency < 255], minlength=15)
        assert len(set(counts)) == 1
        assert counts[0] > 0


def test_03_each_colour_has_channels_of_its_own():
    image = np.zeros((1, 3, 32, 32), np.uint8)
    image[0, 1, 10:20, 10:20] = 255
    fired = (S1C1("colour")(image)[0] < 255).any(axis=(1, 2))
    assert fired[1::3].any()  # channel 3 j + c is filter j on plane c
    assert not fired[0::3].any()
    assert not fired[2::3].any()
    summed = (S1C1("colour", planes="sum")(image)[0] < 255).any(axis=(1, 2))
    np.testing.assert_array_equal(summed[0::3], summed[1::3])


def test_04_equal_intensities_fire_in_the_order_of_channel_row_column():
    latency = S1C1(steps=250)(speck((5, 5), (5, 22), (22, 5), (22, 22)) // 5)[0]
    for channel in (0, 2, 4):  # on-centre: the speck itself
        places = [int(latency[channel, row, column]) for row in (5, 22) for column in (5, 22)]
        assert places == sorted(set(places))


def winner_of(weights, threshold=None, seen=None):
    layer = Conv("layer", len(weights), weights.shape[-1], threshold)
    seen = np.zeros((1, weights.shape[1], 4, 4), np.uint8) if seen is None else seen
    if threshold is None:
        node = DecisionLayer(layer, seen.shape[1:])
        node.weights = weights
        return node.decide(seen, steps=3)[0].tolist()
    node = ThresholdLayer(layer, seen.shape[1:])
    node.weights = weights
    rates = np.array([0.004, -0.003], np.float32)
    return node.learn(seen, STDP(), rates, np.zeros(1, np.int64), steps=3)[0][0, 0].tolist()


@pytest.mark.parametrize("threshold", [None, 1.0])
def test_05_potentials_that_differ_by_little_are_told_apart_and_equal_ones_are_equal(threshold):
    weights = np.full((3, 4, 2, 2), 0.8, np.float32)
    assert winner_of(weights, threshold) == [0, 0, 0]  # all equal: the lowest map, row, column
    weights[2, 0, 0, 0] = np.nextafter(np.float32(0.8), np.float32(1))  # 6e-8 more in a sum of 12.8
    assert winner_of(weights, threshold) == [2, 0, 0]


@pytest.mark.parametrize("threshold", [None, 1.0])
def test_05_the_order_in_which_inputs_fire_does_not_decide(threshold):
    """Along a stroke two positions see the same fired inputs, one in another order than the other."""
    rng = np.random.default_rng(0)
    weights = rng.normal(0.8, 0.05, (1, 6, 3, 3)).astype(np.float32)
    for _ in range(20):
        seen = np.repeat(rng.integers(0, 3, (1, 6, 4, 1)), 4, axis=3).astype(np.uint8)
        assert winner_of(weights, threshold, seen)[2] == 0


def test_06_a_potential_below_zero_is_silence():
    assert winner_of(np.full((3, 4, 2, 2), -0.1, np.float32)) == [-1, -1, -1]
    assert winner_of(np.zeros((3, 4, 2, 2), np.float32)) == [-1, -1, -1]


def tiny_set(test_labels):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 20, 20), np.uint8)
    test = rng.integers(0, 256, (len(test_labels), 20, 20), np.uint8)
    return Dataset("tiny", images, np.arange(40) % 3, test, np.array(test_labels), ("a", "b", "c"))


def test_07_test_images_choose_neither_the_best_network_nor_the_end():
    states = []
    for test_labels in ([0, 1, 2], [2, 2, 1]):
        parts = encoded(tiny_set(test_labels), S1C1(), Selection(), cache=None)
        net = small("mozafari2018", steps=15)
        net.train(parts.train, parts.validation, epochs={"conv1": 1, "conv2": 1, "decision": 4}, patience=1)
        states.append(net.state_dict())
    for key, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][key])


def test_08_silence_counts_as_an_error_in_every_figure():
    labels, answers = np.array([0, 0, 1, 1]), np.array([0, -1, 1, -1])
    scores = np.eye(2)[labels]
    figures = evaluate(labels, answers, scores, classes=2)
    assert (figures.accuracy, figures.recall, figures.silent) == (0.5, 0.5, 2)
    assert figures.f1 == pytest.approx(2 / 3)
    assert figures.confusion == ((1, 0, 1), (0, 1, 1))
    assert figures.roc_auc < 1


@pytest.mark.parametrize("name", ZOO)
def test_09_every_network_has_a_schedule_of_its_own_and_says_what_it_takes(name):
    net = create_model(name)
    assert all(number > 0 for number in net.epochs().values())
    with pytest.raises(UserError, match=f"{name} takes .*: conv1 conv2 .*decision"):
        net.epochs([1])


def turns(schedule, epochs=3, windows=2):
    net = small("deepr2024_greedy", window=4, schedule=schedule)
    shown, labels, found = latencies(4 * windows), np.arange(4 * windows) % 3, []
    for _ in range(epochs):
        weights = [net.weights("conv3"), net.weights("decision")]

        def look(done, right, silent, last=weights):
            now = [net.weights("conv3"), net.weights("decision")]
            found.append([bool((a != b).any()) for a, b in zip(now, last, strict=True)])
            last[:] = now

        net.engine.fit_phase("decision", shown, labels, progress=look)
    return ["both" if all(pair) else "conv3" if pair[0] else "decision" for pair in found]


def test_10_the_greedy_network_alternates_through_all_epochs():
    assert turns("alternate") == ["conv3", "decision"] * 3
    assert turns("original") == ["conv3", "decision", *["decision"] * 4]


def test_11_both_layers_get_new_rates_after_every_window():
    net = small("deepr2024_greedy", window=4)
    shown, labels = latencies(4), np.array([0, 1, 2, 0])
    result = net.fit_phase("decision", shown, labels, record=True)
    right, wrong, _ = result.counts[0] / 4
    for layer in ("conv3", "decision"):
        rates = net.engine.rates[layer]
        np.testing.assert_array_equal(rates.reward, np.float32(rates.start * [wrong, wrong, right, right]))


def test_12_every_branch_has_a_doubling_counter_of_its_own_and_keeps_it():
    net, shown = small("inception2024", doubling_period=10), latencies(7)
    net.fit_phase("conv3_1", shown)
    net.fit_phase("conv3_2", shown[:4])
    other = small("inception2024", doubling_period=10)
    other.load_state_dict(net.state_dict())
    used = [
        other.fit_phase(phase, shown, record=True).rates[phase][:, 0]
        for phase in ("conv3_1", "conv3_2", "conv3_3")
    ]
    assert [int(np.argmax(rates > 0.005)) for rates in used[:2]] == [2, 5]  # image 10 of each
    assert (used[2] < 0.005).all()


def test_13_heads_that_are_silent_do_not_stop_the_vote():
    heads = Decision(("a", "b", "c"), fallback=(1, 0, 2))
    assert elect(np.array([[-1], [3], [-1]]), heads).tolist() == [3]
    assert elect(np.array([[2], [-1], [5]]), heads).tolist() == [2]
    net = small("majority2024")
    net.set_weights("decision_2", -net.weights("decision_2"))
    answers = net.fit_phase("decision", latencies(8), np.arange(8) % 3).decisions
    assert (answers >= 0).all()


@pytest.mark.parametrize("name", ZOO)
def test_14_maps_follow_from_the_classes(name):
    net = small(name, classes=47)
    for head in net.decision.heads:
        assert len(net.weights(head)) == 47 * net.decision.group
    labels = np.arange(40, 47)
    result = net.fit_phase("decision", latencies(7), labels)
    assert result.counts.sum() == 7
    with pytest.raises(UserError, match="labels 41 to 47 given, 0 to 46 allowed"):
        net.fit_phase("decision", latencies(7), labels + 1)


def test_15_the_first_event_of_a_pixel_is_its_latency():
    times = np.array([0, 10, 20, 30, 90, 99], np.int32)
    units = np.array([0, 1, 1, 0, 2, 1], np.uint16)  # pixel 1 fires three times
    events = Recordings(times, units, np.array([0, 6]), np.array([0]), (1, 2, 2), 1e-6)
    latency = first_event_latencies(events, 10)
    assert latency.shape == (1, 1, 2, 2)
    assert latency.ravel().tolist() == [0, 1, 9, 255]  # one spike each, never two; no event: silent


def test_16_the_fourth_layer_of_deeper2024_fires_at_1_or_at_128_if_asked():
    for options, threshold in (({}, 1), ({"conv4_threshold": 128}, 128)):
        net = create_model("deeper2024", **options)
        assert net.engine.nodes["conv4"].layer.threshold == threshold


def test_17_resnet2024_sees_the_same_in_training_and_evaluation():
    net, shown = small("resnet2024"), latencies(10)
    for phase in net.phases[:-1]:
        net.fit_phase(phase, shown)
    net.set_rates("decision", reward_ltp=0, reward_ltd=0, punish_ltp=0, punish_ltd=0)
    net.set_weights("decision", net.weights("decision").clip(0.2, 0.8))
    answers = net.predict(shown)
    result = net.fit_phase("decision", shown, np.arange(10) % 3)
    np.testing.assert_array_equal(result.decisions, answers)
    assert net.weights("decision").dtype == np.float32


def test_18_every_branch_is_there_in_evaluation():
    net, shown = small("inception2024"), latencies(4)
    for layer, kernel in (("conv3_1", 3), ("conv3_2", 5), ("conv3_3", 7)):
        side = 5 + 2 - kernel + 1
        assert net.features(shown, layer).shape == (4, 6, side, side)
        assert (net.features(shown, layer) < 255).any()


def test_19_copies_are_drawn_anew_each_epoch_and_digits_are_not_mirrored():
    digits = load("digits")
    images, index = digits.train_images[:50], np.arange(50)
    first, second = (augment(images, index, seed=0, epoch=epoch) for epoch in (0, 1))
    assert (first != second).any(axis=(1, 2)).all()
    assert not digits.mirror
    bar = np.zeros((50, 28, 28), np.uint8)
    bar[:, 6:22, 6:9] = 255
    turned = augment(bar, index, seed=0, epoch=0, mirror=digits.mirror)
    assert (turned[:, :, :14].sum(axis=(1, 2)) > turned[:, :, 14:].sum(axis=(1, 2))).all()


@pytest.mark.parametrize("name", ZOO)
def test_20_every_learning_layer_shows_its_activity(name):
    net, shown = small(name), latencies(3)
    sample = Sample(np.zeros((3, 20, 20), np.uint8), shown, np.arange(3))
    run = ZooRun(net.engine, {}, None, net.epochs(), sample, sample, ([[0]], [[1]]))
    for layer in run.network.layers:
        assert (run.activity(layer) < 255).any()


def test_21_a_checkpoint_of_other_settings_is_refused(tmp_path):
    net = small("mozafari2018")
    Keeper(tmp_path, {"seed": 0, "batch_size": 20}).save("last", net, net.state_dict(), Position())
    _, meta = checkpoint.load(tmp_path / "checkpoints" / "last.safetensors")
    checkpoint.check(meta, model="mozafari2018", settings={"seed": 0, "batch_size": 20})
    with pytest.raises(UserError, match="made with batch_size = 20, this run has batch_size = 1000"):
        checkpoint.check(meta, model="mozafari2018", settings={"seed": 0, "batch_size": 1000})
    with pytest.raises(UserError, match="of model mozafari2018, not deep2024"):
        checkpoint.check(meta, model="deep2024", settings={"seed": 0, "batch_size": 20})


def test_23_rates_move_with_their_module():
    rule = snn.STDP(snn.Convolution(2, 3, 3), (0.004, -0.003))
    assert rule.to("cpu") is rule
    rates = {name: tensor for name, tensor in rule.state_dict().items() if name.startswith(("ltp", "ltd"))}
    assert rates
    moved = rule.to(torch.float64)
    assert all(moved.state_dict()[name].dtype == torch.float64 for name in rates)


def test_24_the_first_image_with_an_answer_halves_the_spread_of_the_decision_layer():
    net = create_model("mozafari2018")
    before = net.weights("decision")
    net.fit_phase("decision", S1C1()(load("digits").train_images[:1]), np.array([0]))
    after = net.weights("decision")
    at_bound = (after == np.float32(0.8)).mean()
    assert 0.45 < at_bound < 0.55
    assert after.std() < 0.65 * before.std()
