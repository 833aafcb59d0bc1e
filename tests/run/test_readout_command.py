"""Readouts by the command: a run on the digits, presets, features of files and of layers, resume, what is refused."""

import json
import re
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

import network_trainer
from firstspike.readouts import convert
from firstspike.readouts.presets import list_presets
from tests.run.command import history, the_run, tree, typed
from tests.run.test_refusals import refused

DIGITS = [
    *("--model", "ncg2024", "--dataset", "digits", "--first", "300", "--csnn-epochs", "2", "--threads", "1"),
    *("--epochs", "3"),
]
REPORT = {
    "config.yaml", "confusion_matrix.png", "features.png", "history.csv", "history.png", "metrics.json",
    "predictions.csv", "roc.png",
}  # fmt: skip


def own(path, n=40, **changed):
    """A feature file of two classes that differ."""
    labels = np.arange(n) % 2
    times = np.random.default_rng(0).uniform(0, 1, (n, 3, 2)).astype(np.float32)
    times[labels == 0, 0], times[labels == 1, 1] = 0.05, 0.05
    arrays = {
        "times": times,
        "labels": labels,
        "test_times": times[:10],
        "test_labels": labels[:10],
        **changed,
    }
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def of_file(path, *more):
    return (
        "--model",
        "ncg2024",
        "--features",
        path,
        "--threshold",
        0.8,
        "--thr-lr",
        0.02,
        "--threads",
        1,
        *more,
    )


def figures(run):
    return json.loads((run / "metrics.json").read_text())


@pytest.fixture(scope="module")
def digits(tmp_path_factory, cache):
    runs = tmp_path_factory.mktemp("readout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRSTSPIKE_CACHE", str(cache))
        assert typed(*DIGITS, "--preset", "mnist/s2stdp+ncg", "--run-dir", runs) == 0
    return the_run(runs)


def test_a_run_reports_like_any_other(digits):
    assert {path.name for path in digits.iterdir()} == {*REPORT, "checkpoints"}
    found = figures(digits)
    assert (found["model"], found["dataset"], found["images"]) == ("ncg2024", "digits", 359)
    assert found["accuracy"] > 0.7
    rows = history(digits)
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert float(rows[1]["rate.readout.ap"]) == pytest.approx(0.05 * 0.98**2)
    assert load_file(digits / "checkpoints" / "best.safetensors")["weights"].shape == (50, 4608)


def test_evaluation_says_the_same(digits, tmp_path):
    assert typed("--evaluate", digits, "--run-dir", tmp_path / "again", "--threads", 2) == 0
    assert (tmp_path / "again" / "predictions.csv").read_bytes() == (digits / "predictions.csv").read_bytes()
    assert figures(tmp_path / "again") == figures(digits)


def test_a_run_cut_after_an_epoch_goes_on_to_the_same_end(digits, tmp_path, monkeypatch):
    saved = network_trainer.Keeper.save

    def cut(keeper, name, net, state, position):
        saved(keeper, name, net, state, position)
        if name == "last" and position.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(network_trainer.Keeper, "save", cut)
        assert typed(*DIGITS, "--preset", "mnist/s2stdp+ncg", "--run-dir", tmp_path) == 130
    run = the_run(tmp_path)
    assert typed("--resume", run) == 0
    assert history(run) == history(digits)
    for name in ("last", "best", "readout"):
        there, here = (load_file(each / "checkpoints" / f"{name}.safetensors") for each in (digits, run))
        for key, array in there.items():
            np.testing.assert_array_equal(array, here[key], err_msg=f"{name} {key}")


def test_presets_are_listed(capsys):
    assert typed("--list-presets") == 0
    _, *lines = capsys.readouterr().out.splitlines()
    listed = [line.split() for line in lines]
    assert [preset for preset, model in listed if model == "ncg2024"] == list_presets()
    assert len(list_presets()) == 128
    assert ["shd/spsn-sb", "spsn2023"] in listed


def test_features_of_a_file_with_everything_drawn(tmp_path):
    path = own(tmp_path / "own.npz")
    assert typed(*of_file(path, "--epochs", 4, "--tensorboard", "--activation-maps")) == 0
    run = the_run(tmp_path / "runs")
    assert run.parts[-3:-1] == ("ncg2024", "own")
    assert figures(run)["accuracy"] > 0.8
    assert list((run / "tensorboard").iterdir())
    assert len(list((run / "activation_maps").iterdir())) == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--rule", "sstdp", "--regulation", "one"),
        ("--preset", "mnist/rstdp-5n", "--dropout-out", 0.2, "--non-target", 1),
        ("--rule", "s4nn", "--lr", 0.01, "--regulation", "none"),
        ("--per-class", 1, "--non-target", 0, "--shuffle"),
    ],
)
def test_every_rule_runs(tmp_path, options, capsys):
    assert typed(*of_file(own(tmp_path / "own.npz"), "--epochs", 2, *options)) == 0
    assert len(history(the_run(tmp_path / "runs"))) == 2


def test_traces_when_asked(tmp_path, monkeypatch):
    path = own(tmp_path / "own.npz")
    saved = network_trainer.Keeper.save

    def cut(keeper, name, net, state, position):
        saved(keeper, name, net, state, position)
        if name == "last" and position.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(network_trainer.Keeper, "save", cut)
        assert typed(*of_file(path, "--epochs", 3, "--traces")) == 130
    run = the_run(tmp_path / "runs")
    assert typed("--resume", run) == 0
    assert (run / "traces.png").exists()
    files = sorted((run / "traces").iterdir())
    assert [file.name for file in files] == [f"epoch_000{n}.npz" for n in (1, 2, 3)]
    with np.load(files[-1]) as arrays:
        assert arrays["thresholds"].shape == (35, 10)  # moments, neurons
        assert arrays["updates"].shape == (10, 2)
        assert arrays["decided"].sum() == 36
    assert typed(*of_file(path, "--epochs", 1, "--run-dir", tmp_path / "plain")) == 0
    assert not (the_run(tmp_path / "plain") / "traces.png").exists()


