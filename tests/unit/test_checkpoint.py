import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstspike import checkpoint
from firstspike.errors import UserError

META = {
    "model": "mozafari2018",
    "settings": {"seed": 3, "rule": {"window": 20, "ltp": 0.004}},
    "counters": {"conv1": 7},
}


@pytest.fixture
def tensors():
    rng = np.random.default_rng(1)
    return {
        "conv1.weight": rng.normal(size=(4, 2, 3, 3)).astype(np.float32),
        "conv1.rates": np.array([0.004, -0.003]),
        "seen": np.array(499),
        "decisions": np.arange(-1, 5).reshape(2, 3).T,
    }


@pytest.fixture
def saved(tmp_path, tensors):
    path = tmp_path / "new" / "best.safetensors"
    checkpoint.save(path, tensors, META)
    return path


def test_round_trip_is_exact(saved, tensors):
    read, meta = checkpoint.load(saved)
    assert meta == META
    assert read.keys() == tensors.keys()
    for name, array in tensors.items():
        assert read[name].dtype == array.dtype
        assert read[name].shape == array.shape
        np.testing.assert_array_equal(read[name], array)


def test_equal_contents_give_equal_bytes(saved, tensors, tmp_path):
    again = tmp_path / "again"
    checkpoint.save(again, dict(reversed(tensors.items())), dict(reversed(META.items())))
    assert again.read_bytes() == saved.read_bytes()


def test_numpy_values_in_the_settings_come_back_plain(tmp_path):
    path = tmp_path / "c"
    checkpoint.save(
        path, {}, {"model": "m", "settings": {"rate": np.float64(0.5), "sizes": (28, np.int64(28))}}
    )
    assert checkpoint.load(path)[1]["settings"] == {"rate": 0.5, "sizes": [28, 28]}


def test_failure_leaves_the_old_file_and_nothing_else(saved, monkeypatch):
    before = saved.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(
        UserError, match=r"cannot write .*best\.safetensors: no room on disk; free some space"
    ):
        checkpoint.save(saved, {"x": np.zeros(3)}, META)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def refused(path, pattern):
    with pytest.raises(UserError, match=pattern) as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_and_folder(tmp_path):
    refused(tmp_path / "absent", "no checkpoint at .*: give the path")
    refused(tmp_path, "cannot read the checkpoint .*start a new run")


def test_truncated_anywhere(saved, tmp_path):
    whole = saved.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    lengths = {*range(12), *range(12, len(whole), 37), header - 1, header, header + 1, len(whole) - 1}
    for length in sorted(lengths):
        cut = tmp_path / "cut"
        cut.write_bytes(whole[:length])
        refused(cut, "truncated|damaged")


def test_bytes_added_at_the_end(saved, tmp_path):
    longer = tmp_path / "longer"
    longer.write_bytes(saved.read_bytes() + b"\0")
    refused(longer, "damaged")


@pytest.mark.parametrize("length", [0, 1, 2**24 + 1, 10**8, 2**31, 2**40, 2**63, 2**64 - 1])
def test_header_lengths_that_would_allocate(tmp_path, length):
    path = tmp_path / "bomb"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", length))
        file.truncate(2**27)  # sparse: takes no room
    refused(path, "truncated or not a checkpoint")


def with_header(path, header):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2**30, 2**30], "data_offsets": [0, 0]}},
        {"a": {"dtype": "F32", "shape": [2**20], "data_offsets": [0, 2**22]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}},
        {"a": {"dtype": "NONE", "shape": [], "data_offsets": [0, 0]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
        {"a": 3},
        [],
        34,
    ],
)
def test_headers_that_lie(tmp_path, header):
    if isinstance(header, dict):
        header["__metadata__"] = {"firstspike": json.dumps({"format": 1, "meta": META})}
    refused(with_header(tmp_path / "lie", header), "damaged or not a checkpoint")


def test_safetensors_of_others(tmp_path):
    refused(with_header(tmp_path / "bare", {}), "not a checkpoint of firstspike")
    refused(
        with_header(tmp_path / "pt", {"__metadata__": {"format": "pt"}}), "not a checkpoint of firstspike"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"format": 1, "meta": {}}',
        '{"format": "1", "meta": {"model": "m", "settings": {}}}',
        '{"format": 1, "meta": {"model": 3, "settings": {}}}',
        '{"format": 1, "meta": {"model": "m", "settings": []}}',
    ],
)
def test_settings_that_are_damaged(tmp_path, text):
    refused(with_header(tmp_path / "c", {"__metadata__": {"firstspike": text}}), "settings in .* are damaged")


def test_newer_format(tmp_path):
    text = json.dumps({"format": 2, "meta": META})
    path = with_header(tmp_path / "c", {"__metadata__": {"firstspike": text}})
    refused(path, "has format 2, this version reads format 1: upgrade firstspike")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "c"
    path.write_bytes(content)
    refused(path, "truncated|damaged|not a checkpoint")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_bytes_never_give_a_traceback(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("flip") / "c"
    checkpoint.save(path, {"w": np.arange(6, dtype=np.float32)}, META)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        tensors, meta = checkpoint.load(path)
    except UserError:
        refused(path, "truncated|damaged|not a checkpoint|upgrade")
    else:
        assert isinstance(meta["settings"], dict)
        assert all(isinstance(array, np.ndarray) for array in tensors.values())


def test_check_accepts_equal_settings_whatever_their_types():
    meta = {"model": "m", "settings": {"epochs": [2, 4, 10], "ratio": 1.0}}
    checkpoint.check(meta, model="m", settings={"epochs": (2, 4, np.int64(10)), "ratio": np.float64(1)})


@pytest.mark.parametrize(
    ("model", "settings", "pattern"),
    [
        ("deep2024", META["settings"], "is of model mozafari2018, not deep2024: choose --model mozafari2018"),
        ("mozafari2018", {**META["settings"], "seed": 4}, "made with seed = 3, this run has seed = 4"),
        (
            "mozafari2018",
            {"seed": 3, "rule": {"window": 10, "ltp": 1}},
            r"with rule\.ltp = 0.004, .* rule\.ltp = 1:",
        ),
        ("mozafari2018", {"seed": 3}, r"rule = .*this run has rule = \(absent\)"),
        (
            "mozafari2018",
            {**META["settings"], "augment": True},
            r"augment = \(absent\), this run has augment = True",
        ),
    ],
)
def test_check_names_the_first_difference(model, settings, pattern):
    with pytest.raises(UserError, match=pattern):
        checkpoint.check(META, model=model, settings=settings)


def test_reading_needs_no_torch():
    import subprocess
    import sys

    code = "import sys, firstspike.checkpoint as c, safetensors.numpy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
