"""Which words and how many faces an evaluation asks, what the report says of it, and what a resumed run asks again."""

from __future__ import annotations

import json

import pytest

from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError
from facekit.evaluation import (
    AGE,
    ATTRIBUTE_QUESTIONS,
    EXPRESSION,
    MANIPULATION,
    Run,
    evaluate_model,
    open_model,
    write_report,
)
from facekit.evaluation.evaluator import Statistics
from facekit.evaluation.report.results import EvaluationResult

FEW = Statistics(resamples=20, permutations=9)


class Model:
    """Answers everything alike and remembers what it was asked."""

    name = "m"

    def __init__(self, style="closed", answer="fake"):
        self.prompt_style, self.said, self.asked = style, answer, []

    def answer(self, questions):
        for index, question in enumerate(questions):
            self.asked.append(question)
            yield index, self.said


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 24, seed=5, image_size=32))


def ask(model, records, tasks=(MANIPULATION,), **options):
    return evaluate_model(model, records, tasks, statistics=FEW, **options)


def test_a_model_says_by_itself_which_style_it_is_asked_in_and_the_user_may_choose_another(records, tmp_path):
    (tmp_path / "mine.yaml").write_text("manipulation: Fake?\n")
    for style, prompts, words in (
        ("closed", None, "real or fake"), ("trained", None, MANIPULATION.question),
        ("closed", "trained", MANIPULATION.question), ("trained", tmp_path / "mine.yaml", "Fake?"),
    ):  # fmt: skip
        model = Model(style)
        result = ask(model, records, prompts=prompts)
        assert {words in question.text for question in model.asked} == {True}
        assert result["manipulation"].prompts == {"": model.asked[0].text}
        assert result.prompts == (prompts.name if prompts == tmp_path / "mine.yaml" else prompts or style)


def test_the_sample_is_scored_and_said_to_be_one_everywhere(records, tmp_path):
    model = Model()
    result = ask(model, records, (MANIPULATION, AGE), limit=10, output_dir=tmp_path)
    assert len(model.asked) == 20
    truths = [record.labels.manipulated for record in records.records]
    task = result["manipulation"]
    share = sum(question.record.labels.manipulated for question in model.asked if "real" in question.text)
    assert abs(share - 10 * sum(truths) / 24) <= 1
    assert task.metrics["accuracy"] == share / 10
    assert (task.count, task.labelled, task.sample_words) == (10, 24, "10 of 24")
    assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == 20
    read = EvaluationResult.read(tmp_path / "metrics.json")
    assert (read.limit, read.prompts, read["age"].prompts) == (10, "closed", result["age"].prompts)
    page = write_report(tmp_path, records, [Run.read(tmp_path)]).read_text()
    assert "A sample, not the whole set" in page
    assert "stratified by label, the same in every run (seed 0)" in page
    assert "10 of 24 faces" in page
    assert result["age"].prompts[""] in page
    assert "closed, with the labels to choose from" in page
    assert "% Age: a sample of 10 of 24 faces" in (tmp_path / "metrics.tex").read_text()


def test_a_higher_limit_and_other_words_ask_only_what_is_new(records, tmp_path):
    for options, asked in (
        ({"limit": 8}, 8), ({"limit": 8}, 0), ({"limit": 12}, 4), ({}, 12), ({"prompts": "trained"}, 24),
        ({"prompts": "trained", "max_new_tokens": 4096, "limit": 3}, 3), ({"prompts": "closed"}, 24),
    ):  # fmt: skip
        model = Model()
        ask(model, records, output_dir=tmp_path, resume=True, **options)
        assert len(model.asked) == asked, options
        assert {question.max_new_tokens for question in model.asked} <= {options.get("max_new_tokens", 96)}


def test_questions_about_each_label_are_all_in_the_report(records, tmp_path):
    (tmp_path / "mine.yaml").write_text("attribute_questions: 'Sieht man hier {label}? yes/no'\n")
    result = ask(
        Model(answer="yes"), records, (ATTRIBUTE_QUESTIONS,), prompts=tmp_path / "mine.yaml", output_dir=tmp_path
    )
    prompts = result["attribute_questions"].prompts
    assert prompts["Black_Hair"] == "Sieht man hier black hair? yes/no"
    page = write_report(tmp_path, records, [Run.read(tmp_path)]).read_text()
    assert f"each of {len(prompts)} questions" in page
    assert "Sieht man hier black hair? yes/no" in page
    assert "Prompts: mine.yaml" in page


def test_recorded_answers_are_not_said_to_be_answers_to_questions_of_this_run(records, tmp_path):
    ask(Model(), records, output_dir=tmp_path / "first")
    lines = [json.loads(line) for line in (tmp_path / "first" / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 24
    recorded = open_model(f"predictions:{tmp_path / 'first' / 'predictions.jsonl'}")
    result = ask(recorded, records, output_dir=tmp_path / "again")
    assert (result.prompts, result["manipulation"].prompts) == ("recorded", {})
    page = write_report(tmp_path / "again", records, [Run.read(tmp_path / "again")]).read_text()
    assert "which does not say what was asked" in page
    assert MANIPULATION.question not in page


def test_wrong_prompts_are_refused_before_anything_is_asked(records, tmp_path):
    (tmp_path / "mine.yaml").write_text("age: How old?\n")
    model = Model()
    with pytest.raises(ConfigurationError, match="has no prompt for expression"):
        ask(model, records, (AGE, EXPRESSION), prompts=tmp_path / "mine.yaml")
    assert model.asked == []
