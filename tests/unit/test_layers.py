"""Descriptions: shapes, options and their checks, walking and editing; as plain data and back."""

import json
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from firstspike.describe import from_plain, to_plain
from firstspike.description import Description, check_option, edit
from firstspike.errors import UserError
from firstspike.layers import (
    RSTDP,
    STDP,
    Branches,
    Conv,
    Decision,
    Phase,
    Pool,
    convolutions,
    is_decision,
    output_shape,
    walk,
)
from models import create_model
from tests.zoo import ZOO

CONV = Conv("conv1", 4, 3, threshold=2, pad=1, k=2, radius=1)
HEAD = Conv("decision", 0, 2)
SPLIT = Branches(((Pool(2), Conv("left", 5, 1, 1)), (Conv("right", 5, 2, 1), Pool(2, pad=1))))
PLAN = (
    Phase("conv1", {"conv1": STDP()}, epochs=2),
    Phase("decision", {"conv1": RSTDP(lower=0.0), "decision": RSTDP()}, epochs=3, turns="alternate"),
)
NETWORK = Description((CONV, Pool(2), HEAD), PLAN, Decision(group=3))


# --- shapes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "side", "out"),
    [
        (Pool(2), 28, 14),
        (Pool(3), 14, 4),
        (Pool(3), 7, 2),
        (Pool(2), 7, 3),
        (Pool(3, 1), 7, 5),
        (Pool(3, 2, 1), 7, 4),
        (Pool(1), 5, 5),
        (Pool(7), 7, 1),
    ],
)
def test_pooling_rounds_down(pool, side, out):
    assert pool.output((3, side, side + pool.step)) == (3, out, out + 1)


@pytest.mark.parametrize(
    ("kernel", "pad", "side", "out"), [(5, 2, 28, 28), (3, 1, 14, 14), (4, 2, 2, 3), (7, 1, 7, 3)]
)
def test_convolutions_add_what_is_padded_and_lose_the_kernel(kernel, pad, side, out):
    assert Conv("c", 9, kernel, 1, pad).output((3, side, side + 2)) == (9, out, out + 2)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Pool(9), "pooling 9 does not fit an input of 8x8: use larger images"),
        (
            Conv("c", 1, 11, 1, pad=1),
            "layer c: kernel 11 does not fit its input of 8x8 padded by 1: use larger images",
        ),
    ],
)
def test_what_does_not_fit_says_so(layer, message):
    with pytest.raises(UserError) as error:
        layer.output((1, 8, 8))
    assert str(error.value) == message


def test_branches_are_put_side_by_side_or_on_top_of_each_other():
    paths = ((Conv("a", 4, 3, 1, pad=1),), (Conv("b", 6, 5, 1, pad=1),))
    assert Branches(paths, pads=(0, 1)).output((2, 9, 9)) == (10, 9, 9)
    with pytest.raises(UserError, match="branches of different shapes cannot be joined"):
        Branches(paths).output((2, 9, 9))
    for join in ("earliest", "latest", "both"):
        with pytest.raises(UserError, match="branches of different shapes cannot be joined"):
            Branches(paths, pads=(0, 1), join=join).output((2, 9, 9))  # 4 maps on 6 maps
        assert Branches((paths[0], paths[0]), join=join).output((2, 9, 9)) == (4, 9, 9)
    assert Branches(paths, join="votes").output((2, 9, 9)) == (4, 9, 9)


def test_a_path_is_its_layers_one_after_the_other():
    assert output_shape((CONV, Pool(2), SPLIT), (6, 17, 17)) == (10, 4, 4)
    assert output_shape((), (6, 17, 17)) == (6, 17, 17)


def test_convolutions_come_from_the_input_upwards_with_what_they_see():
    found = [(layer.name, shape) for layer, shape in convolutions((CONV, Pool(2), SPLIT, HEAD), (6, 17, 17))]
    assert found == [
        ("conv1", (6, 17, 17)),
        ("left", (4, 4, 4)),
        ("right", (4, 8, 8)),
        ("decision", (10, 4, 4)),
    ]


