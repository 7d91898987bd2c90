"""The quality report of a run: kept and dropped answers by reason, task and group, as one page.

Numbers and examples are gathered here while the outputs are written; ``report.html.jinja`` has the layout.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facekit.data.atomic import write_text_atomically
from facekit.data.records import FaceRecord
from facekit.datagen.outputs import Written
from facekit.datagen.plan import media_paths
from facekit.datagen.questions import stored_question
from facekit.datagen.recipe import Recipe
from facekit.datagen.selection import DROPPED, FAILED_CALL, KEPT, OPEN, Decision, JudgedRecord
from facekit.errors import ImageError, RecordError, VideoError
from facekit.faces.images import open_image
from facekit.faces.video import is_video, read_clip
from facekit.reports import Cell, Section, Table, histogram, image_url, in_words, render_page

REPORT_NAME = "report.html"
_TEMPLATE = "datagen/quality/report.html.jinja"
EXAMPLES = 6
"""Kept and dropped examples per aspect; chosen by a hash of the record's id, so that they are the same each time."""
THUMBNAIL_SIDE = 168
MOST_GROUPS = 24
CRITERION_TITLES = {
    "image": "agrees with the picture", "label": "agrees with the label", "completeness": "completeness",
    "overall": "overall",
}  # fmt: skip
_WORD_BINS = (0, 10, 20, 40, 60, 80, 100, 125, 150, 200, 300, 500)


@dataclass(frozen=True)
class Example:
    """An answer that is shown.

    Args:
        order: Where it stands among those that could be shown.
        record: The record's id.
        picture: Path of its picture, or None.
        question: The stored question.
        answer: The answer.
        reason: Why it was dropped; None where it was kept.
        rating: The judge's numbers.
        model: Who answered.
    """

    order: str
    record: str
    picture: str | None
    question: str
    answer: str
    reason: str | None
    rating: dict[str, float] | None
    model: str


