"""The studies of readouts: what stands in their tables and figures."""

import numpy as np
import pytest

from benchmarks import readout_ablation, readout_accuracy
from firstspike.readouts.presets import settings
from firstspike.report.plots import pixels

FOUND = {"test": 0.98, "test_last": 0.97, "epochs": 20, "minutes": 1.5}
OTHER = {"test": 0.99, "test_last": 0.98, "epochs": 30, "minutes": 2.5}


def test_a_table_has_a_line_a_setting_in_order():
    results = {
        "mnist/s2stdp": {"0": OTHER},
        "cifar10/s2stdp+ncg, first 15000": {"0": FOUND},
        "mnist/s2stdp+ncg": {"0": FOUND, "1": OTHER},
    }
    _, _, *lines = readout_accuracy.table(results).splitlines()
    assert lines == [
        "| mnist/s2stdp+ncg | 98.92 | 98.50 ± 0.50 | 97.50 ± 0.50 | 2 | 25 | 2.0 |",
        "| mnist/s2stdp | - | 99.00 ± 0.00 | 98.00 ± 0.00 | 1 | 30 | 2.5 |",
        "| cifar10/s2stdp+ncg, first 15000 | 66.41 | 98.00 ± 0.00 | 97.00 ± 0.00 | 1 | 20 | 1.5 |",
    ]


def test_folds_are_added_to_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(readout_accuracy, "RESULTS", tmp_path)
    readout_accuracy.keep("a", 10, FOUND, "study", first=5)
    results = readout_accuracy.keep("a", 2, OTHER, "study")
    assert list(results["a"]) == ["2", "10"]
    assert readout_accuracy.stored("study") == results
    assert readout_accuracy.stored("other") == {}


@pytest.mark.parametrize("dataset", ["fashion-mnist", "cifar10"])
def test_every_step_of_the_ablation_is_published(dataset):
    assert {f"{dataset}/{name}" for name in readout_ablation.STEPS.values()} <= set(settings())
    assert set(readout_accuracy.SETTINGS) <= set(settings())


def test_the_ablation_is_drawn_step_by_step():
    results = {"x/s2stdp": {"0": FOUND, "1": OTHER}, "x/s2stdp+ncg": {"0": OTHER}}
    found = readout_ablation.accuracies(results, "x")
    assert {step: folds.tolist() for step, folds in found.items()} == {"M-1": [98, 99], "M-5+CR-2+L": [99]}
    drawn = readout_ablation.figure(found, "x")
    assert [label.get_text() for label in drawn.axes[0].get_xticklabels()] == list(found)
    assert np.ptp(pixels(drawn)) > 100
