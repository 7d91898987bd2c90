"""Our numbers are scikit-learn's, on the same rows; unreadable answers count as wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from facekit.data.labels import ACTION_UNITS, EXPRESSIONS
from facekit.evaluation.metrics.scores import (
    action_unit_metrics,
    age_metrics,
    attribute_metrics,
    averaged_scores,
    expression_metrics,
    majority_label,
    majority_presence,
    manipulation_metrics,
    median_age,
)


@given(st.lists(st.tuples(st.sampled_from(EXPRESSIONS), st.sampled_from(EXPRESSIONS)), min_size=1, max_size=60))
def test_expression_metrics_are_accuracy_and_balanced_recall(pairs):
    truths, predictions = zip(*pairs, strict=True)
    found = expression_metrics(truths, predictions)
    recalls = [
        sk.recall_score([t == c for t in truths], [p == c for p in predictions], zero_division=0) for c in set(truths)
    ]
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truths, predictions))
    assert found["uar"] == pytest.approx(np.mean(recalls))


def test_uar_weighs_a_rare_expression_as_much_as_a_common_one():
    truths = ["neutral"] * 9 + ["fear"]
    assert expression_metrics(truths, ["neutral"] * 10) == {"accuracy": 0.9, "uar": 0.5, "war": 0.9}


def test_action_unit_metrics_are_the_mean_of_binary_f1():
    rng = np.random.default_rng(0)
    actual = rng.random((80, len(ACTION_UNITS))) < 0.3
    predicted = rng.random(actual.shape) < 0.4
    found = action_unit_metrics(
        [dict(zip(ACTION_UNITS, row, strict=True)) for row in actual.tolist()],
        [{code for code, named in zip(ACTION_UNITS, row, strict=True) if named} for row in predicted],
    )
    assert found["mean_f1"] == pytest.approx(sk.f1_score(actual, predicted, average="macro"))
    assert found["f1_AU12"] == pytest.approx(sk.f1_score(actual[:, 6], predicted[:, 6]))
    assert list(found) == ["mean_f1", *(f"f1_{code}" for code in ACTION_UNITS)]


def test_units_that_never_occur_are_left_out_of_the_mean():
    truths = [{"AU1": True, "AU2": False}, {"AU1": False, "AU2": False}]
    assert action_unit_metrics(truths, [{"AU1", "AU2"}, set()]) == {"mean_f1": 1.0, "f1_AU1": 1.0}


def test_a_unit_is_scored_only_on_the_faces_annotated_for_it():
    truths = [{"AU1": True}, {"AU1": True, "AU4": True}]
    found = action_unit_metrics(truths, [{"AU1"}, {"AU4"}])
    assert found["f1_AU4"] == 1.0
    assert found["f1_AU1"] == pytest.approx(2 / 3)


def test_attribute_metrics_are_the_mean_of_binary_accuracies():
    truths = [{"Bangs": True, "Wearing_Hat": False}, {"Bangs": False, "Wearing_Hat": True}, {"Bangs": True}]
    found = attribute_metrics(truths, [{"Bangs"}, {"Bangs", "Wearing_Hat"}, set()])
    assert found["accuracy_Bangs"] == pytest.approx(sk.accuracy_score([1, 0, 1], [1, 1, 0]))
    assert found["accuracy_Wearing_Hat"] == 1.0
    assert found["mean_accuracy"] == pytest.approx((1 / 3 + 1.0) / 2)


def test_age_and_manipulation_metrics_are_scikit_learns():
    truths, predictions = [20.0, 40.0, 61.0], [25.0, 38.0, 61.0]
    assert age_metrics(truths, predictions) == {
        "mean_absolute_error": pytest.approx(sk.mean_absolute_error(truths, predictions))
    }
    assert manipulation_metrics([True, False, True, True], [True, True, False, True]) == {"accuracy": 0.5}


def test_unreadable_answers_are_wrong_everywhere():
    assert expression_metrics(["fear", "fear"], ["fear", None])["accuracy"] == 0.5
    assert manipulation_metrics([True, False], [None, None])["accuracy"] == 0.0
    assert attribute_metrics([{"Bangs": True, "Bald": False}], [None])["mean_accuracy"] == 0.0
    assert action_unit_metrics([{"AU1": True}, {"AU1": False}], [None, None])["mean_f1"] == 0.0
    assert age_metrics([30.0, 80.0], [None, None])["mean_absolute_error"] == (70.0 + 80.0) / 2


def test_constants_are_majorities_and_the_median():
    assert majority_label(["fear", "anger", "anger"]) == "anger"
    assert majority_presence([{"a": True, "b": True}, {"a": True, "b": False}, {"a": False, "c": True}]) == {"a", "c"}
    assert median_age([10.0, 20.0, 90.0]) == 20.0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.floats(0, 100))
def test_no_constant_age_beats_the_median(ages, other):
    best = age_metrics(ages, [median_age(ages)] * len(ages))["mean_absolute_error"]
    assert best <= age_metrics(ages, [other] * len(ages))["mean_absolute_error"] + 1e-9


@pytest.mark.parametrize("weighted", [True, False])
def test_scores_of_a_few_decisions_are_scikit_learns(weighted):
    rng = np.random.default_rng(0)
    for _ in range(300):
        truths, said = (rng.random((2, rng.integers(1, 6))) < rng.random((2, 1))).tolist()
        found = averaged_scores(truths, said, weighted=weighted)
        average = "weighted" if weighted else "macro"
        scores = sk.precision_recall_fscore_support(truths, said, average=average, zero_division=0)
        assert [found[name] for name in ("precision", "recall", "f1")] == pytest.approx(scores[:3])
        assert found["accuracy"] == pytest.approx(sk.f1_score(truths, said, average="micro"))
