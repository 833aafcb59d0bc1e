"""Laws of the figures: silence is never right; neither order of images nor names of classes matter."""

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from firstspike.report.metrics import evaluate


@st.composite
def answers(draw):
    classes, images = draw(st.integers(1, 6)), draw(st.integers(1, 40))
    labels = np.array(draw(st.lists(st.integers(0, classes - 1), min_size=images, max_size=images)))
    decisions = np.array(draw(st.lists(st.integers(-1, classes - 1), min_size=images, max_size=images)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return labels, decisions, np.round(rng.random((images, classes)), draw(st.integers(0, 3))), classes


@settings(max_examples=40, deadline=None)
@given(answers())
def test_figures_are_finite_and_add_up(case):
    labels, decisions, scores, classes = case
    m = evaluate(labels, decisions, scores, classes=classes)
    json.dumps(m.as_dict(), allow_nan=False)
    confusion = np.array(m.confusion)
    assert confusion.shape == (classes, classes + 1)
    assert confusion.sum() == m.images == len(labels) == m.right + m.wrong + m.silent
    assert m.right == (labels == decisions).sum()
    assert m.silent == (decisions == -1).sum() == confusion[:, -1].sum()
    assert m.accuracy == m.right / m.images
    for value in (m.accuracy, m.precision, m.recall, m.f1, 0 if m.roc_auc is None else m.roc_auc):
        assert 0 <= value <= 1


@settings(max_examples=40, deadline=None)
@given(answers())
def test_silencing_an_image_never_helps(case):
    labels, decisions, scores, classes = case
    right = np.flatnonzero(labels == decisions)
    assume(len(right) > 0)
    before = evaluate(labels, decisions, scores, classes=classes)
    decisions = decisions.copy()
    decisions[right[0]] = -1
    after = evaluate(labels, decisions, scores, classes=classes)
    assert after.accuracy < before.accuracy
    assert after.recall < before.recall
    assert after.f1 < before.f1


@settings(max_examples=40, deadline=None)
@given(answers(), st.randoms(use_true_random=False))
def test_order_of_images_and_names_of_classes_do_not_matter(case, random):
    labels, decisions, scores, classes = case
    order = list(range(len(labels)))
    names = list(range(classes))
    random.shuffle(order)
    random.shuffle(names)
    renamed = np.array([*names, -1])  # renamed[-1] is -1
    before = evaluate(labels, decisions, scores, classes=classes)
    inverse = np.argsort(names)
    after = evaluate(
        renamed[labels][order], renamed[decisions][order], scores[:, inverse][order], classes=classes
    )
    for name in ("accuracy", "precision", "recall", "f1", "roc_auc"):
        assert getattr(after, name) == pytest.approx(getattr(before, name))


@settings(max_examples=40, deadline=None)
@given(answers())
def test_the_same_as_scikit_learn(case):
    labels, decisions, scores, classes = case
    m = evaluate(labels, decisions, scores, classes=classes)
    met = sorted({*labels.tolist(), *decisions.tolist()} - {-1})
    assert m.f1 == pytest.approx(f1_score(labels, decisions, labels=met, average="macro", zero_division=0.0))
    mute = decisions == -1
    present = np.unique(labels)
    if len(present) > 1:
        expected = [roc_auc_score(labels == k, np.where(mute, 0, scores[:, k])) for k in present]
        assert m.roc_auc == pytest.approx(np.mean(expected))
    else:
        assert m.roc_auc is None
