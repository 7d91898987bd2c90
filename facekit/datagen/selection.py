"""Selection of answers: every call ends as kept, dropped or failed with a reason, or still open.

It is a function of the ledger and the recipe, so that another threshold or filter needs no new call.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from facekit.data.ledger import OUTDATED, SUBMITTED, Entry, Ledger
from facekit.data.records import FaceRecord
from facekit.datagen.annotators.template import MODEL as TEMPLATE_MODEL
from facekit.datagen.calls import ANNOTATE, RATE
from facekit.datagen.facts import record_facts
from facekit.datagen.plan import BATCH, applies, in_batches, iterate_lines
from facekit.datagen.quality.contradictions import find_contradiction
from facekit.datagen.quality.duplicates import find_duplicates
from facekit.datagen.quality.rating import is_rating_of
from facekit.datagen.recipe import Recipe
from facekit.endpoints.outcomes import ACCEPTED, REJECTED

KEPT, DROPPED, FAILED_CALL, OPEN = "kept", "dropped", "failed", "open"
CONTRADICTS, DUPLICATE, RATED_LOW, NOT_RATED = "contradicts the label", "near-duplicate", "rated low", "not rated"
_OPEN_STATES = {SUBMITTED: "handed to a batch", OUTDATED: "asked with other labels before"}


@dataclass(frozen=True)
class Decision:
    """The decision about one aspect of one record.

    Args:
        aspect: The aspect.
        outcome: ``KEPT``, ``DROPPED``, ``FAILED_CALL``, or ``OPEN`` for a call that is still to be made.
        reason: Why it is not kept.
        entry: The annotation; None where there is none.
        rating: The judge's numbers; None where there are none.
    """

    aspect: str
    outcome: str
    reason: str | None = None
    entry: Entry | None = None
    rating: dict[str, float] | None = None

    @property
    def kind(self) -> str:
        """The reason without its particulars."""
        return (self.reason or "").partition(":")[0]


@dataclass(frozen=True)
class JudgedRecord:
    """A record with what became of its aspects.

    Args:
        values: The record as it stands in the file.
        record: The record; None where it cannot be read.
        decisions: One for each aspect that applies.
    """

    values: dict[str, Any]
    record: FaceRecord | None
    decisions: list[Decision]


@dataclass
class Selector:
    """Decides for every record of a file.

    Args:
        path: The records file.
        recipe: The recipe.
        ledger: The ledger.
        rated: Whether answers need a rating.
        threshold: Lowest overall rating that is kept.
    """

    path: Path
    recipe: Recipe
    ledger: Ledger
    rated: bool
    threshold: float
    _duplicates: dict[str, dict[str, str]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[JudgedRecord]:
        versions = self.recipe.prompt_versions()
        rating_versions = self.recipe.rating_versions() if self.recipe.rating else {}
        self._duplicates = {name: self._find_duplicates(name, versions[name]) for name in self.recipe.aspects}
        for lines in in_batches(iterate_lines(self.path), BATCH):
            ids = [values["id"] for _, values in lines]
            answers = {(entry.record, entry.aspect): entry for entry in self.ledger.entries(ANNOTATE, versions, ids)}
            ratings = {(entry.record, entry.aspect): entry for entry in self.ledger.entries(RATE, rating_versions, ids)}
            for _, values in lines:
                yield self._judge(values, answers, ratings)

    def _judge(
        self, values: dict[str, Any], answers: dict[tuple[str, str], Entry], ratings: dict[tuple[str, str], Entry]
    ) -> JudgedRecord:
        try:
            record = FaceRecord.model_validate(values)
        except ValidationError:
            record = None
        facts = {} if record is None else record_facts(record, self.recipe.words)
        decisions = []
        for name, aspect in self.recipe.aspects.items():
            if applies(aspect, values):
                key = (values["id"], name)
                entry, rated = answers.get(key), ratings.get(key)
                if entry is not None and rated is not None and not is_rating_of(rated, entry, facts, self.recipe):
                    rated = None
                decisions.append(self._decide(name, record, entry, rated))
        return JudgedRecord(values, record, decisions)

    def _decide(self, aspect: str, record: FaceRecord | None, entry: Entry | None, rated: Entry | None) -> Decision:
        if entry is None:
            return Decision(aspect, OPEN, "not asked yet")
        if entry.state in _OPEN_STATES:
            return Decision(aspect, OPEN, _OPEN_STATES[entry.state], entry)
        if entry.state == REJECTED:
            return Decision(aspect, DROPPED, entry.reason, entry)
        if entry.state != ACCEPTED or record is None:
            return Decision(aspect, FAILED_CALL, entry.reason or "the record cannot be read", entry)
        problem = find_contradiction(entry.answer, record, self.recipe.aspects[aspect].checks)
        rating = overall_rating(rated)
        if problem is not None:
            return Decision(aspect, DROPPED, f"{CONTRADICTS}: {problem}", entry, rating)
        original = self._duplicates.get(aspect, {}).get(entry.record)
        if original is not None:
            return Decision(aspect, DROPPED, f"{DUPLICATE}: of the answer about {original}", entry, rating)
        if self.rated and rating is None:
            reason = "the judge has not been asked yet" if rated is None else rated.reason
            return Decision(aspect, DROPPED, f"{NOT_RATED}: {reason}", entry)
        if self.rated and rating is not None and rating["overall"] < self.threshold:
            reason = f"{RATED_LOW}: {rating['overall']:g} of 10, at least {self.threshold:g} is kept"
            return Decision(aspect, DROPPED, reason, entry, rating)
        return Decision(aspect, KEPT, None, entry, rating)

    def _find_duplicates(self, aspect: str, version: str) -> dict[str, str]:
        """Answers that repeat an earlier one which is not rated low; template answers repeat each other by nature."""
        if self.recipe.duplicate_similarity is None:
            return {}
        low = self._rated_low(aspect) if self.rated else set()
        texts = (
            (entry.record, entry.answer)
            for entry in self.ledger.stream(ANNOTATE, aspect, version, ACCEPTED)
            if entry.record not in low and entry.model != TEMPLATE_MODEL
        )
        return find_duplicates(texts, self.recipe.duplicate_similarity)

    def _rated_low(self, aspect: str) -> set[str]:
        low = set()
        for entry in self.ledger.stream(RATE, aspect, self.recipe.rating_version(aspect), ACCEPTED):
            rating = overall_rating(entry)
            if rating is not None and rating["overall"] < self.threshold:
                low.add(entry.record)
        return low


def overall_rating(entry: Entry | None) -> dict[str, float] | None:
    """The numbers of a stored rating, or None."""
    if entry is None or entry.state != ACCEPTED:
        return None
    rating: dict[str, float] = json.loads(entry.answer)
    return rating
