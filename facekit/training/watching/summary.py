"""The page at the end of a stage: one self-contained HTML file with curve, tables, speed, memory and answers."""

from __future__ import annotations

import base64
import io
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from facekit import __version__
from facekit.data.atomic import write_text_atomically
from facekit.data.dataset import RecordSet, open_frames
from facekit.errors import ImageError, RecordError
from facekit.models.memory import format_bytes
from facekit.training.watching.run_report import StageReport
from facekit.training.watching.validation import ValidationPoint

SUMMARY_NAME = "summary.html"
_TEMPLATE = "summary.html.jinja"
_THUMBNAIL = 160
_MOST_COLUMNS = 6


def write_summary(folder: Path, report: StageReport, plot: Path, validation: RecordSet | None = None) -> Path:
    """Write ``summary.html``.

    Args:
        folder: Where it goes.
        report: What happened.
        plot: The picture of the loss, a PNG; it becomes part of the page.
        validation: The records that were asked about, for their pictures.

    Returns:
        The page's path.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string((files(__package__) / _TEMPLATE).read_text(encoding="utf-8")).render(
        version=__version__,
        report=report,
        facts=_facts(report),
        plot="data:image/png;base64," + base64.b64encode(plot.read_bytes()).decode("ascii"),
        settings=yaml.safe_dump(report.chosen_settings, sort_keys=False),
        columns=_columns(report.points),
        metrics=sorted({name for point in report.points for name in point.metrics}),
        faces=_faces(report, validation),
    )
    return write_text_atomically(folder / SUMMARY_NAME, page)


def _facts(report: StageReport) -> list[tuple[str, str]]:
    cost = report.cost
    went_on = f" (the last {cost.steps:,} in this call)" if report.resumed_from else ""
    facts = [
        ("steps", f"{report.steps:,}{went_on}"),
        ("device", cost.device),
        ("samples/s", f"{cost.samples_per_second:.1f}"),
        ("tokens/s", f"{cost.tokens_per_second:,.0f}, image tokens and padding included"),
        ("time in steps", f"{cost.seconds:.0f} s"),
        ("peak memory", format_bytes(cost.peak_memory)),
        ("estimated before", str(report.estimate)),
        ("records", f"{report.counts.records:,}" + (f", {report.skipped} skipped" if report.skipped else "")),
    ]
    if report.history.final_loss is not None:
        facts.insert(1, ("final loss", f"{report.history.final_loss:.3f} nats per token"))
    return facts


def _columns(points: tuple[ValidationPoint, ...]) -> list[ValidationPoint]:
    """At most a few looks, spread over the run, the last one among them."""
    if len(points) <= _MOST_COLUMNS:
        return list(points)
    places = [round(place * (len(points) - 1) / (_MOST_COLUMNS - 1)) for place in range(_MOST_COLUMNS)]
    return [points[place] for place in places]


def _faces(report: StageReport, validation: RecordSet | None) -> list[dict[str, Any]]:
    """Per record its picture, and its questions with the truth and the answer of every column."""
    faces: dict[str, dict[str, Any]] = {}
    for place, point in enumerate(columns := _columns(report.points)):
        for answer in point.answers:
            face = faces.setdefault(answer.record, {"id": answer.record, "picture": None, "rows": {}})
            row = face["rows"].setdefault(answer.question, {"truth": answer.truth, "answers": [""] * len(columns)})
            row["answers"][place] = answer.answer
    if validation is not None:
        for record in validation.records:
            if record.id in faces:
                faces[record.id]["picture"] = _thumbnail(validation, record.id)
    return list(faces.values())


def _thumbnail(records: RecordSet, name: str) -> str | None:
    record = next(each for each in records.records if each.id == name)
    try:
        picture = open_frames(record, records.folder)[0].image
    except (ImageError, RecordError, OSError):
        return None  # the page says what was answered about it all the same
    side = (_THUMBNAIL, _THUMBNAIL)
    stream = io.BytesIO()
    picture.convert("RGB").resize(side, Image.Resampling.LANCZOS).save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
