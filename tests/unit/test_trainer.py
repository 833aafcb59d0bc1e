"""The one loop: orders, validation, patience, checkpoints, resume at every event, events in order."""

import json
from dataclasses import replace

import numpy as np
import pytest

from firstspike import checkpoint
from firstspike.data.samples import Samples
from firstspike.data.splits import order
from firstspike.report.callbacks import Callback
from firstspike.report.records import load_position, to_jsonable
from models import create_model
from network_trainer import Keeper, Position
from tests.zoo import ZOO, latencies, small

N, HELD = 21, 9
FIGURES = (
    "phase",
    "epoch",
    "images",
    "accuracy",
    "loss",
    "silent",
    "validation_accuracy",
    "validation_silent",
    "best",
)


@pytest.fixture
def data():
    shown, labels = latencies(N + HELD, blank=(4, N)), np.arange(N + HELD) % 3
    rows = np.arange(N + HELD)
    return Samples(shown, rows[:N], labels[:N]), Samples(shown, rows[N:], labels[N:])


def epochs_of(net, number=2):
    return dict.fromkeys(net.phases, number)


def history(position):
    return [
        (*(getattr(r, name) for name in FIGURES), dict(r.rates), dict(r.convergence))
        for r in position.records
    ]


def same_state(net, other):
    for key, array in net.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[key], err_msg=key)


class Events(Callback):
    """Keeps the names of what it hears, and stops the run at one of them."""

    def __init__(self, stop=None):
        self.heard, self.stop = [], stop

    def hear(self, *event):
        self.heard.append(event)
        if len(self.heard) - 1 == self.stop:
            raise KeyboardInterrupt

    def on_phase_start(self, phase, epochs):
        self.hear("start", phase, epochs)

    def on_batch(self, progress):
        self.hear("batch", progress.phase, progress.epoch, progress.done, progress.total)

    def on_epoch(self, record):
        self.hear("epoch", record.phase, record.epoch)

    def on_phase_end(self, phase):
        self.hear("end", phase)


# --- what the loop does --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ZOO)
def test_the_loop_is_the_phases_one_after_the_other(name, data):
    """Each epoch in the order of (seed, phase, epoch); at the end the network that was best on validation."""
    train, held = data
    net, by_hand = small(name), small(name)
    position = net.train(train, held, epochs=epochs_of(net))
    best, states = -1.0, []
    for phase in by_hand.phases:
        for epoch in range(2):
            rows = order(N, seed=0, phase=phase, epoch=epoch)
            result = by_hand.fit_phase(phase, train.latencies[rows], train.labels[rows])
            states.append(by_hand.state_dict())
    accuracies = []
    for state in states[-2:]:
        by_hand.load_state_dict(state)
        accuracies.append((by_hand.predict(held.latencies[N:]) == held.labels).mean())
    best = 1 - int(accuracies[0] > accuracies[1])  # on equality the later
    by_hand.load_state_dict(states[-2:][best])
    same_state(net, by_hand)
    assert position.best_epoch == best
    assert [r.validation_accuracy for r in position.records[-2:]] == accuracies
    right, wrong, silent = result.counts.sum(axis=0) / N
    last = position.records[-1]
    assert (last.accuracy, last.loss, last.silent) == (right, wrong, silent)
    assert last.validation_silent == pytest.approx(1 / HELD)
    assert last.silent == pytest.approx(1 / N)


def test_events_come_in_order(data):
    net, events = small("mozafari2018"), Events()
    net.train(*data, epochs={"conv1": 1, "conv2": 0, "decision": 2}, callbacks=[events])
    windows = [("batch", "decision", epoch, done, N) for epoch in range(2) for done in (8, 16, N)]
    assert events.heard == [
        ("start", "conv1", 1), ("batch", "conv1", 0, N, N), ("epoch", "conv1", 0), ("end", "conv1"),
        ("start", "decision", 2),
        *windows[:3], ("epoch", "decision", 0), *windows[3:], ("epoch", "decision", 1), ("end", "decision"),
    ]  # fmt: skip


def test_callbacks_change_nothing(data):
    quiet, watched = small("deepr2024_greedy"), small("deepr2024_greedy")
    quiet.train(*data, epochs=epochs_of(quiet))
    watched.train(*data, epochs=epochs_of(watched), callbacks=[Events(), Callback()])
    same_state(quiet, watched)


