"""Differences that were planted are found and measured; where none was planted, none is reported."""

from __future__ import annotations

import numpy as np
import pytest

from facekit.data.labels import FaceLabels
from facekit.data.records import FaceRecord
from facekit.evaluation import ACTION_UNITS, AGE, EXPRESSION, MANIPULATION, EvaluationResult, TaskResult
from facekit.evaluation.evaluator import Statistics, score_task
from facekit.evaluation.fairness.disparities import compare_groups, compare_intersections
from facekit.evaluation.fairness.groups import ScoredRows, group_codes, subject_of

GENDERS, TONES = np.array(["man", "woman"]), np.array(["light", "medium", "dark"])


def face(number, labels, **groups):
    return FaceRecord(id=str(number), image="a.png", labels=labels, groups=groups)


def draw_rows(rng, count=400, *, rates=(0.8, 0.8, 0.8), base=(0.5, 0.5)):
    """Forgery verdicts, right at a rate per skin tone; forged pictures at a base rate per gender."""
    gender, tone = rng.integers(2, size=count), rng.integers(3, size=count)
    truths = rng.random(count) < np.array(base)[gender]
    right = rng.random(count) < np.array(rates)[tone]
    records = [
        face(i, FaceLabels(manipulated=bool(truths[i])), gender=GENDERS[gender[i]], skin_tone=TONES[tone[i]])
        for i in range(count)
    ]
    return ScoredRows(records, truths.tolist(), (truths == right).tolist())


def report(rows, permutations=399, resamples=0):
    groups = compare_groups(MANIPULATION, rows, permutations=permutations, resamples=resamples)
    task = TaskResult("manipulation", "", "", len(rows), 0, "accuracy", "accuracy", True, {}, {}, None, groups)
    return EvaluationResult(len(rows), (task,), 1.0)


def test_a_planted_disparity_is_found_and_its_size_lies_in_its_interval():
    held = found = false_alarms = 0
    for seed in range(20):
        rows = draw_rows(np.random.default_rng(seed), 900, rates=(0.9, 0.9, 0.7))
        disparities = {(each.attribute, each.kind): each for each in report(rows, resamples=300).disparities()}
        planted = disparities.get(("skin_tone", "metric"))
        found += planted is not None and planted.worst == "dark"
        held += planted is not None and planted.low <= 0.2 <= planted.high
        false_alarms += ("gender", "metric") in disparities
    assert found == 20
    assert held >= 18
    assert false_alarms <= 2


def test_without_a_planted_disparity_at_most_one_report_in_twenty_names_any():
    alarms = sum(bool(report(draw_rows(np.random.default_rng(1000 + seed))).disparities()) for seed in range(200))
    assert alarms <= 10


def test_other_base_rates_are_no_violation_of_equalised_odds():
    alarms = 0
    for seed in range(60):
        rows = draw_rows(np.random.default_rng(seed), base=(0.2, 0.8))
        alarms += any(each.kind == "odds" for each in report(rows, permutations=199).disparities())
    assert alarms <= 6


def test_equalised_odds_name_the_rate_that_differs_and_by_how_much():
    rng = np.random.default_rng(3)
    count = 2000
    gender, truths = rng.integers(2, size=count), rng.random(count) < 0.5
    called = np.where(truths, rng.random(count) < 0.9, rng.random(count) < np.where(gender == 1, 0.4, 0.1))
    records = [face(i, FaceLabels(manipulated=bool(truths[i])), gender=GENDERS[gender[i]]) for i in range(count)]
    odds = compare_groups(MANIPULATION, ScoredRows(records, truths.tolist(), called.tolist()), permutations=999)[0].odds
    rates = [called[(gender == g) & ~truths].mean() for g in (0, 1)]
    assert odds.gap == pytest.approx(rates[1] - rates[0])
    assert (odds.rate, odds.worse, odds.better) == ("false positive rate", "woman", "man")
    assert odds.low <= 0.3 <= odds.high
    assert odds.p_value == 0.001