def test_walking_and_editing_reach_into_branches():
    layers = (CONV, SPLIT, HEAD)
    assert [getattr(layer, "name", type(layer).__name__) for layer in walk(layers)] == [
        "conv1", "Branches", "Pool", "left", "right", "Pool", "decision",
    ]  # fmt: skip
    grown = edit(layers, lambda layer: replace(layer, maps=7) if isinstance(layer, Conv) else layer)
    assert [layer.maps for layer, _ in convolutions(grown, (6, 16, 16))] == [7] * 4
    assert edit(layers, lambda layer: layer) == layers
    assert [is_decision(layer) for layer in layers] == [False, False, True]


def test_descriptions_are_frozen():
    for thing, name in ((CONV, "maps"), (Pool(2), "window"), (STDP(), "ltp"), (NETWORK, "layers")):
        with pytest.raises(FrozenInstanceError):
            setattr(thing, name, 1)


# --- options -------------------------------------------------------------------------------------------------------


def test_options_are_the_numbers_of_rules_and_layers():
    options = NETWORK.options()
    assert options["schedule"] == "alternate"
    assert options["conv1_threshold"] == 2.0
    assert isinstance(options["conv1_threshold"], float)
    assert {name for name in options if name.startswith("decision")} == set()  # classes decide its maps
    assert {"ltp", "ltd", "doubling_period", "window", "reward_ltp", "conv1_k"} <= set(options)
    assert "join" not in options
    assert create_model("resnet2024").known_options()["join"] == "earliest"


def test_an_option_changes_what_it_names_and_nothing_else():
    changed = NETWORK.with_options(
        {"conv1_maps": 9, "window": 7, "schedule": "original", "conv1_threshold": 1}
    )
    assert changed.layers == (replace(CONV, maps=9, threshold=1), Pool(2), HEAD)
    assert changed.phases[0] == PLAN[0]
    assert [rule.window for rule in changed.phases[1].rules.values()] == [7, 7]
    assert changed.phases[1].turns == "original"
    assert NETWORK.with_options({}) == NETWORK


def test_classes_decide_the_maps_of_the_heads():
    assert NETWORK.for_classes(47).layers[-1].maps == 141
    assert NETWORK.for_classes(47).layers[:-1] == NETWORK.layers[:-1]


@pytest.mark.parametrize(
    ("value", "default"),
    [(3, 5), (True, False), ("x", "y"), (0.5, 0.1), (1, 0.1), (np.int64(4), 5)],
)
def test_values_of_the_right_kind(value, default):
    check_option("anything", value, default)


@pytest.mark.parametrize(
    ("name", "value", "default", "wanted"),
    [
        ("anything", "3", 5, "a whole number"),
        ("anything", 3.0, 5, "a whole number"),
        ("anything", True, 5, "a whole number"),
        ("anything", True, 0.5, "a number"),
        ("anything", None, 0.5, "a number"),
        ("anything", float("nan"), 0.5, "a number"),
        ("anything", 1, False, "true or false"),
        ("anything", 1, "x", "a name"),
        ("window", 0, 5, "a whole number from 1 to"),
        ("doubling_period", 0, 5, "a whole number from 1 to"),
        ("conv1_radius", -1, 5, "a whole number from 0 to"),
        ("upper", 1.01, 0.8, "a number from 0 to 1"),
    ],
)
def test_values_of_the_wrong_kind_or_size(name, value, default, wanted):
    with pytest.raises(UserError) as error:
        check_option(name, value, default)
    assert str(error.value).startswith(f"option {name}: {value!r} given, {wanted}")
    assert str(error.value).endswith(f" needed, such as {default}")


def test_a_phase_knows_whether_it_needs_labels():
    assert [phase.supervised for phase in PLAN] == [False, True]
    assert [phase.number for phase in (*PLAN, Phase("conv3_2", {}, 1, counted_as="conv3"))] == [
        "conv1", "decision", "conv3",
    ]  # fmt: skip


# --- as plain data -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ZOO)
def test_every_description_goes_through_json(name):
    description = create_model(name).describe()
    assert from_plain(json.loads(json.dumps(to_plain(description)))) == description


def test_what_a_newer_version_wrote_is_refused():
    with pytest.raises(UserError, match="unknown kind of description 'Attention'"):
        from_plain([{"kind": "Attention", "heads": 3}])