@pytest.mark.parametrize("name", ZOO)
def test_no_epochs_leave_the_network_as_it_was_made(name, data, tmp_path):
    net = small(name)
    net.train(*data, epochs=epochs_of(net, 0), keeper=Keeper(tmp_path))
    same_state(net, small(name))
    names = {path.stem for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {*net.phases, "last"}


def scripted(net, accuracies, held):
    """Let the network's answers on validation be right as often as the script says."""
    script = iter(accuracies)

    def answers(phase, inputs):
        right = round(next(script) * len(held.labels))
        return np.where(np.arange(len(held.labels)) < right, held.labels, -1)

    net.engine.answers_from = answers


@pytest.mark.parametrize(
    ("accuracies", "patience", "epochs", "best"),
    [
        (
            (1 / 3, 2 / 3, 0, 0, 0, 0, 0, 0, 1),
            5,
            8,
            1,
        ),  # six epochs without a better one: the seventh never comes
        ((1 / 3, 2 / 3, 0, 0, 0, 0, 0, 1), 5, 8, 7),  # just in time
        ((1 / 3, 1 / 3, 1 / 3, 0), 5, 4, 2),  # on equality the later
        ((1, 0, 0, 0), 0, 2, 0),
        ((0, 0, 0), 5, 3, 2),  # silence everywhere is the best so far, too
    ],
)
def test_patience_and_the_best_epoch(accuracies, patience, epochs, best, data):
    net = small("mozafari2018")
    scripted(net, accuracies, data[1])
    plan = {"conv1": 0, "conv2": 0, "decision": len(accuracies)}
    states = []

    class Keep(Callback):
        def on_epoch(self, record):
            states.append(net.state_dict())

    position = net.train(*data, epochs=plan, patience=patience, callbacks=[Keep()])
    assert len(position.records) == epochs
    assert (position.best_epoch, position.best_phase) == (best, "decision")
    for key, array in states[best].items():
        np.testing.assert_array_equal(array, net.state_dict()[key])


def test_without_validation_the_last_epoch_counts_and_nothing_ends_early(data):
    train, held = data
    for nothing in (None, replace(held, rows=held.rows[:0], labels=held.labels[:0])):
        net = small("mozafari2018")
        position = net.train(train, nothing, epochs={"conv1": 0, "conv2": 0, "decision": 9}, patience=0)
        assert position.best_epoch == 8
        assert all(r.validation_accuracy is None for r in position.records)
        by_hand = small("mozafari2018")
        for epoch in range(9):
            rows = order(N, seed=0, phase="decision", epoch=epoch)
            by_hand.fit_phase("decision", train.latencies[rows], train.labels[rows])
        same_state(net, by_hand)


def test_patience_is_counted_in_supervised_phases_only(data):
    net = small("mozafari2018")
    position = net.train(*data, epochs={"conv1": 9, "conv2": 0, "decision": 0}, patience=0)
    assert len(position.records) == 9
    assert position.best_epoch == -1


def test_altered_copies_stand_behind_the_images(data):
    train, _ = data
    asked = []

    def copies(epoch, rows):
        asked.append((epoch, rows))
        return train.latencies[rows][..., ::-1]

    augmented = replace(train, copies=copies)
    assert len(augmented) == 2 * N
    net, by_hand = small("mozafari2018"), small("mozafari2018")
    position = net.train(augmented, epochs=epochs_of(net))
    doubled = np.concatenate([train.latencies[:N], train.latencies[:N][..., ::-1]])
    for phase in by_hand.phases:
        for epoch in range(2):
            rows = order(2 * N, seed=0, phase=phase, epoch=epoch)
            by_hand.fit_phase(phase, doubled[rows], np.tile(train.labels, 2)[rows])
    same_state(net, by_hand)
    assert {epoch for epoch, _ in asked} == {0, 1}
    assert all(rows.max() < N for _, rows in asked)
    assert {r.images for r in position.records} == {2 * N}


def test_inputs_that_are_too_large_for_memory_lie_on_disk_while_needed(data, tmp_path):
    large, plain = small("deep2024"), small("deep2024")
    seen = []

    class Look(Callback):
        def on_epoch(self, record):
            seen.append(sorted(path.name for path in (tmp_path / "inputs").iterdir()))

    large.train(*data, epochs=epochs_of(large), keeper=Keeper(tmp_path, memory_budget=1), callbacks=[Look()])
    plain.train(*data, epochs=epochs_of(plain))
    same_state(large, plain)
    assert len(seen) == 8
    assert all(len(names) == 2 for names in seen)
    assert not (tmp_path / "inputs").exists()


# --- checkpoints and resume ----------------------------------------------------------------------------------------


def resumed(name, data, folder, plan):
    """A fresh network that goes on where the last checkpoint stands."""
    net, keeper = small(name), Keeper(folder)
    position = Position()
    if keeper.path("last").exists():
        state, meta = checkpoint.load(keeper.path("last"))
        net.load_state_dict(state)
        position = load_position(meta)
    return net, net.train(*data, epochs=plan, keeper=keeper, position=position)


@pytest.mark.parametrize("name", ["mozafari2018", "deepr2024_greedy", "inception2024", "majority2024"])
def test_a_run_stopped_at_any_event_goes_on_bit_by_bit(name, data, tmp_path):
    net = small(name)
    plan = epochs_of(net)
    whole = net.train(*data, epochs=plan, keeper=Keeper(tmp_path / "whole"))
    files = {path.name: path.read_bytes() for path in (tmp_path / "whole" / "checkpoints").iterdir()}
    events = Events()
    small(name).train(*data, epochs=plan, callbacks=[events])
    for stop in range(0, len(events.heard), 3 if len(events.heard) > 20 else 1):
        folder = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            small(name).train(*data, epochs=plan, keeper=Keeper(folder), callbacks=[Events(stop)])
        other, position = resumed(name, data, folder, plan)
        same_state(net, other)
        assert history(position) == history(whole)
        again = {path.name: path for path in (folder / "checkpoints").iterdir()}
        assert set(again) == set(files)
        for name_of, path in again.items():
            same_checkpoint(path, tmp_path / "whole" / "checkpoints" / name_of)


def same_checkpoint(one, other):
    """Equal but for the times."""
    (a, about_a), (b, about_b) = checkpoint.load(one), checkpoint.load(other)
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])
    for about in (about_a, about_b):
        for record in about["position"]["records"]:
            record["seconds"] = record["images_per_second"] = 0
    assert about_a == about_b