def test_ages_have_no_odds_and_the_worst_group_has_the_larger_error():
    rng = np.random.default_rng(4)
    errors = rng.normal(0, np.repeat([2.0, 6.0], 100))
    records = [face(i, FaceLabels(age=40.0), gender=GENDERS[i // 100]) for i in range(200)]
    (comparison,) = compare_groups(AGE, ScoredRows(records, [40.0] * 200, (40 + errors).tolist()))
    assert comparison.odds is None
    assert comparison.worst == "woman"
    values = [np.abs(errors[:100]).mean(), np.abs(errors[100:]).mean()]
    assert comparison.gap == pytest.approx(values[1] - values[0])
    assert comparison.gap_low < comparison.gap < comparison.gap_high
    assert comparison.p_value < 0.01
    for score, value in zip(comparison.scores, values, strict=True):
        assert score.low < value < score.high


def test_groups_that_are_too_small_are_named_and_not_compared():
    records = [
        face(i, FaceLabels(expression="fear"), race="a" if i < 60 else "b" if i < 120 else "c") for i in range(125)
    ]
    rows = ScoredRows(records, ["fear"] * 125, ["fear"] * 120 + ["anger"] * 5)
    (comparison,) = compare_groups(EXPRESSION, rows, permutations=99)
    assert comparison.too_small == ("c",)
    assert comparison.gap == 0.0
    assert comparison.p_value == 1.0


def test_intersections_show_what_single_attributes_hide():
    right = {("man", "light"): 1.0, ("man", "dark"): 0.5, ("woman", "light"): 0.5, ("woman", "dark"): 1.0}
    records, answers = [], []
    for (gender, tone), rate in right.items():
        for number in range(40):
            records.append(face(len(records), FaceLabels(expression="fear"), gender=gender, skin_tone=tone))
            answers.append("fear" if number < 40 * rate else "anger")
    rows = ScoredRows(records, ["fear"] * 160, answers)
    assert all(comparison.gap == 0.0 for comparison in compare_groups(EXPRESSION, rows, permutations=0))
    (crossed,) = compare_intersections(EXPRESSION, rows)
    assert crossed.attribute == "gender × skin_tone"
    assert crossed.gap == 0.5
    assert {score.group: score.value for score in crossed.scores}["man, dark"] == 0.5


def test_pictures_of_one_person_are_shuffled_and_drawn_together():
    records = [
        FaceRecord(id=str(i), image="a.png", groups={"gender": GENDERS[i // 100]}, labels=FaceLabels(expression="fear"),
                   source={"dataset": "x", "person": str(i // 50)})
        for i in range(200)
    ]  # fmt: skip
    rows = ScoredRows(records, ["fear"] * 200, ["fear"] * 100 + ["anger"] * 50 + ["fear"] * 50)
    assert len({subject_of(record) for record in records}) == 4
    (comparison,) = compare_groups(EXPRESSION, rows, permutations=499)
    assert comparison.gap == 0.5
    assert comparison.p_value > 0.2
    alone = ScoredRows(
        [record.model_copy(update={"source": None}) for record in records], rows.truths, rows.predictions
    )
    assert compare_groups(EXPRESSION, alone, permutations=499)[0].p_value == 1 / 500


def test_action_units_are_compared_over_all_units_at_once():
    rng = np.random.default_rng(5)
    codes = ("AU1", "AU4", "AU12")
    truths, named, records = [], [], []
    for i in range(600):
        truth = {code: bool(rng.random() < 0.5) for code in codes}
        miss = 0.5 if i % 2 else 0.1
        truths.append(truth)
        named.append({code for code in codes if truth[code] != (rng.random() < (miss if code == "AU12" else 0.1))})
        records.append(face(i, FaceLabels(), gender=GENDERS[i % 2]))
    (comparison,) = compare_groups(ACTION_UNITS, ScoredRows(records, truths, named), permutations=499)
    assert comparison.odds.label == "AU12"
    assert comparison.odds.p_value == 1 / 500
    men, women = (np.mean(["AU12" in named[i] for i in range(start, 600, 2) if truths[i]["AU12"]]) for start in (0, 1))
    assert comparison.odds.gap == pytest.approx(men - women)
    assert (comparison.odds.rate, comparison.odds.worse) == ("false negative rate", "woman")


def test_records_without_an_attribute_belong_to_no_group():
    records = [face(0, FaceLabels(), race="x"), face(1, FaceLabels()), face(2, FaceLabels(), race="b")]
    names, codes = group_codes(records, "race")
    assert names == ["b", "x"]
    assert codes.tolist() == [1, -1, 0]


def test_a_result_with_groups_and_intervals_reads_back(tmp_path):
    rows = draw_rows(np.random.default_rng(0), 200)
    answers = ["manipulated" if prediction else "genuine" for prediction in rows.predictions]
    statistics = Statistics(resamples=50, permutations=49)
    task = score_task(MANIPULATION, rows.records, answers, statistics=statistics)
    result = EvaluationResult(200, (task,), 2.0, "m", 200)
    assert EvaluationResult.read(result.write(tmp_path / "metrics.json")) == result
    assert result.questions_per_second == 100.0


def test_a_group_without_an_active_unit_has_no_f1_and_is_not_the_worst():
    records, truths, named = [], [], []
    for number in range(60):
        group = ("child", "adult", "senior")[number % 3]
        active = group != "child" and number % 2 == 0
        records.append(face(number, FaceLabels(), age_group=group))
        truths.append({"AU1": active})
        named.append({"AU1"} if active and number % 4 == 0 else set())
    (comparison,) = compare_groups(ACTION_UNITS, ScoredRows(records, truths, named), permutations=99)
    assert [score.group for score in comparison.scores] == ["adult", "senior"]
    assert {comparison.worst, comparison.best} == {"adult", "senior"}
    assert {score.group for rate in comparison.rates for score in rate.scores} == {"adult", "child", "senior"}


def test_pictures_of_one_person_alone_give_no_interval():
    records = [
        face(i, FaceLabels(expression="fear"), race="ab"[i % 2]).model_copy(
            update={"source": {"person": "p" if i % 2 else str(i)}}
        )
        for i in range(40)
    ]
    rows = ScoredRows(records, ["fear"] * 40, ["fear" if i % 3 else "anger" for i in range(40)])
    (comparison,) = compare_groups(EXPRESSION, rows, permutations=0)
    found = {score.group: (score.low is None, score.high is None) for score in comparison.scores}
    assert found == {"a": (False, False), "b": (True, True)}
    assert comparison.gap_low is None
