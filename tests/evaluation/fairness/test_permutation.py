"""Shuffles follow the design: among subjects, within them, or both; a test is exact by count and robust to subjects."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from facekit.evaluation.fairness.permutation import GroupShuffle, permutation_test
from facekit.evaluation.metrics.weighted import SumMetrics, influence_of, weigh_action_units, weigh_expressions


@pytest.mark.parametrize(
    ("codes", "scheme"),
    [
        ([0, 0, 1, 1, 0, 0], "among subjects"),
        ([0, 1, 1, 0, 0, 1], "within subjects"),
        ([0, 1, 1, 1, 0, 0], "both"),
    ],
)
def test_the_scheme_follows_whether_groups_vary_within_subjects(codes, scheme):
    assert GroupShuffle(np.array(codes), np.array([0, 0, 1, 1, 2, 2])).scheme == scheme


def test_groups_that_vary_within_subjects_keep_their_number_in_each():
    codes, clusters = np.array([0, 1, 1, 0, 0, 2]), np.array([0, 1, 0, 1, 0, 1])
    shuffle = GroupShuffle(codes, clusters)
    _, drawn = shuffle.draw(np.random.default_rng(0), 200)
    assert (np.sort(drawn[:, :3], axis=1) == [0, 0, 1]).all()
    assert (np.sort(drawn[:, 3:], axis=1) == [0, 1, 2]).all()
    assert len(np.unique(drawn, axis=0)) == 3 * 6


def test_groups_that_are_constant_keep_the_records_of_a_subject_together():
    shuffle = GroupShuffle(np.array([0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 2]))
    places, drawn = shuffle.draw(np.random.default_rng(0), 50)
    assert drawn is None
    assert (np.sort(places, axis=1) == np.arange(3)).all()


def test_shares_are_shuffled_among_subjects_with_about_as_many_records():
    clusters = np.array([0] * 4 + [1] * 5 + [2, 3])
    codes = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 1])
    places, _ = GroupShuffle(codes, clusters).draw(np.random.default_rng(0), 50)
    assert set(map(tuple, places)) == {(0, 1, 2, 3), (1, 0, 2, 3), (0, 1, 3, 2), (1, 0, 3, 2)}


def test_the_p_value_of_singletons_is_that_of_all_assignments():
    scores = np.array([3.0, 2.5, -0.5, 1.0, -1.0, 0.0, -2.0, -3.0])
    sums = [scores[list(chosen)].sum() for chosen in combinations(range(8), 4)]
    exact = np.mean(np.abs(sums) >= abs(scores[:4].sum()) - 1e-9)
    assert exact > 0.05
    found = permutation_test(scores[:, None], np.repeat([0, 1], 4), np.arange(8), permutations=4999).p_value
    assert found == pytest.approx(exact, rel=0.35)


def test_what_does_not_vary_has_no_p_value_and_raises_no_alarm():
    scores = np.stack([np.zeros(20), np.repeat([1.0, -1.0], 10)], axis=1)
    found = permutation_test(scores, np.repeat([0, 1], 10), np.arange(20), permutations=999)
    assert np.isnan(found.p_values[0])
    assert found.p_value == found.p_values[1] == pytest.approx(0.001)
    assert permutation_test(scores[:, :1], np.repeat([0, 1], 10), np.arange(20)).p_value == 1.0


def test_several_scores_are_adjusted_for_their_number():
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1], 50)
    noise = rng.normal(size=(100, 40))
    noise -= noise.mean(0)
    alone = [permutation_test(column[:, None], codes, np.arange(100), permutations=499).p_value for column in noise.T]
    together = permutation_test(noise, codes, np.arange(100), permutations=499)
    assert min(alone) < 0.05
    assert together.p_value > 0.2


def rejected(draw, repetitions=200):
    hits = 0
    for seed in range(repetitions):
        scores, codes, clusters = draw(np.random.default_rng(seed))
        hits += permutation_test((scores - scores.mean())[:, None], codes, clusters, permutations=199).p_value <= 0.05
    return hits


def passing_in_order(rng, gap=0.0):
    clusters, codes = np.repeat(np.arange(40), 6), np.tile([0, 0, 0, 1, 1, 1], 40)
    return rng.normal(0, 2, 40)[clusters] + rng.normal(0, 1, 240) + gap * codes, codes, clusters


def test_groups_that_vary_in_the_same_order_in_every_subject_raise_few_false_alarms_and_gaps_are_found():
    assert rejected(passing_in_order) <= 18
    assert rejected(lambda rng: passing_in_order(rng, 0.6), 40) >= 36  # subjects differ by three times as much


def test_clips_of_a_subject_whose_frames_are_alike_raise_few_false_alarms():
    def draw(rng):
        clusters, clips = np.repeat(np.arange(40), 10), np.repeat(np.arange(80), 5)
        return rng.normal(0, 1, 80)[clips] + rng.normal(0, 0.5, 400), clips % 2, clusters

    assert rejected(draw) <= 20


def test_a_group_of_few_people_with_many_pictures_raises_few_false_alarms():
    def draw(rng):
        clusters = np.concatenate([np.repeat(np.arange(20), 20), np.arange(20, 320)])
        return rng.normal(0, 1, 320)[clusters] + rng.normal(0, 1, 700), (clusters >= 20).astype(int), clusters

    assert rejected(draw) <= 20


def test_a_gap_between_subjects_is_found_although_some_pictures_carry_the_wrong_group():
    def draw(rng):
        clusters = np.repeat(np.arange(60), 5)
        person = np.arange(60)[clusters] % 2
        codes = np.where(rng.random(300) < 0.05, 1 - person, person)
        return person + rng.normal(0, 1, 300), codes, clusters

    assert rejected(draw, 40) >= 38


def test_influences_are_the_derivatives_of_a_metric_in_each_record():
    truths = ["fear", "anger", "fear", "anger", "anger", "fear"]
    predictions = ["fear", "anger", None, "fear", "anger", "fear"]
    weighted = weigh_expressions(truths, predictions)
    assert isinstance(weighted, SumMetrics)
    right = np.array([1, 1, 0, 0, 1, 1.0])
    np.testing.assert_allclose(influence_of(weighted, "accuracy", 6), right - right.mean(), atol=1e-6)
    step = 1e-5
    for name in ("uar", "accuracy"):
        base = weighted(np.ones((1, 6)))[name][0]
        moved = weighted(np.ones((6, 6)) + step * np.eye(6))[name]
        np.testing.assert_allclose(influence_of(weighted, name, 6), (moved - base) / step * 6, atol=1e-3)


def test_influences_of_a_metric_that_is_no_sum_come_from_counting_each_record_twice():
    rng = np.random.default_rng(0)
    truths = [{"AU1": bool(a), "AU4": bool(b)} for a, b in rng.random((60, 2)) < 0.5]
    named = [{code for code in truth if truth[code] != (rng.random() < 0.2)} for truth in truths]
    weighted = weigh_action_units(truths, named)
    slow = influence_of(lambda weights: weighted(weights), "mean_f1", 60)
    assert np.corrcoef(slow, influence_of(weighted, "mean_f1", 60))[0, 1] > 0.999
