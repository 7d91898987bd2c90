"""A leaderboard has a row per model and a column per measure, the best marked, nothing where nothing was measured."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console
from typer.testing import CliRunner

from facekit.cli.main import app
from facekit.errors import RecordError
from facekit.evaluation import EvaluationResult, TaskResult
from facekit.evaluation.report.benchmark_page import write_benchmark_page
from facekit.evaluation.report.leaderboard import leaderboard_table, read_standings, write_leaderboard
from facekit.evaluation.report.tables import make_table


def write_run(folder, model, accuracy, years):
    tasks = (
        TaskResult("expression", "Expression", "?", 10, 0, "accuracy", "accuracy", True,
                   {"accuracy": accuracy}, {}, None, (), {"accuracy": (accuracy - 0.1, accuracy + 0.1)}),
        TaskResult("age", "Age", "?", 10, 0, "mean_absolute_error", "mean error in years", False,
                   {"mean_absolute_error": years}, {}, None, ()),
    )  # fmt: skip
    folder.mkdir()
    EvaluationResult(10, tasks, 1.0, model).write(folder / "metrics.json")
    return folder


def write_pairs(folder, model, value):
    folder.mkdir()
    rate = {"value": value, "low": value - 0.01, "high": value + 0.01}
    values = {"model": model, "benchmark": "rfw", "pairs": 10, "accuracy": rate, "equal_error_rate": None}
    (folder / "verification.json").write_text(json.dumps(values))
    return folder


def test_the_best_of_each_column_is_marked_whichever_way_is_better(tmp_path):
    runs = [write_run(tmp_path / "a", "a", 0.8, 6.0), write_run(tmp_path / "b", "b", 0.7, 4.0),
            write_pairs(tmp_path / "c", "b", 0.9)]  # fmt: skip
    table = leaderboard_table([each for run in runs for each in read_standings(run)])
    assert [column.title for column in table.columns] == [
        "model", "Expression, accuracy", "Age, mean error in years", "rfw, accuracy",
    ]  # fmt: skip
    (first, second) = table.rows
    assert [cell.text for cell in first] == ["a", "0.800", "6.0\N{NO-BREAK SPACE}↓", "–"]
    assert [cell.kind for cell in first] == ["", "good", "", ""]
    assert [cell.kind for cell in second] == ["", "", "good", ""]  # alone in its column, nothing is best
    assert first[1].note == "0.700 to 0.900"


def test_every_benchmark_has_its_number(tmp_path):
    results = {
        "metrics.json": [
            {"model": "m", "setting": "zero-shot",
             "published": {"overall": {"right": 3, "count": 4}, "low": 60.0, "high": 90.0}},
            {"model": "m", "setting": "en", "by_pattern": 1, "scores": [{"name": "", "accuracy": 0.4}]},
            {"model": "m", "questions": 1, "scores": [
                {"view": "", "question_type": "OEQ", "metrics": {"rougeL": 0.5}},
                {"view": "x", "question_type": "OEQ", "metrics": {"rougeL": 0.1}}]},
        ],
        "attacks.json": [{"model": "m", "benchmark": "attacks", "presentations": 3, "worst_apcer": 0.5, "bpcer": None}],
    }  # fmt: skip
    found = []
    for name, entries in results.items():
        for number, values in enumerate(entries):
            folder = tmp_path / f"{name}-{number}"
            folder.mkdir()
            (folder / name).write_text(json.dumps(values))
            found += [(each.column, each.value) for each in read_standings(folder)]
    assert found == [
        ("FaceXBench, zero-shot, accuracy", 0.75),
        ("Face-Human-Bench, en, accuracy", 0.4),
        ("FaceBench OEQ, rougeL", 0.5),
        ("attacks, worst APCER", 0.5),
    ]


def test_the_page_is_whole_and_the_command_says_where_it_is(tmp_path):
    runs = [write_run(tmp_path / "a", "a <b>", 0.8, 6.0), write_run(tmp_path / "b", "b", 0.7, 4.0)]
    page = write_leaderboard(tmp_path / "out", runs).read_text()
    assert "a &lt;b&gt;" in page
    assert "The best of each column is in bold" in page
    assert "answers.jsonl" not in page, "there is none beside this page"
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    outcome = CliRunner().invoke(app, ["leaderboard", *map(str, runs), "--output", str(tmp_path / "again")])
    assert outcome.exit_code == 0, outcome.output
    assert (tmp_path / "again" / "leaderboard.html").read_text() == page


def test_a_folder_without_results_is_said(tmp_path):
    with pytest.raises(RecordError, match="has no results"):
        read_standings(tmp_path)
    (tmp_path / "metrics.json").write_text('{"model": "m"}')
    with pytest.raises(RecordError, match=r"metrics\.json is no result"):
        read_standings(tmp_path)


def test_names_in_brackets_are_words_and_no_markup(tmp_path):
    table = make_table("scores of [b]m[/b]", ("model",), ("value",))
    table.add_row("m[v2]", "[link]1[/link]")
    text = io.StringIO()
    Console(file=text, width=60).print(table)
    for words in ("[b]m[/b]", "m[v2]", "[link]1[/link]"):
        assert words in text.getvalue()
    page = write_benchmark_page(tmp_path, "B", "m[v2]", [table]).read_text()
    assert "m[v2]" in page
    assert "scores of [b]m[/b]" in page
