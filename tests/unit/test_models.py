"""Every network of the zoo: its table, other sizes and classes, one tiny epoch of everything it does."""

import ast
from pathlib import Path

import numpy as np
import pytest

import models
from firstspike.errors import UserError
from firstspike.layers import convolutions
from models import create_model, get_model, list_models, register
from tests.zoo import ZOO, fit_all, latencies, small

# name: (maps, channels, kernel, threshold, winners, radius, rows and columns of the output) for 28x28 images
DECISION_5 = (200, 250, 5, None, 1, 0, 2)
CONV1, CONV3 = (30, 6, 5, 15, 5, 3, 28), (250, 150, 3, 50, 15, 1, 7)
TABLES = {
    "mozafari2018": {
        "conv1": CONV1,
        "conv2": (250, 30, 3, 10, 8, 1, 14),
        "decision": (200, 250, 5, None, 1, 0, 4),
    },
    "deep2024": {"conv1": CONV1, "conv2": (150, 30, 3, 10, 8, 1, 14), "conv3": CONV3, "decision": DECISION_5},
    "inception2024": {
        "conv1": CONV1,
        "conv2": (75, 30, 3, 10, 8, 1, 14),
        "conv3_1": (100, 75, 3, 50, 15, 1, 7),
        "conv3_2": (100, 75, 5, 50, 15, 1, 5),
        "conv3_3": (100, 75, 7, 50, 15, 1, 3),
        "decision": (200, 300, 5, None, 1, 0, 2),
    },
    "majority2024": {
        "conv1": CONV1,
        "conv2": (250, 30, 3, 10, 8, 1, 14),
        "decision_1": (200, 250, 3, None, 1, 0, 6),
        "decision_2": (200, 250, 5, None, 1, 0, 4),
        "decision_3": (200, 250, 7, None, 1, 0, 2),
    },
    "deeper2024": {
        "conv1": (30, 6, 3, 15, 5, 3, 30),
        "conv2": (150, 30, 3, 10, 8, 1, 15),
        "conv3": (250, 150, 3, 50, 15, 1, 7),
        "conv4": (200, 250, 3, 1, 20, 1, 4),
        "decision": (100, 200, 3, None, 1, 0, 3),
    },
    "resnet2024": {
        "conv1": CONV1,
        "conv2": (150, 30, 3, 10, 8, 1, 14),
        "conv3": CONV3,
        "skip": (250, 150, 1, 0, 1, 0, 14),
        "decision": (200, 250, 4, None, 1, 0, 3),
    },
}
TABLES["deepr2024"] = {**TABLES["deep2024"], "conv3": (250, 150, 3, 50, 15, 0, 7)}
TABLES["deepr2024_greedy"] = TABLES["deepr2024"]

EPOCHS = {
    "mozafari2018": ("conv1", "conv2", "decision"),
    "majority2024": ("conv1", "conv2", "decision"),
    "deep2024": ("conv1", "conv2", "conv3", "decision"),
    "deepr2024": ("conv1", "conv2", "conv3", "decision"),
    "deepr2024_greedy": ("conv1", "conv2", "conv3", "decision"),
    "resnet2024": ("conv1", "conv2", "conv3", "decision"),
    "inception2024": ("conv1", "conv2", "conv3", "decision"),
    "deeper2024": ("conv1", "conv2", "conv3", "conv4", "decision"),
}


def test_the_zoo_is_whole():
    assert set(TABLES) <= set(ZOO) <= set(list_models())
    assert list_models() == sorted(list_models())


@pytest.mark.parametrize("name", TABLES)
def test_layers_are_those_of_the_table(name):
    net = create_model(name)
    rows = {}
    for layer, shape in convolutions(net.engine.layers, net.engine.shape):
        maps, rows_out, cols_out = layer.output(shape)
        assert rows_out == cols_out
        sizes = (layer.kernel, layer.threshold, layer.k, layer.radius, rows_out)
        rows[layer.name] = (maps, shape[0], *sizes)
        assert net.weights(layer.name).shape == (maps, shape[0], layer.kernel, layer.kernel)
        assert net.weights(layer.name).dtype == np.float32
    assert rows == TABLES[name]


