"""The demo's report, as one self-contained page.

Numbers and pictures are gathered here; ``report.html.jinja`` has the layout.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facekit.cores import count_usable_cores
from facekit.counted import counted
from facekit.data.atomic import write_text_atomically
from facekit.data.dataset import RecordSet
from facekit.data.labels import TASKS, FaceLabels
from facekit.data.templates import label_words
from facekit.demo.photograph import Photograph
from facekit.demo.pictures import record_picture
from facekit.demo.settings import DemoSettings
from facekit.evaluation import ALL_TASKS, EvaluationResult, Task, TaskResult
from facekit.evaluation.evaluator import PREDICTIONS_NAME, describe_label
from facekit.evaluation.report.tables import format_metric
from facekit.faces import draw_overlay
from facekit.faces.layout import REGION_LABELS
from facekit.faces.overlay import REGION_COLOURS
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.reports import Cell, Section, Table, image_url, line_chart, render_page
from facekit.training import LossHistory
from facekit.training.trainable.parts import count_parameters

REPORT_NAME = "report.html"
TEMPLATE = "demo/report.html.jinja"
GALLERY_FACES = 12
QUESTIONED_FACES = 6
SECTIONS = (
    Section("answers", "Faces never seen"),
    Section("faces", "Questions and answers"),
    Section("photograph", "A real photograph"),
    Section("data", "What it learned from"),
    Section("training", "Training"),
    Section("groups", "By group"),
    Section("limits", "What it is for"),
)
CLOSE_AGE = 5.0
"""Years within which an answered age is marked as right."""


@dataclass(frozen=True)
class AnswerRow:
    """A question with the model's answer and the truth.

    Args:
        question: What was asked.
        answer: What the model said.
        truth: The label in words.
        verdict: How right it is, in words.
        right: Whether it counts as right.
    """

    question: str
    answer: str
    truth: str
    verdict: str
    right: bool


def write_report(
    folder: Path,
    settings: DemoSettings,
    model: FaceKitForConditionalGeneration,
    training_faces: RecordSet,
    test_faces: RecordSet,
    history: LossHistory,
    evaluation: EvaluationResult,
    photograph: Photograph,
    seconds: Mapping[str, float],
) -> Path:
    """Write ``report.html`` into a demo's folder.

    Args:
        folder: The demo's folder; ``evaluation/predictions.jsonl`` in it has the answers.
        settings: The demo's settings.
        model: The trained model, for its sizes.
        training_faces: Shown in the gallery.
        test_faces: The first of them are shown with questions and answers.
        history: The loss curve.
        evaluation: The metrics.
        photograph: The photograph with its answers.
        seconds: How long each stage before this one took.

    Returns:
        The report's path.
    """
    answers = read_answers(folder / "evaluation" / PREDICTIONS_NAME)
    groups = _group_tables(evaluation)
    page = render_page(
        TEMPLATE,
        kind="demo",
        title="A small language model that sees faces, trained on drawings"
        if settings.adapts
        else "A tiny Face-LLaVA, trained from drawings",
        contents=[section for section in SECTIONS if groups or section.anchor != "groups"],
        settings=settings,
        has_pretrained_encoder="pretrained=" in settings.encoder,
        uses_landmarks=settings.connector.startswith("region"),
        parameters=count_parameters(model),
        steps=history.steps[-1] if history.steps else 0,
        final_loss=history.final_loss,
        loss_curve=line_chart(history.steps, history.losses, history.smoothed(), title="training loss by step"),
        gallery=[record_picture(record, training_faces) for record in training_faces.records[:GALLERY_FACES]],
        regions=[
            (REGION_LABELS[name], "#{:02x}{:02x}{:02x}".format(*colour)) for name, colour in REGION_COLOURS.items()
        ],
        evaluation=evaluation,
        scores=[_score(task) for task in evaluation.tasks],
        groups=groups,
        questioned=[
            {
                "picture": record_picture(record, test_faces, overlay=False),
                "overlay": record_picture(record, test_faces),
                "rows": answer_rows(record.labels, answers.get(record.id, {})),
            }
            for record in test_faces.records[:QUESTIONED_FACES]
        ],
        photograph=photograph,
        photograph_picture=image_url(draw_overlay(photograph.picture, None, _crop_box(photograph), size=720)),
        photograph_crop=image_url(
            draw_overlay(photograph.face.image, photograph.face.landmarks, size=480, legend=False)
        ),
        seconds=dict(seconds),
        cores=count_usable_cores(),
    )
    return write_text_atomically(folder / REPORT_NAME, page)


def read_answers(path: Path) -> dict[str, dict[str, str]]:
    """Answers of an evaluation's predictions file: record id, then task, to answer."""
    answers: dict[str, dict[str, str]] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            answers.setdefault(entry["id"], {})[entry["task"]] = entry["answer"]
    return answers


