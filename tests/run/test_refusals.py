"""What the command refuses: one line that says what and what to do, status 2, nothing left behind."""

import errno
import gzip
import io
import shutil
import struct

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.numpy import save_file

from firstspike import files
from models import create_model, list_models
from network_trainer import Keeper, Position
from tests.run.command import TINY, finish, tree, typed


def refused(capsys, tmp_path, *arguments):
    """The line that the command prints; nothing may have changed on disk."""
    before = tree(tmp_path)
    assert typed(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("train.py: ")
    assert tree(tmp_path) == before
    return lines[0]


# --- the command line ----------------------------------------------------------------------------------------------

WRONG = [
    (("--model", "deep2025"), f"model 'deep2025': choose one of {', '.join(list_models())}"),
    (("--dataset", "cifar"), "unknown data set 'cifar'; there are "),
    (("--dataset", "cifar"), "digits"),
    (("--dataset", "folder:"), "unknown data set 'folder:'"),
    (("--lerning-rate", "3"), "unrecognized arguments: --lerning-rate 3"),
    (("--mod", "deep2024"), "unrecognized arguments: --mod"),
    (("deep2024",), "unrecognized arguments: deep2024"),
    (("--epochs", "1", "2"), "--epochs 1 2: mozafari2018 takes 3: conv1 conv2 decision"),
    (("--epochs", "1", "2", "3", "4"), "--epochs 1 2 3 4: mozafari2018 takes 3: conv1 conv2 decision"),
    (("--epochs", "1", "-1", "1"), "--epochs 1 -1 1: numbers of epochs must be 0 or more"),
    (("--epochs", "some"), "'some'"),
    (("--epochs",), "--epochs"),
    (("--batch-size", "0"), "--batch-size: '0' given, a whole number from 1 on needed"),
    (("--batch-size=-5",), "'-5' given, a whole number from 1 on needed"),
    (("--update-batch", "0"), "'0' given, a whole number from 1 on needed"),
    (("--first", "0"), "'0' given, a whole number from 1 on needed"),
    (("--threads", "0"), "'0' given, a whole number from 1 on needed"),
    (("--threads", "²"), "'²'"),
    (("--memory-budget", "0"), "'0' given, a whole number from 1 on needed"),
    (("--patience=-1",), "'-1' given, a whole number from 0 on needed"),
    (("--seed=-1",), "'-1' given, a whole number from 0 on needed"),
    (("--seed", "1.5"), "'1.5' given, a whole number from 0 on needed"),
    (("--image-size", "0"), "'0' given, a whole number from 1 on needed"),
    (("--image-size", "28", "-3"), "'-3' given, a whole number from 1 on needed"),
    (("--image-size", "1", "2", "3"), "--image-size 1 2 3: give one side, or height and width"),
    (("--image-size", "3"), "larger images"),
    (("--ratio", "0"), "ratio 0.0: must be above 0 and at most 1"),
    (("--ratio", "1.5"), "ratio 1.5: must be above 0 and at most 1"),
    (("--ratio=-0.5",), "ratio -0.5: must be above 0 and at most 1"),
    (("--ratio", "nan"), "ratio nan: must be above 0 and at most 1"),
    (("--ratio", "half"), "'half'"),
    (("--validation", "1"), "held-out share 1.0: must be at least 0 and below 1"),
    (("--validation=-0.1",), "held-out share -0.1: must be at least 0 and below 1"),
    (("--validation", "nan"), "held-out share nan"),
    (("--fold", "3"), "argument --fold: fold '3': give F/K, fold F (from 0) of K, such as 0/10"),
    (("--fold", "10/10"), "argument --fold: fold '10/10'"),
    (("--fold", "0/70"), "70 folds, smallest class has"),
    (("--device", "tpu"), "unknown device 'tpu': choose one of auto, cpu, cuda, mps"),
    (("--conv1-maps", "0"), "option conv1_maps: 0 given, a whole number from 1"),
    (("--conv1-maps=-3",), "option conv1_maps: -3 given, a whole number from 1"),
    (("--conv1-maps", "99999999"), "not enough memory"),
    (("--conv1-k", "0"), "option conv1_k: 0 given, a whole number from 1"),
    (("--conv1-threshold", "inf"), "option conv1_threshold: inf given, a number from 0"),
    (("--window", "0"), "option window: 0 given, a whole number from 1"),
    (("--decision-maps", "3"), "unrecognized arguments: --decision-maps 3"),
    (("--resume", "nowhere"), "nowhere: no run here (no config.yaml): give a run's folder"),
    (("--evaluate", "nowhere"), "nowhere: no run here (no config.yaml): give a run's folder"),
    (("--resume", "here", "--evaluate", "there"), "--resume and --evaluate: give one of them"),
    (("--config", "nowhere.yaml"), "nowhere.yaml: cannot be read as YAML"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), WRONG, ids=[" ".join(a)[:40] + f" {m[:6]}" for a, m in WRONG]
)
def test_what_is_typed_wrong(arguments, message, capsys, tmp_path):
    assert message in refused(capsys, tmp_path, *TINY, *arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_there(capsys, tmp_path):
    line = refused(capsys, tmp_path, *TINY, "--device", "cuda")
    assert "--device cuda: no such device is available here; choose --device cpu or auto" in line


def test_an_explicit_mnist_does_not_turn_into_digits(capsys, tmp_path):
    line = refused(capsys, tmp_path, "--dataset", "mnist", "--data-dir", tmp_path / "data")
    for part in (
        "looked for train-images-idx3-ubyte[.gz] in",
        str(tmp_path / "data"),
        "--dataset digits",
        "--data-dir",
    ):
        assert part in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed: 3", "config.yaml: unknown option speed"),
        ("list_models: true", "config.yaml: unknown option list_models"),
        ("seed: many", "config.yaml: argument --seed: 'many' given, a whole number from 0 on needed"),
        ("seed: 1.5", "'1.5' given"),
        ("seed: true", "'True' given"),
        ("seed: [1, 2]", "argument --seed"),
        ("epochs: [1, two, 1]", "argument --epochs"),
        ("epochs: 3", "--epochs 3: mozafari2018 takes 3: conv1 conv2 decision"),
        ("ratio: {a: 1}", "argument --ratio"),
        ("augment: 2", "option augment: 2 given, true or false needed"),
        ("stabilise: 2", "true or false"),
        ("model: 5", "model '5': choose one of"),
        ("- seed", "a mapping of options is needed"),
        ("5: 5", "a mapping of options is needed"),
        ("a: [", "cannot be read as YAML"),
        ("a: !!python/object/apply:os.getcwd []", "cannot be read as YAML"),
        ("\udcff", "cannot be read as YAML"),
    ],
)
def test_a_configuration_that_is_wrong(text, message, capsys, tmp_path):
    base = "model: mozafari2018\ndataset: digits\n" if text[0].islower() and "model" not in text else ""
    (tmp_path / "config.yaml").write_bytes((base + text).encode(errors="surrogateescape"))
    assert message in refused(capsys, tmp_path, "--config", "config.yaml")


