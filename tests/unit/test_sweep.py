"""Parts of a sweep: what is an axis, searches, pools, the floor, tables and plots."""

import csv
import os
import signal

import numpy as np
import pytest

from firstspike.errors import UserError
from firstspike.report.plots import pixels
from firstspike.report.records import EpochRecord
from firstspike.sweep.floor import Floor, Hopeless
from firstspike.sweep.plots import each_axis, parallel_coordinates
from firstspike.sweep.pool import on_this_machine
from firstspike.sweep.progress import Progress
from firstspike.sweep.records import Record
from firstspike.sweep.search import grid, tpe
from firstspike.sweep.space import Axis, Space, space_of
from firstspike.sweep.tables import summary, write_tables
from firstspike.sweep.trials import Trial

SPACE = Space({"model": "x"}, (Axis("rate", (0.1, 0.001, 0.01)), Axis("rule", ("s4nn", "rstdp"))))


def test_lists_are_axes_and_lists_of_lists_where_an_option_takes_several():
    given = {"epochs": [2, 4, 10], "lr": [0.1, 0.2], "image_size": 28, "first": 5}
    assert space_of(given, {"epochs", "image_size"}) == Space(
        {"epochs": [2, 4, 10], "image_size": 28, "first": 5}, (Axis("lr", (0.1, 0.2)),)
    )
    assert space_of({"epochs": [[2, 4], [3, 5]]}, {"epochs"}).axes == (Axis("epochs", ([2, 4], [3, 5])),)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"epochs": [1, [2, 3]]},
            r"epochs: \[1, \[2, 3\]\] mixes numbers and lists: give one list of numbers, or",
        ),
        ({"epochs": []}, "epochs: an empty list: give the values to try"),
        ({"lr": []}, "lr: an empty list"),
        ({"lr": [[0.1, 0.2]]}, r"lr: \[0.1, 0.2\] in a list: each value to try is a number or a word"),
        ({"lr": [{"from": 1}]}, "lr: .* in a list"),
        ({"lr": [0.1, 0.2, 0.1]}, "lr: 0.1 stands twice"),
    ],
)
def test_what_could_mean_two_things_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        space_of(given, {"epochs"})


def searched(search, score):
    """Every point that a search tries, and the sizes of its rounds."""
    points, sizes = [], []
    round_ = next(search)
    while round_:
        points += round_
        sizes.append(len(round_))
        try:
            round_ = search.send([score(point) for point in round_])
        except StopIteration:
            break
    return points, sizes


def test_a_grid_is_one_round():
    assert searched(grid(SPACE), lambda point: None) == (SPACE.grid(), [6])


def test_tpe_is_a_function_of_its_seed_and_the_scores():
    def tried(seed, score):
        return searched(tpe(SPACE, trials=22, seed=seed, batch=4), score)

    def score(point):
        return None if point[1] == 0 else point[0]

    first, sizes = tried(3, score)
    assert sizes == [4] * 5 + [2]
    assert tried(3, score)[0] == first
    assert tried(4, score)[0] != first
    assert tried(3, lambda point: -point[0])[0] != first


def test_tpe_finds_what_is_good():
    space = Space({}, (Axis("a", tuple(range(40))), Axis("b", ("x", "y", "z"))))
    points, _ = searched(
        tpe(space, trials=60, seed=0, batch=4), lambda point: -abs(point[0] - 30) - 10 * (point[1] != 1)
    )
    late = np.array(points[30:])
    assert np.abs(late[:, 0] - 30).mean() < 7  # 13 for random points
    assert (late[:, 1] == 1).mean() > 0.5  # a third of random points


def test_numbers_are_suggested_by_rank():
    axis = SPACE.axes[0]
    assert axis.numeric
    assert [axis.values[place] for place in axis.ranked] == [0.001, 0.01, 0.1]
    assert not SPACE.axes[1].numeric
    assert SPACE.axes[1].ranked == [0, 1]


def doubled(n):
    if n == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * n


