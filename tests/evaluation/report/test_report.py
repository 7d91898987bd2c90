"""The page holds the numbers, the groups and the errors with their pictures, and fits a phone in a real browser."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from browser import check_phone, lay_out, needs_chromium

from facekit.data.dataset import RecordSet
from facekit.data.records import read_records
from facekit.data.synthetic import write_synthetic_dataset
from facekit.data.templates import label_words
from facekit.errors import RecordError
from facekit.evaluation import (
    ALL_TASKS,
    EvaluationResult,
    RecordedModel,
    Run,
    Statistics,
    TaskResult,
    compare_runs,
    evaluate_model,
    to_csv,
    to_latex,
    write_report,
)
from facekit.evaluation.judging.ratings import JudgeRatings, JudgingResult, RatedPart, RatingScore
from facekit.evaluation.metrics.agreement import Agreement
from facekit.evaluation.report.runs import confusion, find_errors
from facekit.evaluation.report.sections import short_names


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Two models of 40 faces: one nearly always right, one that knows one answer."""
    folder = tmp_path_factory.mktemp("report")
    records = write_synthetic_dataset(folder / "faces", 40, seed=13, image_size=64)
    rng = np.random.default_rng(0)
    runs = {}
    for name, rate in (("good", 0.8), ("poor <b>", 0.1)):
        lines = []
        faces = read_records(records)
        for face in faces:
            for task in ALL_TASKS:
                told = face if rng.random() < rate else faces[int(rng.integers(len(faces)))]
                answer = "hm" if rng.random() < 0.05 else label_words(task.name, told.labels)
                lines.append(json.dumps({"id": face.id, "task": task.name, "answer": answer}))
        path = folder / f"{name[:4]}.jsonl"
        path.write_text("\n".join(lines) + "\n")
        model = RecordedModel(path)
        model.name = name
        evaluate_model(
            model, records, output_dir=folder / name[:4], statistics=Statistics(resamples=200, permutations=199)
        )
        runs[name] = Run.read(folder / name[:4])
    differences = compare_runs(records, {name: folder / name[:4] / "predictions.jsonl" for name in runs}, ALL_TASKS[:1])
    page = write_report(folder / "out", records, list(runs.values()), differences)
    return page, list(runs.values()), RecordSet.read(records)


def test_the_page_needs_nothing_from_outside_and_escapes_what_models_are_called(evaluated):
    text = evaluated[0].read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert "<script" not in text
    assert "poor &lt;b&gt;" in text
    assert "poor <b>" not in text


def test_the_page_has_every_headline_with_its_interval(evaluated):
    page, runs, _ = evaluated
    text = page.read_text()
    for run in runs:
        for task in run.result.tasks:
            digits = 1 if task.task == "age" else 3
            low, high = task.intervals[task.headline]
            assert f'strong">{task.score:.{digits}f}<small>{low:.{digits}f} to {high:.{digits}f}' in text


def test_every_group_has_its_interval_in_words(evaluated):
    page, runs, _ = evaluated
    text = page.read_text()
    shown = Counter(re.findall(r'<span class="number">([\d.]+)<small>([\d.]+ to [\d.]+)</small></span>', text))
    expected = Counter(
        (f"{score.value:.{digits}f}", f"{score.low:.{digits}f} to {score.high:.{digits}f}")
        for task in runs[0].result.tasks
        for digits in [1 if task.task == "age" else 3]
        for comparison in (*task.groups, *task.intersections)
        for score in comparison.scores
        if score.low is not None
    )
    assert shown == expected
    assert shown.total() > 20
    assert "title=" not in text


def test_the_title_is_the_models_name_and_attributes_are_in_words(evaluated, tmp_path):
    page, runs, records = evaluated
    text = page.read_text()
    assert "<h1>good and poor &lt;b&gt;</h1>" in text
    alone = write_report(tmp_path, records, runs[:1]).read_text()
    assert "<title>good · facekit evaluation</title>" in alone
    for task, name, words in (("attributes", "accuracy_No_Beard", "no beard"), ("action_units", "f1_AU12", "AU12")):
        result = runs[0].result[task]
        cells = (f"{result.metrics[name]:.3f}", "{:.3f} to {:.3f}".format(*result.intervals[name]))
        assert re.search(rf">{words}</td>" + "".join(f'<td class="number">{cell}</td>' for cell in cells), text)
    shown = re.sub(r'data:[^"]*|id="[^"]*"', "", text)
    assert not re.search(r"\b(No_Beard|Wearing_Hat|Black_Hair|age_group|skin_tone|action_units)\b", shown)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["/home/someone/runs/mine/region"], ["mine/region"]),
        (["hf:Qwen/Qwen2.5-VL-3B-Instruct"], ["hf:Qwen/Qwen2.5-VL-3B-Instruct"]),
        (["openai:gpt?base_url=http://x/v1", "other"], ["openai:gpt", "other"]),
        (["openai:gpt?a=1", "openai:gpt?a=2"], ["openai:gpt?a=1", "openai:gpt?a=2"]),
        ([""], [""]),
    ],
)
def test_models_names_are_shortened_where_that_leaves_them_apart(names, expected):
    assert short_names([EvaluationResult(1, (), 1.0, name) for name in names]) == expected


def test_p_values_never_read_as_zero(evaluated):
    text = evaluated[0].read_text()
    assert "0.0000" not in text
    pairs = text[text.index("Models in pairs") : text.index('id="disparities"')]
    assert re.search(r'<td class="number">(&lt; 0\.001|[01]\.\d{3})</td>', pairs)