# --- data ----------------------------------------------------------------------------------------------------------


def idx(array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def mnist(root, *, change=None):
    """A small MNIST in its files; `change` maps a file's name to its content."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, n in (("train", 40), ("t10k", 10)):
        contents = {"images-idx3": rng.integers(0, 256, (n, 28, 28)), "labels-idx1": np.arange(n) % 10}
        for kind, array in contents.items():
            name = f"{part}-{kind}-ubyte"
            (raw / f"{name}.gz").write_bytes(
                (change or {}).get(name, lambda content: content)(gzip.compress(idx(array)))
            )


def packed(array):
    return lambda content: gzip.compress(idx(array))


IMAGES, LABELS, TEST_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"
DAMAGED = [
    (IMAGES, lambda content: content[:-300], f"{IMAGES}.gz"),
    (IMAGES, lambda content: b"", f"{IMAGES}.gz"),
    (IMAGES, lambda content: b"<html>not found</html>", f"{IMAGES}.gz"),
    (IMAGES, lambda content: gzip.compress(idx(np.zeros((40, 28, 28)))[:-1]), f"{IMAGES}.gz"),
    (LABELS, packed(np.zeros(39)), "40 images but 39 labels"),
    (LABELS, packed(np.full(40, 10)), "labels run from 10 to 10, allowed are 0 to 9"),
    (TEST_LABELS, packed(np.full(10, 200)), "labels run from 200 to 200, allowed are 0 to 9"),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGED)
def test_damaged_files_of_a_data_set(name, damage, message, capsys, tmp_path):
    mnist(tmp_path / "data", change={name: damage})
    for asked in (("--dataset", "mnist"), ()):  # damaged files are no reason to take digits instead
        assert message in refused(capsys, tmp_path, *asked, "--data-dir", "data", "--model", "mozafari2018")


def test_a_folder_in_place_of_a_file(capsys, tmp_path):
    mnist(tmp_path / "data")
    file = tmp_path / "data" / "MNIST" / "raw" / "train-labels-idx1-ubyte.gz"
    file.unlink()
    file.mkdir()
    assert "train-labels-idx1-ubyte" in refused(capsys, tmp_path, "--dataset", "mnist", "--data-dir", "data")


def pets(folder, odd=None):
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for n in range(4):
            Image.fromarray(np.full((30, 30), 40 * n, np.uint8)).save(folder / name / f"{n}.png")
    if odd is not None:
        name, content = odd
        (folder / "dog" / name).write_bytes(content)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def png(size):
    file = io.BytesIO()
    Image.fromarray(np.zeros(size, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (("x.npy", npy(np.full((30, 30), np.nan))), "NaN"),
        (("x.npy", npy(np.zeros((30, 30)))), "x.npy"),
        (("x.png", png((30, 30))[:-40]), "x.png is not a readable image"),
        (("x.png", b"no picture"), "x.png is not a readable image"),
        (("x.png", png((31, 30))), "mixes sizes"),
    ],
)
def test_pictures_that_cannot_be_used(odd, message, capsys, tmp_path):
    pets(tmp_path / "pets", odd)
    assert message in refused(capsys, tmp_path, "--dataset", "folder:pets", "--model", "mozafari2018")


def test_folders_that_hold_no_classes(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no images" in refused(capsys, tmp_path, "--dataset", "folder:empty")
    assert "does not exist" in refused(capsys, tmp_path, "--dataset", "folder:nowhere")
    (tmp_path / "broken.tar").write_bytes(b"no tar" * 200)
    assert "broken.tar" in refused(capsys, tmp_path, "--dataset", "folder:broken.tar")


# --- run folders and checkpoints -----------------------------------------------------------------------------------


def test_a_file_where_the_run_should_go(capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/runs"):
        line = refused(capsys, tmp_path, *TINY, "--run-dir", place)
        assert "a part of the path is a file, not a folder; choose another folder" in line
    line = refused(capsys, tmp_path, *TINY, "--run-dir", "/proc/runs")
    assert "cannot write /proc/runs" in line


def test_a_report_that_cannot_be_written(finished, capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "not a folder" in refused(capsys, tmp_path, "--evaluate", finished, "--run-dir", "file")


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run."""
    copy = tmp_path / "run"
    shutil.copytree(finished, copy, ignore=shutil.ignore_patterns("tensorboard", "activation_maps", "*.png"))
    return copy


def foreign(path):
    save_file({"weight": np.zeros(3, np.float32)}, path)


def other_model(path):
    net = create_model("deep2024", image_size=(20, 20))
    Keeper(path.parents[1]).save(path.stem, net, net.state_dict(), Position())


SPOILED = [
    (lambda path: path.write_bytes(path.read_bytes()[:-100]), "damaged or not a checkpoint"),
    (lambda path: path.write_bytes(path.read_bytes()[:5]), "truncated or not a checkpoint"),
    (lambda path: path.write_bytes(b""), "truncated or not a checkpoint"),
    (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(4000)), "not a checkpoint"),
    (lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)), "not a checkpoint"),
    (foreign, "not a checkpoint of firstspike"),
    (other_model, "the checkpoint is of model deep2024, not mozafari2018: choose --model deep2024"),
    (lambda path: path.unlink(), "no checkpoint at"),
]


