"""Findings about groups are sentences that name the harmed group first, with how often it is harmed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console

from facekit.data.labels import FaceLabels
from facekit.data.records import FaceRecord
from facekit.evaluation import AGE, ATTRIBUTES, EXPRESSION, MANIPULATION, EvaluationResult, GroupComparison
from facekit.evaluation.evaluator import Statistics, score_task
from facekit.evaluation.fairness.disparities import compare_groups
from facekit.evaluation.fairness.groups import ScoredRows
from facekit.evaluation.report.group_results import FALSE_NEGATIVE, FALSE_POSITIVE, OVERCONFIDENCE
from facekit.evaluation.report.sign_off import describe_verdict, people_of, sign_off
from facekit.evaluation.report.tables import disparity_table, sign_off_table

STATISTICS = Statistics(resamples=100, permutations=999)


def result_of(task, labels, answers, groups):
    records = [
        FaceRecord(id=str(number), image="a.png", labels=label, groups=group)
        for number, (label, group) in enumerate(zip(labels, groups, strict=True))
    ]
    return EvaluationResult(len(records), (score_task(task, records, answers, statistics=STATISTICS),), 1.0)


@pytest.fixture(scope="module")
def accused():
    """Of 100 genuine pictures of each, those of 60 women and of no man are called manipulated."""
    labels = [FaceLabels(manipulated=number % 2 == 1) for number in range(400)]
    answers, groups = [], []
    for number in range(400):
        is_woman, is_manipulated, rank = number >= 200, number % 2 == 1, number % 200 // 2
        answers.append("manipulated" if is_manipulated or (is_woman and rank < 60) else "genuine")
        groups.append({"gender": "woman" if is_woman else "man"})
    return result_of(MANIPULATION, labels, answers, groups)


def test_a_finding_says_whose_genuine_pictures_are_called_manipulated_and_how_often(accused):
    findings = {found.disparity.kind: found for found in sign_off(accused)}
    assert findings["odds"].sentence == "genuine pictures of women are called manipulated 60 of 100 times, of men 0"
    assert findings["metric"].sentence == "answers about women are wrong 30 of 100 times, about men 0"
    assert all(found.is_significant for found in findings.values())
    found = findings["odds"].disparity
    assert (found.worst, found.best, found.rate, found.label) == ("woman", "man", FALSE_POSITIVE, "manipulated")
    assert found.value == 0.6
    assert found.low < 0.6 < found.high


def test_every_rate_of_every_group_is_kept(accused):
    (comparison,) = accused["manipulation"].groups
    rates = {rate.rate: {score.group: (score.count, score.value) for score in rate.scores} for rate in comparison.rates}
    assert rates == {
        FALSE_POSITIVE: {"man": (100, 0.0), "woman": (100, 0.6)},
        FALSE_NEGATIVE: {"man": (100, 0.0), "woman": (100, 0.0)},
    }
    assert comparison.scheme == "among subjects"


def test_the_group_whose_label_is_missed_is_the_harmed_one():
    labels = [FaceLabels(attributes={"Eyeglasses": True}) for _ in range(80)]
    groups = [{"skin_tone": "dark" if number < 40 else "light"} for number in range(80)]
    answers = ["no attributes" if number < 30 else "Eyeglasses" for number in range(80)]
    (found,) = [each for each in sign_off(result_of(ATTRIBUTES, labels, answers, groups))
                if each.disparity.kind == "odds"]  # fmt: skip
    assert found.sentence == (
        "“eyeglasses” is missed on faces of people of skin tone “dark” that have it 75 of 100 times, "
        "of people of skin tone “light” 0"
    )
    assert (found.disparity.worst, found.disparity.rate) == ("dark", FALSE_NEGATIVE)


def test_expressions_that_are_mistaken_and_missed_have_a_row_each():
    labels = [FaceLabels(expression="fear" if number % 2 else "anger") for number in range(200)]
    groups = [{"gender": "male" if number < 100 else "female"} for number in range(200)]
    answers = ["anger" if number % 2 == 0 or number < 60 else "fear" for number in range(200)]
    sentences = [
        each.sentence for each in sign_off(result_of(EXPRESSION, labels, answers, groups)) if each.is_significant
    ]
    assert "faces of men with the expression “fear” are called something else 60 of 100 times, of women 0" in sentences
    assert "faces of men with another expression are called “anger” 60 of 100 times, of women 0" in sentences


def test_ages_are_told_in_years():
    labels = [FaceLabels(age=40.0)] * 60
    groups = [{"gender": "woman" if number < 30 else "man"} for number in range(60)]
    answers = [str(41 if number < 30 else 49) for number in range(60)]
    (found,) = sign_off(result_of(AGE, labels, answers, groups))
    assert found.sentence == "mean error in years is 9.0 for men, 1.0 for women"


def test_a_difference_that_is_not_significant_is_called_so():
    rng = np.random.default_rng(0)
    labels = [FaceLabels(manipulated=bool(value)) for value in rng.random(80) < 0.5]
    groups = [{"gender": ("woman", "man")[number % 2]} for number in range(80)]
    answers = [("genuine", "manipulated")[int(value)] for value in rng.random(80) < 0.5]
    result = result_of(MANIPULATION, labels, answers, groups)
    assert result.test_count == 2
    assert [found.is_significant for found in sign_off(result)] == [False, False]
    assert describe_verdict(result).startswith("2 comparisons of groups, p-values adjusted for their number (Holm)")
    assert describe_verdict(result).endswith("no differences are significant.")
    cells = [list(column.cells) for column in sign_off_table(result).columns]
    assert cells[2] == ["not significant"] * 2


def test_surer_than_right_is_a_finding_where_answers_have_probabilities():
    rng = np.random.default_rng(1)
    is_woman = np.arange(300) % 2 == 1
    right = rng.random(300) < np.where(is_woman, 0.6, 0.9)
    records = [FaceRecord(id=str(i), image="a.png", groups={"gender": "woman" if is_woman[i] else "man"})
               for i in range(300)]  # fmt: skip
    rows = ScoredRows(records, [True] * 300, right.tolist(), (0.9 - right).tolist())
    (comparison,) = compare_groups(MANIPULATION, rows, resamples=0, permutations=499)
    gap = comparison.calibration
    assert (gap.rate, gap.worse, gap.better) == (OVERCONFIDENCE, "woman", "man")
    assert gap.gap == pytest.approx(right[~is_woman].mean() - right[is_woman].mean())
    assert gap.p_value == 0.002


@pytest.mark.parametrize(
    ("attribute", "group", "people"),
    [
        ("gender", "Female", "women"),
        ("age_group", "senior", "seniors"),
        ("age_group", "20-29", "people of age group “20-29”"),
        ("gender × skin_tone", "woman, dark", "people of gender × skin tone “woman, dark”"),
    ],
)
def test_groups_are_called_as_people_call_them(attribute, group, people):
    assert people_of(attribute, group) == people


def test_a_result_with_rates_reads_back(accused, tmp_path):
    assert EvaluationResult.read(accused.write(tmp_path / "metrics.json")) == accused


def test_odds_of_earlier_results_name_the_harmed_group():
    older = {
        "value": 0.3,
        "label": "AU12",
        "rate": "true positive rate",
        "higher": "man",
        "lower": "woman",
        "p_value": 0.01,
    }
    entry = {"attribute": "gender", "scores": [], "worst": None, "best": None, "gap": None, "odds": older}
    comparison = GroupComparison.read(json.loads(json.dumps(entry)))
    assert (comparison.odds.rate, comparison.odds.worse, comparison.odds.gap) == (FALSE_NEGATIVE, "woman", 0.3)


def test_the_tables_say_which_rate_of_which_label(accused):
    text = []
    for table in (disparity_table(accused), sign_off_table(accused)):
        console = Console(width=300)
        with console.capture() as captured:
            console.print(table)
        text.append(captured.get())
    assert "false positive rate of manipulated" in text[0]
    assert "genuine pictures of women are called manipulated 60 of 100 times, of men 0" in text[1]
