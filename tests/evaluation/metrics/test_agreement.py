"""Krippendorff's alpha against the published example and a direct computation; pairs of judges against scipy."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from facekit.evaluation.metrics.agreement import compare_judges, krippendorff_alpha, measure_agreement, weigh_alpha

NAN = np.nan
KRIPPENDORFF_2011 = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)

tables = arrays(float, (3, 6), elements=st.sampled_from([NAN, 1.0, 2.0, 5.0, 7.5, 10.0]))


def direct_alpha(ratings):
    """Observed over expected squared differences, pair by pair."""
    columns = [[value for value in column if not np.isnan(value)] for column in ratings.T]
    columns = [column for column in columns if len(column) >= 2]
    pooled = [value for column in columns for value in column]
    if not pooled:
        return None
    expected = sum((a - b) ** 2 for a, b in permutations(pooled, 2)) / (len(pooled) - 1)
    observed = sum(sum((a - b) ** 2 for a, b in permutations(column, 2)) / (len(column) - 1) for column in columns)
    return None if expected == 0 else 1 - observed / expected


def test_alpha_of_the_published_example_is_the_published_one():
    assert krippendorff_alpha(KRIPPENDORFF_2011) == pytest.approx(0.849, abs=5e-4)


@given(tables)
@settings(max_examples=100, deadline=None)
def test_alpha_is_what_counting_every_pair_gives(ratings):
    expected = direct_alpha(ratings)
    found = krippendorff_alpha(ratings)
    assert found is None if expected is None else found == pytest.approx(expected, abs=1e-8)


@given(tables, st.lists(st.integers(0, 3), min_size=6, max_size=6))
@settings(max_examples=100, deadline=None)
def test_weights_count_answers_as_often_as_they_say(ratings, weights):
    weighted = weigh_alpha(ratings)(np.array([weights], dtype=float))["alpha"][0]
    expected = direct_alpha(np.repeat(ratings, weights, axis=1))
    assert np.isnan(weighted) if expected is None else weighted == pytest.approx(expected, abs=1e-8)


def test_alpha_is_one_for_equal_judges_none_for_constant_ones_and_nought_for_unrelated_ones():
    rng = np.random.default_rng(0)
    one = rng.integers(1, 11, 2000).astype(float)
    assert krippendorff_alpha(np.stack([one, one])) == pytest.approx(1.0)
    assert krippendorff_alpha(np.full((2, 10), 7.0)) is None
    assert abs(krippendorff_alpha(np.stack([one, rng.permutation(one)]))) < 0.06
    assert krippendorff_alpha(np.stack([one, 11 - one])) < -0.9


def test_the_interval_holds_alpha_and_counts_answers_with_two_ratings():
    rng = np.random.default_rng(1)
    truth = rng.integers(1, 11, 300).astype(float)
    ratings = np.stack([truth, np.clip(truth + rng.normal(0, 1.5, 300), 1, 10)])
    ratings[1, :40] = np.nan
    found = measure_agreement("image", ratings, np.arange(300), resamples=200)
    assert (found.criterion, found.count) == ("image", 260)
    assert found.low < found.alpha < found.high
    assert found.high - found.low < 0.2
    assert measure_agreement("image", ratings, np.arange(300), resamples=0).low is None


def test_pairs_have_the_rank_correlation_of_scipy_and_the_mean_difference():
    rng = np.random.default_rng(2)
    first, noise = rng.integers(1, 11, 50).astype(float), rng.normal(0, 2, 50)
    second = np.clip(first - 2 + noise, 1, 10)
    second[:5] = np.nan
    third, fourth = np.full(50, 6.0), np.full(50, np.nan)
    pairs = compare_judges("label", {"a": first, "b": second, "c": third, "d": fourth})
    assert [(pair.first, pair.second, pair.count) for pair in pairs] == [("a", "b", 45), ("a", "c", 50), ("b", "c", 45)]
    assert pairs[0].spearman == pytest.approx(spearmanr(first[5:], second[5:]).statistic)
    assert pairs[0].difference == pytest.approx(np.mean(first[5:] - second[5:]))
    assert pairs[1].spearman is None
