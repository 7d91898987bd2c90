"""``facekit eval`` and ``facekit facexbench`` from the command line, on answers from files."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from facekit.cli.main import app
from facekit.data.records import read_records
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError


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


def test_a_comparison_without_a_folder_for_it_is_refused(records, tmp_path):
    good = write_answers(tmp_path / "a.jsonl", records, 24)
    outcome = invoke("eval", good, records, "--compare", good)
    assert isinstance(outcome.exception, ConfigurationError)
    assert "--output" in str(outcome.exception)


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
