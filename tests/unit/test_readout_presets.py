"""The published settings: all there, read as the spec of each field says."""

import pytest

from firstspike.errors import UserError
from firstspike.readouts import RSTDP, S2STDP, S4NN, SSTDP, Additive, Free, OneThreshold, TwoThresholds
from firstspike.readouts.presets import list_presets, preset, readout_of, settings


def test_there_are_128_and_all_can_be_built():
    assert len(list_presets()) == len(set(list_presets())) == 128
    for name in list_presets():
        found = preset(name)
        assert found.name == name
        assert (found.epochs, found.patience) == (100, 10)
        assert found.readout.groups.per_class == int(settings()[name]["neurons_per_class"])
        assert found.readout.annealing == 0.98


def test_the_method():
    found = preset("MNIST/s2stdp+ncg")
    readout = found.readout
    assert (found.extractor, found.dataset, found.classes) == ("stdpcsnn", "mnist", 10)
    assert readout.rule == S2STDP(0.03, 0.05, -0.1, Additive())
    assert readout.regulation == TwoThresholds(10.0, 0.5)
    assert (readout.layer.threshold, readout.layer.mean, readout.layer.normalise) == (200, 0.3, True)
    assert (readout.groups.per_class, readout.groups.non_target, readout.groups.inhibit) == (5, 1, True)


def test_variants():
    assert isinstance(preset("mnist/sstdp").readout.rule, SSTDP)
    rstdp = preset("cifar10/rstdp-5n").readout
    assert rstdp.rule == RSTDP(0.05, -0.001, -0.05, 0.001)
    assert rstdp.dropout.outputs == 0.15
    s4nn = preset("softhebb/cifar10/s4nn+ncg")
    assert s4nn.extractor == "softhebb"
    assert isinstance(s4nn.readout.rule, S4NN)
    assert s4nn.readout.rule.ranges
    assert isinstance(preset("cifar10/s2stdp+ncg-cr-1-thr").readout.regulation, OneThreshold)
    assert isinstance(preset("softhebb/fashion-mnist/sstdp+ncg-cr-1-thr").readout.regulation, TwoThresholds)
    assert preset("mnist/s2stdp+ncg-no-cr").readout.regulation == Free()
    assert preset("cifar10/s2stdp+ncg-no-ltd").readout.rule.am == 0


def test_fields_that_no_published_setting_uses():
    row = dict(settings()["mnist/s2stdp+ncg"])
    row |= {
        "leak_tau": "0.5",
        "stdp": "multiplicative",
        "beta": "2",
        "w_init_normal": "false",
        "dropout_in": "0.1",
    }
    readout = readout_of(row)
    assert (readout.layer.leak, readout.layer.std, readout.dropout.inputs) == (0.5, None, 0.1)
    assert (readout.rule.stdp.beta, readout.rule.stdp.high) == (2, 1)
    with pytest.raises(UserError, match="only rstdp has rates of punishment"):
        readout_of(row | {"anti_ap": "-0.1"})
    del row["beta"]
    with pytest.raises(UserError, match="without beta"):
        readout_of(row)


def test_unknown_names_list_the_near_ones():
    with pytest.raises(
        UserError, match=r"no preset 'mnist/x'; there are mnist/rstdp-20n, .*mnist/s2stdp\+ncg"
    ):
        preset("mnist/x")
    with pytest.raises(UserError, match=r"there are cifar10/\.\.\., cifar100/\.\.\."):
        preset("nothing")
