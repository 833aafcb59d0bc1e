"""Networks trained by gradients, by the command: a run on the digits, its report, presets, what is refused."""

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

import experiment
from models import get_model
from options import parse
from tests.run.command import TRAIN, finish, history, same_run, start, the_run, typed
from tests.run.test_refusals import refused
from tests.run.test_resume import stop_at

SPSN = [
    *("--model", "spsn2023", "--dataset", "digits", "--coding", "rows", "--first", "300", "--epochs", "5"),
    *("--hidden-size", "40", "--layers", "1", "--lr", "0.02", "--batch-size", "20", "--threads", "1"),
    *("--tau-mem", "0.005", "--tau-syn", "0.002"),
]
REPORT = {
    "config.yaml", "confusion_matrix.png", "history.csv", "history.png", "metrics.json",
    "predictions.csv", "rasters.png", "roc.png", "weights.png",
}  # fmt: skip

SILENT = SimpleNamespace(accuracy=0.0, silent=0, images=1)


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
    same_run(run, spsn, REPORT - {"history.csv"})


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


FAST = (
    "--model",
    "fastsnn2022",
    "--dataset",
    "digits",
    "--first",
    "60",
    "--epochs",
    "1",
    "--hidden-size",
    "8",
)
EVENTS = ("--epochs", "1", "--batch-size", "20", "--first", "40", "--threads", "1")
RUNS = {
    "rows of pixels, twins": (
        *FAST,
        "--neuron",
        "LIF",
        "--layers",
        "2",
        "--no-skip-connections",
        "--tensorboard",
    ),
    "single spikes on images": (
        *FAST,
        *("--preset", "convolutional", "--convolutions", "3", "4", "--gain", "0.5", "--time-steps", "6"),
    ),
    "one layer a size": (
        *SPSN,
        "--neuron",
        "LIF",
        "--hidden-size",
        "9",
        "7",
        "--layers",
        "2",
        "--tau-mem",
        "0.01",
    ),
    "moved and mirrored images": (
        *("--model", "fastsnn2022", "--preset", "convolutional", "--dataset", "digits", *EVENTS),
        *(
            "--convolutions",
            "4",
            "--hidden-size",
            "8",
            "--data-augmentation",
            "--mirror",
            "--scale",
            "0",
            "--on-off",
        ),
    ),
    "a bound on spikes": (
        *SPSN,
        "--reg-thr",
        "0.1",
        "--loss-mode",
        "last",
        "--data-augmentation",
        "--shift",
        "0.1",
    ),
    "yin-yang": (
        "--model",
        "paralif2024",
        "--preset",
        "yinyang",
        "--window-size",
        "10",
        "--ratio",
        "0.02",
        *EVENTS,
    ),
    "delays": (
        *("--model", "delays2023", "--dataset", "digits", "--coding", "rows", "--hidden-size", "8", *EVENTS),
        *("--mask-steps", "--mask-channels", "--mix-steps", "--taps", "9", "--data-augmentation"),
    ),
    "columns": (
        *(
            "--model",
            "columns2023",
            "--dataset",
            "digits",
            "--no-normalise",
            "--no-data-augmentation",
            *EVENTS,
        ),
        *("--channels", "4", "--hidden-units", "8", "--neuron", "ParaLIF-T", "--test-every", "0"),
    ),
    "recurrent": (
        *("--model", "paralif2024", "--neuron", "ParaLIF-T", "--dataset", "digits", "--coding", "columns"),
        *("--hidden-size", "8", "--recurrent", "--reg-thr-recurrent", "0.1", "--learn-tau", *EVENTS),
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_every_option_runs(name, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "write_report", lambda *_, **__: SILENT)
    assert typed(*RUNS[name], "--epochs", 1, "--run-dir", tmp_path) == 0
    assert len(history(the_run(tmp_path))) == 1


def folder_of_events(place, *, cut):
    """Two classes of three N-MNIST files, of which one may be cut."""
    for part in ("Train", "Test"):
        for label in ("0", "1"):
            (place / part / label).mkdir(parents=True)
            for n in range(3):
                events = [(5 + n, 9, 0, 0, t) for t in range(0, 200, 10)]
                (place / part / label / f"{n}.bin").write_bytes(np.array(events, np.uint8).tobytes())
    if cut:
        path = place / "Train" / "0" / "1.bin"
        path.write_bytes(path.read_bytes()[:-2])
    return place


def test_single_spikes_need_pixels_for_convolutions(capsys, tmp_path):
    line = refused(capsys, tmp_path, *FAST, "--coding", "columns", "--convolutions", "3")
    assert "samples of 1x28 units a step have no pixels; give convolutions=0" in line


def test_plif_net_runs(tmp_path):
    place = folder_of_events(tmp_path / "events", cut=False)
    small = (
        "--channels",
        "4",
        "--time-steps",
        "3",
        "--preset",
        "nmnist",
        *EVENTS,
        "--run-dir",
        tmp_path / "runs",
    )
    assert typed("--model", "plif_net", "--dataset", f"events:{place}", *small, "--batch-size", "2") == 0
    run = the_run(tmp_path / "runs")
    assert run.parts[-3] == "plif_net"
    assert (run / "features.png").exists()


def test_bad_recordings_are_refused_or_skipped(tmp_path, capsys):
    place = folder_of_events(tmp_path / "events", cut=True)
    events = (
        "--model",
        "paralif2024",
        "--dataset",
        f"events:{place}",
        "--bins",
        "equal",
        "--time-steps",
        "4",
    )
    events = (*events, "--hidden-size", "4", "--layers", "1", *EVENTS, "--run-dir", tmp_path / "runs")
    line = refused(capsys, tmp_path, *events)
    assert "0/1.bin is truncated: 98 bytes" in line
    assert "--skip-bad" in line
    assert typed(*events, "--skip-bad") == 0
    assert "; 1 bad ones left out; " in capsys.readouterr().out


WRONG = [
    (("--neuron", "X"), "unknown neuron 'X'; choose from LIF"),
    (("--preset", "mine"), "no preset 'mine' of spsn2023; there are shd/lif"),
    (("--bins", "x"), "option bins: 'x' given; choose from auto"),
    (
        ("--tau-mem", "0.1", "0.2", "0.3"),
        "option tau_mem: 3 numbers given; give one, or one a layer and one more: 2",
    ),
    (("--tau-mem", "nan"), "option tau_mem: [nan] given, a number needed"),
    (("--hidden-size", "3", "4", "5"), "option hidden_size: 3 numbers for 1 layers"),
    (("--layers", "0"), "option layers: 0 given"),
    (("--lr", "0"), "lr is 0.0; it must be above 0"),
    (("--smoothing", "2"), "option smoothing: 2.0 given, a number from 0, below 1, needed"),
    (("--pad-to=-4",), "option pad_to: -4 given, a number from 0 needed"),
    (("--recurrent",), "SPSN-SB has no feedback"),
    (("--threshold", "2"), "option threshold: SPSN-SB has none"),
    (("--augment",), "--augment: not for networks that are trained by gradients; give --data-augmentation"),
    (("--mirror",), "option mirror: for images and frames (P, H, W), with --data-augmentation"),
    (("--on-off", "--coding", "rows"), "option on_off: of images that are coded by latency, not as rows"),
    (
        ("--dataset", "yinyang", "--window-size", "9", "--on-off", "--coding", "latency"),
        "yinyang has spikes of its own",
    ),
    (("--update-batch", "5"), "--update-batch: not for networks that are trained by gradients"),
    (("--hold-out", "speaker"), "option hold_out: digits does not tell who speaks"),
    (("--epochs", "1", "2"), "--epochs 1 2: spsn2023 takes 1: train"),
    (("--dataset", "nowhere"), "unknown data set 'nowhere'; there are cifar10"),
    (("--dataset", "shd"), "data set shd: looked for SHD in"),
    (("--dataset", "yinyang", "--window-size", "0.1"), "--window-size is its number of steps"),
    (("--normalise",), "these images have no three colours"),
]


def test_what_command_and_network_both_default_to_is_recorded_as_before():
    assert parse([*SPSN])["mirror"] is False
    assert parse([*SPSN, "--data-augmentation", "--mirror"])["mirror"] is True


def test_a_preset_mirrors_images_where_the_command_says_nothing():
    options = parse(["--model", "fastsnn2022", "--preset", "larger-on-off"])
    given = {name: options[name] for name in ("preset", "mirror")}
    assert get_model("fastsnn2022").resolved(given)["mirror"] is True
    for more in ({"preset": "wide"}, {"data_augmentation": False}):
        assert get_model("fastsnn2022").resolved({**given, **more})["mirror"] is False


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_what_cannot_be_is_refused(options, message, capsys, tmp_path):
    assert message in refused(capsys, tmp_path, *SPSN, *options)


def test_two_processes_have_the_losses_of_one(tmp_path):
    """41 validation samples and batches of 20: the last batch has one sample, and one process none."""
    parallel = (*SPSN, "--neuron", "SPSN-GS", "--device", "cpu", "--first", "301", "--validation", "0.137")
    status, out, err = together(*parallel, "--run-dir", "two", cwd=tmp_path)
    assert (status, err) == (0, "")
    assert out.count("train     5/5") == out.count("report in") == 1  # one process speaks
    assert typed(*parallel, "--run-dir", tmp_path / "one") == 0
    assert typed(*parallel, "--batch-parts", "2", "--run-dir", tmp_path / "parts") == 0
    two, one, parts = (the_run(tmp_path / name) for name in ("two", "one", "parts"))
    # byte for byte, and the folder keeps the parts, so that one process may go on with it
    same_run(two, parts, ["config.yaml", "predictions.csv"])
    for there, here in zip(history(two)[:2], history(one), strict=False):  # later a rounding moves a spike
        for name in ("loss", "validation_loss", "validation_accuracy", "test_accuracy", "spikes"):
            assert float(there[name]) == pytest.approx(float(here[name]), abs=1e-5), name
