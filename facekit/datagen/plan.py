"""The calls that a records file still needs, planned one by one while the file is read, in bounded memory.

A quick first pass counts records and calls and finds duplicate ids; a record is parsed when its calls are made, and one
that cannot be used becomes a recorded failure instead of stopping the run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from facekit.data.confinement import Confinement
from facekit.data.ledger import Ledger, PlacedCall, call_key
from facekit.data.media_files import ClipFrames, MediaFiles
from facekit.data.record_files import open_record_file
from facekit.data.records import FaceRecord
from facekit.datagen.calls import ANNOTATE, AnnotationRequest
from facekit.datagen.facts import LACKS_FACT, fill, is_known, record_facts
from facekit.datagen.quality.answers import review_answer
from facekit.datagen.recipe import Aspect, Recipe
from facekit.endpoints.outcomes import FAILED
from facekit.endpoints.requests import ANSWER_SCHEMA, Reply, Review
from facekit.errors import RecordError
from facekit.faces.frames import choose_frames

T = TypeVar("T")

_FIRST_ID = re.compile(rb'\s*\{\s*"id"\s*:\s*"([^"\\]+)"')

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

    Where the file is another than before, calls that failed because a record lacked a fact are made again.
    """
    state = path.stat() if path.is_file() else None
    if state is None:
        return survey(path, recipe)
    asked = {name: aspect.requires for name, aspect in recipe.aspects.items()}
    state_key = json.dumps([str(path.resolve()), state.st_size, state.st_mtime_ns, asked])
    known = ledger.recall(state_key)
    if known is None:
        overview = survey(path, recipe)
        ledger.reopen(ANNOTATE, recipe.prompt_versions(), (FAILED,), LACKS_FACT)
        ledger.remember(state_key, json.dumps([overview.records, overview.calls]))
        return overview
    return Overview(*json.loads(known))


def applies(aspect: Aspect, values: dict[str, Any]) -> bool:
    """Whether a record has every fact that an aspect requires."""
    labels, groups = values.get("labels") or {}, values.get("groups") or {}
    if not isinstance(labels, dict) or not isinstance(groups, dict):
        return True
    return all(is_known(name, labels, groups) for name in aspect.requires)


def plan_annotations(path: Path, recipe: Recipe, ledger: Ledger | None) -> Iterator[PlacedCall]:
    """The calls that are not answered yet, in the order of the file.

    Args:
        path: The records file.
        recipe: What is asked.
        ledger: What is answered; None plans everything.
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
                yield from _record_calls(path, number, values, recipe, wanted, versions, confinement)


def _record_calls(
    path: Path,
    number: int,
    values: dict[str, Any],
    recipe: Recipe,
    aspects: list[str],
    versions: dict[str, str],
    confinement: Confinement,
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
            yield annotation_call(record, recipe, name, versions[name], media, facts)
        else:
            yield PlacedCall(ANNOTATE, values["id"], name, versions[name], None, _never, problem)


def annotation_call(
    record: FaceRecord, recipe: Recipe, name: str, version: str, media: MediaFiles, facts: Mapping[str, str]
) -> PlacedCall:
    """The call about one aspect of one record."""
    aspect = recipe.aspects[name]
    try:
        prompt = fill(aspect.prompt, facts)
    except RecordError as error:
        return PlacedCall(ANNOTATE, record.id, name, version, None, _never, str(error))
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
    return PlacedCall(ANNOTATE, record.id, name, version, request, _reviewer(aspect, recipe.answer_language()))


def record_media(record: FaceRecord, folder: Path, recipe: Recipe) -> MediaFiles:
    """The pictures that are sent for a record, or the frames of its video file.

    Raises:
        RecordError: If one is missing.
    """
    paths = media_paths(record, folder, recipe.frames)
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