@pytest.mark.parametrize("victim", ["best", "last"])
@pytest.mark.parametrize(("spoil", "message"), SPOILED)
def test_a_spoiled_checkpoint(spoil, message, victim, run, capsys, tmp_path):
    spoil(run / "checkpoints" / f"{victim}.safetensors")
    assert message in refused(capsys, tmp_path, "--evaluate", run)


@pytest.mark.parametrize(("spoil", "message"), SPOILED[:-1])
def test_a_spoiled_checkpoint_is_not_resumed(spoil, message, run, capsys, tmp_path):
    spoil(run / "checkpoints" / "last.safetensors")
    assert message in refused(capsys, tmp_path, "--resume", run)


@pytest.mark.parametrize("action", ["--resume", "--evaluate"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "deep2024"), "the checkpoint is of model mozafari2018, not deep2024"),
        (
            ("--seed", "5"),
            "made with seed = 0, this run has seed = 5: use the checkpoint's settings or start a new run",
        ),
        (("--epochs", "1", "1", "3"), "made with epochs = [1, 1, 2], this run has epochs = [1, 1, 3]"),
        (("--conv1-maps", "9"), "made with conv1_maps = 8, this run has conv1_maps = 9"),
        (("--conv1-k", "3"), "made with conv1_k = (absent), this run has conv1_k = 3"),
        (("--config", "other.yaml"), "has its own configuration: leave it out"),
    ],
)
def test_a_run_of_other_settings(action, arguments, message, run, capsys, tmp_path):
    (tmp_path / "other.yaml").write_text("model: mozafari2018\ndataset: digits\n")
    assert message in refused(capsys, tmp_path, action, run, *arguments)


