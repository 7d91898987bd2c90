"""``answer_entries``: every question about every entry, in batches, resumable, with what failed named and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from facekit.data.absent_landmarks import tell_absent_landmarks
from facekit.data.answering.answer_file import AnswerFile, key_of
from facekit.data.answering.entries import Entries, Entry
from facekit.data.answering.prompts import ChatQuestion, asked_words, recorded_questions
from facekit.data.identity import RunIdentity
from facekit.data.preprocessing.failures import may_pass
from facekit.data.skipping import RECORD_FAULTS, SkippedRecord
from facekit.errors import ConfigurationError, EngineError, MissingExtraError
from facekit.faces.describing import describe_medium
from facekit.models.identity import describe_parts, sample_weights
from facekit.models.image_processing import Medium
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.models.sessions import (
    AnsweringEngine,
    AskedPrompt,
    Fault,
    MediumTensors,
    Subject,
    answer_subjects,
    check_questions,
)
from facekit.models.sessions.session import medium_tensors
from facekit.reports import ProgressListener, ProgressMeter

__all__ = ["AnsweringResult", "answer_entries"]


@dataclass(frozen=True)
class AnsweringResult:
    """The result of a batch.

    Args:
        output: The file of answers.
        entries: Entries that it was about, broken ones included.
        answers: Questions that this run answered.
        reused: Questions that earlier runs had answered.
        failures: Entries and questions without an answer, those of earlier runs included, by kind of error.
    """

    output: Path
    entries: int
    answers: int
    reused: int
    failures: dict[str, int]

    @property
    def failed(self) -> int:
        """Entries and questions without an answer."""
        return sum(self.failures.values())


def answer_entries(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    entries: Entries,
    output: str | Path,
    questions: Sequence[str] = (),
    *,
    max_new_tokens: int = 64,
    batch_size: int = 64,
    landmarks: bool = False,
    retry_failed: bool = False,
    engine: AnsweringEngine | None = None,
    on_progress: ProgressListener | None = None,
) -> AnsweringResult:
    """Answer questions about entries greedily and write a JSON line for each.

    A line has ``id``, the names of the media, ``question``, ``answer``, ``media`` (where each face is, see
    ``facekit.faces.describing``) and a ``key`` by which it is known again. Where there is no answer, ``answer`` is null
    and ``problem`` says why. A run may be stopped at any moment and started again with the same arguments: what the
    file has is not asked again, except for failures that may pass (want of memory, a disk, a network, permissions), and
    for entries whose files have changed since, which ``files`` tells; their old lines are taken out. A batch of entries
    is in memory at a time, and sixteen bytes of every answer.

    Args:
        model: The model.
        processor: Its processor.
        entries: What is asked about, see ``open_entries``.
        output: The file of answers.
        questions: Asked about every entry; without any, those of each record's conversation.
        max_new_tokens: Longest answer in tokens.
        batch_size: Entries at a time, or questions about one.
        landmarks: Whether lines list the 68 points of each face.
        retry_failed: Try every failure of earlier runs again.
        engine: Answers in place of the model, which then only says what the run is.
        on_progress: Called with a ``Progress`` after every batch.

    Raises:
        ConfigurationError: A question has no words, or the file has the answers of another run.
        OutputError: The file cannot be written.
        MissingExtraError: A package is not installed.
        EngineError: The engine has failed.
    """
    if batch_size < 1:
        raise ConfigurationError(f"batch_size must be at least 1, not {batch_size}")
    own = [asked_words(words) for words in check_questions(questions)] if questions else None
    settings = {name: value for name, value in processor.image_processor.to_dict().items() if name != "processor_class"}
    identity = RunIdentity(
        {"origin": entries.origin, **describe_parts(model), "weights": sample_weights(model),
         "max_new_tokens": max_new_tokens,
         "landmarks": landmarks, "image_processor": settings, "chat_template": key_of(processor.chat_template),
         "engine": {} if engine is None else dict(engine.identity)}
    )  # fmt: skip
    crops = (each.record for each in entries.iterate() if isinstance(each, Entry) and not each.find_faces)
    tell_absent_landmarks(model, crops)
    failures: Counter[str] = Counter()
    answers = done = reused = 0
    with AnswerFile(output, identity, retry_failed=retry_failed) as file:
        meter = ProgressMeter(on_progress, "ask", entries.count, "records")
        stream = entries.iterate()
        while batch := list(islice(stream, batch_size)):
            work = _Batch(processor, file, own, max_new_tokens, lists_landmarks=landmarks)
            lines = list(work.answer(model, batch, batch_size, engine))
            file.append(lines)
            failed = [line["kind"] for line in lines if "kind" in line]
            failures.update(failed)
            failures.update(work.failed_before)
            answers += len(lines) - len(failed)
            reused += work.reused
            done += len(batch)
            meter.report(done)
    return AnsweringResult(Path(output), entries.count, answers, reused, dict(failures.most_common()))


@dataclass
class _Waiting:
    """An entry with the questions about it that have no answer yet, and a hash of its files."""

    entry: Entry
    files: str
    asked: list[tuple[str, ChatQuestion]]
    media: list[Medium] = field(default_factory=list)


class _Batch:
    """Some entries: what is asked about them, and the lines that come of it, in their order."""

    def __init__(
        self,
        processor: FaceKitProcessor,
        file: AnswerFile,
        own: Sequence[ChatQuestion] | None,
        max_new_tokens: int,
        *,
        lists_landmarks: bool,
    ) -> None:
        self.reused, self.failed_before = 0, Counter[str]()
        self._processor, self._file, self._own = processor, file, own
        self._max_new_tokens, self._lists_landmarks = max_new_tokens, lists_landmarks
        self._lines: dict[tuple[int, int], dict[str, Any]] = {}

    def answer(
        self,
        model: FaceKitForConditionalGeneration,
        batch: Sequence[Entry | SkippedRecord],
        batch_size: int,
        engine: AnsweringEngine | None,
    ) -> Iterator[dict[str, Any]]:
        """The lines of entries, as the file has them."""
        waiting = {row: found for row, each in enumerate(batch) if (found := self._look_at(row, each)) is not None}
        rows = list(waiting)

        def note(fault: Fault) -> None:
            if isinstance(fault.error, (MissingExtraError, EngineError)):
                raise fault.error
            row = rows[fault.subject]
            count = range(len(waiting[row].asked)) if fault.question is None else [fault.question]
            for number in count:
                self._lines[row, number] = self._failure(waiting[row], number, fault.error)

        subjects = [self._subject(each) for each in waiting.values()]
        answers = answer_subjects(
            model, self._processor, subjects, batch_size=batch_size, faults=RECORD_FAULTS, on_fault=note, engine=engine
        )
        for subject, number, text in answers:
            row = rows[subject]
            self._lines[row, number] = {**self._line(waiting[row], number), "answer": text, **self._faces(waiting[row])}
        return (self._lines[place] for place in sorted(self._lines))

    def _look_at(self, row: int, entry: Entry | SkippedRecord) -> _Waiting | None:
        """What is still to be asked about an entry; None for nothing."""
        if isinstance(entry, SkippedRecord):
            self._note_broken(row, entry.id, entry.reason, "RecordError", key_of(entry.index, entry.id, entry.reason))
            return None
        record = entry.record
        seen = [record.id, record.file_names(), record.frames, record.landmarks, entry.find_faces]
        try:
            questions = recorded_questions(record) if self._own is None else self._own
        except RECORD_FAULTS as error:
            self._note_broken(row, record.id, str(error), type(error).__name__, key_of(*seen, str(error)))
            return None
        keyed, asked_before = [], Counter[str]()
        for each in questions:
            key = key_of([(turn.role, turn.content) for turn in each.turns])
            keyed.append((key_of(*seen, asked_before[key], key), each))
            asked_before[key] += 1
        files = entry.digest()
        left = [(key, each) for key, each in keyed if not self._is_known(key, files)]
        return _Waiting(entry, files, left) if left else None

    def _subject(self, waiting: _Waiting) -> Subject:
        settings = self._processor.image_processor

        def open_media() -> list[MediumTensors]:
            waiting.media = waiting.entry.open(settings)
            return [medium_tensors(settings, medium) for medium in waiting.media]

        def write(is_clip: Sequence[bool]) -> list[AskedPrompt]:
            return [
                AskedPrompt(each.write(self._processor, is_clip), self._max_new_tokens) for _, each in waiting.asked
            ]

        return Subject(open_media, write)

    def _line(self, waiting: _Waiting, number: int) -> dict[str, Any]:
        record, (key, question) = waiting.entry.record, waiting.asked[number]
        named = {name: value for name in ("image", "images", "video") if (value := getattr(record, name)) is not None}
        return {"id": record.id, **named, "question": question.words, "key": key, "files": waiting.files}

    def _faces(self, waiting: _Waiting) -> dict[str, Any]:
        return {"media": [describe_medium(each, landmarks=self._lists_landmarks) for each in waiting.media]}

    def _failure(self, waiting: _Waiting, number: int, error: Exception) -> dict[str, Any]:
        passing = {"may_pass": True} if may_pass(error) else {}
        problem = " ".join(str(error).split())
        return {
            **self._line(waiting, number),
            "answer": None,
            "problem": problem,
            "kind": type(error).__name__,
            **passing,
        }

    def _is_known(self, key: str, files: str = "") -> bool:
        """Whether an earlier run answered an entry, or failed for good, with the files that it has now; counts it."""
        if not self._file.knows(key, files):
            return False
        kind = self._file.failure(key)
        if kind is None:
            self.reused += 1
        else:
            self.failed_before[kind] += 1
        return True

    def _note_broken(self, row: int, id: str, problem: str, kind: str, key: str) -> None:
        if self._is_known(key):
            return
        self._lines[row, 0] = {
            "id": id, "question": None, "key": key, "answer": None, "problem": " ".join(problem.split()), "kind": kind
        }  # fmt: skip
