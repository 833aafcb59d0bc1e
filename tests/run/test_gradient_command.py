"""Networks trained by gradients, by the command: a run on the digits, its report, presets, what is refused."""

import json

import pytest
from safetensors.numpy import load_file

from tests.run.command import history, the_run, typed

SPSN = [
    *("--model", "spsn2023", "--dataset", "digits", "--coding", "rows", "--first", "300", "--epochs", "5"),
    *("--hidden-size", "40", "--layers", "1", "--lr", "0.02", "--batch-size", "20", "--threads", "1"),
    *("--tau-mem", "0.005", "--tau-syn", "0.002"),
]
REPORT = {
    "config.yaml", "confusion_matrix.png", "features.png", "history.csv", "history.png", "metrics.json",
    "predictions.csv", "rasters.png", "roc.png",
}  # fmt: skip


def figures(run):
    return json.loads((run / "metrics.json").read_text())


@pytest.fixture(scope="module")
def spsn(tmp_path_factory, cache):
    runs = tmp_path_factory.mktemp("spsn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRSTSPIKE_CACHE", str(cache))
        assert typed(*SPSN, "--run-dir", runs) == 0
    return the_run(runs)


def test_a_run_reports_like_any_other(spsn):
    assert {path.name for path in spsn.iterdir()} == {*REPORT, "checkpoints"}
    found, rows = figures(spsn), history(spsn)
    assert (found["model"], found["dataset"], found["images"]) == ("spsn2023", "digits", 359)
    assert found["accuracy"] > 0.2
    assert found["operations"] > found["spikes"] > 0
    assert [row["epoch"] for row in rows] == list("01234")
    tested = [float(row["test_accuracy"]) for row in rows]
    best = found["test_selected"]
    assert (best["accuracy"], best["epoch"]) == (max(tested), tested.index(max(tested)))
    assert found["accuracy"] == tested[found["best_epoch"]]
    state = load_file(spsn / "checkpoints" / "last.safetensors")
    assert state["network/maps.0.weight"].shape == (40, 28)
    assert any(name.startswith("optimiser/") for name in state)
