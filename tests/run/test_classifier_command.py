"""The command with a classifier as the decision: trained, evaluated, killed and resumed, refused."""

import json
import shutil
import signal

import numpy as np
import pytest
from safetensors.numpy import load_file

from firstspike import checkpoint
from firstspike.classifiers import CLASSIFIERS
from tests.run.command import TINY, finish, history, same_run, start, the_run, tree, typed

LAYERS = [*TINY[:-6], "--threads", "1"]  # without numbers of epochs
RECIPE = [
    *("--model", "shirsavar2022", "--dataset", "digits", "--threads", "1"),
    *("--conv1-maps", "8", "--conv2-maps", "12", "--components", "20", "--first", "200"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
    """A run of the recipe that nobody disturbed."""
    runs = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRSTSPIKE_CACHE", str(cache))
        assert typed(*RECIPE, "--run-dir", runs) == 0
    return the_run(runs)


def test_the_recipe_learns(whole):
    assert json.loads((whole / "metrics.json").read_text())["accuracy"] > 0.6
    learnt = load_file(whole / "checkpoints" / "best.safetensors")
    assert learnt["decision.learnt.weights"].shape == (len(learnt["decision.learnt.support"]), 45)
    assert {path.stem for path in (whole / "checkpoints").iterdir()} == {
        *("conv1", "conv2", "decision", "last", "best")
    }


def test_evaluation_says_the_same(whole, tmp_path):
    assert typed("--evaluate", whole, "--run-dir", tmp_path / "again") == 0
    for name in ("metrics.json", "predictions.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (whole / name).read_bytes()


def test_a_killed_run_goes_on_to_the_same_bytes(whole, tmp_path):
    process = start(*RECIPE, "--run-dir", "runs", cwd=tmp_path)
    for line in process.stdout:
        if line.startswith("conv2") and "1/1" in line:
            process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    run = the_run(tmp_path)
    status, out, _ = finish("--resume", run, cwd=tmp_path)
    assert status == 0
    assert "conv1" not in [line.split()[0] for line in out.splitlines() if "/1 " in line]
    same_run(run, whole)


def test_altered_copies_are_learnt_too(tmp_path):
    assert typed(*RECIPE, "--augment", "--epochs", 0, 0, 1, "--run-dir", tmp_path) == 0
    assert history(the_run(tmp_path))[-1]["images"] == "360"


@pytest.mark.parametrize("readout", CLASSIFIERS)
def test_any_network_is_read_out(readout, tmp_path):
    arguments = [*LAYERS, "--readout", readout, "--readout-layer", "conv2", "--components", "10"]
    assert typed(*arguments, "--run-dir", tmp_path / "one") == 0
    run = the_run(tmp_path / "one")
    assert json.loads((run / "metrics.json").read_text())["accuracy"] > 0.3
    assert [row["phase"] for row in history(run)][-1] == "decision"
    assert typed("--evaluate", run, "--run-dir", tmp_path / "two") == 0
    for name in ("metrics.json", "predictions.csv"):
        assert (tmp_path / "two" / name).read_bytes() == (run / name).read_bytes()


def test_a_run_is_resumed_with_the_same_readout_only(whole, capsys):
    assert typed("--resume", whole, "--readout", "linear") == 2
    assert "the checkpoint was made with" in capsys.readouterr().err


def test_a_damaged_classifier_is_refused(whole, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    for name in ("best", "last"):
        place = run / "checkpoints" / f"{name}.safetensors"
        state, meta = checkpoint.load(place)
        checkpoint.save(place, {**state, "decision.learnt.mean": np.zeros(3, np.float32)}, meta)
    assert typed("--evaluate", run) == 2
    assert "decision is of another classifier or input" in capsys.readouterr().err


WRONG = [
    (("--readout", "tree"), "--readout tree: choose one of svm, linear, knn"),
    (
        ("--readout", "svm", "--readout-layer", "conv9"),
        "readout layer conv9: this network has conv1, conv2",
    ),
    (("--readout-layer", "conv1"), "--readout-layer conv1: give --readout too, one of svm, linear, knn"),
    (("--readout", "knn", "--neighbours", "0"), "option neighbours: 0 given, a whole number from 1"),
    (("--readout", "svm", "--neighbours", "3"), "unrecognized arguments: --neighbours 3"),
    (("--readout", "svm", "--cost=-1"), "option cost: -1.0 given, a number from"),
    (("--readout", "svm", "--epochs", "1"), "--epochs 1: mozafari2018 takes 3: conv1 conv2 decision"),
    (("--model", "ncg2024", "--readout", "svm"), "no layer before its decision: choose another model"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[m[:30] for _, m in WRONG])
def test_what_cannot_be_is_refused(arguments, message, capsys, tmp_path):
    before = tree(tmp_path)
    chosen = LAYERS if "--model" not in arguments else ["--dataset", "digits"]
    assert typed(*chosen, *arguments) == 2
    assert message in capsys.readouterr().err
    assert tree(tmp_path) == before