def test_every_section_is_in_the_contents(evaluated):
    text = evaluated[0].read_text()
    links = re.findall(r'<a href="#([^"]+)">', text)
    assert links == re.findall(r'<section id="([^"]+)"', text)
    assert links == ["scores", "disparities", *(f"task-{name}" for name in
                     ("expression", "action-units", "attributes", "age", "manipulation"))]  # fmt: skip


def test_the_confusion_counts_every_answer_once(evaluated):
    entries = [entry for entry in evaluated[1][0].predictions if entry["task"] == "expression"]
    columns, rows = confusion(entries)
    assert sum(sum(counts) for _, counts in rows) == 40
    hits = sum(counts[columns.index(truth)] for truth, counts in rows)
    assert hits / 40 == evaluated[1][0].result["expression"].metrics["accuracy"]
    assert sum(counts[-1] for _, counts in rows) == evaluated[1][0].result["expression"].unreadable


def test_errors_are_wrong_answers_from_as_many_kinds_as_there_are(evaluated):
    run = evaluated[1][1]
    for task in run.result.tasks:
        entries = [entry for entry in run.predictions if entry["task"] == task.task]
        errors = find_errors(entries, task)
        assert len(errors) == 12
        assert len({entry["id"] for entry in errors}) == 12
        if task.task == "age":
            far = [abs(float(entry["truth"]) - float(entry["prediction"])) for entry in errors if entry["prediction"]]
            assert min(far) >= 10
        else:
            assert all(entry["prediction"] != entry["truth"] for entry in errors)
    expression = [entry for entry in run.predictions if entry["task"] == "expression"]
    assert len({entry["truth"] for entry in find_errors(expression, run.result["expression"])}) >= 5


def test_the_csv_reads_back_and_the_latex_marks_the_best(evaluated):
    results = [run.result for run in evaluated[1]]
    rows = list(csv.DictReader(io.StringIO(to_csv(results))))
    overall = next(row for row in rows if row["task"] == "age" and row["model"] == "good" and not row["attribute"])
    assert float(overall["value"]) == results[0]["age"].score
    assert {row["attribute"] for row in rows} >= {"", "gender", "age_group × gender"}
    latex = to_latex(results)
    good = next(line for line in latex.splitlines() if line.startswith("good"))
    uar, war = (results[0]["expression"].metrics[name] for name in ("uar", "war"))
    assert rf"\textbf{{{uar:.3f} / {war:.3f}}}" in good
    assert good.count(r"\textbf") == 5
    alike = to_latex([replace(result, model="m") for result in results]).splitlines()
    assert [line.removeprefix("m") for line in alike if line.startswith("m &")] == [
        line.removeprefix(result.model) for result in results for line in latex.splitlines()
        if line.startswith(f"{result.model} &")
    ]  # fmt: skip
    assert to_latex([EvaluationResult(1, (), 1.0, "a_b & c")]).count(r"a\_b \& c") == 1


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_name_that_would_be_a_formula_is_text_in_the_csv(evaluated, name):
    (row, *_) = csv.DictReader(io.StringIO(to_csv([replace(evaluated[1][0].result, model=name)])))
    assert row["model"] == f"'{name}"
    assert not row["value"].startswith("'")


def test_what_judges_said_stands_in_the_page_with_intervals_and_agreement(evaluated, tmp_path):
    def part(mean):
        return RatedPart("all answers", 40, {"image": RatingScore(mean, mean - 0.5, mean + 0.5)})

    judges = (
        JudgeRatings("strict <i>", 40, {}, (part(4.25),), ()),
        JudgeRatings("mild", 37, {"no rating": 2, "not asked yet": 1}, (part(7.75),), ()),
    )
    panel = JudgeRatings("all judges", 37, {}, (part(6.0),), ())
    agreement = (Agreement("image", 37, 0.615, 0.5, 0.7), Agreement("label", 37, None, None, None))
    rated = JudgingResult(40, 3, judges, panel, agreement, judged="good")
    text = write_report(tmp_path, evaluated[2], evaluated[1][:1], ratings=[rated]).read_text()
    assert "good: 40 answers, 3 empty" in text
    for words in ('strong">4.25<small>3.75 to 4.75', 'strong">7.75<small>', 'strong">6.00<small>'):
        assert words in text
    assert "strict &lt;i&gt;" in text
    assert "mild left 3 answers unrated" in text
    assert "image 0.61, label undefined" in text or "image 0.62, label undefined" in text
    assert "Explanations as judges rate them" not in evaluated[0].read_text()


def test_a_folder_without_predictions_is_named(tmp_path):
    task = TaskResult("age", "Age", "?", 1, 0, "mean_absolute_error", "error", False, {}, {}, None, ())
    EvaluationResult(1, (task,), 1.0).write(tmp_path / "metrics.json")
    with pytest.raises(RecordError, match="evaluate the model again"):
        Run.read(tmp_path)


@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_renders_the_page_at_phone_and_desktop_width(evaluated, tmp_path, width):
    page = evaluated[0].read_text()
    layout = lay_out(page, tmp_path, width)
    check_phone(layout, width)
    assert layout["sections"] == 7
    assert layout["images"] == page.count("<img") > 40
    assert layout["dots"] > 30
    pixels = layout.pixels.reshape(-1, 3)
    assert (pixels == [245, 247, 250]).all(1).mean() > 0.01
    assert (pixels == [29, 36, 48]).all(1).sum() > 500
    assert len(np.unique(pixels, axis=0)) > 100
