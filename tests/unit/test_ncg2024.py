"""The readout in the zoo: options that change a published setting, the loop's order, patience, state, features."""

import numpy as np
import pytest

from firstspike.data.samples import Samples, Selection
from firstspike.errors import UserError
from firstspike.readouts import Additive, Multiplicative, OneThreshold, TwoThresholds, from_dense
from firstspike.readouts.feature_file import save_features
from firstspike.readouts.network import scaled
from firstspike.readouts.presets import list_presets, preset
from firstspike.readouts.sources import EventSamples, from_file
from firstspike.readouts.variants import NUMBERS, RULES, options_of, variant
from firstspike.report.callbacks import Callback
from firstspike.report.readout_run import grid, maps
from models import create_model, get_model

EASY = {"threshold": 1.0, "thr_lr": 0.02, "t_gap": 0.1}  # for a few inputs


def separable(n, *, classes=3, inputs=12, seed=0):
    """Spike times in which the inputs of a class come early, with labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    times = rng.uniform(0.4, 1.2, (n, inputs))
    own = np.arange(inputs) % classes == labels[:, None]
    return np.float32(np.where(own, rng.uniform(0, 0.3, (n, inputs)), times)), labels


def samples_of(n, **details):
    times, labels = separable(n, **details)
    return EventSamples(from_dense(times), np.arange(n), labels)


def small(**options):
    easy = {name: value for name, value in EASY.items() if options.get("rule") != "rstdp" or name != "t_gap"}
    return create_model("ncg2024", in_channels=12, image_size=(1, 1), classes=3, **{**easy, **options})


# --- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_presets())
def test_every_option_stated_as_the_preset_has_it_changes_nothing(name):
    own = {option: value for option, value in options_of(name).items() if value is not None}
    assert variant(name, preset(name).classes, own) == variant(name, preset(name).classes, {}) == preset(name)


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_is_changed_by_its_name(rule):
    rate = {"lr": 0.01} if rule == "s4nn" else {}
    found = variant("mnist/s2stdp+ncg", 10, {"rule": rule, **rate}).readout
    assert type(found.rule).__name__.lower() == rule
    assert found.groups.inhibit == (rule != "rstdp")


def test_sizes_regulation_and_numbers():
    found = variant(
        "mnist/s2stdp+ncg", 4, {"per_class": 3, "non_target": 2, "regulation": "one", "thr_lr": 7}
    )
    assert (found.classes, found.readout.groups.per_class, found.readout.groups.non_target) == (4, 3, 2)
    assert found.readout.regulation == OneThreshold(7, 0.5)
    assert variant("mnist/s2stdp+ncg", 4, {}).readout.regulation == TwoThresholds(10, 0.5)
    assert variant("mnist/s2stdp+ncg", 4, {"dropout_out": 0.25}).readout.dropout.outputs == 0.25
    assert not variant("mnist/s2stdp+ncg", 4, {"per_class": 1, "non_target": 0}).readout.groups.inhibit


def test_stdp_and_flags():
    changed = {
        "stdp": "multiplicative",
        "beta": 2.0,
        "normalise": False,
        "compat": True,
        "std": 0.1,
        "leak": 0.5,
    }
    readout = variant("mnist/s2stdp+ncg", 10, changed).readout
    assert readout.rule.stdp == Multiplicative(2.0, 0.0, 1.0)
    layer = readout.layer
    assert (layer.normalise, layer.compat, layer.std, layer.leak) == (False, True, 0.1, 0.5)
    assert variant("mnist/s2stdp+ncg", 10, {"ignore_silent": True}).readout.rule.stdp == Additive(True)
    assert not variant("mnist/rstdp-5n", 10, {"adaptive": False}).readout.rule.adaptive
    plain = variant("mnist/s2stdp+ncg", 10, {}).readout.layer
    assert (plain.normalise, plain.compat) == (True, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stdp": "multiplicative"}, "multiplicative STDP without beta; give it"),
        ({"stdp": "cubic"}, "option stdp: 'cubic' given, additive, multiplicative allowed"),
        ({"stdp": "multiplicative", "beta": 1, "ignore_silent": True}, "additive STDP alone has it"),
        ({"normalise": 1}, "option normalise: 1 given, true or false needed"),
        ({"rule": "rstdp", "t_gap": 0.1}, "option t_gap: the rule rstdp has none; s2stdp, sstdp, s4nn has"),
        ({"rule": "s4nn", "lr": 0.1, "beta": 1}, "option beta: the rule s4nn has none"),
        ({"adaptive": False}, "option adaptive: the rule s2stdp has none"),
        ({"rule": "stdp"}, "option rule: 'stdp' given, s2stdp, sstdp, rstdp, s4nn allowed"),
        ({"regulation": "three"}, "option regulation: 'three' given, two, one, none allowed"),
        ({"rule": "s4nn"}, "no lr; give --lr"),
        ({"per_class": 0}, "option per_class: 0 given, a whole number from 1 needed"),
        ({"non_target": 1.5}, "option non_target: 1.5 given"),
        ({"per_class": 1}, "1 non-target neurons of 1 a class"),
        ({"threshold": float("nan")}, "option threshold: nan given, a finite number needed"),
        ({"anti_ap": -0.1}, "option anti_ap: the rule s2stdp has none; rstdp has"),
        ({"colour": 1}, "option colour: a readout has rule, per_class"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(UserError, match=message) as error:
        variant("mnist/s2stdp+ncg", 10, options)
    assert "\n" not in str(error.value)


def test_a_regulation_needs_its_rates():
    with pytest.raises(UserError, match="no thr_lr; give --thr-lr"):
        variant("mnist/s2stdp", 10, {"regulation": "two", "per_class": 5})


def test_the_model_knows_its_options_and_refuses_others():
    known = get_model("ncg2024").known_options()
    assert {"preset", "features", "csnn_epochs", "shuffle", "rule", "regulation", *NUMBERS} <= set(known)
    assert (known["preset"], known["per_class"], known["threshold"]) == ("mnist/s2stdp+ncg", 5, 200.0)
    with pytest.raises(UserError, match="option colour: this network has preset"):
        small(colour=1)


# --- the loop ------------------------------------------------------------------------------------------------------


def test_it_learns_and_the_best_epoch_is_kept():
    train, held = samples_of(90), samples_of(30, seed=1)
    net = small()
    position = net.train(train, held, epochs={"readout": 6})
    best = max(record.validation_accuracy for record in position.records)
    assert best > 0.8
    assert np.mean(net.predict(held.take(slice(None))) == held.labels) == best
    first = next(r.epoch for r in position.records if r.validation_accuracy == best)
    assert position.best_epoch == first  # a later epoch that is as good is no better


def test_training_ends_after_ten_epochs_without_a_better_one():
    train, net = samples_of(30), small()
    held = EventSamples(train.events, train.rows[:1], np.array([9]))  # never right
    position = net.train(train, held, epochs={"readout": 50}, patience=net.patience)
    assert len(position.records) == 11


def test_samples_come_as_stored_unless_shuffled():
    np.testing.assert_array_equal(small().sequence(9, "readout", 3), np.arange(9))
    drawn = [small(shuffle=True).sequence(9, "readout", epoch) for epoch in (0, 1)]
    assert sorted(drawn[0]) == list(range(9))
    assert (drawn[0] != drawn[1]).any()


def test_events_dense_times_and_latencies_are_one_and_the_same():
    steps, labels = 15, np.arange(60) % 3
    rng = np.random.default_rng(0)
    latencies = rng.integers(0, 20, (60, 12, 1, 1)).astype(np.uint8)
    latencies[latencies >= steps] = 255
    times = np.float32(np.minimum(latencies, steps) / steps)
    states = []
    for shown in (latencies, times, from_dense(times)):
        net = small()
        net.fit_phase("readout", shown, labels)
        states.append(net.state_dict())
        assert net.scores(shown).argmax(axis=1).tolist() == net.predict(shown).tolist()
    for state in states[1:]:
        for name, array in states[0].items():
            np.testing.assert_array_equal(array, state[name], err_msg=name)


def test_plain_samples_feed_it_too():
    times, labels = separable(30)
    net = small()
    samples = Samples(times[:, :, None, None], np.arange(30), labels)
    assert net.train(samples, samples, epochs={"readout": 2}).best_accuracy > 0.5


@pytest.mark.parametrize("options", [{}, {"rule": "rstdp", "dropout_out": 0.3}, {"regulation": "one"}])
def test_state_goes_round(options):
    times, labels = separable(40)
    net, other = small(**options), small(seed=5, **options)
    net.fit_phase("readout", times, labels)
    other.load_state_dict(net.state_dict())
    other.engine.readout.seed = net.engine.readout.seed
    for each in (net, other):
        each.fit_phase("readout", times, labels)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name], err_msg=name)


def test_a_state_of_another_readout_is_refused():
    with pytest.raises(UserError, match=r"belongs? to another readout"):
        small().load_state_dict(small(per_class=4).state_dict())
    state = small().state_dict()
    state.pop("rates")
    with pytest.raises(UserError, match="belong to another readout"):
        small().load_state_dict(state)


class _Told(Callback):
    def __init__(self):
        self.done = []

    def on_batch(self, progress):
        self.done.append((progress.epoch, progress.done, progress.right))


def test_progress_counts_what_was_right():
    told, train = _Told(), samples_of(30)
    position = small().train(train, epochs={"readout": 2}, callbacks=[told])
    assert told.done == [(r.epoch, 30, round(30 * r.accuracy)) for r in position.records]


# --- features ------------------------------------------------------------------------------------------------------


def test_a_file_without_a_test_set_gives_a_fifth_to_it(tmp_path):
    times, labels = separable(60)
    save_features(tmp_path / "f.npz", from_dense(times), labels + 4)
    found = from_file(str(tmp_path / "f.npz"), Selection(validation=0.25))
    parts = found.parts
    rows = [parts.train.rows, parts.validation.rows, parts.test.rows]
    assert [len(part) for part in rows] == [36, 12, 12]
    assert sorted(np.concatenate(rows)) == list(range(60))
    assert (found.class_names, found.shape) == (("4", "5", "6"), (1, 12, 1))
    np.testing.assert_array_equal(parts.test.labels, labels[parts.test.rows])


def test_another_window_is_scaled_to_one():
    times, _ = separable(8)
    wide, plain = scaled(from_dense(times * 4, max_time=4.0)), from_dense(times)
    assert wide.max_time == 1
    np.testing.assert_array_equal(wide.index, plain.index)
    np.testing.assert_array_equal(wide.times, plain.times)


def test_features_are_drawn_where_they_are():
    values = np.arange(24, dtype=np.float32).reshape(1, 24)
    np.testing.assert_array_equal(grid(values, (2, 3, 4))[0], [[1.5, 5.5, 9.5], [13.5, 17.5, 21.5]])
    folded = grid(values[:, :5], (1, 5, 1))[0]
    np.testing.assert_array_equal(folded, [[0, 1, 2], [3, 4, 2], [2, 2, 2]])


def test_latencies_of_features_keep_their_places():
    times = np.float32(np.arange(24) / 24).reshape(1, 24)
    shown = maps(times, (2, 3, 4))
    assert shown.shape == (1, 4, 2, 3)
    assert shown[0, 1, 1, 2] == int(np.float32(21 / 24) * 254)
    assert maps(times[:, :5], (1, 5, 1))[0, 0].tolist()[1][1:] == [42, 255]
    assert maps(np.ones((1, 5), np.float32), (1, 5, 1)).min() == 255
