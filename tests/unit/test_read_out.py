"""Networks of the zoo cut behind a layer and read out by a classifier."""

import numpy as np
import pytest

from firstspike.errors import UserError
from firstspike.layers import Conv, Readout, walk
from models import create_model, get_model
from tests.zoo import BUILT, SIDE, latencies

LAYERED = [
    name for name in BUILT if len([x for x in walk(get_model(name).layers) if isinstance(x, Conv)]) > 1
]


def names(net):
    return [layer.name for layer in walk(net.describe().layers) if isinstance(layer, Conv)]


@pytest.mark.parametrize("name", LAYERED)
def test_the_classifier_sees_what_the_decision_would(name):
    sizes = {"image_size": (SIDE, SIDE), "steps": 8, "classes": 3, **shrunk(name)}
    whole, cut = (create_model(name, readout=readout, **sizes) for readout in (None, "linear"))
    for layer in names(cut):
        cut.set_weights(layer, whole.weights(layer))
    shown = latencies(20)
    head = whole.decision.heads[0]
    np.testing.assert_array_equal(cut.inputs("decision", shown), whole.engine.before(head, shown))
    labels = np.arange(20) % 3
    result = cut.fit_phase("decision", shown, labels)
    np.testing.assert_array_equal(result.decisions, cut.predict(shown))
    assert result.counts.sum() == 20
    assert cut.scores(shown).shape == (20, 3)


def shrunk(name):
    known = get_model(name, "linear").known_options()
    eager = {o: 3.0 for o in known if o.endswith("_threshold") and known[o] > 0}
    return {option: 6 for option in known if option.endswith("_maps")} | eager


def test_a_layer_keeps_the_pooling_behind_it_and_its_own_phases():
    net = create_model("deep2024", readout="knn", readout_layer="conv2")
    assert names(net) == ["conv1", "conv2"]
    assert net.phases == ("conv1", "conv2", "decision")
    assert [type(layer).__name__ for layer in net.describe().layers] == ["Conv", "Pool"] * 2 + ["Readout"]
    assert net.describe().layers[-1] == Readout("decision", net.layers[-1].classifier, 10)
    assert {"neighbours", "components", "power", "ltp"} <= set(net.known_options())


def test_of_branches_only_the_path_is_kept():
    net = create_model("inception2024", readout="knn", readout_layer="conv3_2")
    assert names(net) == ["conv1", "conv2", "conv3_2"]
    assert net.phases == ("conv1", "conv2", "conv3_2", "decision")


def test_layers_learn_as_they_do_in_the_whole_network():
    shown = latencies(12, side=28)
    nets = [create_model("mozafari2018", conv1_threshold=3.0, readout=how, steps=8) for how in (None, "knn")]
    for net in nets:
        net.fit_phase("conv1", shown)
    np.testing.assert_array_equal(nets[0].weights("conv1"), nets[1].weights("conv1"))


@pytest.mark.parametrize(
    ("model", "readout", "layer", "line"),
    [
        ("mozafari2018", "svm", "conv9", "readout layer conv9: this network has conv1, conv2"),
        ("mozafari2018", "svm", "decision", "readout layer decision: this network has conv1, conv2"),
        ("mozafari2018", "tree", None, "--readout tree: choose one of svm, linear, knn"),
        ("mozafari2018", None, "conv1", "--readout-layer conv1: give --readout too"),
        ("mozafari_shallow2018", "svm", None, "no layer before its decision: choose another model"),
        ("ncg2024", "svm", None, "no layer before its decision: choose another model"),
    ],
)
def test_what_cannot_be_is_refused(model, readout, layer, line):
    with pytest.raises(UserError, match=line):
        get_model(model, readout, layer)
