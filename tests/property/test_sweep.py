"""Laws of sweeps: grids, records cut anywhere, folds summed up."""

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from firstspike.errors import UserError
from firstspike.readouts.protocol import summarise
from firstspike.sweep.records import Log, Record, key_of, read_records, recorded
from firstspike.sweep.space import space_of
from firstspike.sweep.trials import Trial, best, ranked

scalars = st.one_of(st.integers(-5, 5), st.floats(-2, 2), st.booleans(), st.sampled_from(["s4nn", "rstdp"]))
lists = st.lists(scalars, min_size=1, max_size=4, unique_by=lambda value: (type(value), value))
configurations = st.dictionaries(st.sampled_from("abcdef"), st.one_of(scalars, lists), max_size=5)


@given(configurations)
def test_a_grid_has_every_combination_once(configuration):
    space = space_of(configuration, ())
    points = [space.options(point) for point in space.grid()]
    axes = {name: value for name, value in configuration.items() if isinstance(value, list)}
    assert len(points) == np.prod([len(values) for values in axes.values()], dtype=int)
    assert len({json.dumps(point) for point in points}) == len(points)
    for point in points:
        assert list(point) == [*space.fixed, *axes]
        assert all(point[name] in values for name, values in axes.items())
        assert all(point[name] == value for name, value in configuration.items() if name not in axes)


@given(configurations)
def test_each_value_is_seen_without_the_whole_grid(configuration):
    space = space_of(configuration, ())
    points = space.each_value()
    assert len(points) == 1 + sum(len(axis.values) - 1 for axis in space.axes)
    for number, axis in enumerate(space.axes):
        assert {point[number] for point in points} == set(range(len(axis.values)))
    assert set(points) <= set(space.grid())


def record(n, **figures):
    settings = {"seed": n, "model": "mozafari2018", "name": "ümlaut"}
    return Record(settings, **{"status": "done", "seconds": 0.5, "validation": 0.1 * n, **figures})


@pytest.mark.parametrize("count", [1, 3])
def test_records_cut_at_any_byte_of_the_last_one_lose_it_alone(tmp_path, count):
    path = tmp_path / "records.jsonl"
    written = [record(n, floor=(0.9, 3) if n else None) for n in range(count)]
    log = Log(path)
    for one in written:
        log.add(one)
    log.close()
    content = path.read_bytes()
    start = content[:-1].rfind(b"\n") + 1
    for cut in range(start, len(content) + 1):
        path.write_bytes(content[:cut])
        whole = cut >= len(content) - 1  # without its line's end a record is whole
        left = written if whole else written[:-1]
        assert recorded(path) == {one.key: one for one in left}
        log = Log(path)
        assert log.records == {one.key: one for one in left}
        log.add(record(99))
        log.close()
        assert read_records(path.read_bytes(), path)[0] == [*left, record(99)]


def test_a_broken_line_before_the_last_is_refused(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"half": \n' + json.dumps({"a": 1}).encode())
    with pytest.raises(UserError, match="line 1 is no record: remove it, and its run is done again"):
        Log(path)


def test_one_sweep_at_a_time_has_the_records(tmp_path):
    log = Log(tmp_path / "records.jsonl")
    with pytest.raises(UserError, match="another sweep is at work in this folder"):
        Log(tmp_path / "records.jsonl")
    log.close()
    Log(tmp_path / "records.jsonl").close()


def test_settings_are_known_whatever_their_order():
    assert key_of({"a": 1, "b": [1, 2]}) == key_of({"b": [1, 2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
@example([5e-5])  # which Python rounds up, numpy down
def test_folds_are_summed_up_as_numpy_does(accuracies):
    mean, deviation = summarise(accuracies)
    rounded = np.array([np.round(x, 4) for x in accuracies])
    assert mean == pytest.approx(np.mean(rounded))
    assert deviation == pytest.approx(np.std(rounded, ddof=0))
    records = tuple(record(n, validation=x) for n, x in enumerate(accuracies))
    assert Trial((0,), {}, records).accuracy("validation") == (mean, deviation)
    assert Trial((0,), {}, (*records, None)).accuracy("validation") is None


states = st.sampled_from(["done", "abandoned", "failed"])


@given(st.lists(st.lists(st.tuples(states, st.floats(0, 1)), min_size=1, max_size=3), max_size=6))
def test_the_best_is_the_finished_trial_with_the_highest_mean(table):
    trials = [
        Trial((n,), {}, tuple(record(n, status=state, validation=x) for state, x in runs))
        for n, runs in enumerate(table)
    ]
    finished = [trial for trial in trials if trial.status == "done"]
    assert sorted(trial.point for trial in ranked(trials)) == [trial.point for trial in trials]
    if not finished:
        assert best(trials) is None
    else:
        assert best(trials).score == max(trial.score for trial in finished)
        assert ranked(trials)[: len(finished)] == sorted(finished, key=lambda trial: -trial.score)
