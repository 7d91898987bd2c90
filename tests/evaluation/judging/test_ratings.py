"""Ratings become means by task and group, with intervals, over one judge and several; failures stay visible."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import numpy as np
import pytest
from rich.console import Console

from facekit.answers.ratings import CRITERIA
from facekit.data.labels import FaceLabels
from facekit.data.records import FaceRecord
from facekit.errors import CheckpointError, ConfigurationError
from facekit.evaluation.evaluator import Statistics
from facekit.evaluation.judging.explanations import JudgedAnswer
from facekit.evaluation.judging.rating_tables import agreement_table, describe_unrated, rating_group_table, rating_table
from facekit.evaluation.judging.ratings import ALL_ANSWERS, MEAN_OF_TASKS, OPEN, PANEL, JudgingResult, judge_answers

FEW = Statistics(resamples=200, permutations=0)


@dataclass(frozen=True)
class Said:
    ratings: dict | None
    reason: str | None = None


def rated(*numbers):
    return Said(dict(zip(CRITERIA, numbers, strict=True)))


def answer(number, task="expression", text="fear", folder=None, **groups):
    record = FaceRecord(id=f"r{number}", image="a.png", labels=FaceLabels(expression="fear"), groups=groups)
    return JudgedAnswer(f"r{number}/{task}", record, folder, task, "Which?", text, "expression: fear")


@pytest.fixture
def answers(tmp_path):
    """Thirty about expressions and twenty about ages, of two groups."""
    return [
        answer(number, "expression" if number < 30 else "age", folder=tmp_path, gender=("woman", "man")[number % 2])
        for number in range(50)
    ]


class By:
    """Judges by a function from requests to verdicts."""

    def __init__(self, rate):
        self.rate = rate


def judge_by(**judges):
    """A caller of judges that are functions of the answer's number."""

    def rate(requests):
        return {
            name: {
                request.id: said
                for request in requests
                if (said := judge(int(request.id.split("/")[0][1:]))) is not None
            }
            for name, judge in judges.items()
        }

    return By(rate)


def test_means_by_task_and_group_are_plain_means_and_lie_in_their_intervals(answers):
    numbers = np.random.default_rng(0).integers(1, 11, (50, 4)).astype(float)
    result = judge_answers(answers, judge_by(one=lambda n: rated(*numbers[n])), statistics=FEW)
    judge = result.summary
    assert (result.answers, result.empty, result.panel, result.agreement) == (50, 0, None, ())
    assert (judge.judge, judge.rated, judge.unrated) == ("one", 50, {})
    for name, rows in {"expression": slice(0, 30), "age": slice(30, 50), ALL_ANSWERS: slice(0, 50)}.items():
        part = judge[name]
        assert part.count == len(numbers[rows])
        for column, criterion in enumerate(CRITERIA):
            score = part.scores[criterion]
            assert score.mean == pytest.approx(numbers[rows, column].mean())
            assert score.low < score.mean < score.high
    macro = (numbers[:30, 0].mean() + numbers[30:, 0].mean()) / 2
    assert judge[MEAN_OF_TASKS].scores["image"].mean == pytest.approx(macro)
    groups = {part.name: part for part in judge.groups}
    assert groups["man"].scores["label"].mean == pytest.approx(numbers[1::2, 1].mean())
    assert [part.is_small for part in judge.groups] == [False, False]


def test_what_a_judge_left_unrated_is_counted_with_its_reason_and_left_out_of_the_mean(answers):
    def judge(number):
        return None if number < 5 else Said(None, "no rating") if number < 9 else rated(8, 8, 8, 8)

    ratings = judge_answers(answers, judge_by(one=judge), statistics=FEW).summary
    assert ratings.unrated == {OPEN: 5, "no rating": 4}
    assert (ratings.rated, ratings["expression"].count) == (41, 21)
    assert ratings[ALL_ANSWERS].scores["image"].mean == 8.0
    assert describe_unrated(ratings) == "one: 9 without a rating: not asked yet (5); no rating (4)"


def test_an_empty_answer_is_rated_lowest_and_nobody_is_asked(tmp_path):
    said = [answer(0, folder=tmp_path), answer(1, text=" \n", folder=tmp_path)]
    asked = []

    def rate(requests):
        asked.extend(requests)
        return {name: {request.id: rated(9, 9, 9, 9) for request in requests} for name in ("one", "two")}

    result = judge_answers(said, By(rate), statistics=FEW)
    assert [request.id.split("#")[0] for request in asked] == ["r0/expression"]
    assert result.empty == 1
    assert result.summary[ALL_ANSWERS].scores["image"].mean == 5.0
    assert {each.count for each in result.agreement} == {1}


