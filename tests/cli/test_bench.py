"""``facekit bench`` puts any benchmark to a model: tables, JSON, a page, and the old verb's notice."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image
from typer.testing import CliRunner

from facekit.cli.main import app
from facekit.errors import ConfigurationError, RecordError, UnknownPartError
from facekit.evaluation import BENCHMARKS


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def pairs(tmp_path):
    lines = ["first,second,same,gender"]
    for number in range(24):
        Image.new("RGB", (8, 8), (number,) * 3).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{number}.png,{number % 2},{('man', 'woman')[number // 12]}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    answers = [{"question": str(line), "answer": "Yes" if line % 2 == 1 else "They are different people."}
               for line in range(2, 26)]  # fmt: skip
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(each) + "\n" for each in answers))
    return tmp_path


def test_pairs_are_scored_from_recorded_answers_with_a_page(pairs):
    model = f"predictions:{pairs / 'answers.jsonl'}"
    outcome = invoke("bench", "pairs", pairs / "pairs.csv", model, "--output", pairs / "out")
    assert outcome.exit_code == 0, outcome.output
    assert "accuracy, mean over folds\t1.000" in outcome.output
    assert "gender\twoman\t12\t1.000" in outcome.output
    page = (pairs / "out" / "report.html").read_text()
    assert "pairs: 24 pairs, generation" in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    again = invoke("bench", "pairs", pairs / "pairs.csv", model, "--output", pairs / "out", "--json")
    assert json.loads(again.stdout)["accuracy"]["value"] == 1.0


def test_attacks_are_scored_by_kind(pairs):
    lines = [f"{number}.png,{'morph' if number % 2 else ''}" for number in range(24)]
    (pairs / "attacks.csv").write_text("picture,kind\n" + "\n".join(lines))
    answers = [{"question": str(line), "answer": "a morph" if line % 2 == 1 else "genuine"} for line in range(2, 26)]
    (pairs / "a.jsonl").write_text("".join(json.dumps(each) + "\n" for each in answers))
    outcome = invoke("bench", "attacks", pairs / "attacks.csv", f"predictions:{pairs / 'a.jsonl'}", "--limit", 10)
    assert outcome.exit_code == 0, outcome.output
    assert "worst APCER (morph)\t0.000" in outcome.output
    assert "10 of 24 presentations" in outcome.output


def test_what_cannot_be_is_one_sentence(pairs):
    model = f"predictions:{pairs / 'answers.jsonl'}"
    for arguments, kind, words in (
        (("lfv", pairs, model), UnknownPartError, "did you mean 'lfw'?"),
        (("pairs", pairs, model, "--setting", "zero-shot"), ConfigurationError, "has no option 'setting'"),
        (("rfw", pairs, model), RecordError, "RACE_pairs.txt"),
    ):
        outcome = invoke("bench", *arguments)
        assert isinstance(outcome.exception, kind)
        assert words in str(outcome.exception)


def test_facexbench_is_one_of_them_and_its_own_verb_says_so(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "0.png")
    question = {"image_paths": ["images/0.png"], "question_text": "How old?", "options": ["young", "old"],
                "correct_answer_option": "B"}  # fmt: skip
    document = {"category": "bias_fairness", "sub-category": "age", "dataset": "x", "num_images": "single",
                "questions": {"1": question}}  # fmt: skip
    (tmp_path / "age.json").write_text(json.dumps(document))
    (tmp_path / "answers.jsonl").write_text('{"question": "age/1", "answer": "B"}\n')
    model = f"predictions:{tmp_path / 'answers.jsonl'}"
    assert "facexbench" in BENCHMARKS
    new = invoke("bench", "facexbench", tmp_path, model, "--output", tmp_path / "out", "--setting", "in-context")
    old = invoke("facexbench", model, tmp_path, "--setting", "in-context")
    assert (new.exit_code, old.exit_code) == (0, 0), new.output + old.output
    assert new.stdout == old.stdout
    assert "use 'facekit bench facexbench FOLDER MODEL'" in old.stderr
    assert "bias &amp; fairness" in (tmp_path / "out" / "report.html").read_text()


def test_facebench_runs_from_recorded_answers_and_has_no_settings(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "1.jpg")
    entry = {"question_id": "q0", "question_type": "TFQ", "image_id": "1.jpg", "text": "A beard?",
             "options": ["Yes", "No"], "gt_answer": "Yes", "metadata": {"view": "Appearance"}}  # fmt: skip
    (tmp_path / "test.jsonl").write_text(json.dumps(entry))
    (tmp_path / "answers.txt").write_text('{"question": "1.jpg/q0", "answer": "Yes"}\n')
    model = f"predictions:{tmp_path / 'answers.txt'}"
    outcome = invoke("bench", "facebench", tmp_path, model)
    assert outcome.exit_code == 0, outcome.output
    assert "appearance\ttrue or false\taccuracy\t1.000\t1.000\t1\t0" in outcome.output
    refused = invoke("bench", "facebench", tmp_path, model, "--setting", "en")
    assert "FaceBench has no option 'setting'; it has none" in str(refused.exception)


def write_facexbench(folder, count):
    (folder / "images").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "images" / "0.png")
    question = {"image_paths": ["images/0.png"], "question_text": "How old?", "options": ["young", "old"],
                "correct_answer_option": "B"}  # fmt: skip
    for name, sub_category in (("age", "age"), ("race", "race")):
        document = {"category": "bias_fairness", "sub-category": sub_category, "dataset": "x", "num_images": "single",
                    "questions": {str(number): question for number in range(count)}}  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(document))
    answers = [{"question": f"{name}/{number}", "answer": "B"} for name in ("age", "race") for number in range(count)]
    (folder / "answers.txt").write_text("".join(json.dumps(each) + "\n" for each in answers))
    return f"predictions:{folder / 'answers.txt'}"


def test_a_sample_of_a_benchmark_has_every_part_in_its_share_and_is_said_to_be_one(tmp_path):
    model = write_facexbench(tmp_path, 10)
    told = ("bench", "facexbench", tmp_path, model, "--limit", 6, "--output", tmp_path / "out")
    outcome = invoke(*told, "--max-new-tokens", 2048)
    assert outcome.exit_code == 0, outcome.output
    assert "a sample of 6 of 20 questions" in outcome.stdout
    assert "bias_fairness/age\t3\t" in outcome.stdout
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["available"] == 20
    board = invoke("leaderboard", tmp_path / "out", "--output", tmp_path)
    assert board.exit_code == 0, board.output
    assert "accuracy, 6 of 20" in (tmp_path / "leaderboard.html").read_text()


def test_a_dry_run_of_a_benchmark_asks_nobody_and_writes_nothing(tmp_path, pairs):
    folder = tmp_path / "facexbench"
    folder.mkdir()
    write_facexbench(folder, 3)
    output = tmp_path / "out"
    told = ("bench", "facexbench", folder, "openai:gpt-x?base_url=http://127.0.0.1:9/v1", "--dry-run")
    outcome = invoke(*told, "--setting", "chain-of-thought", "--output", output, "--max-new-tokens", 3000)
    assert outcome.exit_code == 0, outcome.output
    assert "openai:gpt-x?base_url=http://127.0.0.1:9/v1: 6 questions, generation" in outcome.stdout
    assert "Think step by step" in outcome.stdout
    assert outcome.stdout.count("\t3\t\t3,000") == 2
    assert not output.exists()
    local = invoke("bench", "pairs", pairs / "pairs.csv", "hf:some/model", "--dry-run", "--limit", 5, "--json")
    assert json.loads(local.stdout)["previews"][0]["scoring"] == "likelihood"
    assert json.loads(local.stdout)["previews"][0]["parts"][0]["questions"] == 5
    wrong = invoke("bench", "facexbench", folder, folder, "--dry-run")
    assert "no config.json" in str(wrong.exception)
