import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import utils
from firstspike.errors import UserError
from firstspike.files import make_folder

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def test_files_are_written_whole_into_new_folders(tmp_path):
    path = tmp_path / "a" / "b" / "note.txt"
    utils.write_text(path, "größer\n")
    assert path.read_bytes() == "größer\n".encode()
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_json_takes_numpy_and_refuses_nan(tmp_path):
    path = tmp_path / "m.json"
    utils.write_json(path, {"a": np.float32(0.5), "b": np.eye(2, dtype=int), "c": (1, np.int64(2))})
    assert json.loads(path.read_text()) == {"a": 0.5, "b": [[1, 0], [0, 1]], "c": [1, 2]}
    with pytest.raises(ValueError):
        utils.write_json(path, {"a": float("nan")})
    with pytest.raises(TypeError):
        utils.write_json(path, {"a": object()})


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_a_broken_block_keeps_the_old_file(tmp_path, error):
    path = tmp_path / "f"
    utils.write_bytes(path, b"old")

    def write():
        with utils.atomic_write(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_another_file_is_not_taken_for_ours(tmp_path):
    with pytest.raises(FileNotFoundError), utils.atomic_write(tmp_path / "f"):
        (tmp_path / "elsewhere").read_bytes()
    assert not list(tmp_path.iterdir())


def test_unwritable_places_are_named_with_a_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"cannot write .*file.*is a file, not a folder; choose another folder"
    ):
        utils.write_text(tmp_path / "file" / "x", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*folder: a folder of that name is there"):
        utils.write_text(tmp_path / "folder", "")
    with pytest.raises(UserError, match=r"cannot write .*name is too long; choose a shorter one"):
        make_folder(tmp_path / ("x" * 300))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_permission_denied(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="permission denied; choose a folder that you may write to"):
        utils.write_text(tmp_path / "x", "")


def test_a_disk_that_takes_no_more(tmp_path):
    code = (
        "import resource, utils; from firstspike.errors import UserError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: utils.write_bytes('out', bytes(5000))\n"
        "except UserError as error: print(error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.startswith("cannot write out: the file would be larger")
    assert not list(tmp_path.iterdir())


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    code = "import os, utils\nwith utils.atomic_write('w') as f: f.write(b'x'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, check=False)
    assert len(list(tmp_path.iterdir())) == 1
    utils.write_text(tmp_path / "kept", "")
    utils.remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_seeds_depend_on_the_whole_key_and_stay_the_same():
    keys = [
        (0,),
        (1,),
        (0, 0),
        (0, 1),
        (1, 0),
        (0, "conv1"),
        (0, "conv2"),
        (0, "1"),
        (-1,),
        (2**40,),
        (0, "a", 1),
    ]
    states = {tuple(utils.seed_sequence(*key).generate_state(4)) for key in keys}
    assert len(states) == len(keys)
    assert utils.generator(7, "order", "conv1", 3).integers(0, 1000, 5).tolist() == [66, 169, 441, 287, 100]
    np.testing.assert_array_equal(
        utils.generator(np.int64(7), "x", np.int16(2)).random(3), utils.generator(7, "x", 2).random(3)
    )
    with pytest.raises(TypeError, match="strings and whole numbers"):
        utils.seed_sequence(0, 1.5)


def test_devices(monkeypatch):
    assert str(utils.choose_device("cpu")) == "device: cpu (as asked)"
    assert utils.choose_device("auto").name == "cpu"
    with pytest.raises(UserError, match="unknown device 'gpu': choose one of auto, cpu, cuda, mps"):
        utils.choose_device("gpu")
    monkeypatch.setattr(utils, "_available", lambda gpu: False)
    assert str(utils.choose_device("auto", batched=True)) == "device: cpu (no GPU found)"
    for gpu in ("cuda", "mps"):
        with pytest.raises(UserError, match=f"--device {gpu}: no such device .* choose --device cpu or auto"):
            utils.choose_device(gpu)
    monkeypatch.setattr(utils, "_available", lambda gpu: gpu == "cuda")
    assert str(utils.choose_device("auto", batched=True)) == "device: cuda (the fastest here)"
    assert utils.choose_device("auto").name == "cpu"
    assert utils.choose_device("cuda").name == "cuda"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (86_399, "1 d 0 h"),
        (97_200, "1 d 3 h"),
    ],
)
def test_durations(seconds, text):
    assert utils.human_duration(seconds) == text


def test_import_is_cheap():
    code = "import sys, utils; sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib', 'sklearn')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
