import csv
import json

import numpy as np
import pytest
from PIL import Image

from firstspike.errors import UserError
from firstspike.report import plots
from firstspike.report.metrics import evaluate
from firstspike.report.records import EpochRecord
from firstspike.report.writer import Answers, Learnt, write_history, write_report


def answers_of(images, classes, silent=0.1, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    scores = rng.random((images, classes)) + 0.5 * np.eye(classes)[labels]
    decisions = np.where(rng.random(images) < silent, -1, scores.argmax(1))
    return Answers(labels, decisions, scores, [f"class {k}" for k in range(classes)], np.arange(images) + 7)


def record(phase, epoch, **figures):
    return EpochRecord(phase, epoch, images=10, seconds=1.0, images_per_second=10.0, **figures)


def records():
    stdp = [record("conv1", e, rates={"ltp": 0.1}, convergence={"conv1": 0.1 / (e + 1)}) for e in (0, 1)]
    figures = {
        "accuracy": 0.5,
        "loss": 0.5,
        "silent": 0.1,
        "validation_accuracy": 0.4,
        "validation_silent": 0.1,
    }
    convergence = {"conv1": 0.05, "decision": 0.2}
    return [
        *stdp,
        *(record("decision", e, **figures, convergence=convergence, best=e == 1) for e in range(3)),
    ]


def test_figures_of_a_small_case_by_hand():
    labels = np.array([0, 0, 1, 1, 2])
    decisions = np.array([0, -1, 1, 0, -1])
    scores = np.array([[3, 1, 0, 0], [9, 0, 0, 0], [1, 2, 0, 0], [2, 1, 0, 0], [5, 5, 5, 5]])
    m = evaluate(labels, decisions, scores, classes=4, class_names=list("abcd"))
    assert m.confusion == ((1, 0, 0, 0, 1), (1, 1, 0, 0, 0), (0, 0, 0, 0, 1), (0, 0, 0, 0, 0))
    assert (m.right, m.wrong, m.silent, m.accuracy) == (2, 1, 2, 0.4)
    assert m.precision == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert m.recall == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert m.f1 == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    # class a: scores 3, 0 against 1, 2, 0; b: 2, 1 against 1, 0, 0; c: all equal, as silent images score 0
    assert [row.roc_auc for row in m.classes] == pytest.approx([3.5 / 6, 5.5 / 6, 0.5, None])
    assert [(row.name, row.images, row.right, row.silent) for row in m.classes] == [
        ("a", 2, 1, 1),
        ("b", 2, 1, 0),
        ("c", 1, 0, 1),
        ("d", 0, 0, 0),
    ]


def test_all_silent():
    m = evaluate(np.array([0, 1]), np.array([-1, -1]), np.random.default_rng(0).random((2, 2)), classes=2)
    assert (m.accuracy, m.f1, m.precision, m.recall, m.roc_auc, m.silent) == (0, 0, 0, 0, 0.5, 2)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"labels": np.array([0, 3])}, "labels from 0 to 3: give whole numbers from 0 to 2"),
        ({"labels": np.array([-1, 0])}, "labels from -1 to 0: give whole numbers from 0 to 2"),
        ({"labels": np.array([0.0, 1.0])}, "labels from 0.0 to 1.0: give whole numbers"),
        ({"decisions": np.array([-2, 0])}, "decisions from -2 to 0: give whole numbers from -1 to 2"),
        ({"decisions": np.array([0])}, r"decisions \(1,\).*do not fit: give \(N,\), \(N,\) and \(N, 3\)"),
        ({"scores": np.full((2, 3), np.nan)}, "scores hold NaN or infinity: give finite numbers"),
        ({"class_names": ["a"]}, "1 class names for 3 classes: give one name for each class"),
        ({"labels": np.array([], int)}, "no images to evaluate: give at least one"),
    ],
)
def test_refuses(change, pattern):
    given = {
        "labels": np.array([0, 1]),
        "decisions": np.array([0, -1]),
        "scores": np.ones((2, 3)),
        "classes": 3,
    }
    with pytest.raises(UserError, match=pattern):
        evaluate(**(given | change))