class Killed(BaseException):
    pass


@pytest.mark.parametrize("victim", ["best", "last", "conv1", "decision"])
def test_a_run_killed_between_two_checkpoints_goes_on(victim, data, tmp_path, monkeypatch):
    """The file is written, the next is not: SIGKILL may come in between."""
    name, plan = "mozafari2018", {"conv1": 1, "conv2": 1, "decision": 3}
    net = small(name)
    whole = net.train(*data, epochs=plan, keeper=Keeper(tmp_path / "whole"))
    save, calls = checkpoint.save, []

    def save_and_die(path, *rest):
        save(path, *rest)
        calls.append(path.stem)
        if path.stem == victim and calls.count(victim) == (2 if victim == "best" else 1):
            raise Killed

    monkeypatch.setattr(checkpoint, "save", save_and_die)
    with pytest.raises(Killed):
        small(name).train(*data, epochs=plan, keeper=Keeper(tmp_path / "killed"))
    monkeypatch.setattr(checkpoint, "save", save)
    other, position = resumed(name, data, tmp_path / "killed", plan)
    same_state(net, other)
    assert history(position) == history(whole)
    for path in (tmp_path / "whole" / "checkpoints").iterdir():
        same_checkpoint(path, tmp_path / "killed" / "checkpoints" / path.name)


def test_a_finished_run_stays_as_it_is(data, tmp_path):
    plan = {"conv1": 1, "conv2": 1, "decision": 2}
    net = small("mozafari2018")
    net.train(*data, epochs=plan, keeper=Keeper(tmp_path))
    before = {path.name: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}
    other, position = resumed("mozafari2018", data, tmp_path, plan)
    same_state(net, other)
    assert {path.name: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()} == before
    assert len(position.records) == 4


def test_a_checkpoint_says_what_it_is_of(data, tmp_path):
    net = small("majority2024")
    net.train(*data, epochs=epochs_of(net, 1), keeper=Keeper(tmp_path, {"seed": 0}, {"filters": "dog"}))
    state, meta = checkpoint.load(tmp_path / "checkpoints" / "last.safetensors")
    assert meta["model"] == "majority2024"
    assert meta["settings"] == {"seed": 0}
    assert meta["network"]["encoder"] == {"filters": "dog"}
    assert meta["network"]["shape"] == [6, 20, 20]
    assert set(state) == set(net.state_dict())
    position = load_position(meta)
    assert (position.phase, position.epoch) == (2, 1)
    assert [(r.phase, r.epoch) for r in position.records] == [(phase, 0) for phase in net.phases]


def test_a_position_goes_round_in_order(data):
    net = small("deepr2024")
    position = net.train(*data, epochs=epochs_of(net, 1))
    back = load_position({"position": json.loads(json.dumps(to_jsonable(position), sort_keys=True))})
    assert back == position
    for record, kept in zip(position.records, back.records, strict=True):
        assert list(record.rates) == list(kept.rates)
        assert list(record.convergence) == list(kept.convergence)


def test_a_network_is_shown_by_what_makes_it():
    assert repr(create_model("mozafari2018", seed=3, conv1_maps=8)) == "mozafari2018(seed=3, conv1_maps=8)"