def test_several_judges_are_averaged_over_the_answers_that_all_rated_and_their_agreement_is_measured(answers):
    rng = np.random.default_rng(3)
    true = rng.integers(3, 9, 50)
    result = judge_answers(
        answers,
        judge_by(
            strict=lambda n: rated(*[true[n] - 1] * 4),
            mild=lambda n: None if n < 10 else rated(true[n] + 1, *[int(rng.integers(1, 11))] * 3),
        ),
        statistics=FEW,
    )
    assert [judge.rated for judge in result.judges] == [50, 40]
    assert (result.panel.judge, result.panel.rated) == (PANEL, 40)
    assert result.panel.unrated == {"not rated by every judge": 10}
    assert result.panel[ALL_ANSWERS].scores["image"].mean == pytest.approx(true[10:].mean())
    alpha = {each.criterion: each for each in result.agreement}
    assert alpha["image"].count == 40
    assert alpha["image"].alpha > 0.4 > alpha["label"].high
    pair = next(each for each in result.pairs if each.criterion == "image")
    assert (pair.spearman, pair.difference) == (pytest.approx(1.0), pytest.approx(-2.0))


def test_the_result_survives_its_file_and_every_answer_has_a_line(answers, tmp_path):
    rate = judge_by(one=lambda n: rated(1 + n % 10, 5, 5, 5), two=lambda n: rated(5, 5, 5, 5) if n else None)
    result = judge_answers(answers, rate, output_dir=tmp_path, statistics=FEW, judged="runs/demo")
    assert JudgingResult.read(result.write(tmp_path / "judging.json")) == result
    lines = [json.loads(line) for line in (tmp_path / "ratings.jsonl").read_text().splitlines()]
    assert len(lines) == 50
    assert lines[0]["ratings"] == {"one": {"image": 1.0, "label": 5.0, "completeness": 5.0, "overall": 5.0}}
    assert set(lines[7]["ratings"]) == {"one", "two"}
    assert np.mean([line["ratings"]["one"]["image"] for line in lines]) == pytest.approx(
        result.judges[0][ALL_ANSWERS].scores["image"].mean
    )
    (tmp_path / "judging.json").write_text("{}")
    with pytest.raises(CheckpointError, match="judging"):
        JudgingResult.read(tmp_path / "judging.json")


def test_the_tables_show_means_intervals_small_groups_and_agreement(answers):
    rate = judge_by(one=lambda n: rated(1 + n % 10, 5, 5, 5), two=lambda n: rated(1 + n % 10, 5, 5, 5))
    for place, each in enumerate(answers):
        each.record.groups["age_group"] = "old" if place < 3 else "young"
    result = judge_answers(answers, rate, statistics=FEW)
    console = Console(file=io.StringIO(), width=200)
    for table in (rating_table(result), rating_group_table(result), agreement_table(result)):
        console.print(table)
    shown = console.file.getvalue()
    for words in ("all answers", "5.50 (", "all judges", "3 (few)", "1.00 (1.00 to 1.00)", "undefined", "+0.00"):
        assert words in shown


@pytest.mark.parametrize("wrong", [{"image": 11.0}, {"label": None}, {"overall": 0.0}])
def test_a_rating_that_is_none_is_refused_with_judge_and_answer(answers, wrong):
    given = {**dict.fromkeys(CRITERIA, 5.0), **wrong}
    given = {name: value for name, value in given.items() if value is not None}
    with pytest.raises(ConfigurationError, match=r"'one' rated 'r0/expression'"):
        judge_answers(answers, judge_by(one=lambda n: Said(given)), statistics=FEW)


def test_no_answers_and_repeated_ids_are_refused(answers):
    for wrong in ([], [answers[0], answers[0]]):
        with pytest.raises(ConfigurationError, match="different ids"):
            judge_answers(wrong, judge_by(one=lambda n: rated(5, 5, 5, 5)))


def test_a_bare_function_still_judges_and_is_told_what_to_be(answers):
    with pytest.warns(DeprecationWarning, match="a method 'rate'"):
        result = judge_answers(answers, judge_by(one=lambda n: rated(5, 5, 5, 5)).rate, statistics=FEW)
    assert result.summary[ALL_ANSWERS].scores["image"].mean == 5.0