def test_report_writes_all_its_files(tmp_path):
    answers = answers_of(60, 3)
    learnt = Learnt(records(), {"conv1": np.random.default_rng(0).normal(size=(5, 5, 5))}, {"conv1": 5})
    metrics = write_report(tmp_path / "run", answers, learnt, about={"model": "mozafari2018", "seed": 3})
    names = ["confusion_matrix.png", "features.png", "history.csv", "history.png", "metrics.json"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        *names,
        "predictions.csv",
        "roc.png",
    ]
    content = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert content["model"] == "mozafari2018"
    assert content["accuracy"] == metrics.accuracy
    assert np.array(content["confusion"]).shape == (3, 4)
    for name in ("confusion_matrix", "features", "history", "roc"):
        with Image.open(tmp_path / "run" / f"{name}.png") as image:
            assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_predictions(tmp_path):
    answers = answers_of(60, 3)
    write_report(tmp_path, answers, Learnt(), about={})
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert [int(row["index"]) for row in rows] == list(range(7, 67))
    np.testing.assert_array_equal([int(row["decision"]) for row in rows], answers.decisions)
    np.testing.assert_array_equal([int(row["label"]) for row in rows], answers.labels)
    assert sum(int(row["correct"]) for row in rows) == answers.metrics().right
    silent = answers.decisions == -1
    top = np.where(silent, 0, answers.scores.max(axis=1))
    np.testing.assert_allclose([float(row["score"]) for row in rows], top, atol=1e-6)
    assert not (tmp_path / "history.csv").exists()


def test_history_has_a_column_for_each_figure(tmp_path):
    write_history(tmp_path / "h.csv", records())
    rows = list(csv.DictReader((tmp_path / "h.csv").open()))
    assert [row["phase"] for row in rows] == ["conv1"] * 2 + ["decision"] * 3
    assert [row["rate.ltp"] for row in rows] == ["0.1", "0.1", "", "", ""]
    assert [row["convergence.conv1"] for row in rows] == ["0.1", "0.05", "0.05", "0.05", "0.05"]
    assert [row["validation_accuracy"] for row in rows] == ["", "", "0.4", "0.4", "0.4"]
    assert [row["best"] for row in rows] == ["False", "False", "False", "True", "False"]


@pytest.mark.parametrize(("images", "classes"), [(1, 1), (1, 10), (30, 2), (500, 14), (500, 47)])
def test_figures_of_any_number_of_classes(images, classes):
    answers = answers_of(images, classes)
    metrics = answers.metrics()
    for figure in (
        plots.confusion_matrix(metrics),
        plots.roc(answers.labels, answers.decisions, answers.scores, metrics),
    ):
        assert plots.pixels(figure).std() > 5


def test_shades_are_shares_of_the_true_class():
    figure = plots.confusion_matrix(answers_of(200, 4).metrics())
    shares = np.hstack([axes.images[0].get_array() for axes in figure.axes[:2]])
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_the_star_marks_the_best_epoch():
    (stars,) = [line for line in plots.history(records()).axes[0].lines if line.get_marker() == "*"]
    assert stars.get_xydata().tolist() == [[2, 40]]


def test_labels_of_47_classes_do_not_overlap():
    figure = plots.confusion_matrix(answers_of(500, 47).metrics())
    plots.pixels(figure)
    for labels in (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert len(boxes) == 47
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


@pytest.mark.parametrize("rows", [[], records()[:2], records()[2:], records(), records() * 60])
def test_history_of_any_phases(rows):
    assert plots.pixels(plots.history(rows)).std() > 5


def test_mosaic_scales_each_picture_by_itself():
    images = np.zeros((3, 2, 2))
    images[0, 0, 0], images[1, 1, 1] = 5.0, -3.0
    sheet = plots.mosaic(images, 2)
    assert sheet.shape == (7, 7, 3)
    assert sheet[1, 1].tolist() == [255] * 3  # strongest, positive
    assert sheet[2, 5].tolist() == [0] * 3  # strongest, negative
    assert sheet[4, 1].tolist() == [128] * 3  # a map without any feature
    assert sheet[4, 4].tolist() == [255] * 3  # no picture here
    images[1, 1, 1] = -1.0
    assert plots.mosaic(images, 2)[2, 5].tolist() == [64] * 3  # weak: half as dark
    np.testing.assert_array_equal(plots.mosaic(np.zeros((1, 2, 2)))[1:3, 1:3], 128)
    colour = plots.mosaic(np.ones((1, 2, 2, 3)) * [1.0, -1.0, 0.0])
    assert colour[1, 1].tolist() == [255, 0, 128]


def test_full_rows_are_preferred():
    assert [plots.full_rows(maps, aspect=2.5) for maps in (30, 75, 150, 200, 250)] == [10, 15, 15, 20, 25]