@pytest.mark.parametrize("name", EPOCHS)
def test_one_number_of_epochs_for_each_named_phase(name):
    net, names = create_model(name), EPOCHS[name]
    given = net.epochs(range(1, len(names) + 1))
    numbers = dict(zip(names, range(1, len(names) + 1), strict=True))
    assert given == {phase: numbers[phase.split("_")[0]] for phase in net.phases}
    for wrong in (range(len(names) - 1), range(len(names) + 1)):
        with pytest.raises(UserError, match=f"takes {len(names)}: {' '.join(names)}$"):
            net.epochs(list(wrong))
    with pytest.raises(UserError, match="0 or more"):
        net.epochs([*range(len(names) - 1), -1])
    assert list(net.epochs()) == list(net.phases)
    assert min(net.epochs().values()) > 0


@pytest.mark.parametrize("name", ZOO)
def test_initial_weights_follow_the_seed_alone(name):
    first, again, other = (create_model(name, seed=seed) for seed in (3, 3, 4))
    for layer in first.engine.nodes:
        weights = first.weights(layer)
        np.testing.assert_array_equal(weights, again.weights(layer))
        assert (weights != other.weights(layer)).any()
        mean, std = first.engine.nodes[layer].layer.mean, first.engine.nodes[layer].layer.std
        assert abs(weights.mean() - mean) < 0.01
        assert abs(weights.std() - std) < 0.01
        assert weights.max() > mean + std  # nothing is clipped before a layer learns


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize(
    ("channels", "classes", "size", "steps"),
    [(1, 2, (28, 28), 1), (2, 10, (34, 34), 15), (18, 47, (40, 24), 20), (6, 3, (64, 31), 254)],
)
def test_other_sizes_channels_classes_and_steps(name, channels, classes, size, steps):
    sizes = {"in_channels": channels, "classes": classes, "image_size": size, "steps": steps}
    net = small(name, maps=4, **sizes)
    group = net.decision.group
    for head in net.decision.heads:
        assert len(net.weights(head)) == group * classes
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 2 * steps, (5, channels, *size)).clip(0, 255).astype(np.uint8)
    labels = np.arange(5) % classes
    fit_all(net, shown, labels)
    assert set(net.predict(shown)) <= set(range(-1, classes))
    assert net.scores(shown).shape == (5, classes)


def test_an_image_that_is_too_small_is_refused_by_the_layer_that_cannot_be_made():
    for name in ZOO:
        with pytest.raises(UserError, match=r"use larger images$") as error:
            create_model(name, image_size=(3, 3))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"in_channels": 0}, "in_channels 0: must be 1 or more"),
        ({"classes": -2}, "classes -2: must be 1 or more"),
        ({"image_size": (28, 0)}, "width 0: must be 1 or more"),
        ({"steps": 0}, "steps 0: a latency is a byte"),
        ({"steps": 255}, "steps 255: a latency is a byte"),
        ({"image_size": (5000, 28)}, "larger than"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(sizes, message):
    with pytest.raises(UserError, match=message):
        create_model("mozafari2018", **sizes)


@pytest.mark.parametrize("name", ZOO)
def test_a_tiny_epoch_of_everything(name):
    net, shown = small(name), latencies(20, blank=(3, 11))
    labels = np.arange(20) % 3
    before = shown.copy(), labels.copy()
    result = fit_all(net, shown, labels)
    answers, scores = net.predict(shown), net.scores(shown)
    assert result.decisions.shape == answers.shape == (20,)
    assert result.counts.tolist() == [
        [(d == t).sum(), ((d != t) & (d >= 0)).sum(), (d < 0).sum()]
        for d, t in ((result.decisions[i : i + 8], labels[i : i + 8]) for i in (0, 8, 16))
    ]
    np.testing.assert_array_equal(np.flatnonzero(answers < 0), [3, 11])  # blank images, and only those
    np.testing.assert_array_equal(np.flatnonzero(result.decisions < 0), [3, 11])
    assert (scores[[3, 11]] == 0).all()
    spoken = answers >= 0
    np.testing.assert_array_equal(scores.argmax(axis=1)[spoken], answers[spoken])
    assert scores.max() <= 1
    np.testing.assert_array_equal(shown, before[0])
    np.testing.assert_array_equal(labels, before[1])


@pytest.mark.parametrize("name", ZOO)
def test_weights_stay_within_the_bounds_of_their_rule(name):
    net, shown, labels = small(name), latencies(24), np.arange(24) % 3
    for phase in net.phases:
        net.fit_phase(phase, shown, labels)
        for layer, rule in net.engine.phases[phase].rules.items():
            weights = net.weights(layer)
            assert weights.min() >= np.float32(rule.lower)
            assert weights.max() <= np.float32(rule.upper)


@pytest.mark.parametrize("name", ZOO)
def test_what_a_phase_sees_may_be_computed_once(name):
    shown, labels = latencies(20, blank=(5,)), np.arange(20) % 3
    direct, cached = small(name), small(name)
    for phase in direct.phases:
        first = direct.fit_phase(phase, shown, labels, record=True)
        seen = cached.inputs(phase, shown)
        assert seen.dtype == np.uint8
        kept = seen.copy()
        second = cached.fit_phase(phase, seen, labels, from_inputs=True, record=True)
        np.testing.assert_array_equal(seen, kept)
        for layer in first.winners:
            np.testing.assert_array_equal(first.winners[layer], second.winners[layer])
    for key, array in direct.state_dict().items():
        np.testing.assert_array_equal(array, cached.state_dict()[key])
    answers = cached.engine.answers_from("decision", cached.inputs("decision", shown))
    np.testing.assert_array_equal(answers, direct.predict(shown))


@pytest.mark.parametrize("name", ZOO)
def test_state_goes_round(name):
    shown, labels = latencies(20), np.arange(20) % 3
    net, other = small(name), small(name, seed=9)
    for phase in net.phases:  # stop in the middle of a doubling period, of a turn, of everything
        net.fit_phase(phase, shown[:13], labels[:13])
    state = net.state_dict()
    kept = {key: array.copy() for key, array in state.items()}
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.predict(shown), net.predict(shown))
    for layer in net.engine.nodes:
        assert other.rates(layer) == net.rates(layer)
    for phase in net.phases:
        for each in (net, other):
            each.fit_phase(phase, shown, labels)
    for key, array in net.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[key], err_msg=key)
    for key, array in state.items():  # a copy, which nothing that came after has changed
        np.testing.assert_array_equal(array, kept[key], err_msg=key)


