"""The command as a user types it: options, configuration, report, evaluation, data sets."""

import csv
import itertools
import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import load_file

import experiment
import options
import train
from firstspike import checkpoint
from firstspike.data import images as data_images
from firstspike.data import load
from models import get_model, list_models
from network_trainer import NetworkTrainer
from s1c1 import S1C1
from tests.run.command import TINY, finish, history, the_run, tree, typed
from tests.zoo import ZOO

OPTIONS = [
    "--activation-maps", "--augment", "--batch-size", "--config", "--data-dir", "--dataset", "--device", "--epochs",
    "--evaluate", "--first", "--fold", "--help", "--image-size", "--list-models", "--list-presets", "--memory-budget",
    "--mirror", "--model", "--patience", "--print-config", "--ratio", "--readout", "--readout-layer", "--resume",
    "--run-dir", "--seed", "--skip-bad", "--tensorboard", "--threads", "--update-batch", "--validation",
]  # fmt: skip
RULE_OPTIONS = [
    "--doubling-period", "--lower", "--ltd", "--ltd-per-ltp", "--ltp", "--ltp-ceiling", "--no-stabilise",
    "--punish-ltd", "--punish-ltp", "--reward-ltd", "--reward-ltp", "--stabilise", "--upper", "--window",
]  # fmt: skip


OWN_OPTIONS = {"--growth", "--halving", "--margin", "--told", "--no-told"}


def names_of(parser):
    return {name for action in parser._actions for name in action.option_strings if name.startswith("--")}


# --- options -------------------------------------------------------------------------------------------------------


def test_the_options_are_these():
    assert sorted(names_of(options.build_parser())) == OPTIONS


@pytest.mark.parametrize("name", ZOO)
def test_the_options_of_a_model_are_these(name):
    parser = options.build_parser()
    options.add_model_options(parser, get_model(name))
    firing = [
        name_of.split("_threshold")[0]
        for name_of in get_model(name).known_options()
        if "threshold" in name_of
    ]
    of_layers = {f"--{layer}-{what}" for layer in firing for what in ("threshold", "k", "radius", "maps")}
    own = {"deepr2024_greedy": {"--schedule"}, "resnet2024": {"--join"}}
    own |= dict.fromkeys(("firstspike2026", "firstspike2026_reward"), OWN_OPTIONS)
    of_layers = {option.replace("_", "-") for option in of_layers}
    assert names_of(parser) == {*OPTIONS, *RULE_OPTIONS, *of_layers, *own.get(name, set())}


def test_list_models(capsys):
    assert typed("--list-models") == 0
    assert capsys.readouterr().out.split() == list_models()


def test_help_of_a_model_lists_its_own_options(capsys):
    with pytest.raises(SystemExit) as end:
        typed("--model", "fastsnn2022", "--help")
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "options of fastsnn2022:" in text
    assert "--on-off" in text


def test_help_shows_the_commands_that_people_type(capsys):
    with pytest.raises(SystemExit) as end:
        typed("--help")
    assert end.value.code == 0
    text = capsys.readouterr().out
    for line in (
        "train.py --model deep2024 --epochs 2 4 4 10 --tensorboard",
        "--resume runs/",
        "--evaluate runs/",
    ):
        assert line in text


def printed(capsys, *arguments):
    assert typed(*arguments, "--print-config") == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_a_printed_configuration_reproduces_itself(capsys, tmp_path):
    options = (
        *TINY,
        "--seed",
        7,
        "--augment",
        "--ratio",
        0.5,
        "--image-size",
        30,
        32,
        "--conv1-threshold",
        12.5,
    )
    first = printed(capsys, *options, "--no-stabilise", "--ltp", "1e-3", "--validation", 0)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(first))
    assert printed(capsys, "--config", "config.yaml") == first
    assert first["stabilise"] is False
    assert first["augment"] is True
    assert first["epochs"] == [1, 1, 2]
    assert first["ltp"] == 0.001
    changed = printed(capsys, "--config", "config.yaml", "--seed", 8, "--stabilise")
    assert changed == {**first, "seed": 8, "stabilise": True}  # the command line has the last word


def test_underscores_are_hyphens(capsys):
    first = printed(capsys, *TINY, "--image-size", 30, "--conv1-k", 4)
    underscored = [
        str(a).replace("-", "_").replace("__", "--") if str(a).startswith("--") else a for a in TINY
    ]
    assert printed(capsys, *underscored, "--image_size=30", "--conv1_k", 4) == first


def test_a_value_keeps_its_underscores(capsys):
    assert printed(capsys, "--model", "deepr2024_greedy", "--dataset=folder:my_pictures")["dataset"] == (
        "folder:my_pictures"
    )


