"""Rating of answers by a judge model: consistency with the picture and with the label, completeness, overall.

The four criteria, from 1 to 10, are those of Face-LLaVA (arXiv 2504.07198, section 3); the calls go through the same
pipeline and ledger as the annotations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from facekit.data.labels import TASKS
from facekit.data.records import FaceRecord
from facekit.datagen.calls import ANNOTATE, RATE, AnswerSchema, Call, Reply, Request, Review, call_key
from facekit.datagen.facts import fill, record_facts
from facekit.datagen.ledger import ACCEPTED, Entry, Ledger
from facekit.datagen.plan import BATCH, clip_frames, in_batches, iterate_lines, record_media
from facekit.datagen.questions import stored_question
from facekit.datagen.recipe import Recipe
from facekit.errors import ConfigurationError, RecordError

CRITERIA = ("image", "label", "completeness", "overall")
LOWEST, HIGHEST = 1.0, 10.0
_BETWEEN = rf"(?:(?!\b(?:{'|'.join(CRITERIA)})\b)[^\d\n]){{0,40}}?"

RATING_SCHEMA = AnswerSchema(
    "rating",
    {
        "type": "object",
        "properties": {**{name: {"type": "integer"} for name in CRITERIA}, "reason": {"type": "string"}},
        "required": [*CRITERIA, "reason"],
        "additionalProperties": False,
    },
)


def parse_rating(text: str) -> dict[str, float] | None:
    """Read a rating from JSON, or from lines such as ``Overall: 8/10``.

    Returns:
        A number from 1 to 10 for each of ``CRITERIA``; None where one is missing or out of range.
    """
    match = re.search(r"\{.*\}", text, re.DOTALL)
    try:
        values = json.loads(match[0]) if match else None
    except ValueError:
        values = None
    found: dict[str, float] = {}
    for name in CRITERIA:
        if isinstance(values, Mapping):
            value = values.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                found[name] = float(value)
        elif number := re.search(rf"\b{name}\b{_BETWEEN}(\d+(?:\.\d+)?)", text, re.IGNORECASE):
            found[name] = float(number[1])
    if len(found) != len(CRITERIA) or not all(LOWEST <= value <= HIGHEST for value in found.values()):
        return None
    return found


def review_rating(reply: Reply) -> Review:
    """Judge a judge's reply: stored as JSON where it is a rating."""
    rating = parse_rating(reply.text)
    if rating is None:
        return Review(reply.text.strip(), "no rating: the judge gave no numbers from 1 to 10 for all criteria")
    return Review(json.dumps(rating))


def plan_ratings(path: Path, recipe: Recipe, ledger: Ledger) -> Iterator[Call]:
    """The ratings that are missing, one for each accepted answer, in the order of the records file.

    Raises:
        ConfigurationError: If the recipe has no rating.
    """
    if recipe.rating is None:
        raise ConfigurationError(f"the recipe '{recipe.name}' has no rating; add one to rate answers")
    versions, rating_versions = recipe.prompt_versions(), recipe.rating_versions()
    for lines in in_batches(iterate_lines(path), BATCH):
        ids = [values["id"] for _, values in lines]
        done = ledger.finished(RATE, rating_versions, ids)
        answers: dict[str, list[Entry]] = {}
        for entry in ledger.entries(ANNOTATE, versions, ids):
            if entry.state == ACCEPTED and (entry.record, entry.aspect) not in done:
                answers.setdefault(entry.record, []).append(entry)
        for _, values in lines:
            for entry in answers.get(values["id"], ()):
                yield _rating_call(
                    FaceRecord.model_validate(values), path, recipe, entry, rating_versions[entry.aspect]
                )


def _rating_call(record: FaceRecord, path: Path, recipe: Recipe, entry: Entry, version: str) -> Call:
    rating = recipe.rating
    assert rating is not None
    facts = record_facts(record, recipe.words)
    facts |= {
        "question": stored_question(recipe, entry.aspect, record.id),
        "answer": entry.answer,
        "known": known_words(facts),
    }
    try:
        prompt, media = fill(rating.prompt, facts), record_media(record, path.parent, recipe.frames)
    except (RecordError, ValidationError) as error:
        return Call(RATE, record.id, entry.aspect, version, None, review_rating, str(error))
    request = Request(
        key=call_key(RATE, record.id, entry.aspect, version),
        system=" ".join(rating.system.split()),
        prompt=prompt,
        media=media,
        clip=clip_frames(record, recipe.frames),
        image_side=recipe.image_side,
        max_tokens=rating.max_tokens,
        schema=RATING_SCHEMA if recipe.structured else None,
    )
    return Call(RATE, record.id, entry.aspect, version, request, review_rating)


def known_words(facts: Mapping[str, str]) -> str:
    """The labels of a face for the judge, such as ``"age: 34; expression: happiness"``."""
    names = [name for name in facts if name in TASKS or name in ("gender", "race", "age_group")]
    return "; ".join(f"{name.replace('_', ' ')}: {facts[name]}" for name in sorted(names)) or "nothing"
