"""Feature extractors by the command: a run, resumed, evaluated; a readout on its features; what is refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import network_trainer
from tests.run.command import history, the_run, typed
from tests.run.test_readout_command import REPORT
from tests.run.test_refusals import refused

CSNN = [
    *("--model", "stdpcsnn", "--dataset", "digits", "--first", "200", "--threads", "1", "--epochs", "3", "3"),
    *("--filters", "32"),
]
HEBB = [
    *("--model", "softhebb", "--dataset", "digits", "--first", "120", "--threads", "1", "--epochs", "1", "2"),
    *("--conv1-maps", "6", "--conv2-maps", "8", "--conv3-maps", "10", "--device", "cpu"),
]


def run_of(arguments, runs, cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRSTSPIKE_CACHE", str(cache))
        assert typed(*arguments, "--run-dir", runs) == 0
    return the_run(runs)


@pytest.fixture(scope="module")
def csnn(tmp_path_factory, cache):
    return run_of([*CSNN, "--tensorboard", "--activation-maps"], tmp_path_factory.mktemp("csnn"), cache)


@pytest.fixture(scope="module")
def hebb(tmp_path_factory, cache):
    return run_of([*HEBB, "--tensorboard", "--activation-maps"], tmp_path_factory.mktemp("hebb"), cache)


@pytest.mark.parametrize(
    ("model", "phases", "least"), [("csnn", ["conv1"] * 3, 0.6), ("hebb", ["hebbian"], 0.15)]
)
def test_a_run_reports_like_any_other(model, phases, least, request):
    run = request.getfixturevalue(model)
    extras = {"checkpoints", "features", "tensorboard", "activation_maps"}
    assert {path.name for path in run.iterdir()} == {*REPORT, *extras}
    rows = history(run)
    assert [row["phase"] for row in rows if row["phase"] != "linear"] == phases
    assert all(row["accuracy"] for row in rows if row["phase"] == "linear")
    assert json.loads((run / "metrics.json").read_text())["accuracy"] > least
    assert len(list((run / "features").iterdir())) == 3  # training, validation, test


@pytest.mark.parametrize(
    ("arguments", "model", "moment"), [(CSNN, "csnn", 2), (CSNN, "csnn", 4), (HEBB, "hebb", 2)]
)
def test_a_run_cut_after_an_epoch_goes_on_to_the_same_end(
    arguments, model, moment, tmp_path, monkeypatch, request
):
    saved, whole = network_trainer.Keeper.save, request.getfixturevalue(model)

    def cut(keeper, name, net, state, position):
        saved(keeper, name, net, state, position)
        if name == "last" and len(position.records) == moment:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(network_trainer.Keeper, "save", cut)
        assert typed(*arguments, "--run-dir", tmp_path) == 130
    run = the_run(tmp_path)
    assert typed("--resume", run) == 0
    assert history(run) == history(whole)
    there, here = (load_file(each / "checkpoints" / "best.safetensors") for each in (whole, run))
    assert there.keys() == here.keys()
    for key, array in there.items():
        np.testing.assert_array_equal(array, here[key], err_msg=key)
    assert (run / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()


def test_evaluation_says_the_same(csnn, tmp_path):
    assert typed("--evaluate", csnn, "--run-dir", tmp_path / "again", "--threads", 2) == 0
    assert (tmp_path / "again" / "predictions.csv").read_bytes() == (csnn / "predictions.csv").read_bytes()


def readout_on(features, runs, *more):
    options = ("--first", 200, "--threshold", 60, "--thr-lr", 2, "--epochs", 2, "--threads", 1, *more)
    assert (
        typed(
            "--model", "ncg2024", "--dataset", "digits", "--features", features, *options, "--run-dir", runs
        )
        == 0
    )
    return the_run(runs)


def test_a_readout_on_a_run_is_that_on_features_made_in_passing(tmp_path):
    arguments = [option for option in CSNN if option not in ("--filters", "32")]
    run = run_of(arguments, tmp_path / "csnn", tmp_path)
    known = sorted((run / "features").iterdir())
    runs = [
        readout_on(f"stdpcsnn:conv1@{run}", tmp_path / "a"),
        readout_on("stdpcsnn", tmp_path / "b", "--csnn-epochs", 3),
    ]
    assert (runs[0] / "predictions.csv").read_bytes() == (runs[1] / "predictions.csv").read_bytes()
    assert sorted((run / "features").iterdir()) == known  # the same images: nothing is made twice


def test_a_readout_on_softhebb(hebb, tmp_path, capsys):
    run = readout_on(f"softhebb@{hebb}", tmp_path, "--preset", "softhebb/mnist/s2stdp+ncg", "--threshold", 5)
    assert "3x3x10" in capsys.readouterr().out
    assert len(history(run)) == 2


def test_no_epochs_of_the_linear_readout(tmp_path):
    run = run_of([*CSNN[:-4], "1", "0"], tmp_path, tmp_path)
    found = json.loads((run / "metrics.json").read_text())
    assert found["silent"] == found["images"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--model", "stdpcsnn", "--augment"),
            "--augment: a feature extractor learns from images as they are",
        ),
        (("--model", "softhebb", "--update-batch", "5"), "--update-batch: a feature extractor learns"),
        (("--model", "stdpcsnn", "--preset", "magic"), "option preset: 'magic' given, mnist, fashion-mnist"),
        (("--model", "stdpcsnn", "--filters", "1"), "filters, kernel or pool too small"),
        (("--model", "softhebb", "--conv2-maps", "1"), "maps 96 1 1536: a layer that competes needs 2"),
        (("--model", "stdpcsnn", "--image-size", "7"), "images of 7 x 7; expected 8 x 8 at least"),
        (("--model", "stdpcsnn", "--epochs", "1"), "--epochs 1: stdpcsnn takes 2: conv1 linear"),
        (("--model", "ncg2024", "--preset", "softhebb/mnist/s2stdp"), "train one with --model softhebb"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, capsys, options, message):
    assert message in refused(capsys, tmp_path, *options, "--dataset", "digits", "--first", 80)


def test_other_layers_and_sizes_are_refused(csnn, tmp_path, capsys):
    for options, message in (
        (("--features", f"stdpcsnn:conv2@{csnn}"), "the features are those of conv1"),
        (("--features", f"softhebb@{csnn}"), "this run is of stdpcsnn"),
        (("--features", f"stdpcsnn@{csnn}", "--image-size", 20), "of images (1, 28, 28): digits has (1, 20, 20)"),
    ):  # fmt: skip
        assert message in refused(capsys, tmp_path, "--model", "ncg2024", *options)
