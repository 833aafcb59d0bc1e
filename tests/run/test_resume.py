"""Runs that are interrupted or killed, and go on: the same weights byte for byte, the same history."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

import experiment
import preparation
import train
from firstspike.report.callbacks import Callback
from tests.run.command import TRAIN, finish, history, same_run, start, the_run, tree, typed

LONGER = [
    *(
        "--model",
        "deepr2024_greedy",
        "--dataset",
        "digits",
        "--first",
        "150",
        "--batch-size",
        "25",
        "--threads",
        "1",
    ),
    *("--conv1-maps", "8", "--conv2-maps", "12", "--conv3-maps", "12", "--conv3-threshold", "4"),
    *("--epochs", "2", "2", "2", "3", "--seed", "1"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
    """A run that nobody disturbed."""
    runs = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRSTSPIKE_CACHE", str(cache))
        assert typed(*LONGER, "--run-dir", runs) == 0
    return the_run(runs)


def stop_at(process, line, how):
    """Send a signal when the command has written a line that begins so; its errors."""
    for text in process.stdout:
        if text.startswith(line):
            process.send_signal(how)
            break
    _, err = process.communicate(timeout=120)
    return err


def test_killed_and_interrupted_runs_go_on_to_the_same_end(whole, tmp_path):
    killed = start(*LONGER, "--run-dir", "runs", cwd=tmp_path)
    stop_at(killed, "conv2     1/2", signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    run = the_run(tmp_path)
    for place in (run, run / "checkpoints"):
        (place / ".history.csv.0123456789ab.part").write_text("killed while it wrote")
    interrupted = start("--resume", run, cwd=tmp_path)
    err = stop_at(interrupted, "decision  1/3", signal.SIGINT)
    assert interrupted.returncode == 130
    (line,) = err.split("\n")[1:-1]  # the terminal's ^C stands alone in its line
    assert line == f"interrupted: go on with --resume {run}"
    assert len(history(run)) >= 6  # the checkpoint may be a row ahead
    status, out, err = finish("--resume", run, cwd=tmp_path)
    assert (status, err) == (0, "")
    assert "conv1     1/2" not in out
    assert "decision  1/3" not in out
    same_run(run, whole)


class Interrupt(Callback):
    """Ctrl-C at a certain event."""

    def __init__(self, event, number):
        self.event, self.left = event, number

    def __getattribute__(self, name):
        if name == object.__getattribute__(self, "event"):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return object.__getattribute__(self, name)


MOMENTS = [
    ("on_run_start", 1),
    ("on_phase_start", 1),
    ("on_batch", 1),
    ("on_epoch", 2),
    ("on_phase_end", 3),
    ("on_batch", 9),
    ("on_epoch", 9),
    ("on_run_end", 1),
]


@pytest.mark.parametrize(("event", "number"), MOMENTS)
def test_an_interrupt_at_any_event_leaves_a_run_to_go_on_with(
    event, number, whole, tmp_path, monkeypatch, capsys
):
    console = train.Console
    monkeypatch.setattr(train, "Console", lambda stream: Interrupt(event, number))
    monkeypatch.setattr(experiment, "report", lambda options, experiment, *_: None)
    assert typed(*LONGER) == 130
    run = the_run(tmp_path)
    (line,) = capsys.readouterr().err.split("\n")[1:-1]
    assert line == f"interrupted: go on with --resume {run.relative_to(tmp_path)}"
    assert not [name for name in tree(tmp_path) if name.endswith(".part")]
    monkeypatch.setattr(train, "Console", console)
    assert typed("--resume", run) == 0
    assert history(run) == history(whole)
    for path in (whole / "checkpoints").iterdir():
        one, two = load_file(run / "checkpoints" / path.name), load_file(path)
        assert {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in two.items()}, path.name


def test_an_interrupt_before_anything_has_begun_leaves_nothing(tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    for module, step in ((preparation, "find_dataset"), (preparation, "encoded"), (train, "new_folder")):
        with monkeypatch.context() as patch:
            patch.setattr(module, step, interrupt)
            assert typed(*LONGER) == 130
        assert capsys.readouterr().err.strip() == "interrupted: nothing was begun"
        assert tree(tmp_path) == {}


def test_an_interrupt_while_the_command_loads_needs_no_traceback(tmp_path):
    """A stand-in for numpy that takes its time to import."""
    (tmp_path / "numpy.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")
    program = (
        f"import sys, runpy; sys.path[:0] = {[str(tmp_path), str(TRAIN.parent)]!r}; sys.argv = ['train.py']; "
    )
    program += f"runpy.run_path({str(TRAIN)!r}, run_name='__main__')"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "loading\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "\ninterrupted: nothing was begun\n"


def test_a_run_that_lost_its_checkpoints_begins_again(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "report", lambda options, experiment, *_: None)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_bytes((whole / "config.yaml").read_bytes())
    assert typed("--resume", run) == 0
    assert history(run) == history(whole)


def test_a_resumed_run_may_use_other_threads_and_draw_more(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "Console", lambda stream: Interrupt("on_epoch", 5))
    assert typed(*LONGER, "--tensorboard") == 130
    monkeypatch.undo()
    run = the_run(tmp_path)
    assert typed("--resume", run, "--threads", 2, "--activation-maps", "--memory-budget", 1) == 0
    assert history(run) == history(whole)
    best = [load_file(r / "checkpoints" / "best.safetensors") for r in (run, whole)]
    for key in best[0]:
        np.testing.assert_array_equal(best[0][key], best[1][key])
    assert len(list((run / "activation_maps").iterdir())) == 6
    assert not (run / "inputs").exists()
