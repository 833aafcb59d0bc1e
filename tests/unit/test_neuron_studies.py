"""The studies of neurons as commands, on next to nothing: they run, write what they promise, and go on."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import biological_features, loading, machine, neuron_accuracy, robustness, single_spike
from firstspike.data import Recordings, RecordingSet
from firstspike.data.recordings import joined
from firstspike.errors import UserError
from firstspike.neurons.training import Arrays


def arrays(count=24, units=6):
    random = np.random.default_rng(0)
    x = (random.random((count, 10, units)) < 0.3).astype(np.float32)
    return Arrays(x, random.integers(3, size=count))


def recordings(count):
    random = np.random.default_rng(count)
    pairs = [
        (np.sort(random.integers(0, 90, 30)).astype(np.int32), random.integers(0, 8, 30))
        for _ in range(count)
    ]
    times, units, offsets = joined(pairs)
    return Recordings(times, units.astype(np.uint16), offsets, random.integers(2, size=count), (8,), 1e-3)


@pytest.fixture
def forbidden(monkeypatch):
    """Call to make any further training fail."""

    def refuse(*_, **__):
        raise AssertionError("trained again")

    return lambda module, name: monkeypatch.setattr(module, name, refuse)


def test_accuracy_study_goes_on_where_it_stopped(monkeypatch, tmp_path, forbidden):
    tiny = neuron_accuracy.Study("Tiny", lambda _: neuron_accuracy.Parts(arrays(), arrays(), 6, 3), 1)
    monkeypatch.setitem(neuron_accuracy.STUDIES, "yinyang", tiny)
    image = tmp_path / "a.png"
    common = ["--datasets", "yinyang", "--out", str(tmp_path), "--image", str(image), "--seeds", "0", "1"]
    neuron_accuracy.main([*common, "--neurons", "LIF"])
    first = json.loads((tmp_path / "neuron_accuracy.json").read_text())["runs"]["yinyang"]["found"]
    neuron_accuracy.main([*common, "--neurons", "LIF", "ParaLIF-GS"])
    found = json.loads((tmp_path / "neuron_accuracy.json").read_text())["runs"]["yinyang"]["found"]
    assert set(found) == {"LIF 0", "LIF 1", "ParaLIF-GS 0", "ParaLIF-GS 1"}
    assert found["LIF 0"] == first["LIF 0"]
    forbidden(neuron_accuracy, "run")
    neuron_accuracy.main([*common, "--neurons", "LIF", "ParaLIF-GS"])
    table = (tmp_path / "neuron_accuracy.md").read_text()
    assert table.count("±") == 2
    assert "24 training and 24 test samples, 1 epochs" in table
    assert image.stat().st_size > 10_000


def test_another_setting_is_another_study(monkeypatch, tmp_path):
    common = [
        "--datasets",
        "yinyang",
        "--out",
        str(tmp_path),
        "--image",
        str(tmp_path / "a.png"),
        "--seeds",
        "0",
    ]
    for epochs in (1, 2):
        tiny = neuron_accuracy.Study(
            "Tiny", lambda _: neuron_accuracy.Parts(arrays(), arrays(), 6, 3), epochs
        )
        monkeypatch.setitem(neuron_accuracy.STUDIES, "yinyang", tiny)
        neuron_accuracy.main([*common, "--neurons", "LIF"])
        own = json.loads((tmp_path / "neuron_accuracy.json").read_text())["runs"]["yinyang"]
        assert own["settings"]["epochs"] == epochs


def test_noise_study(monkeypatch, tmp_path, forbidden):
    data = RecordingSet("tiny", recordings(20), recordings(10), ("a", "b"))
    monkeypatch.setattr(robustness, "load_recordings", lambda *_: data)
    image = tmp_path / "a.png"
    command = ["--epochs", "1", "--layers", "1", "--draws", "2", "--neurons", "LIF", "ParaLIF-D"]
    command += ["--out", str(tmp_path), "--image", str(image)]
    robustness.main(command)
    results = json.loads((tmp_path / "robustness.json").read_text())
    assert len(results["found"]) == 4
    assert all(len(draws) == 2 for found in results["found"].values() for draws in found.values())
    assert image.stat().st_size > 10_000
    forbidden(robustness, "run")
    robustness.main(command)


def test_noise_flips_and_is_drawn_anew(monkeypatch):
    source = robustness.binned(recordings(10), robustness.HalfOpen(1e-2))
    chosen = np.arange(10)
    clean, *noisy = (
        robustness.Noisy(source, level, k).batch(chosen) for level, k in ((None, 0), (0.0, 0), (0.0, 1))
    )
    assert np.array_equal(clean, source.batch(chosen))
    flipped = [(batch != clean) for batch in noisy]
    assert (flipped[0] != flipped[1]).any()
    assert flipped[0].mean() == pytest.approx(clean.mean(), rel=0.3)  # 0 dB: as likely as a spike
    assert set(np.unique(noisy[0][flipped[0]])) <= {0, 1}


def test_single_spike_study_goes_on_epoch_by_epoch(monkeypatch, tmp_path, forbidden):
    task = single_spike.Task("Tiny", lambda name, setting: (arrays(), arrays(12)), (6,), 99.0, 99.5)
    monkeypatch.setattr(single_spike, "TASKS", {"tiny": task})
    common = [
        "--tasks",
        "tiny",
        "--setting",
        "chosen",
        "--out",
        str(tmp_path),
        "--states",
        str(tmp_path / "states"),
    ]
    single_spike.main([*common, "--epochs", "1"])
    first = json.loads((tmp_path / "single_spike.json").read_text())["rows"]
    single_spike.main([*common, "--epochs", "2"])
    rows = json.loads((tmp_path / "single_spike.json").read_text())["rows"]
    assert [len(row["history"]) for row in rows] == [2, 2]
    assert rows[0]["history"][0] == first[0]["history"][0]
    forbidden(single_spike.GradientEngine, "fit_phase")
    single_spike.main([*common, "--epochs", "2"])
    table = (tmp_path / "single_spike.md").read_text()
    assert "| Tiny | - | convolutional | - | not run | - | 99.5 |" in table
    faster = replace(single_spike.SETTINGS["chosen"], lr=0.1)
    monkeypatch.setitem(single_spike.SETTINGS, "chosen", faster)
    with pytest.raises(UserError, match="lr"):
        single_spike.main([*common, "--epochs", "2"])


def test_biological_features_are_the_published_ones(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    biological_features.main(["--image", str(tmp_path / "a.png")])
    table = (tmp_path / "biological_features.md").read_text()
    assert table.count("| yes |") == len(biological_features.EXPERIMENTS) == 13
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_loading_rates():
    case = loading.Case("Tiny", "tiny", loading.HalfOpen(1e-2), np.float32, 10)
    row = loading.measure(case, recordings(300))
    assert all(row[rate] > 0 for rate in loading.RATES)
    assert row["kilobytes"] == pytest.approx(9 * 8 * 4 / 1e3)
    assert [len(part) for part in loading.batches(300)] == [128, 128]
    layer = loading.first_layer("Tiny", loading.binned(recordings(9), case.rule).events(np.arange(9)))
    assert layer["filled"] == pytest.approx(30 / (9 * 8))
    table = loading.table([row], [{"name": "tiny", "reading": 1.0}], [layer])
    assert "| Tiny | 0 | 10 |" in table
    assert "| Tiny | 41.7 |" in table
