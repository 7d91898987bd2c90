"""The calls that a records file still needs, planned one by one while the file is read, in bounded memory.

A quick first pass counts records and calls and finds duplicate ids; a record is parsed when its calls are made, and one
that cannot be used becomes a recorded failure instead of stopping the run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from facekit.data.confinement import Confinement
from facekit.data.labels import FaceLabels
from facekit.data.ledger import Ledger, PlacedCall, call_key
from facekit.data.media_files import ClipFrames, MediaFiles
from facekit.data.record_files import open_record_file
from facekit.data.records import FaceRecord
from facekit.datagen.annotators.template import MODEL as TEMPLATE_MODEL
from facekit.datagen.asked import NOTHING, asked_with
from facekit.datagen.calls import ANNOTATE, AnnotationRequest
from facekit.datagen.facts import LACKS_FACT, Words, facts_of, fill, is_known, record_facts
from facekit.datagen.quality.answers import review_answer
from facekit.datagen.recipe import Aspect, Recipe
from facekit.endpoints.outcomes import FAILED
from facekit.endpoints.requests import ANSWER_SCHEMA, Reply, Review
from facekit.errors import RecordError
from facekit.faces.frames import choose_frames

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_ID = re.compile(rb'\s*\{\s*"id"\s*:\s*"([^"\\]+)"')

_SURVEYED = "surveyed"
"""The ledger's fact about the records file that it was compared with last."""

BATCH = 400
"""Records that are looked up in the ledger at a time."""


@dataclass
class Overview:
    """What a records file holds for a recipe.

    Args:
        records: Number of records.
        calls: Number of calls by aspect.
    """

    records: int = 0
    calls: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Number of calls."""
        return sum(self.calls.values())


def iterate_ids(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """Line number, id and text of every record; a record whose id comes first is not parsed.

    Raises:
        RecordError: If the file is missing, or a line is no JSON object with an id; the message has the line.
    """
    with open_record_file(path) as lines:
        for number, line in enumerate(lines, 1):
            first = _FIRST_ID.match(line)
            if first:
                yield number, first[1].decode("utf-8", "replace"), line
            elif line.strip():
                yield number, parse_line(path, number, line)["id"], line


def parse_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """The raw values of a record.

    Raises:
        RecordError: If the line is no JSON object with an id.
    """
    try:
        values = from_json(line)
    except ValueError as error:
        raise RecordError(f"{path}, line {number}: not JSON ({error})") from error
    if not isinstance(values, dict) or not isinstance(values.get("id"), str) or not values["id"]:
        raise RecordError(f"{path}, line {number}: a record needs an 'id', which is text")
    return values


def iterate_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and raw values of every record; raises what ``iterate_ids`` raises."""
    for number, _, line in iterate_ids(path):
        yield number, parse_line(path, number, line)


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items, the last one shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def survey(path: Path, recipe: Recipe) -> Overview:
    """Pass over a records file once.

    Raises:
        RecordError: If a line is no record, two have the same id, or the file is empty.
    """
    overview = Overview(calls=dict.fromkeys(recipe.aspects, 0))
    seen: set[int] = set()
    for number, values in iterate_lines(path):
        digest = int.from_bytes(hashlib.blake2b(values["id"].encode(), digest_size=8).digest(), "big")
        if digest in seen:
            raise RecordError(f"{path}, line {number}: the id {values['id']!r} occurs twice; ids must be unique")
        seen.add(digest)
        overview.records += 1
        for name, aspect in recipe.aspects.items():
            overview.calls[name] += applies(aspect, values)
    if not overview.records:
        raise RecordError(f"{path} has no records; check the path, or write it again")
    return overview


