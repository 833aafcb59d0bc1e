import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from firstspike.errors import UserError
from firstspike.report import film as film_module
from firstspike.report.film import Journey, film, frames, main, raster
from firstspike.report.plots import pixels


@pytest.fixture
def journey():
    rng = np.random.default_rng(0)
    conv1 = np.full((3, 4, 4), 255, np.uint8)
    conv1[1, 2, 3], conv1[2, 0, 0] = 1, 3
    stages = {"input": rng.integers(0, 5, (2, 8, 8), np.uint8), "conv1": conv1}
    return Journey(
        rng.integers(0, 256, (8, 8), np.uint8), stages, 5, {"cat": 3.0, "dog": 6.0}, "label dog, answer dog"
    )


@pytest.mark.parametrize("name", ["film.gif", "film.png"])
def test_a_film_has_a_frame_for_each_step_and_holds_the_last(tmp_path, journey, name):
    film(tmp_path / name, journey)
    with Image.open(tmp_path / name) as picture:
        assert picture.n_frames == 5
        durations, contents = [], []
        for step in range(5):
            picture.seek(step)
            durations.append(picture.info["duration"])
            contents.append(picture.convert("RGB").tobytes())
    assert durations == [350] * 4 + [2500]
    assert len(set(contents)) == 5


def white(picture):
    return int((np.asarray(picture) == 255).all(axis=-1).sum())


def test_a_neuron_flashes_in_its_step_and_keeps_its_colour(journey):
    one = replace(
        journey, stages={"conv1": journey.stages["conv1"]}, scores={}, image=np.zeros((8, 8), np.uint8)
    )
    bright = [white(frame) for frame in frames(one)]
    assert bright[0] == bright[2] == bright[4] == 0
    assert bright[1] == bright[3] > 100
    coloured = [int((np.ptp(np.asarray(frame).astype(int), axis=-1) > 60).sum()) for frame in frames(one)]
    assert coloured == [0, 0, bright[1], bright[1], 2 * bright[1]]
    before, after = (np.asarray(frames(one)[step])[66:] for step in (0, 2))  # below the headline
    changed = (before != after).any(axis=-1)[22:].sum()
    assert changed == bright[1]  # exactly the neuron that flashed has another colour now


def test_scores_are_shown_after_the_last_step_only(journey):
    bright = [white(film_module._score_panel(journey.scores, shown=shown)) for shown in (False, True)]
    assert bright[0] == 0
    assert bright[1] > 1000
    assert white(film_module._score_panel({"a": 0.0, "b": 0.0}, shown=True)) == 0


def test_silent_and_colour_images(tmp_path, journey):
    silent = replace(
        journey, image=np.zeros((8, 8, 3), np.uint8), stages={"conv1": np.full((3, 1, 1), 255, np.uint8)}
    )
    film(tmp_path / "silent.gif", silent)
    assert pixels(raster(silent)).std() > 5


def test_a_raster_has_a_dot_for_each_spike(journey):
    figure = raster(journey)
    dots = [axes.lines[0].get_xydata() for axes in figure.axes[::2]]
    assert [len(points) for points in dots] == [128, 2]
    assert sorted(np.rint(dots[1]).tolist()) == [[1, 1], [3, 2]]  # step, map
    upright = dots[1][np.argsort(dots[1][:, 0])] - [[1, 1], [3, 2]]
    np.testing.assert_allclose(upright, [[0.3, -0.1], [-0.3, 0.3]])  # row 2 of 4, column 3; row 0, column 0
    bars = [[bar.get_height() for bar in axes.patches] for axes in figure.axes[1::2]]
    assert bars[1] == [0, 1, 0, 1]
    assert sum(bars[0]) == 128


def test_other_formats_are_refused(tmp_path, journey):
    with pytest.raises(
        UserError, match=r"cannot write a film as film.mp4: choose a name that ends in .gif or .png"
    ):
        film(tmp_path / "film.mp4", journey)


def run_command(arguments, journey):
    def open_run(folder):
        if not folder.exists():
            raise UserError(f"no run at {folder}: give the folder of a trained run")
        return lambda image: replace(journey, caption=image)

    out, err = io.StringIO(), io.StringIO()
    return main(arguments, open_run=open_run, out=out, err=err), out.getvalue(), err.getvalue()


def test_the_command_writes_film_and_raster(tmp_path, journey):
    status, out, err = run_command([str(tmp_path), "pictures/cat.jpg"], journey)
    assert (status, err) == (0, "")
    assert [Path(line) for line in out.split()] == [
        tmp_path / "film_cat.gif",
        tmp_path / "film_cat_raster.png",
    ]
    assert all(Path(line).stat().st_size > 500 for line in out.split())


def test_the_command_refuses_in_one_line(tmp_path, journey):
    absent = tmp_path / "absent"
    answer = run_command([str(absent), "3"], journey)
    assert answer == (2, "", f"no run at {absent}: give the folder of a trained run\n")
