"""Networks trained by gradients, by the command: a run on the digits, its report, presets, what is refused."""

import json
import os
import signal
import subprocess
import sys

import pytest
from safetensors.numpy import load_file

from tests.run.command import TRAIN, finish, history, start, the_run, typed
from tests.run.test_resume import same_run, stop_at

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


def test_a_killed_run_goes_on_to_the_same_losses(spsn, tmp_path):
    killed = start(*SPSN, "--run-dir", "runs", cwd=tmp_path)
    stop_at(killed, "train     2/5", signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    run = the_run(tmp_path)
    assert 1 <= len(history(run)) < 5  # the checkpoint may be a row ahead
    status, out, err = finish("--resume", run, cwd=tmp_path)
    assert (status, err) == (0, "")
    assert "train     1/5" not in out
    same_run(run, spsn)
    for name in ("history.png", "rasters.png", "roc.png"):
        assert (run / name).read_bytes() == (spsn / name).read_bytes(), name


def test_evaluation_says_the_same(spsn, tmp_path):
    assert typed("--evaluate", spsn, "--run-dir", tmp_path / "again") == 0
    assert figures(tmp_path / "again") == figures(spsn)


def together(*arguments, cwd):
    """The command in two processes, as torchrun starts them: status, output, errors."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(TRAIN),
    ]
    process = subprocess.run(
        [*command, *map(str, arguments)],
        cwd=cwd,
        text=True,
        capture_output=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return process.returncode, process.stdout, process.stderr


def test_two_processes_have_the_losses_of_one(tmp_path):
    """41 validation samples and batches of 20: the last batch has one sample, and one process none."""
    parallel = (*SPSN, "--neuron", "SPSN-GS", "--lr", "0.001", "--epochs", "2", "--device", "cpu")
    parallel = (*parallel, "--first", "301", "--validation", "0.137")
    status, out, err = together(*parallel, "--run-dir", "two", cwd=tmp_path)
    assert (status, err) == (0, "")
    assert out.count("train     2/2") == out.count("report in") == 1  # one process speaks
    assert typed(*parallel, "--run-dir", tmp_path / "one") == 0
    two, one = (history(the_run(tmp_path / name)) for name in ("two", "one"))
    assert len(two) == len(one) == 2
    for there, here in zip(two, one, strict=True):
        for name in ("loss", "validation_loss", "validation_accuracy", "test_accuracy", "spikes"):
            assert float(there[name]) == pytest.approx(float(here[name]), abs=1e-5), name
