"""Answers become scores, baselines, group comparisons and files; the model is a small real one."""

from __future__ import annotations

import copy
import io
import json
import resource
from collections.abc import Sequence

import pytest
import torch
from rich.console import Console

import facekit
from facekit.data.dataset import RecordSet
from facekit.data.labels import FaceLabels
from facekit.data.records import FaceRecord
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import CheckpointError, ConfigurationError, OutputError, RecordError, UnknownPartError
from facekit.evaluation import (
    ACTION_UNIT_QUESTIONS,
    ACTION_UNITS,
    AGE,
    ALL_TASKS,
    ATTRIBUTE_QUESTIONS,
    EXPRESSION,
    EvaluationResult,
    GroupComparison,
    evaluate,
    group_table,
    load_tasks,
    metric_table,
)
from facekit.evaluation.evaluator import NO_STATISTICS, describe_label, evaluate_model, score_task
from facekit.evaluation.models.answering import FaceKitModel
from facekit.evaluation.report.group_results import GroupScore
from facekit.evaluation.tasks.questions import Question


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 12, seed=5, image_size=64))


@pytest.fixture(scope="module")
def model_and_processor():
    return facekit.create(
        encoder="tiny?image_size=64&width=32&depth=1",
        connector="region",
        backbone="tiny?width=48&depth=1&heads=2",
        seed=0,
    )


def record(number, expression=None, age=None, **groups):
    return FaceRecord(id=str(number), image="a.png", labels=FaceLabels(expression=expression, age=age), groups=groups)


class Counted(Sequence):
    """Records that are read where they are asked for, as those of a large file."""

    def __init__(self, records):
        self.records, self.reads = records, 0

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        found = self.records[index]
        self.reads += 1
        return found


@pytest.mark.parametrize(("limit", "most"), [(None, 24), (2, 22)])
def test_records_of_a_large_file_are_read_twice_at_most(records, tmp_path, limit, most):
    class Guess:
        name = "guess"

        def answer(self, questions):
            yield from ((index, "happy, 30, real, AU1") for index, _ in enumerate(questions))

    counted = Counted(records.records)
    result = evaluate_model(
        Guess(), RecordSet(counted, records.folder), limit=limit, output_dir=tmp_path, statistics=NO_STATISTICS
    )
    assert counted.reads <= most
    assert (result.faces, len(result.tasks)) == (12, 5)


def test_the_catalog_names_exactly_these_tasks():
    questions = (ACTION_UNIT_QUESTIONS, ATTRIBUTE_QUESTIONS)
    assert load_tasks(task.name for task in ALL_TASKS) == ALL_TASKS
    assert sorted(task.name for task in (*ALL_TASKS, *questions)) == facekit.list_parts("task")
    with pytest.raises(UnknownPartError, match="expression"):
        load_tasks(["expresion"])


def test_scores_count_unreadable_answers_as_wrong_and_leave_unlabelled_faces_out():
    faces = [record(0, "fear"), record(1, "fear"), record(2, "anger"), record(3)]
    result = score_task(EXPRESSION, faces, ["fear", "hm", "anger", "joy"], training=[record(9, "fear")])
    assert (result.count, result.unreadable) == (3, 1)
    assert result.metrics["accuracy"] == pytest.approx(2 / 3)
    assert result.baseline["accuracy"] == pytest.approx(2 / 3)
    assert result.baseline_answer == "fear"


def test_the_baseline_comes_from_the_training_labels_alone():
    faces = [record(0, age=80.0), record(1, age=84.0)]
    training = [record(n, age=age) for n, age in enumerate((10.0, 20.0, 90.0))]
    result = score_task(AGE, faces, ["80", "80"], training)
    assert result.baseline_answer == "20"
    assert result.baseline["mean_absolute_error"] == 62.0
    assert result.score == 2.0
    assert score_task(AGE, faces, ["80", "80"]).baseline == {}


