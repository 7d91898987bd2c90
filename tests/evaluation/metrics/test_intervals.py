"""Intervals hold the truth as often as they say, resample subjects as wholes, and come out the same in every run."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from facekit.data.labels import ACTION_UNITS, EXPRESSIONS
from facekit.evaluation.metrics.intervals import (
    Interval,
    bootstrap_intervals,
    draw_weights,
    holm_adjusted,
    number_clusters,
)
from facekit.evaluation.metrics.scores import (
    action_unit_metrics,
    age_metrics,
    attribute_metrics,
    expression_metrics,
    manipulation_metrics,
)
from facekit.evaluation.metrics.weighted import (
    weigh_action_units,
    weigh_ages,
    weigh_attributes,
    weigh_auc,
    weigh_expressions,
    weigh_manipulation,
    weigh_scores,
)


def guesses(rng, count):
    """Truths and predictions of every task, with some that cannot be read and some labels unknown."""

    def maybe(value):
        return None if rng.random() < 0.1 else value

    expressions = rng.choice(EXPRESSIONS, (2, count))
    units = rng.random((2, count, len(ACTION_UNITS))) < 0.4
    known = rng.random((count, len(ACTION_UNITS))) < 0.8
    presence = [
        {code: bool(units[0, row, place]) for place, code in enumerate(ACTION_UNITS) if known[row, place]}
        for row in range(count)
    ]
    named = [maybe({code for place, code in enumerate(ACTION_UNITS) if units[1, row, place]}) for row in range(count)]
    ages = rng.uniform(0, 100, (2, count))
    forged = rng.random((2, count)) < 0.5
    return {
        "expression": (expressions[0].tolist(), [maybe(name) for name in expressions[1].tolist()]),
        "units": (presence, named),
        "age": (ages[0].tolist(), [maybe(age) for age in ages[1].tolist()]),
        "manipulation": (forged[0].tolist(), [maybe(value) for value in forged[1].tolist()]),
    }


PAIRS = [
    ("expression", expression_metrics, weigh_expressions),
    ("units", action_unit_metrics, weigh_action_units),
    ("units", attribute_metrics, weigh_attributes),
    ("age", age_metrics, weigh_ages),
    ("manipulation", manipulation_metrics, weigh_manipulation),
]


@pytest.mark.parametrize(("task", "score", "weigh"), PAIRS)
@pytest.mark.parametrize("seed", range(5))
def test_with_repeated_records_weighted_metrics_are_those_of_scikit_learn(task, score, weigh, seed):
    rng = np.random.default_rng(seed)
    truths, predictions = guesses(rng, 40)[task]
    weights = np.stack([np.ones(40), rng.integers(0, 4, 40)])
    found = weigh(truths, predictions)(weights)
    for row, weighting in enumerate(weights.astype(int)):
        places = np.repeat(np.arange(40), weighting)
        wanted = score([truths[i] for i in places], [predictions[i] for i in places])
        assert {name: found[name][row] for name in wanted} == pytest.approx(wanted)


def test_metrics_without_a_weighted_form_are_computed_by_repetition():
    truths, predictions = guesses(np.random.default_rng(0), 30)["expression"]
    weights = np.random.default_rng(1).integers(0, 3, (4, 30))
    slow = weigh_scores(expression_metrics, truths, predictions)(weights)
    fast = weigh_expressions(truths, predictions)(weights)
    assert all(slow[name] == pytest.approx(fast[name]) for name in slow)


def test_the_weighted_area_under_the_curve_is_scikit_learns():
    rng = np.random.default_rng(2)
    truths, scores = rng.random(60) < 0.4, rng.integers(0, 12, 60) / 3.0
    weights = np.stack([np.ones(60), rng.integers(0, 5, 60)])
    found = weigh_auc(truths.tolist(), scores.tolist())(weights)["auc"]
    assert found == pytest.approx([sk.roc_auc_score(truths, scores, sample_weight=row) for row in weights])


def test_replicates_draw_as_many_subjects_as_there_are_and_keep_each_together():
    clusters = number_clusters(["a", "b", "a", "c", "b"])
    assert clusters.tolist() == [0, 1, 0, 2, 1]
    weights = np.concatenate(list(draw_weights(clusters, resamples=200, seed=3)))
    assert weights.shape == (200, 5)
    assert np.array_equal(weights[:, 0], weights[:, 2])
    assert np.array_equal(weights[:, 1], weights[:, 4])
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()
    assert weights.mean() == pytest.approx(1.0, abs=0.1)


def test_intervals_are_the_same_for_the_same_seed_and_others_for_another():
    truths, predictions = guesses(np.random.default_rng(4), 80)["expression"]
    weighted, clusters = weigh_expressions(truths, predictions), np.arange(80)
    first, again, other = (bootstrap_intervals(weighted, clusters, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert expression_metrics(truths, predictions)["accuracy"] in first["accuracy"]


def test_an_interval_of_nothing_known_is_none():
    assert Interval.of(np.array([np.nan, np.nan])) is None
    assert Interval.of(np.array([1.0, np.nan, 1.0])) == Interval(1.0, 1.0)


def test_one_subject_says_nothing_of_how_subjects_differ():
    weighted = weigh_manipulation([True] * 4, [True, False, True, True])
    assert bootstrap_intervals(weighted, np.zeros(4, dtype=int)) == {}
    assert bootstrap_intervals(weighted, np.array([0, 0, 1, 1]))["accuracy"] == Interval(0.5, 1.0)


@pytest.mark.parametrize("task", ["accuracy", "uar", "mean_f1", "mean_absolute_error"])
def test_ninety_of_a_hundred_intervals_and_more_hold_the_true_value(task):
    rng = np.random.default_rng(5)
    held = 0
    for seed in range(100):
        if task in ("accuracy", "uar"):
            truths = rng.choice(["fear", "anger", "sadness"], 300, p=[0.5, 0.3, 0.2])
            rates = {"fear": 0.9, "anger": 0.7, "sadness": 0.5}
            right = rng.random(300) < np.vectorize(rates.get)(truths)
            weighted = weigh_expressions(truths.tolist(), np.where(right, truths, "joy").tolist())
            true = 0.5 * 0.9 + 0.3 * 0.7 + 0.2 * 0.5 if task == "accuracy" else 0.7
        elif task == "mean_f1":
            actual = rng.random((300, 2)) < 0.4
            named = np.where(rng.random((300, 2)) < 0.8, actual, ~actual)
            truths = [{"AU1": bool(row[0]), "AU2": bool(row[1])} for row in actual]
            weighted = weigh_action_units(truths, [{f"AU{i + 1}" for i in (0, 1) if row[i]} for row in named])
            true = 2 * 0.32 / (2 * 0.32 + 0.2)
        else:
            weighted = weigh_ages([50.0] * 300, (50 + rng.exponential(4.0, 300)).tolist())
            true = 4.0
        held += true in bootstrap_intervals(weighted, np.arange(300), resamples=400, seed=seed)[task]
    assert held >= 90


def test_subjects_with_many_alike_pictures_widen_an_interval():
    rng = np.random.default_rng(6)
    right = np.repeat(rng.random(30) < 0.5, 10)
    weighted = weigh_manipulation([True] * 300, right.tolist())
    alone = bootstrap_intervals(weighted, np.arange(300))["accuracy"]
    together = bootstrap_intervals(weighted, np.repeat(np.arange(30), 10))["accuracy"]
    assert together.high - together.low > 2.5 * (alone.high - alone.low)


def test_holm_adjusts_as_in_his_paper():
    assert holm_adjusted({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm_adjusted({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}
