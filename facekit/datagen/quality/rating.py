"""Rating of answers by a judge model: consistency with the picture and with the label, completeness, overall.

The calls go through the same pipeline and ledger as the annotations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from facekit.answers.fencing import FENCED, fence
from facekit.answers.ratings import RATING_SCHEMA, review_rating
from facekit.data.labels import TASKS
from facekit.data.ledger import FINISHED, SUBMITTED, Entry, Ledger, PlacedCall, call_key
from facekit.data.records import FaceRecord
from facekit.datagen.asked import rated_with
from facekit.datagen.calls import ANNOTATE, RATE
from facekit.datagen.facts import fill, record_facts
from facekit.datagen.plan import BATCH, in_batches, iterate_lines, record_media
from facekit.datagen.questions import stored_question
from facekit.datagen.recipe import Recipe
from facekit.endpoints.outcomes import ACCEPTED
from facekit.endpoints.requests import Request
from facekit.errors import ConfigurationError, RecordError


def plan_ratings(path: Path, recipe: Recipe, ledger: Ledger) -> Iterator[PlacedCall]:
    """The ratings that are missing, one for each accepted answer, in the order of the records file.

    A rating is missing, too, where it is of another answer, or the judge was told other labels than those of today.

    Raises:
        ConfigurationError: If the recipe has no rating.
    """
    for each in _answers(path, recipe, ledger):
        if not each.is_rated:
            yield _rating_call(each.record, path, recipe, each.answer, each.version, each.facts)


def count_ratings(path: Path, recipe: Recipe, ledger: Ledger) -> tuple[int, int]:
    """How many answers are to be rated in all, and how many are: the ledger has ratings of replaced answers, too."""
    total = rated = 0
    for each in _answers(path, recipe, ledger):
        total += 1
        rated += each.is_rated
    return total, rated


@dataclass(frozen=True)
class _Answer:
    """An accepted answer about a record of the file."""

    record: FaceRecord
    answer: Entry
    version: str
    facts: Mapping[str, str]
    is_rated: bool


def _answers(path: Path, recipe: Recipe, ledger: Ledger) -> Iterator[_Answer]:
    if recipe.rating is None:
        raise ConfigurationError(f"the recipe '{recipe.name}' has no rating; add one to rate answers")
    versions, rating_versions = recipe.prompt_versions(), recipe.rating_versions()
    for lines in in_batches(iterate_lines(path), BATCH):
        ids = [values["id"] for _, values in lines]
        rated = {(each.record, each.aspect): each for each in ledger.entries(RATE, rating_versions, ids)}
        answers: dict[str, list[Entry]] = {}
        for entry in ledger.entries(ANNOTATE, versions, ids):
            if entry.state == ACCEPTED:
                answers.setdefault(entry.record, []).append(entry)
        for _, values in lines:
            entries = answers.get(values["id"], [])
            try:
                record = FaceRecord.model_validate(values) if entries else None
            except ValidationError:
                continue  # its answers are not kept, so that they need no rating
            facts = {} if record is None else record_facts(record, recipe.words)
            for entry in entries:
                if record is not None:
                    is_rated = _is_done(rated.get((entry.record, entry.aspect)), entry, facts, recipe)
                    yield _Answer(record, entry, rating_versions[entry.aspect], facts, is_rated)


def _is_done(rating: Entry | None, answer: Entry, facts: Mapping[str, str], recipe: Recipe) -> bool:
    if rating is None or rating.state not in FINISHED:
        return False
    return rating.state == SUBMITTED or is_rating_of(rating, answer, facts, recipe)


def is_rating_of(rating: Entry, answer: Entry, facts: Mapping[str, str], recipe: Recipe) -> bool:
    """Whether a rating is of an answer and of the facts of today.

    Of a rating from before that was noted it is known only that an answer which is newer is another.
    """
    if rating.asked is None:
        return rating.time >= answer.time
    return rating.asked == _asked(recipe, facts, answer)


def _asked(recipe: Recipe, facts: Mapping[str, str], answer: Entry) -> str:
    assert recipe.rating is not None
    return rated_with(recipe.rating, {**facts, "known": known_words(facts)}, answer.answer)


def _rating_call(
    record: FaceRecord, path: Path, recipe: Recipe, entry: Entry, version: str, facts: Mapping[str, str]
) -> PlacedCall:
    rating = recipe.rating
    assert rating is not None
    asked = _asked(recipe, facts, entry)
    told = {
        **facts,
        "question": stored_question(recipe, entry.aspect, record.id),
        "answer": fence(entry.answer, "answer", record.id, entry.aspect),
        "known": known_words(facts),
    }
    try:
        prompt, media = fill(rating.prompt, told), record_media(record, path.parent, recipe)
    except (RecordError, ValidationError) as error:
        return PlacedCall(RATE, record.id, entry.aspect, version, None, review_rating, str(error), asked)
    request = Request(
        key=call_key(RATE, record.id, entry.aspect, version),
        system=f"{' '.join(rating.system.split())} {FENCED}".strip(),
        prompt=prompt,
        media=media,
        max_tokens=rating.max_tokens,
        schema=RATING_SCHEMA if recipe.structured else None,
    )
    return PlacedCall(RATE, record.id, entry.aspect, version, request, review_rating, asked=asked)


def known_words(facts: Mapping[str, str]) -> str:
    """The labels of a face for the judge, such as ``"age: 34; expression: happiness"``."""
    names = [name for name in facts if name in TASKS or name in ("gender", "race", "age_group")]
    return "; ".join(f"{name.replace('_', ' ')}: {facts[name]}" for name in sorted(names)) or "nothing"