@dataclass
class AspectData:
    """What is gathered about one aspect."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    ratings: dict[str, Counter[int]] = field(default_factory=dict)
    examples: dict[str, list[Example]] = field(default_factory=lambda: {KEPT: [], DROPPED: []})


@dataclass
class GroupData:
    """What is gathered about one value of one group attribute."""

    outcomes: Counter[str] = field(default_factory=Counter)
    overall: float = 0.0
    rated: int = 0


@dataclass
class ReportData:
    """Gathers what the report shows, in memory that does not grow with the number of records.

    Args:
        folder: Folder of the records file.
        recipe: The recipe.
        rated: Whether answers were rated.
        threshold: Lowest overall rating that is kept.
    """

    folder: Path
    recipe: Recipe
    rated: bool
    threshold: float
    aspects: dict[str, AspectData] = field(default_factory=dict)
    groups: dict[str, dict[str, GroupData]] = field(default_factory=dict)
    models: Counter[str] = field(default_factory=Counter)

    def observe(self, judged: JudgedRecord) -> None:
        """Count one record."""
        for decision in judged.decisions:
            if decision.outcome == OPEN:
                continue
            data = self.aspects.setdefault(decision.aspect, AspectData())
            data.outcomes[decision.outcome] += 1
            if decision.reason:
                data.reasons[decision.kind] += 1
            for name, value in (decision.rating or {}).items():
                data.ratings.setdefault(name, Counter())[round(value)] += 1
            if decision.entry is not None and decision.entry.answer:
                self.models[decision.entry.model] += 1
                data.words[_bin(len(decision.entry.answer.split()))] += 1
                self._offer_example(data, judged, decision)
            if judged.record is not None:
                self._count_groups(judged.record, decision)

    def _count_groups(self, record: FaceRecord, decision: Decision) -> None:
        for attribute, value in record.groups.items():
            values = self.groups.setdefault(attribute, {})
            if value not in values and len(values) >= MOST_GROUPS:
                value = "other"
            group = values.setdefault(value, GroupData())
            group.outcomes[decision.outcome] += 1
            if decision.rating is not None:
                group.overall += decision.rating["overall"]
                group.rated += 1

    def _offer_example(self, data: AspectData, judged: JudgedRecord, decision: Decision) -> None:
        examples = data.examples.get(decision.outcome)
        entry = decision.entry
        if examples is None or entry is None:
            return
        order = hashlib.sha256(f"{judged.values['id']}{decision.aspect}".encode()).hexdigest()
        if len(examples) >= EXAMPLES and order >= examples[-1].order:
            return
        picture = None
        if judged.record is not None:
            try:
                picture = media_paths(judged.record, self.folder, 1)[0]
            except RecordError:
                picture = None
        examples.append(
            Example(
                order, judged.values["id"], picture,
                stored_question(self.recipe, decision.aspect, judged.values["id"]), entry.answer, decision.reason,
                decision.rating, entry.model,
            )
        )  # fmt: skip
        examples.sort(key=lambda example: example.order)
        del examples[EXAMPLES:]


def write_report(folder: Path, data: ReportData, written: Written, cost: float) -> Path:
    """Write ``report.html``.

    Args:
        folder: The output folder.
        data: What was gathered.
        written: Totals.
        cost: Dollars of all runs.

    Returns:
        The report's path.
    """
    aspects = [_aspect_section(name, each, data) for name, each in data.aspects.items()]
    groups = [_group_table(name, values) for name, values in sorted(data.groups.items())]
    reasons = sorted(written.reasons.items(), key=lambda item: -item[1])
    page = render_page(
        _TEMPLATE,
        kind="data generation",
        title=f"Generated answers: {data.recipe.name}",
        contents=[
            *([Section("reasons", "Why answers are missing")] if reasons else []),
            Section("tasks", "By task"),
            *([Section("groups", "By group")] if groups else []),
            *(aspect["section"] for aspect in aspects),
        ],
        summary=data.recipe.summary,
        rated=data.rated,
        threshold=data.threshold,
        written=written,
        cost=cost,
        models=data.models.most_common(),
        reasons=Table.of("why answers are missing", ["reason"], ["answers"], reasons) if reasons else None,
        tasks=Table.of(
            "answers by task",
            ["task"],
            ["kept", "dropped", "failed", "share kept"],
            [[in_words(name), *_counts(each.outcomes)] for name, each in data.aspects.items()],
        ),
        groups=groups,
        aspects=aspects,
    )
    return write_text_atomically(folder / REPORT_NAME, page)


def _aspect_section(name: str, aspect: AspectData, data: ReportData) -> dict[str, Any]:
    title = in_words(name)
    ends = [*(str(bound) for bound in _WORD_BINS[1:]), "more"]
    charts = []
    if aspect.words:
        charts.append(("words in an answer, up to", histogram(aspect.words, ends, f"{title}: words in an answer")))
    for criterion, words in CRITERION_TITLES.items():
        if criterion in aspect.ratings:
            shifted = {value - 1: count for value, count in aspect.ratings[criterion].items()}
            numbers = [str(number) for number in range(1, 11)]
            is_bound = criterion == "overall"
            chart = histogram(
                shifted,
                numbers,
                f"{title}: {words}, 1 to 10",
                mark=data.threshold - 1.5 if is_bound else None,
                mark_label=f"kept from {data.threshold:g}" if is_bound else "",
            )
            charts.append((f"{words}, rated 1 to 10", chart))
    return {
        "section": Section(Section.of("task", name).anchor, title),
        "title": title,
        "counts": _counts(aspect.outcomes),
        "reasons": aspect.reasons.most_common(),
        "charts": charts,
        "examples": [
            (words, [(example, _thumbnail(example.picture)) for example in aspect.examples[outcome]])
            for words, outcome in (("Kept", KEPT), ("Dropped", DROPPED))
        ],
    }


def _group_table(attribute: str, values: Mapping[str, GroupData]) -> Table:
    rows: list[list[Cell | str | int]] = [
        [value, *_counts(data.outcomes), f"{data.overall / data.rated:.2f}" if data.rated else ""]
        for value, data in sorted(values.items())
    ]
    numbers = ["kept", "dropped", "failed", "share kept", "mean overall rating"]
    return Table.of(f"answers by {in_words(attribute)}", [in_words(attribute)], numbers, rows)


def _counts(outcomes: Counter[str]) -> list[Cell | str | int]:
    """Kept, dropped, failed, and the share that is kept."""
    share = outcomes[KEPT] / max(1, sum(outcomes.values()))
    return [outcomes[KEPT], outcomes[DROPPED], outcomes[FAILED_CALL], f"{100 * share:.1f} %"]


def _bin(words: int) -> int:
    return next((index for index, bound in enumerate(_WORD_BINS[1:]) if words <= bound), len(_WORD_BINS) - 1)


def _thumbnail(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        image = open_image(read_clip(path, 1).frames[0] if is_video(path) else path)
    except (ImageError, VideoError):
        return None
    return image_url(image, side=THUMBNAIL_SIDE)