def test_an_alias_has_the_options_of_its_model(capsys):
    assert printed(capsys, "--model", "deepr2024_2", "--schedule", "original")["schedule"] == "original"


def test_defaults(capsys):
    config = printed(capsys)
    assert config["model"] == "deep2024"
    assert "dataset" not in config
    assert (config["batch_size"], config["validation"], config["ratio"], config["seed"]) == (
        1000,
        0.1,
        1.0,
        0,
    )
    assert "epochs" not in config


def test_the_batch_size_is_the_window(capsys):
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NetworkTrainer, "train", lambda net, *_, **__: made.append(net) or 1 / 0)
        for more, window in ((("--batch-size", 30), 30), (("--batch-size", 30, "--window", 7), 7)):
            with pytest.raises(ZeroDivisionError):
                typed(*TINY, *more)
            assert made[-1].engine.phases["decision"].rules["decision"].window == window


# --- a run and its report ------------------------------------------------------------------------------------------


def test_a_run_leaves_its_whole_report(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "config.yaml", "history.csv", "history.png", "metrics.json", "confusion_matrix.png", "roc.png", "features.png",
        "predictions.csv", "checkpoints", "activation_maps", "tensorboard",
    }  # fmt: skip
    assert {path.stem for path in (finished / "checkpoints").iterdir()} == {
        "conv1", "conv2", "decision", "best", "last",
    }  # fmt: skip
    assert finished.parts[-3:-1] == ("mozafari2018", "digits")
    for picture in finished.rglob("*.png"):
        with Image.open(picture) as image:
            assert image.convert("L").getextrema()[0] < image.convert("L").getextrema()[1]
    assert len(list((finished / "activation_maps").iterdir())) == 6


