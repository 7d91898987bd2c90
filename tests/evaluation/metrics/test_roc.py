"""Rates from scores are those of scikit-learn's ROC curve, for one weighting and for many."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score, roc_curve

from facekit.evaluation.metrics.roc import RocCurve, accuracy_by_folds, best_threshold, decide_by_folds


def draw(seed, count=400, digits=6):
    rng = np.random.default_rng(seed)
    truths = rng.random(count) < rng.uniform(0.2, 0.8)
    return truths, np.round(rng.normal(size=count) + truths * rng.uniform(0, 2), digits)


@pytest.mark.parametrize("digits", [6, 1])
@pytest.mark.parametrize("seed", range(8))
def test_rates_equal_scikit_learns_on_random_scores_with_and_without_ties(seed, digits):
    truths, scores = draw(seed, digits=digits)
    false, true, _ = roc_curve(truths, scores, drop_intermediate=False)
    curve = RocCurve.of(truths, scores)
    np.testing.assert_allclose(curve.negative_rates[0], false)
    np.testing.assert_allclose(curve.positive_rates[0], true)
    assert curve.area()[0] == pytest.approx(roc_auc_score(truths, scores))
    for rate in (0.1, 0.01, 0.001):
        assert curve.positives_at(rate)[0] == true[false <= rate].max()
        threshold = curve.threshold_at(rate)
        assert (scores[~truths] >= threshold).mean() <= rate
        assert (scores[truths] >= threshold).mean() == pytest.approx(true[false <= rate].max())
    expected = brentq(lambda x: 1.0 - x - interp1d(false, true)(x), 0.0, 1.0)
    assert curve.equal_error_rate()[0] == pytest.approx(expected, abs=1e-6)


def test_a_weight_is_so_many_trials():
    truths, scores = draw(3, 60, digits=1)
    weights = np.random.default_rng(0).integers(0, 4, size=(5, 60)).astype(float)
    curve = RocCurve.of(truths, scores, weights)
    for row, weighting in enumerate(weights.astype(int)):
        alone = RocCurve.of(np.repeat(truths, weighting), np.repeat(scores, weighting))
        assert curve.equal_error_rate()[row] == pytest.approx(alone.equal_error_rate()[0], abs=0.02)
        assert curve.positives_at(0.1)[row] == pytest.approx(alone.positives_at(0.1)[0])
        assert curve.area()[row] == pytest.approx(alone.area()[0])


def test_scores_that_separate_everything_have_no_errors_and_reversed_ones_nothing_else():
    truths, scores = [True, True, False, False], [3.0, 2.0, 1.0, 0.0]
    assert RocCurve.of(truths, scores).equal_error_rate()[0] == 0.0
    assert RocCurve.of(truths, [-score for score in scores]).equal_error_rate()[0] == 1.0
    assert RocCurve.of(truths, scores).positives_at(0.001)[0] == 1.0


def test_equal_scores_are_a_coin():
    curve = RocCurve.of([True, False] * 5, [0.0] * 10)
    assert curve.equal_error_rate()[0] == pytest.approx(0.5)
    assert curve.positives_at(0.1)[0] == 0.0


def test_without_one_of_the_kinds_rates_are_undefined():
    curve = RocCurve.of([True, True], [1.0, 2.0])
    assert np.isnan(curve.equal_error_rate()[0])
    assert np.isnan(curve.positives_at(0.1)[0])


def test_the_best_threshold_is_right_about_most_trials():
    for seed in range(20):
        truths, scores = draw(seed, 40, digits=1)
        found = ((scores >= best_threshold(truths, scores)) == truths).mean()
        every = [((scores >= threshold) == truths).mean() for threshold in [*scores, np.inf]]
        assert found == max(every)


def test_a_fold_is_decided_at_the_threshold_of_the_others():
    truths = np.array([True, False, True, False])
    scores = np.array([5.0, 4.0, 1.0, 0.0])
    decisions = decide_by_folds(truths, scores, [0, 0, 1, 1])
    assert decisions.tolist() == [True, True, False, False]  # thresholds of 0.5 for the first fold, 4.5 for the second
    assert accuracy_by_folds(truths, decisions, [0, 0, 1, 1]) == [0.5, 0.5]
    assert accuracy_by_folds(truths, decide_by_folds(truths, scores, [0] * 4), [0] * 4) == [0.75]