@pytest.mark.parametrize("name", ZOO)
def test_features_of_every_layer(name):
    net, shown = small(name), latencies(6, blank=(2,))
    for layer, shape in convolutions(net.engine.layers, net.engine.shape):
        latency, potential, rank = (
            net.features(shown, layer.name, as_) for as_ in ("latency", "potential", "rank")
        )
        assert latency.shape == potential.shape == rank.shape == (6, *layer.output(shape))
        assert (latency[2] == 255).all()
        assert (potential[2] == 0).all()
        np.testing.assert_array_equal(
            rank, np.where(latency == 255, 0, net.steps - np.minimum(latency, net.steps))
        )
        border = layer.threshold or 0.0
        clear = abs(potential - border) > 1e-4
        np.testing.assert_array_equal((latency != 255)[clear], (potential > border)[clear])
    with pytest.raises(UserError, match="layer conv9: this network has conv1"):
        net.features(shown, "conv9")
    with pytest.raises(UserError, match="choose one of latency, potential, rank"):
        net.features(shown, "conv1", "spikes")


@pytest.mark.parametrize("name", ZOO)
def test_nothing_to_see_is_nothing_to_say(name):
    net, none, blank = small(name), latencies(0), latencies(4, blank=range(4))
    before = net.state_dict()
    assert net.predict(none).shape == (0,)
    assert net.scores(none).shape == (0, 3)
    for phase in net.phases:
        net.fit_phase(phase, none, np.empty(0, np.int64), record=True)
        net.fit_phase(phase, blank, np.zeros(4, np.int64))
    assert (net.predict(blank) == -1).all()
    for head in net.decision.heads:  # a silent image changes nothing, not even by the clipping
        np.testing.assert_array_equal(net.weights(head), before[f"{head}.weight"])


# --- the registry --------------------------------------------------------------------------------------------------


def test_aliases_lead_to_the_same_network():
    assert get_model("deepr2024_2") is get_model("deepr2024_greedy")
    assert create_model("deepr2024_2").name == "deepr2024_greedy"
    assert "deepr2024_2" not in list_models()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError) as error:
        create_model("deep2025")
    assert all(name in str(error.value) for name in list_models())


@pytest.mark.parametrize("taken", ["mozafari2018", "deepr2024_2"])
def test_a_name_is_given_once(taken, monkeypatch):
    monkeypatch.setattr(models, "_NETWORKS", dict(models._NETWORKS))
    with pytest.raises(ValueError, match="registered twice"):
        register("something new", taken)(type("Network", (), {}))


