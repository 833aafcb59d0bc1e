"""The networks of our own as a user trains them: what a run says, goes on to the same bits, and is told or not."""

import csv
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import experiment
import train
from tests.run.command import history, the_run, typed
from tests.run.test_resume import Interrupt

NAMES = ("firstspike2026", "firstspike2026_reward")
SMALL = [
    *("--dataset", "digits", "--first", "300", "--batch-size", "50", "--threads", "1"),
    *("--conv1-maps", "12", "--conv2-maps", "20", "--conv1-threshold", "8", "--conv2-threshold", "3"),
    *("--epochs", "4", "4", "4"),
]


def state(run, name="last"):
    """The tensors of a checkpoint, as bytes."""
    return {k: v.tobytes() for k, v in load_file(run / "checkpoints" / f"{name}.safetensors").items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_reported_and_goes_on_to_the_same_bits(name, tmp_path, monkeypatch):
    assert typed("--model", name, *SMALL, "--run-dir", "whole") == 0
    whole = the_run(tmp_path / "whole")
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["accuracy"] > (
        0.6 if name == "firstspike2026" else 0.12
    )  # chance is 0.1; rewards alone take longer
    assert (whole / "features.png").stat().st_size > 0
    rates = [float(row["rate.decision.reward_ltp"]) for row in rows(whole) if row["phase"] == "decision"]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < rates[0]
    monkeypatch.setattr(train, "Console", lambda stream: Interrupt("on_epoch", 10))
    assert typed("--model", name, *SMALL, "--run-dir", "cut", "--tensorboard") == 130
    monkeypatch.undo()
    monkeypatch.setattr(experiment, "report", lambda options, experiment, *_: None)
    monkeypatch.chdir(tmp_path)
    cut = the_run(tmp_path / "cut")
    assert typed("--resume", cut, "--threads", 2) == 0
    assert history(cut) == history(whole)
    for checkpoint in ("last", "best"):
        assert state(cut, checkpoint) == state(whole, checkpoint)


def rows(run):
    """Rows of a run's history."""
    with open(run / "history.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_being_told_the_class_is_an_option(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "report", lambda options, experiment, *_: None)
    learnt = []
    for option in ("--told", "--no-told"):
        assert typed("--model", NAMES[0], *SMALL, option, "--run-dir", option[2:]) == 0
        learnt.append(
            load_file(the_run(tmp_path / option[2:]) / "checkpoints" / "last.safetensors")["decision.weight"]
        )
    assert not np.array_equal(*learnt)
