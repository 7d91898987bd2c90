"""Pairs of answers, the better one first: read from a file, or made of rated data generation.

A file of pairs has one JSON table a line: ``record`` (the record's id), ``question``, ``chosen`` and ``rejected``.
Data generation decides about one answer to a question, so pairs come from several runs about the same records, with
other models, prompts or seeds: an answer that was kept against one that was dropped, or two that a judge rated apart.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from facekit.counted import counted
from facekit.data.atomic import write_text_atomically
from facekit.data.dataset import RecordSet
from facekit.data.identity import describe_items
from facekit.data.records import FaceRecord, Turn
from facekit.data.supervision import media_lead, place_media, without_leading_marks
from facekit.errors import ConfigurationError, RecordError
from facekit.training.preferences.prompts import Prompt, even_prompts, picture_names
from facekit.training.recipes.preference_settings import PairSettings

logger = logging.getLogger(__name__)

_KEYS = ("record", "question", "chosen", "rejected")
_TOLD = 4
_WORSE = ("contradicts the label", "rated low")
"""Why an answer was dropped, where that says that it is worse; a near-duplicate is not."""


@dataclass(frozen=True)
class Pair:
    """Two answers to a question.

    Args:
        record: Id of the record.
        question: What was asked.
        chosen: The better answer.
        rejected: The other.
    """

    record: str
    question: str
    chosen: str
    rejected: str


@dataclass
class _Candidates:
    """All answers to one question about one record.

    Args:
        kept: Each with its rating, None where nobody rated it, and the question in the words of its run.
        dropped: The others.
    """

    kept: list[tuple[str, float | None, str]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def read_pairs(path: str | Path) -> list[Pair]:
    """Read a file of pairs.

    Raises:
        RecordError: It cannot be read; the message has the line.
    """
    pairs = []
    for number, line in _lines(Path(path)):
        values = [line.get(key) for key in _KEYS]
        if not all(isinstance(value, str) and value.strip() for value in values):
            raise RecordError(f"{path}, line {number}: a pair has words for {', '.join(_KEYS)}")
        record, question, chosen, rejected = map(str, values)
        if chosen.strip() == rejected.strip():
            raise RecordError(f"{path}, line {number}: 'chosen' and 'rejected' are the same answer")
        pairs.append(Pair(record, question, chosen, rejected))
    return pairs


def write_pairs(path: str | Path, pairs: Sequence[Pair]) -> Path:
    """Write a file that ``read_pairs`` reads."""
    lines = [json.dumps({key: getattr(pair, key) for key in _KEYS}, ensure_ascii=False) for pair in pairs]
    return write_text_atomically(Path(path), "".join(f"{line}\n" for line in lines))


def pairs_from_generation(folders: Sequence[str | Path], margin: float = 1.0) -> list[Pair]:
    """Make pairs of what several runs of data generation kept and dropped about the same records.

    Of each question the best kept answer is chosen, by the judge's overall rating where there is one. Rejected is the
    worst: one that was dropped because it contradicts the label or was rated low, else the kept one with the lowest
    rating, if it lies ``margin`` below.

    Args:
        folders: Output folders of ``facekit datagen``.
        margin: Points of the rating, which goes from 1 to 10.

    Raises:
        RecordError: A folder has no answers, or there is no pair in them.
    """
    found: dict[tuple[str, str], _Candidates] = {}
    for folder in map(Path, folders):
        path = folder / "answers.jsonl"
        for number, line in _lines(path):
            record, aspect, question, answer = _words(line, ("id", "aspect", "question", "answer"), path, number)
            candidates = found.setdefault((record, aspect), _Candidates())
            candidates.kept.append((answer, _overall(line, path, number), question))
        path = folder / "failures.jsonl"
        for number, line in _lines(path):
            if line.get("answer") and str(line.get("reason")).startswith(_WORSE):
                record, aspect, answer = _words(line, ("id", "aspect", "answer"), path, number)
                found.setdefault((record, aspect), _Candidates()).dropped.append(answer)
    pairs = [pair for (record, _), each in found.items() if (pair := _pair(record, each, margin)) is not None]
    if not pairs:
        raise RecordError(
            f"no two answers to a question in {', '.join(map(str, folders))} differ: pairs come from several runs "
            "about the same records, of which one kept what another dropped, or a judge rated two of them apart"
        )
    return pairs


def _words(line: dict[str, Any], names: Sequence[str], path: Path, number: int) -> list[str]:
    values = [line.get(name) for name in names]
    if not all(isinstance(value, str) and value.strip() for value in values):
        raise RecordError(
            f"{path}, line {number}: what 'facekit datagen' writes has words for {', '.join(names)}; name its output "
            "folders"
        )
    return list(map(str, values))


def _overall(line: dict[str, Any], path: Path, number: int) -> float | None:
    """The judge's overall rating; None where nobody rated."""
    rating = line.get("rating")
    value = rating.get("overall") if isinstance(rating, dict) else rating
    if value is None:
        return None
    if not (isinstance(rating, dict) and isinstance(value, (int, float)) and isfinite(value)):
        raise RecordError(f"{path}, line {number}: a rating has a number as 'overall', not {value!r}")
    return float(value)


