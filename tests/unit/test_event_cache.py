"""Features kept on disk: made once a key, made anew where the file is damaged, none kept without a folder."""

import numpy as np
import pytest

from firstspike.readouts.event_cache import cached_events
from firstspike.readouts.events import from_dense

TIMES = np.random.default_rng(0).uniform(0, 1.3, (30, 17)).astype(np.float32)


class _Maker:
    def __init__(self, **details):
        self.calls, self.details = 0, details

    def __call__(self):
        self.calls += 1
        return from_dense(TIMES, **self.details)


def same(one, other):
    assert (one.inputs, one.max_time) == (other.inputs, other.max_time)
    for name in ("offsets", "index", "times"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("max_time", [1.0, 1.2])
def test_they_are_made_once_a_key(tmp_path, max_time):
    make = _Maker(max_time=max_time)
    found = [cached_events(key, make, folder=tmp_path) for key in ("a", "a", "b")]
    assert make.calls == 2
    for each in found:
        same(each, make())


def test_a_damaged_file_is_made_anew(tmp_path):
    make = _Maker()
    whole = cached_events("a", make, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    for damaged in (content[:-100], content[: len(content) // 2] + b"!" + content[len(content) // 2 + 1 :]):
        path.write_bytes(damaged)
        calls = make.calls
        same(cached_events("a", make, folder=tmp_path), whole)
        assert make.calls == calls + 1
        assert path.read_bytes() == content


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make = _Maker()
    for _ in range(2):
        cached_events("a", make, folder=None)
    assert make.calls == 2
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_costs_only_the_keeping(tmp_path):
    (tmp_path / "file").write_text("")
    same(cached_events("a", _Maker(), folder=tmp_path / "file"), _Maker()())
