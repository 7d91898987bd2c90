"""``facekit eval`` and ``facekit facexbench`` from the command line, on answers from files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from endpoint_fixtures import serve  # noqa: F401 - a fixture
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, recall_score
from typer.testing import CliRunner

from facekit.cli.main import app
from facekit.data.records import read_records
from facekit.data.synthetic import write_synthetic_dataset
from facekit.data.templates import label_words
from facekit.errors import ConfigurationError
from facekit.evaluation.judging.ratings import JudgeRatings, JudgingResult, RatedPart, RatingScore


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 24, seed=11, image_size=64)


def write_answers(path, records, right):
    """The true expression for the first ``right`` faces, and no word of one for the others."""
    lines = [
        {"id": record.id, "task": "expression", "answer": record.labels.expression if place < right else "hm"}
        for place, record in enumerate(read_records(records))
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return f"predictions:{path}"


def test_eval_prints_intervals_groups_and_throughput_and_compares_models(records, tmp_path):
    good, poor = (write_answers(tmp_path / f"{right}.jsonl", records, right) for right in (24, 6))
    outcome = invoke("eval", good, records, "--tasks", "expression", "--output", tmp_path / "out", "--compare", poor)
    assert outcome.exit_code == 0, outcome.output
    for words in ("1.000 to 1.000", "0.250", "18 of 24", "questions in", "disparities", "models in pairs", "+0.750"):
        assert words in outcome.output
    for folder in ("out", "out/compare-1"):
        metrics = json.loads((tmp_path / folder / "metrics.json").read_text())
        assert metrics["tasks"][0]["count"] == 24
    again = invoke("eval", good, records, "--tasks", "expression", "--output", tmp_path / "out", "--resume")
    assert again.exit_code == 0, again.output


def test_metrics_of_all_five_tasks_are_those_of_scikit_learn_on_the_stored_predictions(tmp_path):
    records = write_synthetic_dataset(tmp_path / "faces", 160, seed=12, image_size=48)
    faces, rng, lines = read_records(records), np.random.default_rng(0), []
    for face in faces:
        for task in ("expression", "action_units", "attributes", "age", "manipulation"):
            told = face if rng.random() < 0.7 else faces[int(rng.integers(len(faces)))]
            answer = "hm" if task == "expression" and rng.random() < 0.1 else label_words(task, told.labels)
            lines.append(json.dumps({"id": face.id, "task": task, "answer": answer}))
    (tmp_path / "answers.jsonl").write_text("\n".join(lines))
    outcome = invoke("eval", f"predictions:{tmp_path / 'answers.jsonl'}", records, "--output", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.output
    metrics = {
        each["task"]: each["metrics"] for each in json.loads((tmp_path / "out/metrics.json").read_text())["tasks"]
    }
    stored = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    said = {task: [(each["truth"], each["prediction"]) for each in stored if each["task"] == task] for task in metrics}
    assert {task: len(rows) for task, rows in said.items()} == dict.fromkeys(metrics, 160)
    assert len(metrics) == 5
    truths, found = zip(*((truth, each or "?") for truth, each in said["expression"]), strict=True)
    assert metrics["expression"]["uar"] == pytest.approx(
        recall_score(truths, found, average="macro", labels=sorted(set(truths)), zero_division=0)
    )
    assert metrics["expression"]["war"] == pytest.approx(accuracy_score(truths, found))
    assert metrics["manipulation"]["accuracy"] == pytest.approx(
        accuracy_score(*zip(*said["manipulation"], strict=True))
    )
    assert metrics["age"]["mean_absolute_error"] == pytest.approx(
        mean_absolute_error(*(np.array(column, dtype=float) for column in zip(*said["age"], strict=True)))
    )
    units = sorted(faces[0].labels.action_units)
    columns = [[unit in each.split(", ") for row in said["action_units"] for each in row] for unit in units]
    scores = [f1_score(each[::2], each[1::2]) for each in columns if any(each[::2])]
    assert metrics["action_units"]["mean_f1"] == pytest.approx(np.mean(scores))
    names = sorted(faces[0].labels.attributes)
    columns = [[name in each.split(", ") for row in said["attributes"] for each in row] for name in names]
    expected = np.mean([accuracy_score(each[::2], each[1::2]) for each in columns])
    assert metrics["attributes"]["mean_accuracy"] == pytest.approx(expected)


def test_eval_of_groups_too_small_to_compare_does_not_say_that_no_disparity_was_found(records, tmp_path):
    few = Path(records).with_name("few.jsonl")
    few.write_text("".join(Path(records).read_text().splitlines(keepends=True)[:6]))
    outcome = invoke("eval", write_answers(tmp_path / "a.jsonl", few, 6), few, "--tasks", "expression")
    assert outcome.exit_code == 0, outcome.output
    said = " ".join(outcome.output.split())
    assert "no groups that are large enough to compare" in said
    assert "none found" not in said


def test_eval_puts_what_judges_said_into_the_page(records, tmp_path):
    part = RatedPart("all answers", 24, {"image": RatingScore(6.25)})
    judging = JudgingResult(24, 0, (JudgeRatings("gpt", 24, {}, (part,), ()),)).write(tmp_path / "judging.json")
    good = write_answers(tmp_path / "a.jsonl", records, 24)
    told = ("eval", good, records, "--tasks", "expression", "--ratings", judging)
    assert "--output" in str(invoke(*told).exception)
    outcome = invoke(*told, "--output", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.output
    assert ">6.25</td>" in (tmp_path / "out" / "report.html").read_text()


def test_a_comparison_without_a_folder_for_it_is_refused(records, tmp_path):
    good = write_answers(tmp_path / "a.jsonl", records, 24)
    outcome = invoke("eval", good, records, "--compare", good)
    assert isinstance(outcome.exception, ConfigurationError)
    assert "--output" in str(outcome.exception)


def test_eval_lets_a_language_model_read_what_the_rules_cannot(records, tmp_path, serve):  # noqa: F811
    server = serve(answer=lambda body: "fear")
    spec = f"openai:m?base_url={server.base_url}&retries=0"
    arguments = ("eval", write_answers(tmp_path / "answers.jsonl", records, 20), records, "--tasks", "expression")
    outcome = invoke(*arguments, "--output", tmp_path / "out", "--extract", spec)
    assert outcome.exit_code == 0, outcome.output
    words = "openai:m read 4 of 4 answers that the rules could not read; both read 20"
    assert words in outcome.output
    assert words in (tmp_path / "out" / "report.html").read_text()
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [line["prediction"] for line in lines if line["rule"] == "extracted"] == ["fear"] * 4
    for wrong, problem in ((("--extract", "runs/demo"), "endpoint"), (("--extract-every",), "--extract openai:MODEL")):
        assert problem in str(invoke(*arguments, *wrong).exception)


def test_facexbench_prints_our_row_below_the_published_ones(tmp_path):
    images = tmp_path / "benchmark" / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(images / "0.png")
    question = {"image_paths": ["images/0.png"], "question_text": "How old?", "options": ["young", "old"],
                "correct_answer_option": "B", "answer": "old"}  # fmt: skip
    document = {"category": "bias_fairness", "sub-category": "age", "dataset": "x", "num_images": "single",
                "questions": {"1": question, "2": question}}  # fmt: skip
    (tmp_path / "benchmark" / "age.json").write_text(json.dumps(document))
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"question": "age/1", "answer": "B"}\n{"question": "age/2", "answer": "A person, old"}\n')
    outcome = invoke("facexbench", f"predictions:{answers}", tmp_path, "--output", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.output
    for words in ("FaceLLM-38B", "60.52", "published rule", "50.00", "bias_fairness/age", "no option found"):
        assert words in outcome.output
    strict = json.loads((tmp_path / "out" / "metrics.json").read_text())["strict"]
    assert strict["overall"] == {"right": 1, "count": 2}


def test_a_dry_run_shows_prompts_and_counts_and_touches_nothing(records, tmp_path):
    output = tmp_path / "out"
    told = (
        "eval",
        "openai:gpt-x?base_url=http://127.0.0.1:9/v1",
        records,
        "--limit",
        7,
        "--output",
        output,
        "--dry-run",
    )
    outcome = invoke(*told, "--max-new-tokens", 4000, "--compare", write_answers(tmp_path / "a.jsonl", records, 24))
    assert outcome.exit_code == 0, outcome.output
    assert "closed prompts, generation" in outcome.stdout
    assert "recorded prompts" in outcome.stdout
    assert "Answer with one number: the age in years.\t7\t7 of 24\t4,000" in outcome.stdout
    assert f"nothing was asked; results would go to {output}" in outcome.stderr
    assert not output.exists()
    told = json.loads(invoke(*told, "--prompts", "trained", "--tasks", "age", "--json").stdout)["previews"][0]
    assert told["parts"] == [
        {"name": "age", "questions": 7, "faces": "7 of 24", "max_new_tokens": 96, "prompt": "How old is this person?"}
    ]