def test_dense_arrays_become_a_feature_file(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name, count in (("train", 30), ("test", 8)):
        np.save(tmp_path / f"{name}_x.npy", rng.uniform(0, 2.5, (count, 3, 4)))
        np.save(tmp_path / f"{name}_y.npy", np.arange(count) % 2)
    pairs = [str(tmp_path / f"{part}_{kind}.npy") for part in ("train", "test") for kind in "xy"]
    target = str(tmp_path / "f.npz")
    given = [*pairs[:2], target, "--test", *pairs[2:], "--max-time", "2"]
    assert convert.main(given, out=sys.stdout, err=sys.stderr) == 0
    assert capsys.readouterr().out.endswith("30 training and 8 test samples, 2 classes, 12 inputs\n")
    assert typed(*of_file(target, "--epochs", 1)) == 0
    for wrong, message in (
        ([pairs[0], pairs[3], target], "labels of shape (8,)"),
        ([*pairs[:2], "f.txt"], "f.txt: a feature file ends in .npz"),
        (["nothing.npy", pairs[1], target], "expected two .npy files"),
    ):
        assert convert.main(wrong, out=sys.stdout, err=sys.stderr) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_a_layer_of_a_finished_run_feeds_a_readout(finished, tmp_path, capsys):
    features = f"mozafari2018:conv1@{finished}"
    options = ("--threshold", 20, "--first", 100, "--epochs", 1, "--threads", 1)
    assert typed("--model", "ncg2024", "--features", features, *options) == 0
    assert "x8 " in capsys.readouterr().out  # eight maps
    assert figures(the_run(tmp_path / "runs"))["dataset"] == "digits"


def test_potentials_and_several_sources_side_by_side(finished, tmp_path, capsys):
    features = f"mozafari2018:conv1@{finished},mozafari2018:conv2@{finished}"
    options = (
        "--coding",
        "potential",
        "--pool",
        4,
        "--threshold",
        20,
        "--first",
        100,
        "--epochs",
        2,
        "--threads",
        1,
    )
    assert typed("--model", "ncg2024", "--features", features, *options, "--epochs", 3, "--threads", 1) == 0
    assert "1x500x1" in capsys.readouterr().out  # 8 maps of 7 x 7 places, 12 of 3 x 3
    assert len(history(the_run(tmp_path / "runs"))) == 3


WRONG_FILES = [
    ({"times": np.full((40, 6), np.nan, np.float32)}, r"spike time at \(0, 0\) is NaN"),
    ({"times": np.full((40, 6), -1, np.float32)}, "is negative"),
    ({"labels": np.arange(39)}, "labels of shape"),
    ({"labels": None}, "no array labels"),
    ({"test_times": np.zeros((10, 5), np.float32)}, "6 inputs in training, 5 in test"),
    ({"colour": np.zeros(3)}, "array 'colour' has no meaning"),
    ({"times": np.ones((40, 6), np.float32)}, "training samples have no spike"),
]


@pytest.mark.parametrize(("changed", "message"), WRONG_FILES)
def test_a_bad_file_is_refused(tmp_path, capsys, changed, message):
    path = own(tmp_path / "own.npz", **changed)
    before = tree(tmp_path)
    assert typed(*of_file(path)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train.py: ")
    assert re.search(message, line), line
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--features", "nowhere.npz"), "nowhere.npz: "),
        (("--features", "magic"), "--features magic: give stdpcsnn, a file FILE.npz, or MODEL:LAYER@RUN"),
        (("--features", "mozafari2018:conv1@nowhere"), "nowhere: no checkpoint here"),
        (("--preset", "mnist/magic"), "no preset 'mnist/magic'; there are mnist/"),
        (
            ("--coding", "magic", "--features", "RUN"),
            "option coding: 'magic' given, latency, potential allowed",
        ),
        (("--pool", "0", "--features", "RUN"), "option pool: 0 given, a whole number from 1 needed"),
        (("--rule", "magic"), "option rule: 'magic' given"),
        (("--augment",), "--augment: a readout learns from features as they are"),
        (("--update-batch", "5"), "--update-batch: a readout learns"),
        (("--csnn-epochs=-1",), "option csnn_epochs: -1 given"),
        (("--epochs", "1", "2"), "--epochs 1 2: ncg2024 takes 1: readout"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, capsys, options, message, finished):
    options = [option.replace("RUN", f"mozafari2018:conv1@{finished}") for option in options]
    assert message in refused(
        capsys, tmp_path, "--model", "ncg2024", "--dataset", "digits", "--first", 80, *options
    )


def test_a_run_of_another_model_or_layer_is_refused(finished, digits, tmp_path, capsys):
    for features, message in (
        (f"deep2024:conv1@{finished}", "this run is of mozafari2018"),
        (f"mozafari2018:conv9@{finished}", "this run has the layers conv1"),
        (f"ncg2024:readout@{digits}", "ncg2024 has no layers of latencies"),
    ):
        assert message in refused(capsys, tmp_path, "--model", "ncg2024", "--features", features)
