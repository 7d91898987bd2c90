"""The page at the end of a stage: one self-contained HTML file with curve, tables, speed, memory and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from facekit.data.atomic import write_text_atomically
from facekit.data.dataset import RecordSet
from facekit.data.record_media import open_frames
from facekit.errors import ImageError, RecordError
from facekit.models.memory import format_bytes
from facekit.reports import Cell, Section, Table, format_duration, image_url, line_chart, render_page
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.trainable.parts import TrainedPart
from facekit.training.watching.run_report import StageReport
from facekit.training.watching.validation import ValidationPoint

SUMMARY_NAME = "summary.html"
_TEMPLATE = "training/watching/summary.html.jinja"
_THUMBNAIL = 200
_MOST_COLUMNS = 6


def write_summary(folder: Path, report: StageReport, validation: RecordSet | None = None) -> Path:
    """Write ``summary.html``.

    Args:
        folder: Where it goes.
        report: What happened.
        validation: The records that were asked about, for their pictures.

    Returns:
        The page's path.
    """
    history = report.history
    metrics, faces = _metric_table(report.points), _faces(report, validation)
    has_left_out = bool(report.skipped_records or report.shortened_records)
    page = render_page(
        _TEMPLATE,
        kind="training",
        title=f"{report.recipe}: {report.stage}" if report.stage != report.recipe else report.recipe,
        contents=_contents(has_metrics=metrics is not None, has_answers=bool(faces), has_left_out=has_left_out),
        summary=report.summary,
        start=report.start,
        loss=line_chart(
            history.steps,
            history.losses,
            history.smoothed(),
            title="training loss by step",
            logarithmic=report.settings.grpo is None,  # GRPO's is near zero, on both sides of it
        ),
        rate=line_chart(
            history.steps,
            [point.learning_rate for point in history.points],
            title="learning rate by step",
            style="second",
            logarithmic=False,
            height=160,
        ),
        loss_note=_loss_note(report.settings),
        reward=_reward_chart(report),
        facts=_facts(report),
        sources=_source_table(report),
        parts=_part_table(report),
        metrics=metrics,
        has_intervals=any(point.intervals for point in report.points),
        faces=faces,
        skipped=_skipped_table(report),
        left_out=_left_out_table(report),
        settings=yaml.safe_dump(report.chosen_settings, sort_keys=False),
    )
    return write_text_atomically(folder / SUMMARY_NAME, page)


def _loss_note(settings: TrainingSettings) -> str:
    """What the loss is."""
    if settings.grpo is not None:
        return (
            "Loss of GRPO, by step; it is near 0 by construction, and the reward and the metrics say what was learned."
        )
    if settings.dpo is not None:
        return "Loss of DPO, by step: 0.693 where neither answer of a pair is preferred more than before."
    return "Loss per supervised token, in nats, by step: every logged value faint, the smoothed curve strong."


def _reward_chart(report: StageReport) -> Markup | None:
    """The mean reward by step; None where the run did not learn from rewards."""
    points = [(point.step, point.reward) for point in report.history.points if point.reward is not None]
    if not points:
        return None
    steps, rewards = zip(*points, strict=True)
    return line_chart(steps, rewards, title="reward by step", style="second", logarithmic=False, height=200)


def _contents(*, has_metrics: bool, has_answers: bool, has_left_out: bool) -> list[Section]:
    sections = [Section("loss", "Loss"), Section("run", "Run"), Section("parts", "What was trained")]
    if has_metrics:
        sections.append(Section("metrics", "Metrics"))
    if has_answers:
        sections.append(Section("answers", "Answers while it learned"))
    if has_left_out:
        sections.append(Section("left-out", "What was left out"))
    return [*sections, Section("settings", "Settings")]


def _facts(report: StageReport) -> list[tuple[str, str]]:
    cost = report.cost
    went_on = f" (the last {cost.steps:,} in this call)" if report.resumed_from else ""
    facts = [
        ("steps", f"{report.steps:,}{went_on}"),
        ("device", cost.device),
        ("samples/s", f"{cost.samples_per_second:.1f}"),
        ("tokens/s", f"{cost.tokens_per_second:,.0f}, image tokens and padding included"),
        ("time in steps", format_duration(cost.seconds)),
        ("peak memory", format_bytes(cost.peak_memory)),
        ("estimated before", str(report.estimate)),
        ("records", f"{report.counts.records:,}" + (f", {report.skipped:,} skipped" if report.skipped else "")),
    ]
    if report.history.final_loss is not None:
        unit = "" if report.settings.is_preference else " nats per token"
        facts.insert(1, ("final loss", f"{report.history.final_loss:.3f}{unit}"))
    if report.validation_losses:
        best, last = min(report.validation_losses, key=lambda point: point.loss), report.validation_losses[-1]
        words = f"{best.loss:.3f} at step {best.step:,}, the lowest; {last.loss:.3f} at step {last.step:,}, the last"
        facts.insert(2, ("validation loss", words))
    return facts


def _source_table(report: StageReport) -> Table | None:
    if not report.sources:
        return None
    losses = [report.final_loss_of(each.name) for each in report.sources]
    rows: list[list[Any]] = [
        [each.name, each.records, each.examples, f"{100 * each.share:.1f} %"] for each in report.sources
    ]
    headings = ["records", "examples an epoch", "share"]
    if any(loss is not None for loss in losses):
        headings.append("final loss")
        for row, loss in zip(rows, losses, strict=True):
            row.append("-" if loss is None else f"{loss:.3f}")
    return Table.of("records files", ["file"], headings, rows)


def _part_table(report: StageReport) -> Table:
    rows = [
        (
            part.name,
            part.parameters,
            part.trainable or "frozen",
            _peak_rate(part),
        )
        for part in report.parts
    ]
    return Table.of("what was trained", ["part"], ["parameters", "trained", "peak rate"], rows)


def _peak_rate(part: TrainedPart) -> str:
    if part.learning_rate is not None:
        return f"{part.learning_rate:g}"
    return "see its parts" if part.trainable else ""


def _skipped_table(report: StageReport) -> Table | None:
    """Every record that could not be used, with the reason."""
    rows = [(entry.id, entry.reason) for entry in report.skipped_records]
    return Table.of("records that could not be used", ["record", "reason"], [], rows) if rows else None


def _left_out_table(report: StageReport) -> Table | None:
    """Every question that was left out of a record that was used."""
    rows = [(each.id, left.reason, left.question) for each in report.shortened_records for left in each.left_out]
    return Table.of("questions that were left out", ["record", "reason"], ["question"], rows) if rows else None


def _metric_table(points: tuple[ValidationPoint, ...]) -> Table | None:
    """One row per metric and one column per look; None where there are no metrics."""
    measured = _spread([point for point in points if point.metrics])
    names = sorted({name for point in measured for name in point.metrics})
    if not names:
        return None
    rows = [(name, *(_metric_cell(name, point) for point in measured)) for name in names]
    return Table.of("metrics on validation records", ["metric"], [f"step {point.step:,}" for point in measured], rows)


def _metric_cell(name: str, point: ValidationPoint) -> Cell | str:
    """A metric with its interval; red where it is worse than its whole interval at the first look."""
    if name not in point.metrics:
        return ""
    low_high = point.intervals.get(name)
    words = f"{point.metrics[name]:.3f}" + ("" if low_high is None else f" [{low_high[0]:.3f}, {low_high[1]:.3f}]")
    return Cell(words, kind="bad") if name in point.fallen else words


def _spread(points: list[ValidationPoint]) -> list[ValidationPoint]:
    """At most a few looks, spread over the run, the first and the last among them."""
    if len(points) <= _MOST_COLUMNS:
        return points
    return [points[round(index * (len(points) - 1) / (_MOST_COLUMNS - 1))] for index in range(_MOST_COLUMNS)]


def _faces(report: StageReport, validation: RecordSet | None) -> list[dict[str, Any]]:
    """Per record its picture, and its questions with the truth and the answer of every look."""
    columns = _spread([point for point in report.points if point.answers])
    faces: dict[str, dict[str, tuple[str, dict[int, str]]]] = {}
    for point in columns:
        for answer in point.answers:
            _, given = faces.setdefault(answer.record, {}).setdefault(answer.question, (answer.truth, {}))
            given[point.step] = answer.answer or "(nothing)"
    pictures = {} if validation is None else {
        record.id: _picture(validation, index)
        for index, record in enumerate(validation.records) if record.id in faces
    }  # fmt: skip
    headings = ["question", *(f"step {point.step:,}" for point in columns), "record says"]
    return [
        {
            "id": name,
            "picture": pictures.get(name),
            "table": Table.of(
                f"answers about {name}",
                headings,
                [],
                [
                    (question, *(given.get(point.step, "") for point in columns), Cell(truth, kind="good"))
                    for question, (truth, given) in questions.items()
                ],
            ),
        }
        for name, questions in faces.items()
    ]


def _picture(records: RecordSet, index: int) -> str | None:
    try:
        picture = open_frames(records.records[index], records.folder)[0].image
    except (ImageError, RecordError, OSError):
        return None  # the page says what was answered about it all the same
    return image_url(picture, side=_THUMBNAIL)