def test_the_report_counts_silence_as_an_error(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    with open(finished / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = [(int(r["label"]), int(r["decision"]), int(r["correct"])) for r in csv.DictReader(file)]
    assert metrics["images"] == len(rows) == 359
    assert metrics["accuracy"] == sum(label == decision for label, decision, _ in rows) / 359
    assert all(correct == (label == decision) for label, decision, correct in rows)
    assert metrics["silent"] == sum(decision < 0 for _, decision, _ in rows)
    assert {"precision", "recall", "f1", "roc_auc", "confusion"} <= set(metrics)
    assert np.shape(metrics["confusion"]) == (10, 11)
    assert metrics["model"] == "mozafari2018"


def test_the_history_has_one_row_an_epoch(finished):
    rows = history(finished)
    assert [(row["phase"], row["epoch"]) for row in rows] == [
        ("conv1", "0"), ("conv2", "0"), ("decision", "0"), ("decision", "1"),
    ]  # fmt: skip
    for row in rows[2:]:
        assert float(row["accuracy"]) + float(row["loss"]) + float(row["silent"]) == pytest.approx(1)
        assert row["validation_accuracy"]
    assert rows[0]["images"] == "72"  # 80 less a tenth


def test_a_run_is_reproduced_by_its_configuration(finished, tmp_path):
    assert typed("--config", finished / "config.yaml", "--run-dir", tmp_path / "runs") == 0
    again = the_run(tmp_path / "runs")
    same_but_for_times(again, finished)


def same_but_for_times(run, other):
    for name in ("config.yaml", "metrics.json", "predictions.csv", "features.png", "confusion_matrix.png"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    assert history(run) == history(other)
    for path in (other / "checkpoints").iterdir():
        one, two = load_file(run / "checkpoints" / path.name), load_file(path)
        assert {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in two.items()}


def test_evaluating_writes_the_same_report(finished, tmp_path, capsys):
    session = ("--run-dir", tmp_path / "report", "--threads", 3, "--device", "cpu")  # they may differ
    assert typed("--evaluate", finished, *session) == 0
    written = tree(tmp_path / "report")
    assert set(written) == {
        "history.csv", "history.png", "metrics.json", "confusion_matrix.png", "roc.png", "features.png",
        "predictions.csv",
    }  # fmt: skip
    for name, content in written.items():
        assert content == (finished / name).read_bytes(), name
    assert "test accuracy" in capsys.readouterr().out


def test_the_best_network_is_evaluated_not_the_last(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run, ignore=shutil.ignore_patterns("tensorboard"))
    last = run / "checkpoints" / "last.safetensors"
    state, meta = checkpoint.load(last)
    checkpoint.save(last, {**state, "decision.weight": state["decision.weight"][::-1]}, meta)
    assert typed("--evaluate", run) == 0
    assert (run / "predictions.csv").read_bytes() == (finished / "predictions.csv").read_bytes()


def test_evaluating_in_place_and_resuming_a_finished_run_change_nothing(finished, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished, run, ignore=shutil.ignore_patterns("tensorboard"))
    before = tree(run)
    assert typed("--evaluate", run) == 0
    assert tree(run) == before
    assert typed("--resume", run) == 0
    assert tree(run) == before
    assert capsys.readouterr().out.count("test accuracy") == 2


def test_two_runs_in_the_same_second_have_folders_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setattr(train.time, "strftime", lambda form: "20260101-000000")
    folders = [train.new_folder(tmp_path / "runs") for _ in range(3)]
    assert [folder.name for folder in folders] == [
        "20260101-000000",
        "20260101-000000-2",
        "20260101-000000-3",
    ]
    assert all(folder.is_dir() for folder in folders)


def test_the_command_in_a_process_of_its_own(tmp_path):
    status, out, err = finish(
        *TINY, "--epochs", 0, 0, 1, "--model=deepr2024_greedy", "--epochs", 0, 0, 0, 1, cwd=tmp_path
    )
    assert (status, err) == (0, "")
    assert "deepr2024_greedy" in str(the_run(tmp_path))
    lines = out.splitlines()
    assert any(line.startswith("data: digits: 72 training, 8 validation, 359 test images") for line in lines)
    assert any(line.startswith("device: cpu") for line in lines)
    assert any(line.startswith("decision  1/1  accuracy") and "left:" in line for line in lines)


@pytest.mark.parametrize("name", ZOO)
def test_every_model_trains_from_the_command(name, monkeypatch):
    """One epoch of each phase with few maps; figures are drawn once, elsewhere."""
    monkeypatch.setattr(experiment, "write_report", lambda folder, answers, *_, **__: answers.metrics())
    known = get_model(name).known_options()
    maps = [f"--{option.replace('_', '-')}=6" for option in known if option.endswith("_maps")]
    eager = [
        f"--{option.replace('_', '-')}=3"
        for option in known
        if option.endswith("_threshold") and known[option]
    ]
    numbers = dict.fromkeys(phase.number for phase in get_model(name).plan)
    status = typed(
        "--model", name, "--dataset", "digits", "--first", 40, "--batch-size", 15, "--epochs", *[1] * len(numbers),
        *maps, *eager,
    )  # fmt: skip
    assert status == 0
    run = the_run(".")
    assert run.parts[-3] == name
    phases = [row["phase"] for row in history(run)]
    assert phases == [phase.name for phase in get_model(name).plan]
    assert {path.stem for path in (run / "checkpoints").iterdir()} == {*phases, "best", "last"}


# --- data sets -----------------------------------------------------------------------------------------------------


@pytest.fixture
def begun(monkeypatch):
    """What a run would train on: it ends before its first epoch."""
    seen = {}

    def note(net, training, validation, **rest):
        seen.update(net=net, train=training, validation=validation, **rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(NetworkTrainer, "train", note)
    return seen


def test_without_mnist_the_embedded_digits_take_its_place(begun, capsys):
    assert typed("--epochs", 1, 1, 1, 1) == 130
    (line,) = [text for text in capsys.readouterr().out.splitlines() if "MNIST" in text]
    assert "embedded digits take its place" in line
    run = the_run(".")
    assert yaml.safe_load((run / "config.yaml").read_text())["dataset"] == "digits"
    assert run.parts[-3:-1] == ("deep2024", "digits")


def test_mnist_is_the_default_where_it_lies(begun, data_dir, monkeypatch, capsys):
    subset = load("mnist", data_dir)
    monkeypatch.setattr(data_images, "find_idx", lambda *_: "there")
    parts = {
        3: [subset.train_images[:200], subset.test_images[:50]],
        1: [subset.train_labels[:200], subset.test_labels[:50]],
    }
    monkeypatch.setattr(data_images, "read_idx", lambda _, axes: parts[axes].pop(0))
    assert typed("--data-dir", data_dir) == 130
    assert "data: mnist: 180 training, 20 validation, 50 test images" in capsys.readouterr().out
    assert begun["net"].name == "deep2024"


def pictures(folder, sizes=((12, 12),), classes=("cat", "dog"), number=6, colour=False, parts=("",)):
    rng = np.random.default_rng(0)
    for part in parts:
        for c, name in enumerate(classes):
            (folder / part / name).mkdir(parents=True)
            for n in range(number):
                size = sizes[n % len(sizes)]
                pixels = rng.integers(0, 256, (*size, 3) if colour else size, np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{c}{n}.png")


def test_a_folder_of_class_folders(begun, tmp_path):
    pictures(tmp_path / "pets", sizes=((40, 40),))
    assert typed("--dataset", "folder:pets", "--validation", 0) == 130
    assert begun["net"].classes == 2
    assert begun["net"].shape == (6, 40, 40)
    assert len(begun["train"]) == 10  # a sixth of each class is the test set: 12 * 0.2
    assert len(begun["validation"]) == 0
    assert the_run(".").parts[-2] == "folder-pets"


def test_a_folder_in_colour_with_train_and_test_resized_and_packed(begun, tmp_path):
    pictures(tmp_path / "pets", sizes=((12, 14), (20, 9)), colour=True, parts=("train", "test"))
    shutil.make_archive(str(tmp_path / "pets"), "tar", tmp_path, "pets")
    shutil.rmtree(tmp_path / "pets")
    assert typed("--dataset", "folder:pets.tar", "--image-size", 32, 36, "--validation", 0) == 130
    assert begun["net"].shape == (18, 34, 38)  # the colour filters leave two rows and columns more
    assert begun["net"].steps == 20
    assert len(begun["train"]) == 12


def events(folder, classes=("0", "1"), number=8):
    """Recordings in N-MNIST's form: x, y, then a bit for the polarity and 23 for the time in microseconds."""
    rng = np.random.default_rng(0)
    for part, name, n in itertools.product(("Train", "Test"), classes, range(number)):
        times = np.sort(rng.integers(0, 300_000, 400))
        raw = np.empty((400, 5), np.uint8)
        raw[:, 0], raw[:, 1] = rng.integers(4, 30, (2, 400))
        raw[:, 2] = rng.integers(0, 2, 400) << 7 | times >> 16
        raw[:, 3], raw[:, 4] = times >> 8 & 255, times & 255
        (folder / part / name).mkdir(parents=True, exist_ok=True)
        (folder / part / name / f"{n:05}.bin").write_bytes(raw.tobytes())


def test_events_of_a_camera_need_no_encoder(tmp_path):
    events(tmp_path / "camera")
    options = [
        "--model",
        "mozafari2018",
        "--epochs",
        1,
        1,
        1,
        "--conv1-maps",
        6,
        "--conv2-maps",
        8,
        "--batch-size",
        5,
    ]
    assert typed(*options, "--dataset", "events:camera", "--conv1-threshold", 4, "--activation-maps") == 0
    run = the_run(".")
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["images"] == 16
    assert metrics["silent"] < 16
    assert {"features.png", "activation_maps", "predictions.csv"} <= {path.name for path in run.iterdir()}
    assert typed("--evaluate", run, "--run-dir", "again") == 0
    assert (tmp_path / "again" / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()


def test_on_and_off_channels_of_each_colour():
    assert experiment.polarities(6, S1C1()) == ([[0, 2, 4]], [[1, 3, 5]])
    on, off = experiment.polarities(18, S1C1("colour"))
    assert on == [[0, 6, 12], [1, 7, 13], [2, 8, 14]]
    assert off == [[3, 9, 15], [4, 10, 16], [5, 11, 17]]
    assert experiment.polarities(2, None) == ([[0]], [[1]])
    assert experiment.polarities(1, None) == ([[0]], [[]])


def test_events_are_not_augmented(tmp_path, capsys):
    events(tmp_path / "camera")
    before = tree(tmp_path)
    assert typed("--dataset", "events:camera", "--model", "mozafari2018", "--augment") == 2
    assert "--augment: events:camera holds events, not images: leave it out" in capsys.readouterr().err
    assert tree(tmp_path) == before


def test_shares_augmentation_patience_and_validation_reach_the_loop(begun):
    assert typed(*TINY, "--ratio", 0.5, "--augment", "--patience", 3, "--validation", 0.2) == 130
    assert begun["patience"] == 3
    assert len(begun["train"].rows) == 32
    assert len(begun["train"]) == 64
    assert len(begun["validation"]) == 8
    assert begun["epochs"] == {"conv1": 1, "conv2": 1, "decision": 2}


def test_augmented_and_unvalidated_runs_end_well(monkeypatch, capsys):
    monkeypatch.setattr(experiment, "write_report", lambda folder, answers, *_, **__: answers.metrics())
    assert typed(*TINY, "--augment", "--validation", 0, "--memory-budget", 1) == 0
    rows = history(the_run("."))
    assert [row["images"] for row in rows] == ["160"] * 4
    assert all(not row["validation_accuracy"] for row in rows)
    assert [row["best"] for row in rows] == ["False", "False", "True", "True"]
    assert not (the_run(".") / "inputs").exists()


def test_resizing_changes_the_network(begun):
    assert typed(*TINY, "--image-size", 40) == 130
    assert begun["net"].shape == (6, 40, 40)
    assert typed(*TINY, "--image-size", 30, 36, "--run-dir", "other") == 130
    assert begun["net"].shape == (6, 30, 36)