def survey_once(path: Path, recipe: Recipe, ledger: Ledger) -> Overview:
    """What ``survey`` finds, kept in the ledger for as long as the file stays as it is.

    Where the file or what is asked is other than before, calls that failed because a record lacked a fact are made
    again, and so are those about labels that have changed.
    """
    state = path.stat() if path.is_file() else None
    if state is None:
        return survey(path, recipe)
    asked = {name: (aspect.requires, aspect.template) for name, aspect in recipe.aspects.items()}
    facts = [str(path.resolve()), state.st_size, state.st_mtime_ns, asked, recipe.prompt_versions()]
    state_key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    known, *counts = json.loads(ledger.recall(_SURVEYED) or "[null]")
    if known == state_key:
        return Overview(*counts)
    overview = survey(path, recipe)
    ledger.reopen(ANNOTATE, recipe.prompt_versions(), (FAILED,), LACKS_FACT)
    outdate_answers(path, recipe, ledger)
    ledger.note(_SURVEYED, json.dumps([state_key, overview.records, overview.calls]))
    return overview


def outdate_answers(path: Path, recipe: Recipe, ledger: Ledger) -> None:
    """Let calls be made again that were asked with other labels than the records have; say how many answers that is.

    What is known of a picture is its name. Of another name it may be the same picture, which costs money to ask about
    again, so that this is said alone.
    """
    versions = recipe.prompt_versions()
    outdated = 0
    others: list[str] = []
    for lines in in_batches(iterate_lines(path), BATCH):
        facts = {values["id"]: _facts_of_values(values, recipe.words) for _, values in lines}

        def asked(
            record: str, aspect: str, model: str, facts: Mapping[str, Mapping[str, str] | None] = facts
        ) -> str | None:
            known = facts[record]
            by_template = model == TEMPLATE_MODEL
            return None if known is None else asked_with(recipe.aspects[aspect], known, by_template=by_template)

        outdated += ledger.outdate(ANNOTATE, versions, list(facts), asked)
        others += ledger.note_media({values["id"]: _name_media(values) for _, values in lines})
    if others:
        logger.warning(
            "%s records have pictures of other names than when they were asked about (such as %r); answers about them "
            "stay: use another output folder if they are other faces",
            f"{len(others):,}",
            others[0],
        )
    if outdated:
        logger.warning(
            "%s answers were asked with other labels or templates than there are now, and are asked again",
            f"{outdated:,}",
        )


def _name_media(values: Mapping[str, Any]) -> str:
    """A digest of the names of a record's media, without their folders, which may be moved."""
    media = values.get("image") or values.get("images") or values.get("video") or ()
    names = [str(name).rpartition("/")[2] for name in ((media,) if isinstance(media, str) else media)]
    return hashlib.blake2b(json.dumps([names, values.get("frames")]).encode(), digest_size=8).hexdigest()


def _facts_of_values(values: dict[str, Any], words: Words) -> dict[str, str] | None:
    """The facts of a record as it stands in the file, of which the labels alone are read; None where they cannot be."""
    groups = values.get("groups", {})
    if not isinstance(groups, dict) or not all(isinstance(value, str) for value in groups.values()):
        return None
    try:
        return facts_of(FaceLabels.model_validate(values.get("labels", {})), groups, words)
    except ValidationError:
        return None


def applies(aspect: Aspect, values: dict[str, Any]) -> bool:
    """Whether a record has every fact that an aspect requires."""
    labels, groups = values.get("labels") or {}, values.get("groups") or {}
    if not isinstance(labels, dict) or not isinstance(groups, dict):
        return True
    return all(is_known(name, labels, groups) for name in aspect.requires)


def count_answered(path: Path, recipe: Recipe, ledger: Ledger) -> Counter[str]:
    """How many records of a file need no call, by aspect; the ledger may know of others."""
    counts: Counter[str] = Counter()
    for lines in in_batches(iterate_ids(path), BATCH):
        found = ledger.finished(ANNOTATE, recipe.prompt_versions(), [identifier for _, identifier, _ in lines])
        counts.update(aspect for _, aspect in found)
    return counts