@pytest.mark.parametrize("name", ZOO)
def test_an_unknown_option_lists_the_known_ones(name):
    with pytest.raises(UserError, match=r"option colour: this network has .*conv1_k.*window") as error:
        create_model(name, colour="red")
    assert set(get_model(name).known_options()) == set(str(error.value).split(" has ")[1].split(", "))


@pytest.mark.parametrize("name", ZOO)
def test_every_option_takes_its_default_and_changes_nothing(name):
    kind = get_model(name)
    rules = [vars(rule) for phase in kind.plan for rule in phase.rules.values()]
    shared = {option for option in kind.known_options() if len({r[option] for r in rules if option in r}) > 1}
    defaults = {option: value for option, value in kind.known_options().items() if option not in shared}
    plain, stated = create_model(name), create_model(name, **defaults)
    assert plain.describe() == stated.describe()


def test_options_change_layers_and_rules():
    net = create_model("deeper2024", conv4_threshold=128, conv1_maps=10, conv2_k=3, window=20, ltp=0.01)
    layers = {layer.name: layer for layer, _ in convolutions(net.engine.layers, net.engine.shape)}
    assert (layers["conv4"].threshold, layers["conv2"].k) == (128, 3)
    assert net.weights("conv1").shape[0] == net.weights("conv2").shape[1] == 10
    assert net.engine.phases["decision"].rules["decision"].window == 20
    assert net.rates("conv3")["ltp"] == float(np.float32(0.01))
    assert net.rates("decision")["reward_ltp"] == float(np.float32(0.004))


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("window", 0, "a whole number from 1"),
        ("window", 2.5, "a whole number"),
        ("window", True, "a whole number"),
        ("doubling_period", "often", "a whole number"),
        ("conv1_threshold", float("nan"), "a number from 0"),
        ("conv1_threshold", float("inf"), "a number from 0"),
        ("conv1_threshold", -1.0, "a number from 0"),
        ("conv1_maps", 0, "a whole number from 1"),
        ("conv1_k", 0, "a whole number from 1"),
        ("conv1_radius", -1, "a whole number from 0"),
        ("ltp", "fast", "a number"),
        ("upper", 1.5, "a number from 0 to 1"),
        ("stabilise", 1, "true or false"),
    ],
)
def test_an_option_of_the_wrong_kind_or_size_is_refused(option, value, wanted):
    with pytest.raises(UserError, match=f"option {option}: .*{wanted}"):
        create_model("mozafari2018", **{option: value})


def test_named_choices_are_checked():
    with pytest.raises(
        UserError, match="option schedule: 'never' given, together, alternate, original allowed"
    ):
        create_model("deepr2024_greedy", schedule="never")
    with pytest.raises(UserError, match=r"option join: 'xor' given, .*first_spike.*allowed"):
        create_model("resnet2024", join="xor")


@pytest.mark.parametrize(
    "join", ["first_spike", "logical_or", "logical_and", "add", "earliest", "latest", "both"]
)
def test_the_skip_layer_is_joined_as_asked(join):
    """logical_or and first_spike: the earlier latency; logical_and: the later; add: each counts for itself."""
    net, shown = small("resnet2024", join=join), latencies(4)
    conv3 = net.features(shown, "conv3")
    skip = np.minimum.reduce(
        [net.features(shown, "skip")[:, :, i::2, j::2][:, :, :5, :5] for i in (0, 1) for j in (0, 1)]
    )
    joined = {
        "add": np.concatenate,
        "both": np.concatenate,
        "logical_and": np.maximum,
        "latest": np.maximum,
    }.get(join, np.minimum)
    expected = joined([conv3, skip], axis=1) if joined is np.concatenate else joined(conv3, skip)
    windows = expected[:, :, :3, :3]  # 5x5 pooled by 3: one window
    np.testing.assert_array_equal(net.inputs("decision", shown)[:, :, 0, 0] < 8, windows.min(axis=(2, 3)) < 8)


def test_the_files_of_the_networks_hold_no_loop():
    for path in Path(models.__file__).parent.glob("*.py"):
        loops = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.While | ast.For)
        ]
        assert not loops or path.name == "__init__.py", path
        assert not any(
            isinstance(node, ast.FunctionDef) for node in ast.walk(ast.parse(path.read_text()))
        ) or (path.name == "__init__.py")
