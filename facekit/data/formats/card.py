"""A dataset card: the ``README.md`` that the hub shows, with counts, licences and how the data were made."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from facekit.catalog import current_registry
from facekit.data.atomic import write_text_atomically
from facekit.data.counting import RecordCounts
from facekit.errors import ConfigurationError
from facekit.reports import render_text

__all__ = ["CardDetails", "check_card_place", "render_card", "share_licences", "write_card"]

CARD_NAME = "README.md"
_TEMPLATE = "data/formats/card.md.jinja"
NOT_RECORDED = "not recorded"
_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+-]*")
MARK = "<!-- written by facekit -->"
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


@dataclass(frozen=True)
class CardDetails:
    """The part of a card that the counts do not give.

    Args:
        title: The dataset's name.
        description: What it is, in a sentence or two.
        how_made: Steps, one a line: sources, models, prompts, thresholds, commands.
        licence: Identifier of the hub for the whole; ``other`` where the parts have terms of their own.
        licence_notes: Further notes on terms; those of the catalog's datasets are added by themselves.
        languages: Languages of the words.
    """

    title: str
    description: str = ""
    how_made: Sequence[str] = ()
    licence: str = "other"
    licence_notes: Sequence[str] = ()
    languages: Sequence[str] = ("en",)


def render_card(counts: RecordCounts, details: CardDetails) -> str:
    """The text of the card.

    Args:
        counts: Counts over all records.
        details: Everything else.

    Returns:
        Markdown with the hub's front matter.
    """
    from huggingface_hub import DatasetCardData

    conversational = bool(counts.answers)
    data = DatasetCardData(
        pretty_name=details.title,
        license=_identifier(counts, details),
        language=list(details.languages) if conversational else None,
        task_categories=["visual-question-answering" if conversational else "image-classification"],
        size_categories=[_size_category(counts.records)],
        tags=["face", *counts.tasks],
    )
    return render_text(
        _TEMPLATE,
        front_matter=data.to_yaml().strip(),
        mark=MARK,
        counts=counts,
        details=details,
        terms=_terms(counts),
        licences=share_licences(counts),
    )


def write_card(folder: str | Path, counts: RecordCounts, details: CardDetails) -> Path:
    """Write the card as ``README.md``.

    Args:
        folder: The folder of the dataset.
        counts: Counts over all records.
        details: Everything else.

    Returns:
        The path of the card.

    Raises:
        ConfigurationError: There is a ``README.md`` that facekit did not write.
    """
    return write_text_atomically(check_card_place(folder), render_card(counts, details))


def check_card_place(folder: str | Path) -> Path:
    """The path of a folder's card.

    Raises:
        ConfigurationError: There is a ``README.md`` that facekit did not write.
    """
    path = Path(folder) / CARD_NAME
    if path.is_file() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        raise ConfigurationError(f"{path} exists and is no card of facekit's; move it, or write to another folder")
    return path


def share_licences(counts: RecordCounts) -> list[tuple[str, int, float]]:
    """Records by licence, the most frequent first: each licence, how many records, and their share of all.

    A record that states none has that of its dataset of origin, where the catalog knows it.
    """
    registry = current_registry()
    known = set(registry.names("dataset"))
    found = Counter(counts.licenses)
    for origin, number in counts.unlicensed.items():
        found[registry.part("dataset", origin).licence if origin in known else NOT_RECORDED] += number
    return [(licence, number, number / found.total()) for licence, number in found.most_common()]


def _identifier(counts: RecordCounts, details: CardDetails) -> str:
    """The licence of the whole, for the hub: that which all records state, where it is an identifier."""
    if details.licence != CardDetails.licence or counts.unlicensed or len(counts.licenses) != 1:
        return details.licence
    (licence,) = counts.licenses
    return licence if _IDENTIFIER.fullmatch(licence) else details.licence


def _terms(counts: RecordCounts) -> list[tuple[str, str, str]]:
    """Name, licence and source of every dataset of the catalog that records came from."""
    registry = current_registry()
    known = set(registry.names("dataset"))
    parts = [registry.part("dataset", name) for name in counts.origins if name in known]
    return [(part.name, part.licence, part.details.get("obtain") or part.source) for part in parts]


def _size_category(records: int) -> str:
    return next((name for limit, name in _SIZES if records < limit), "n>10M")
