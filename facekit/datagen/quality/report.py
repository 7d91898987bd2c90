"""The report on a run: what was kept and dropped and why, per task and per group, as one self-contained page.

Here the numbers and examples are gathered while the outputs are written; how they look is in ``report.html``.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facekit import __version__
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

REPORT_NAME = TEMPLATE_NAME = "report.html"
EXAMPLES = 6
"""Kept and dropped examples per aspect; chosen by a hash of the record's id, so that they are the same each time."""
THUMBNAIL_SIDE = 112
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
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("facekit.datagen.quality", ""), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template(TEMPLATE_NAME).render(
        version=__version__,
        recipe=data.recipe,
        rated=data.rated,
        threshold=data.threshold,
        written=written,
        cost=cost,
        models=data.models.most_common(),
        reasons=sorted(written.reasons.items(), key=lambda item: -item[1]),
        aspects=[_aspect_section(name, each, Markup) for name, each in data.aspects.items()],
        groups=[_group_section(name, values) for name, values in sorted(data.groups.items())],
    )
    return write_text_atomically(folder / REPORT_NAME, page)


def histogram(counts: Mapping[int, int], labels: Sequence[str], title: str, mark: float | None = None) -> str:
    """A histogram as inline SVG.

    Args:
        counts: Bin, from 0, to number.
        labels: What each bin is called.
        title: Said to readers that cannot see it.
        mark: Bin, possibly between two, where a line is drawn.
    """
    width, height, gap, foot = 26, 84, 3, 16
    top = max([1, *counts.values()])
    total = len(labels) * width
    parts = [
        f'<svg viewBox="0 0 {total} {height + foot + 12}" width="{total}" height="{height + foot + 12}" role="img">',
        f"<title>{title}</title>",
    ]
    for place, label in enumerate(labels):
        count = counts.get(place, 0)
        bar = height * count / top
        x = place * width
        if count:
            parts.append(
                f'<rect class="bar" x="{x + gap / 2:.1f}" y="{12 + height - bar:.1f}" width="{width - gap}" '
                f'height="{bar:.1f}"><title>{label}: {count}</title></rect>'
                f'<text class="count" x="{x + width / 2:.1f}" y="{9 + height - bar:.1f}">{_short(count)}</text>'
            )
        parts.append(f'<text x="{x + width / 2:.1f}" y="{height + foot + 8}">{label}</text>')
    if mark is not None:
        parts.append(f'<line class="mark" x1="{mark * width:.1f}" x2="{mark * width:.1f}" y1="8" y2="{height + 12}"/>')
    return "".join([*parts, "</svg>"])


def _aspect_section(name: str, data: AspectData, markup: Any) -> dict[str, Any]:
    ends = [*(str(bound) for bound in _WORD_BINS[1:]), "more"]
    charts = [("words in an answer", markup(histogram(data.words, ends, f"{name}: words in an answer, up to")))]
    for criterion, title in CRITERION_TITLES.items():
        if criterion in data.ratings:
            shifted = {value - 1: count for value, count in data.ratings[criterion].items()}
            numbers = [str(number) for number in range(1, 11)]
            charts.append((title, markup(histogram(shifted, numbers, f"{name}: {title}, 1 to 10"))))
    return {
        "name": name.replace("_", " "),
        "kept": data.outcomes[KEPT], "dropped": data.outcomes[DROPPED], "failed": data.outcomes[FAILED_CALL],
        "share": _share(data.outcomes),
        "reasons": data.reasons.most_common(),
        "charts": charts,
        "examples": [
            (title, [(example, _thumbnail(example.picture)) for example in data.examples[outcome]])
            for title, outcome in (("Kept", KEPT), ("Dropped", DROPPED))
        ],
    }  # fmt: skip


def _group_section(attribute: str, values: Mapping[str, GroupData]) -> dict[str, Any]:
    rows = [
        {
            "value": value,
            "kept": data.outcomes[KEPT],
            "dropped": data.outcomes[DROPPED],
            "failed": data.outcomes[FAILED_CALL],
            "share": _share(data.outcomes),
            "overall": f"{data.overall / data.rated:.2f}" if data.rated else "–",
        }
        for value, data in sorted(values.items())
    ]
    return {"attribute": attribute.replace("_", " "), "rows": rows}


def _share(outcomes: Counter[str]) -> float:
    return outcomes[KEPT] / max(1, sum(outcomes.values()))


def _bin(words: int) -> int:
    return next((place for place, bound in enumerate(_WORD_BINS[1:]) if words <= bound), len(_WORD_BINS) - 1)


def _short(count: int) -> str:
    return str(count) if count < 1000 else f"{count / 1000:.3g}k"


def _thumbnail(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        image = open_image(read_clip(path, 1).frames[0] if is_video(path) else path)
    except (ImageError, VideoError):
        return None
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}"