def test_groups_are_compared_by_the_headline_metric():
    faces = [record(n, "fear", sex="a" if n < 10 else "b", rare="x" if n else "y") for n in range(20)]
    answers = ["fear"] * 15 + ["anger"] * 5
    by_attribute = {comparison.attribute: comparison for comparison in score_task(EXPRESSION, faces, answers).groups}
    sex = by_attribute["sex"]
    assert [(score.group, score.count, score.value) for score in sex.scores] == [("a", 10, 1.0), ("b", 10, 0.5)]
    assert (sex.worst, sex.best, sex.gap) == ("b", "a", 0.5)
    assert by_attribute["rare"].gap is None


def test_the_worst_group_is_the_one_with_the_larger_error():
    scores = [GroupScore("a", 50, 3.0), GroupScore("b", 50, 8.0), GroupScore("tiny", 2, 60.0)]
    comparison = GroupComparison.of("age_group", scores, higher_is_better=False)
    assert (comparison.worst, comparison.best, comparison.gap) == ("b", "a", 5.0)


def test_evaluation_writes_predictions_and_metrics_that_read_back(records, model_and_processor, tmp_path):
    seen = []
    result = evaluate(
        *model_and_processor,
        records,
        [EXPRESSION, ACTION_UNITS],
        training_records=records,
        output_dir=tmp_path,
        batch_size=5,
        on_progress=seen.append,
    )
    assert [(state.done, state.total) for state in seen] == [(done, 24) for done in range(1, 25)]
    assert {(state.stage, state.unit) for state in seen} == {("ask facekit", "questions")}
    assert all(state.per_second > 0 for state in seen)
    assert seen[-1].seconds_left == 0
    assert EvaluationResult.read(tmp_path / "metrics.json") == result
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 24
    assert [line["task"] for line in lines[:2]] == ["expression", "action_units"]
    assert lines[0]["truth"] == records.records[0].labels.expression
    unreadable = sum(line["prediction"] is None for line in lines if line["task"] == "expression")
    assert unreadable == result["expression"].unreadable


def test_callbacks_of_the_earlier_signature_are_called_as_before_with_a_warning(records, model_and_processor):
    seen = []
    with pytest.warns(DeprecationWarning, match=r"on_progress of evaluate is called with one facekit\.reports") as told:
        evaluate(
            *model_and_processor,
            records.select(range(2)),
            [EXPRESSION],
            on_progress=lambda done, total: seen.append((done, total)),
        )
    assert seen == [(1, 2), (2, 2)]
    assert sum("on_progress" in str(each.message) for each in told) == 1, "one warning, not one of each function inside"
    assert told[0].filename == __file__


@pytest.mark.parametrize("shared_from", [2, 100])
def test_answers_in_batches_are_those_of_single_questions(records, model_and_processor, shared_from):
    model, processor = model_and_processor
    asked = [("How old is this person?", 6), ("Which expression does this face show?", 9), ("Is it genuine?", 6)]
    questions = [
        Question(f"{face.id}/{text}", text, record=face, folder=records.folder, max_new_tokens=limit)
        for face in records.records[:3]
        for text, limit in asked
    ]
    under_test = FaceKitModel(model, processor, batch_size=2, shared_from=shared_from)
    together = dict(under_test.answer(questions))
    assert sorted(together) == list(range(9))
    for place, question in enumerate(questions):
        alone = facekit.ask(
            model, processor, question.record.image_path(records.folder), question.text,
            landmarks=question.record.landmark_array(records.folder), max_new_tokens=question.max_new_tokens,
        )  # fmt: skip
        assert alone == [together[place]]


def test_records_without_any_label_are_refused(model_and_processor, records):
    bare = RecordSet((records.records[0].model_copy(update={"labels": FaceLabels()}),), records.folder)
    with pytest.raises(RecordError, match="has a label of the tasks expression, age"):
        evaluate(*model_and_processor, bare, [EXPRESSION, AGE])