def plan_annotations(
    path: Path, recipe: Recipe, ledger: Ledger | None, *, by_template: bool = False
) -> Iterator[PlacedCall]:
    """The calls that are not answered yet, in the order of the file.

    Args:
        path: The records file.
        recipe: What is asked.
        ledger: What is answered; None plans everything.
        by_template: Whether the template annotator answers.
    """
    versions = recipe.prompt_versions()
    confinement = Confinement(path.parent, path)
    for lines in in_batches(iterate_ids(path), BATCH):
        if ledger is not None:
            complete = ledger.complete(ANNOTATE, versions, [identifier for _, identifier, _ in lines])
            lines = [each for each in lines if each[1] not in complete]
        done = set() if ledger is None else ledger.finished(ANNOTATE, versions, [each[1] for each in lines])
        for number, identifier, line in lines:
            values = parse_line(path, number, line)
            wanted = [
                name
                for name, aspect in recipe.aspects.items()
                if (identifier, name) not in done and applies(aspect, values)
            ]
            if wanted:
                yield from _record_calls(path, number, values, recipe, wanted, versions, confinement, by_template)


def _record_calls(
    path: Path,
    number: int,
    values: dict[str, Any],
    recipe: Recipe,
    aspects: list[str],
    versions: dict[str, str],
    confinement: Confinement,
    by_template: bool,
) -> Iterator[PlacedCall]:
    try:
        record = FaceRecord.model_validate(values)
        confinement.check(record.file_names(), f"record {record.id!r}")
        facts = record_facts(record, recipe.words)
        media = record_media(record, path.parent, recipe)
        problem = None
    except (ValidationError, RecordError) as error:
        words = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else str(error)
        problem = f"{path.name}, line {number}: {words}"
    for name in aspects:
        if problem is None:
            yield annotation_call(record, recipe, name, versions[name], media, facts, by_template=by_template)
        else:
            yield PlacedCall(ANNOTATE, values["id"], name, versions[name], None, _never, problem, NOTHING)


def annotation_call(
    record: FaceRecord,
    recipe: Recipe,
    name: str,
    version: str,
    media: MediaFiles,
    facts: Mapping[str, str],
    *,
    by_template: bool,
) -> PlacedCall:
    """The call about one aspect of one record."""
    aspect = recipe.aspects[name]
    try:
        prompt = fill(aspect.prompt, facts)
    except RecordError as error:
        return PlacedCall(ANNOTATE, record.id, name, version, None, _never, str(error), NOTHING)
    request = AnnotationRequest(
        key=call_key(ANNOTATE, record.id, name, version),
        system=" ".join(recipe.system.split()),
        prompt=prompt,
        media=media,
        max_tokens=aspect.max_tokens or recipe.max_tokens,
        temperature=recipe.temperature,
        schema=ANSWER_SCHEMA if recipe.structured else None,
        template=aspect.template,
        facts=facts,
        landmarks=None if isinstance(record.landmarks, str) else record.landmarks,
    )
    asked = asked_with(aspect, facts, by_template=by_template)
    return PlacedCall(
        ANNOTATE, record.id, name, version, request, _reviewer(aspect, recipe.answer_language()), asked=asked
    )


def record_media(record: FaceRecord, folder: Path, recipe: Recipe) -> MediaFiles:
    """The pictures that are sent for a record, or the frames of its video file.

    Raises:
        RecordError: If one is missing, or there is none.
    """
    paths = media_paths(record, folder, recipe.frames)
    if not paths:
        raise RecordError("there is no picture and no video to ask about")
    return MediaFiles(paths, recipe.image_side, clip_frames(record, recipe.frames))


def media_paths(record: FaceRecord, folder: Path, frames: int) -> tuple[str, ...]:
    """Paths of the pictures that are sent for a record, or of its video file.

    Raises:
        RecordError: If one is missing.
    """
    paths = record.media_paths(folder)
    if isinstance(record.video, list) and len(paths) > frames:
        paths = [paths[index] for index in choose_frames(len(paths), frames)]
    for path in paths:
        if not path.is_file():
            raise RecordError(f"there is no file {path}; paths are relative to the records file")
    return tuple(str(path) for path in paths)


def clip_frames(record: FaceRecord, frames: int) -> ClipFrames | None:
    """The frames of a record's video file that are sent; None where it has pictures."""
    if not isinstance(record.video, str):
        return None
    return ClipFrames(frames, None if record.frames is None else tuple(record.frames))


def _reviewer(aspect: Aspect, language: str | None) -> Callable[[Reply], Review]:
    return lambda reply: review_answer(reply, aspect.minimum_words, language)


def _never(reply: Reply) -> Review:
    raise AssertionError("a call without a request has no reply")