def answer_rows(labels: FaceLabels, answers: Mapping[str, str], tasks: Sequence[Task] = ALL_TASKS) -> list[AnswerRow]:
    """Set answers beside the truth; tasks without a label or an answer are left out."""
    rows = []
    for task in tasks:
        truth = task.truth(labels)
        if truth is not None and task.name in answers:
            verdict, right = judge(truth, task.parse(answers[task.name]))
            words = label_words(task.name, labels) if task.name in TASKS else describe_label(truth)
            rows.append(AnswerRow(task.question, answers[task.name], words, verdict, right))
    return rows


def judge(truth: Any, prediction: Any) -> tuple[str, bool]:
    """How right a parsed answer is, in words, and whether it counts as right.

    Args:
        truth: A label; for several at once a dictionary of name to presence.
        prediction: What was read from the answer; None where nothing could be.
    """
    if prediction is None:
        return "unreadable", False
    if isinstance(truth, Mapping):
        hits = sum((name in prediction) == present for name, present in truth.items())
        return ("right" if hits == len(truth) else f"{hits} of {len(truth)} right"), hits == len(truth)
    if isinstance(truth, float):
        years = abs(truth - prediction)
        return (f"{counted(round(years), 'year')} off" if round(years) else "right"), years <= CLOSE_AGE
    return ("right", True) if truth == prediction else ("wrong", False)


def _score(task: TaskResult) -> dict[str, Any]:
    baseline = task.baseline_score
    top = 1.0 if task.higher_is_better else max(task.score, baseline or 0.0, 1e-9)
    uar = task.metrics.get("uar")
    return {
        "title": task.title,
        "metric": task.headline_title,
        "value": format_metric(task, task.score),
        "share": min(1.0, task.score / top),
        "baseline": None if baseline is None else format_metric(task, baseline),
        "baseline_share": None if baseline is None else min(1.0, baseline / top),
        "baseline_answer": task.baseline_answer,
        "lower_is_better": not task.higher_is_better,
        "unreadable": task.unreadable,
        "count": task.count,
        "uar": None if uar is None else f"{uar:.3f}",
        "question": task.question,
    }


def _group_tables(evaluation: EvaluationResult) -> list[dict[str, Any]]:
    """Per group attribute: its groups as columns and the tasks as rows."""
    tables = []
    for attribute in sorted({comparison.attribute for task in evaluation.tasks for comparison in task.groups}):
        compared = [(task, each) for task in evaluation.tasks for each in task.groups if each.attribute == attribute]
        sizes = {score.group: score.count for _, comparison in reversed(compared) for score in comparison.scores}
        names = sorted(sizes)
        rows: list[list[Cell | str]] = []
        for task, comparison in compared:
            values = {score.group: format_metric(task, score.value) for score in comparison.scores}
            cells = [Cell(values.get(name, ""), kind="bad" if name == comparison.worst else "") for name in names]
            gap = "" if comparison.gap is None else format_metric(task, comparison.gap)
            rows.append([Cell(task.title, task.headline_title), *cells, gap])
        title = attribute.replace("_", " ")
        headings = [*(f"{name} ({sizes[name]:,})" for name in names), "gap"]
        tables.append({"attribute": title, "table": Table.of(f"metrics by {title}", ["task"], headings, rows)})
    return tables


def _crop_box(photograph: Photograph) -> list[float]:
    width, height = photograph.picture.size
    left, top, right, bottom = photograph.face.box
    return [max(0.0, left / width), max(0.0, top / height), min(1.0, right / width), min(1.0, bottom / height)]