def _pair(record: str, candidates: _Candidates, margin: float) -> Pair | None:
    if not candidates.kept:
        return None
    by_rating = sorted(candidates.kept, key=lambda each: -(each[1] or 0.0))
    chosen, high, question = by_rating[0]
    others = [answer for answer in candidates.dropped if answer.strip() != chosen.strip()]
    if others:
        return Pair(record, question, chosen, others[0])
    rejected, low, _ = by_rating[-1]
    if high is None or low is None or high - low < margin or rejected.strip() == chosen.strip():
        return None
    return Pair(record, question, chosen, rejected)


def find_pairs(settings: PairSettings) -> list[Pair]:
    """The pairs that settings name.

    Raises:
        ConfigurationError: They name none.
        RecordError: They cannot be read.
    """
    if settings.pairs is not None:
        return read_pairs(settings.pairs)
    if not settings.generated:
        raise ConfigurationError("dpo needs pairs: add dpo.pairs=FILE, or dpo.generated=[FOLDER,FOLDER]")
    return pairs_from_generation(settings.generated, settings.margin)


def describe_pairs(settings: PairSettings) -> str:
    """Number and hash of the pairs that settings name; errors as in ``find_pairs``."""
    return describe_items(json.dumps(asdict(pair)) for pair in find_pairs(settings))


def paired_rows(
    records: RecordSet, settings: PairSettings, find_fault: Callable[[FaceRecord], str | None] = lambda record: None
) -> list[dict[str, Any]]:
    """Rows for DPO: the columns ``prompt``, ``images``, ``chosen`` and ``rejected``.

    Args:
        records: The records that the pairs are about; pairs about others are left out.
        settings: Where the pairs are.
        find_fault: Says why a record cannot be learned from, such as its length; None where it can. It is asked about
            each answer of a pair as a conversation about the pair's record, and the pair is left out with either.

    Raises:
        ConfigurationError: The settings name no pairs.
        RecordError: Pairs cannot be read, none is about one of the records, or none of those can be learned from.
    """
    pairs = find_pairs(settings)
    index_of = _indices(records)
    known = [pair for pair in pairs if pair.record in index_of]
    if not known:
        raise RecordError(
            f"none of {counted(len(pairs), 'pair')} is about one of {counted(len(records), 'record')}; name the same "
            "records"
        )
    if len(known) < len(pairs):
        logger.warning(
            "left out %d of %s, which are about none of %s",
            len(pairs) - len(known), counted(len(pairs), "pair"), counted(len(records), "record"),
        )  # fmt: skip
    faults = [_find_fault(records.records[index_of[pair.record]], pair, find_fault) for pair in known]
    told = [f"about {pair.record!r}: {fault}" for pair, fault in zip(known, faults, strict=True) if fault is not None]
    if told:
        more = f"; and {len(told) - _TOLD:,} more" if len(told) > _TOLD else ""
        story = f"{len(told):,} of {len(known):,} pairs cannot be learned from: {'; '.join(told[:_TOLD])}{more}"
        if len(told) == len(known):
            raise RecordError(story)
        logger.warning("%s", f"{story}; they are left out")
    return even_prompts(
        [
            {
                **_prompt(records, index_of[pair.record], pair.question).row(),
                "chosen": [{"role": "assistant", "content": pair.chosen}],
                "rejected": [{"role": "assistant", "content": pair.rejected}],
            }
            for pair, fault in zip(known, faults, strict=True)
            if fault is None
        ]
    )


def _find_fault(record: FaceRecord, pair: Pair, find_fault: Callable[[FaceRecord], str | None]) -> str | None:
    for answer in (pair.chosen, pair.rejected):
        turns = [Turn(role="user", content=pair.question), Turn(role="assistant", content=answer)]
        fault = find_fault(record.model_copy(update={"conversations": turns, "independent_questions": False}))
        if fault is not None:
            return fault
    return None


def _prompt(records: RecordSet, index: int, question: str) -> Prompt:
    """A pair's question about all of its record's pictures, which it may mark as conversations do."""
    record = records.records[index]
    names = picture_names(index, record)
    try:
        turns = place_media([Turn(role="user", content=question)], len(names))
    except RecordError as error:
        raise RecordError(f"a pair about record {record.id!r}: {error}") from error
    (asked,) = without_leading_marks(turns) if media_lead(turns) else turns
    return Prompt(index, asked.content, pictures=names)


def _indices(records: RecordSet) -> dict[str, int]:
    """Records by id, and by that of the face where data generation wrote a record ``FACE#NUMBER`` for each answer.

    A face's id stands for records of one picture alone; frames of a clip that are numbered so have none in common.
    """
    exact: dict[str, int] = {}
    faces: dict[str, int] = {}
    pictures: dict[str, set[tuple[str, ...]]] = {}
    for index, record in enumerate(records.records):
        if not picture_names(index, record):
            continue
        exact[record.id] = index
        face, mark, _ = record.id.partition("#")
        if mark:
            faces[face] = index
            pictures.setdefault(face, set()).add(tuple(map(str, record.media_paths(""))))
    return {face: index for face, index in faces.items() if len(pictures[face]) == 1} | exact


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(
            f"{path} cannot be read ({error}); pairs are made of what 'facekit datagen' writes"
        ) from error
    for number, line in enumerate(text.split("\n"), start=1):  # splitlines would end lines within answers, as at U+2028
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{path}, line {number} is no JSON ({error})") from error
        if not isinstance(values, dict):
            raise RecordError(f"{path}, line {number} is no table")
        yield number, values