def test_a_process_that_dies_costs_its_own_item_alone():
    found = sorted(on_this_machine(2).each(doubled, list(range(4)), lambda n, error: -n))
    assert found == [-3, 0, 2, 4]


def test_one_job_works_in_this_process():
    assert list(on_this_machine(1).each(lambda n: (n, os.getpid()), [1, 2], None)) == [
        (1, os.getpid()),
        (2, os.getpid()),
    ]


def epoch(number, accuracy, validation):
    return EpochRecord("readout", number, 10, 1.0, 10.0, accuracy=accuracy, validation_accuracy=validation)


def test_a_run_is_hopeless_from_the_fourth_epoch_on():
    floor = Floor(0.5)
    for seen in [(2, 0.1, 0.1), (3, 0.5, 0.5), (3, None, None), (9, 0.6, None)]:
        floor.on_epoch(epoch(*seen))
    for seen in [(3, 0.1, 0.9), (3, 0.9, 0.1), (9, None, 0.4)]:
        with pytest.raises(Hopeless, match="below the floor after"):
            floor.on_epoch(epoch(*seen))
    Floor(0.0, 0).on_epoch(epoch(3, 0.0, 0.0))


def done(n, validation, status="done", **more):
    return Record(
        {"seed": 0, "fold": f"{n}/2"}, status, 1.5, 4, validation, more.pop("test", 0.5), 0.0, **more
    )


def trials():
    values = [{"rate": SPACE.axes[0].values[a], "rule": SPACE.axes[1].values[b]} for a, b in SPACE.grid()]
    records = [
        (done(0, 0.90), done(1, 0.80)),
        (done(0, 0.95), done(1, 0.93)),
        (done(0, 0.99, "abandoned", test=None, floor=(0.9, 3)), done(1, 0.7)),
        (Record({"seed": 0}, "failed", 0.1, error="no | room"), done(1, 0.9)),
        (done(0, 0.5), None),
        (done(0, 0.70), done(1, 0.60)),
    ]
    return [Trial(*both) for both in zip(SPACE.grid(), values, records, strict=True)]


def test_tables_have_the_best_first_and_say_what_failed(tmp_path):
    write_tables(tmp_path, SPACE.names, trials())
    rows = list(csv.DictReader((tmp_path / "results.csv").open(newline="")))
    assert [row["status"] for row in rows] == ["done", "done", "done", "abandoned", "unfinished", "failed"]
    assert [rows[0][name] for name in ("rate", "rule", "validation", "validation_sd")] == [
        "0.1", "rstdp", "0.94", str(float(np.std([0.95, 0.93])))
    ]  # fmt: skip
    assert rows[4]["validation"] == ""
    assert len(list(csv.DictReader((tmp_path / "runs.csv").open(newline="")))) == 11
    page = (tmp_path / "results.md").read_text()
    assert page.startswith(
        "best on validation: rate 0.1, rule rstdp: validation 94.00 ± 1.00 %, test 50.00 ± 0.00 %\n"
    )
    assert "failed, 1 of 11 runs: no | room" in page
    assert "| 0.1 | rstdp | 94.00 ± 1.00 | 50.00 ± 0.00 | done | 3.0 s |" in page


def test_nothing_done_means_no_best():
    assert summary(SPACE.names, trials()[3:5]).startswith("no trial is done")


def test_plots_show_every_trial():
    for draw in (parallel_coordinates, each_axis):
        one, other = pixels(draw(SPACE, trials())), pixels(draw(SPACE, trials()[:2]))
        assert one.shape == other.shape
        assert (one != other).any()
        pixels(draw(SPACE, trials()[3:5]))  # none is done


def test_progress_counts_what_was_there_and_tells_the_time_left():
    times = iter([0.0, 10.0])
    progress = Progress(8, clock=lambda: next(times))
    line = progress.line({"rate": 0.1}, done(1, 0.9), 3)
    assert line == "3/8  rate 0.1  fold 1/2  validation 90.00 %  test 50.00 %  1.5 s  left: 50 s"