def test_a_configuration_that_was_changed_by_hand(run, capsys, tmp_path):
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "batch_size": 21}))
    for action in ("--resume", "--evaluate"):
        assert "made with batch_size = 20, this run has batch_size = 21" in refused(
            capsys, tmp_path, action, run
        )
    (run / "config.yaml").write_text("what: [")
    for action in ("--resume", "--evaluate"):
        assert "cannot be read as YAML" in refused(capsys, tmp_path, action, run)


# --- no room -------------------------------------------------------------------------------------------------------


def no_partial_file(folder):
    assert not [name for name in tree(folder) if name.endswith(".part") or "/." in name]


def test_no_room_for_the_first_file_leaves_nothing(capsys, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    line = refused(capsys, tmp_path, *TINY, "--run-dir", "r")
    assert "config.yaml: no room on disk; free some space or choose a folder on another disk" in line


def test_a_disk_that_fills_up_during_the_run(tmp_path, capsys, monkeypatch):
    """Whatever is written first to fail: one line, whole files, and the run goes on when there is room."""
    sync, budget = files.os.fsync, [14]

    def nearly_full(handle):
        budget[0] -= 1
        if budget[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(files.os, "fsync", nearly_full)
    assert typed(*TINY, "--run-dir", "r") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no room on disk" in line
    no_partial_file(tmp_path)
    (config,) = tmp_path.rglob("config.yaml")
    monkeypatch.setattr(files.os, "fsync", sync)
    assert typed("--resume", config.parent) == 0


def test_a_file_that_may_not_grow(tmp_path):
    """The system's own limit, in a process of its own: the first checkpoint does not fit."""
    resource = pytest.importorskip("resource")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # noqa: E731
    status, _, err = finish(*TINY, cwd=tmp_path, preexec_fn=limit)
    assert status == 2
    (line,) = err.splitlines()
    assert "last.safetensors: the file would be larger than this system allows; raise the limit" in line
    no_partial_file(tmp_path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_disk_that_fills_up_under_tensorboard(capsys, monkeypatch):
    from tensorboard.summary.writer.record_writer import RecordWriter

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    assert typed(*TINY, "--tensorboard") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "train.py: cannot write a file of the run: no room on disk;"
        " free some space or choose a folder on another disk"
    )