def test_a_damaged_result_file_is_refused(tmp_path):
    (tmp_path / "metrics.json").write_text('{"faces": 3}')
    with pytest.raises(CheckpointError, match="not an evaluation result"):
        EvaluationResult.read(tmp_path / "metrics.json")


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (True, "manipulated"),
        (33.6, "33.6"),
        (34.0, "34"),
        ({"AU12": True, "AU4": True, "AU6": False}, "AU4, AU12"),
        (frozenset(), "none"),
        ("fear", "fear"),
    ],
)
def test_labels_are_described_in_words(label, words):
    assert describe_label(label) == words


def test_tables_show_scores_beside_baselines_and_gaps():
    faces = [record(n, "fear", sex="a" if n < 10 else "b") for n in range(20)]
    task = score_task(EXPRESSION, faces, ["fear"] * 15 + ["hm"] * 5, training=[record(9, "anger")])
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(metric_table(EvaluationResult(20, (task,), 1.0)), group_table(EvaluationResult(20, (task,), 1.0)))
    text = console.export_text()
    assert "0.750" in text
    assert "0.000" in text
    assert "5 of 20" in text
    assert "b 0.500" in text


class Stopping(FaceKitModel):
    """Answers so many questions and then fails."""

    def __init__(self, *given, answers):
        super().__init__(*given, batch_size=1)
        self.left = answers

    def answer(self, questions):
        for place, text in super().answer(questions):
            if not self.left:
                raise OSError("the machine went down")
            self.left -= 1
            yield place, text


def resume(model, records, folder):
    return evaluate_model(model, records, [AGE], output_dir=folder, resume=True, statistics=NO_STATISTICS)


@pytest.fixture
def broken_off(model_and_processor, records, tmp_path):
    """The folder of an evaluation that ended after five answers."""
    with pytest.raises(OSError, match="went down"):
        resume(Stopping(*model_and_processor, answers=5), records, tmp_path)
    return tmp_path


def test_an_evaluation_goes_on_with_its_answers_whatever_becomes_of_the_labels(
    model_and_processor, records, broken_off, tmp_path_factory
):
    older = [
        each.model_copy(update={"labels": each.labels.model_copy(update={"age": each.labels.age + 1})})
        for each in records.records
    ]
    relabelled = RecordSet(tuple(older), records.folder)
    model = Stopping(*model_and_processor, answers=7)
    result = resume(model, relabelled, broken_off)
    assert model.left == 0
    assert result.tasks == resume(FaceKitModel(*model_and_processor), relabelled, tmp_path_factory.mktemp("w")).tasks


def test_a_question_about_another_picture_is_asked_again(model_and_processor, records, broken_off):
    first, second, *rest = records.records
    swapped = RecordSet((first.model_copy(update={"image": second.image}), second, *rest), records.folder)
    model = Stopping(*model_and_processor, answers=8)
    resume(model, swapped, broken_off)
    assert model.left == 0


def test_an_evaluation_of_a_model_that_learned_on_is_another(model_and_processor, records, broken_off):
    model = copy.deepcopy(model_and_processor[0])
    with torch.no_grad():
        model.connector.cross_attention.output_bias.add_(1e-3)
    with pytest.raises(ConfigurationError, match=r"answers of another run \(weights was '"):
        resume(FaceKitModel(model, model_and_processor[1]), records, broken_off)


def test_results_go_to_a_folder_or_are_told_not_to_before_anything_is_asked(model_and_processor, records, tmp_path):
    (tmp_path / "file").write_text("")
    model = Stopping(*model_and_processor, answers=0)
    with pytest.raises(OutputError, match=r"cannot be written to \(.*\); choose another output folder"):
        resume(model, records, tmp_path / "file" / "results")


def test_a_full_disk_keeps_the_answers_before_and_the_evaluation_goes_on_from_them(
    model_and_processor, records, tmp_path
):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(OutputError, match=r"answers\.jsonl cannot be written \(File too large\); make room"):
            resume(FaceKitModel(*model_and_processor, batch_size=1), records, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept = (tmp_path / "answers.jsonl").read_bytes().count(b"\n") - 1
    assert 0 < kept < len(records)
    model = Stopping(*model_and_processor, answers=len(records) - kept)
    resume(model, records, tmp_path)
    assert model.left == 0
