"""Sweeps as a user types them: folds and grids, killed and gone on with, failures, the floor, TPE, what is refused."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

import network_trainer
import sweep
import sweep_run
from firstspike.data import load
from firstspike.data.splits import folds
from tests.run.command import tree, typed
from tests.run.test_readout_command import own

SWEEP = Path(sweep.__file__).resolve()
RAY_HOST = (
    "import ray, sys; ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level='ERROR'); "
    "print(ray.get_runtime_context().gcs_address, flush=True); sys.stdin.read()"
)
DIGITS = {
    "model": "mozafari2018", "dataset": "digits", "first": 80, "batch_size": 20, "conv1_maps": 8, "conv2_maps": 12,
    "epochs": [1, 1, 2],
}  # fmt: skip


def swept(*arguments):
    """The exit status of the command in this process."""
    return sweep.main([str(argument) for argument in arguments])


def configuration(folder, **options):
    """A sweep over a readout of a small feature file."""
    features = folder / "own.npz"
    if not features.exists():
        own(features)
    path = folder / "grid.yaml"
    plain = {"model": "ncg2024", "features": str(features), "epochs": 2, "thr_lr": 0.02}
    path.write_text(yaml.safe_dump({**plain, "threshold": [0.6, 0.8], **options}))
    return path


def table(folder, name="runs"):
    """Rows of a table without the times."""
    with open(folder / f"{name}.csv", newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def lines(folder):
    return (folder / "records.jsonl").read_bytes().splitlines()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
    """The folder of a sweep of two trials of two folds, and its configuration."""
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRSTSPIKE_CACHE", str(cache))
        path = configuration(place)
        assert swept("--config", path, "--kfold", 2, "--jobs", 1, "--folder", place / "sweep") == 0
    return place / "sweep", path


def test_folds_of_a_network_on_the_digits(tmp_path, capsys):
    path = tmp_path / "digits.yaml"
    path.write_text(yaml.safe_dump({**DIGITS, "seed": 5}))
    assert swept("--config", path, "--kfold", 2, "--jobs", 1) == 0
    folder = tmp_path / "sweeps" / "digits"
    rows = table(folder)
    assert [(row["fold"], row["seed"], row["status"], row["epochs"]) for row in rows] == [
        ("0/2", "5", "done", "4"),
        ("1/2", "6", "done", "4"),
    ]
    labels = load("digits").train_labels[:80]
    for number, row in enumerate(rows):
        run = folder / "runs" / row["run"]
        found = json.loads((run / "metrics.json").read_text())
        assert found["accuracy"] == float(row["test"])
        held = (folds(labels, 2) == number).sum()
        assert f"{80 - held} training, {held} validation" in (run / "log.txt").read_text()
    (one,) = table(folder, "results")
    accuracies = np.round([float(row["validation"]) for row in rows], 4)
    assert float(one["validation"]) == pytest.approx(np.mean(accuracies))
    assert float(one["validation_sd"]) == pytest.approx(np.std(accuracies))
    run = folder / "runs" / rows[0]["run"]
    assert typed("--evaluate", run, "--run-dir", tmp_path / "again") == 0
    assert (tmp_path / "again" / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()


def test_a_grid_leaves_tables_plots_and_the_best_settings(whole, tmp_path, capsys):
    folder, path = whole
    assert {entry.name for entry in folder.iterdir()} == {
        "axes.png", "best.yaml", "parallel.png", "records.jsonl", "results.csv", "results.md", "runs", "runs.csv",
    }  # fmt: skip
    rows = table(folder, "results")
    assert sorted(row["threshold"] for row in rows) == ["0.6", "0.8"]
    assert float(rows[0]["validation"]) >= float(rows[1]["validation"])
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert best["threshold"] == float(rows[0]["threshold"])
    assert typed("--config", folder / "best.yaml", "--run-dir", tmp_path) == 0
    before = tree(folder)
    assert swept("--config", path, "--kfold", 2, "--jobs", 1, "--folder", folder) == 0
    assert not [name for name, content in tree(folder).items() if before[name] != content]


def test_a_killed_sweep_goes_on_without_repeating_a_run(whole, tmp_path, monkeypatch):
    done, path = whole
    folder = tmp_path / "killed"
    options = [*("--config", path, "--kfold", 2), *("--folder", folder)]
    command = [sys.executable, SWEEP, *map(str, options), "--jobs", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (folder / "records.jsonl").exists() or len(lines(folder)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = lines(folder)
    (folder / "records.jsonl").write_bytes(b"\n".join([*there, there[-1][:40]]))  # cut in its next record
    carried, seen = sweep_run.carry_out, []
    monkeypatch.setattr(sweep, "carry_out", lambda run: seen.append(run.key) or carried(run))
    assert swept(*options, "--jobs", 1) == 0
    known = {json.dumps(json.loads(line)["settings"]) for line in there}
    assert len(seen) == 4 - len(known)
    assert lines(folder)[: len(there)] == there
    assert (
        len({json.dumps(json.loads(line)["settings"]) for line in lines(folder)}) == len(lines(folder)) == 4
    )
    for name in ("runs", "results"):
        assert table(folder, name) == table(done, name)
    assert {p.name for p in (folder / "runs").iterdir()} == {p.name for p in (done / "runs").iterdir()}


def test_a_run_that_was_cut_goes_on_where_it_was_left(whole, tmp_path, monkeypatch, capsys):
    done, path = whole
    saved = network_trainer.Keeper.save

    def cut(keeper, name, net, state, position):
        saved(keeper, name, net, state, position)
        if name == "last" and position.epoch == 1:
            raise KeyboardInterrupt

    options = ("--config", path, "--kfold", 2, "--jobs", 1, "--folder", tmp_path / "cut")
    with monkeypatch.context() as patch:
        patch.setattr(network_trainer.Keeper, "save", cut)
        assert swept(*options) == 130
    (line,) = capsys.readouterr().err.split("\n")[1:-1]
    assert line.startswith(
        f"interrupted: the same command goes on: python sweep.py --config {path} --kfold 2"
    )
    assert swept(*options) == 0
    assert table(tmp_path / "cut") == table(done)


def test_processes_give_the_same_table(whole, tmp_path):
    done, path = whole
    assert swept("--config", path, "--kfold", 2, "--jobs", 2, "--folder", tmp_path / "two") == 0
    for name in ("runs", "results"):
        assert table(tmp_path / "two", name) == table(done, name)


def test_a_ray_cluster_gives_the_same_table(whole, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'firstspike[cluster]'")
    done, path = whole
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}  # a cluster of this machine alone
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", RAY_HOST], env=environment, **pipes) as host:
        options = ("--config", path, "--kfold", "2", "--folder", tmp_path / "ray")
        command = [sys.executable, SWEEP, *options, "--cluster", host.stdout.readline().strip()]
        subprocess.run(command, env=environment, check=True, timeout=200)
        host.stdin.close()
    for name in ("runs", "results"):
        assert table(tmp_path / "ray", name) == table(done, name)


def test_a_failed_trial_is_reported_and_the_others_carried_on(tmp_path, monkeypatch, capsys):
    path = configuration(tmp_path, threshold=0.8, rule=["magic", "sstdp"])
    assert swept("--config", path, "--jobs", 1) == 0
    folder = tmp_path / "sweeps" / "grid"
    assert [row["status"] for row in table(folder)] == ["done", "failed"]
    out = capsys.readouterr().out
    assert re.search(r"1/2  rule magic  failed  option rule: 'magic' given", out)
    assert "failed, 1 of 2 runs: " in out
    assert "Traceback" in (folder / "runs" / table(folder)[1]["run"] / "log.txt").read_text()
    before = lines(folder)
    assert swept("--config", path, "--jobs", 1) == 0
    assert lines(folder) == before
    (tmp_path / "own.npz").rename(tmp_path / "away.npz")
    configuration(tmp_path, threshold=0.8, rule=["sstdp", "magic", "s2stdp"])
    (tmp_path / "own.npz").unlink()
    assert swept("--config", path, "--jobs", 1, "--retry") == 2  # what is to be done has no data
    assert lines(folder) == before
    (tmp_path / "away.npz").rename(tmp_path / "own.npz")
    assert swept("--config", path, "--jobs", 1, "--retry") == 0
    assert len(lines(folder)) == 4


def test_a_run_below_the_floor_is_abandoned(tmp_path, capsys):
    times = np.random.default_rng(1).uniform(0, 1, (40, 3, 2)).astype(np.float32)  # nothing to learn from
    own(tmp_path / "own.npz", times=times)
    path = configuration(tmp_path, threshold=0.8, epochs=6)
    floor = ("--jobs", 1, "--floor", 1, "--floor-epochs", 2)
    assert swept("--config", path, *floor) == 0
    folder = tmp_path / "sweeps" / "grid"
    (row,) = table(folder)
    assert (row["status"], row["epochs"], row["test"]) == ("abandoned", "3", "")
    assert "none is the best" in capsys.readouterr().out
    assert not (folder / "best.yaml").exists()
    assert swept("--config", path, *floor) == 0
    assert len(lines(folder)) == 1
    (folder / "records.jsonl").unlink()  # killed before it was on record
    assert swept("--config", path, *floor) == 0
    assert [(row["status"], row["epochs"]) for row in table(folder)] == [("abandoned", "3")]
    assert swept("--config", path, "--jobs", 1) == 0  # without a floor it goes on
    assert [(row["status"], row["epochs"]) for row in table(folder)] == [("done", "6")]


def test_tpe_goes_on_to_the_same_points(tmp_path, monkeypatch):
    path = configuration(tmp_path, threshold=[0.2, 0.4, 0.6, 0.8, 1.0], t_gap=[0.1, 0.2, 0.3], epochs=1)
    search = ("--config", path, "--search", "tpe", "--trials", 6, "--batch", 2, "--jobs", 1)

    def quick(run):
        assert len(quick.seen) < quick.limit
        quick.seen.append(run.key)
        score = run.options["threshold"] - run.options["t_gap"]
        return sweep_run.Record(sweep.computed(run.options), "done", 0.1, 1, score, 0.5, 0.0)

    monkeypatch.setattr(sweep, "carry_out", quick)
    quick.seen, quick.limit = [], 99
    assert swept(*search, "--folder", tmp_path / "whole") == 0
    whole = list(quick.seen)
    quick.seen, quick.limit = [], 3
    with pytest.raises(AssertionError):
        swept(*search, "--folder", tmp_path / "cut")
    quick.limit = 99
    assert swept(*search, "--folder", tmp_path / "cut") == 0
    assert quick.seen == whole
    assert table(tmp_path / "cut") == table(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({}, ("--kfold", 1), "argument --kfold: '1' given, a whole number from 2 on needed"),
        ({}, ("--search", "tpe"), "--search tpe: needs --trials N, and a list of values"),
        ({}, ("--floor", 90), "--floor 90: give a share from 0 to 1"),
        ({}, ("--trials", 5), "--trials: a grid tries every point"),
        ({}, ("--threshold", 0.5), "--threshold: a list in "),
        ({}, ("--resume", "runs/x"), "--resume: has no meaning in a sweep"),
        ({}, ("--ratio", 0.5, "--kfold", 2), "--kfold: leave out fold and ratio"),
        ({}, ("--magic", 1), "unrecognized arguments: --magic 1"),
        ({"magic": 1}, (), "grid.yaml: unknown option magic"),
        ({"run_dir": "x"}, (), "--run-dir: has no meaning in a sweep"),
        ({"threads": [1, 2]}, (), "--threads: a list in "),
        ({"threshold": [0.6, "high"]}, (), "grid.yaml: argument --threshold: invalid float value: 'high'"),
        ({"threshold": []}, (), "threshold: an empty list"),
        ({"epochs": [1, [2]]}, (), "epochs: [1, [2]] mixes numbers and lists"),
        ({"epochs": [1, 2]}, (), "--epochs 1 2: ncg2024 takes 1: readout (several to try: a list of lists"),
        ({"features": "none.npz"}, (), "none.npz"),
        ({"model": ["ncg2024", "magic"]}, (), "model 'magic': choose one of"),
        ({"model": ["ncg2024", "deep2024"]}, (), "unknown option features"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path, capsys, changed, options, message):
    path = configuration(tmp_path, **changed)
    before = tree(tmp_path)
    assert swept("--config", path, "--jobs", 1, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sweep.py: ")
    assert message in line
    assert tree(tmp_path) == before


def test_a_sweep_needs_a_configuration(capsys):
    assert swept() == 2
    assert swept("--config", "nowhere.yaml") == 2
    assert "nowhere.yaml: cannot be read as YAML" in capsys.readouterr().err


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit):
        swept("--help")
    out = capsys.readouterr().out
    options = {name for action in sweep.build_parser()._actions for name in action.option_strings}
    assert options == {
        "-h", "--help", "--config", "--kfold", "--search", "--trials", "--batch", "--search-seed", "--floor",
        "--floor-epochs", "--jobs", "--cluster", "--folder", "--retry",
    }  # fmt: skip
    assert all(name in out for name in options)
    assert max(map(len, out.splitlines())) <= 120
