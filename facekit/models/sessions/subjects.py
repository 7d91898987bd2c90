"""Answering questions about many subjects: each is opened and encoded once, a batch of them at a time.

A subject is what one or several questions are about: a picture, a clip, several of them, or nothing but words.
Evaluation and batch answering are loops over ``answer_subjects``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeAlias

from facekit.errors import ConfigurationError
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.models.sessions.encoding import MediumTensors
from facekit.models.sessions.planning import iterate_answers
from facekit.models.sessions.requests import Request
from facekit.models.sessions.session import Session

SHARED_FROM = 8
"""From so many questions about one subject on, they are answered together from its keys and values."""


@dataclass(frozen=True, eq=False)
class AskedPrompt:
    """A question as the model reads it.

    Args:
        prompt: See ``Session.write_prompt``.
        max_new_tokens: Longest answer in tokens.
    """

    prompt: str
    max_new_tokens: int = 64


@dataclass(frozen=True, eq=False)
class Subject:
    """What questions are about.

    Args:
        open: Opens its pictures and clips, in the order in which prompts show them.
        write: Writes the questions about it; called after ``open`` with whether each of what it opened is a clip.
    """

    open: Callable[[], Sequence[MediumTensors]]
    write: Callable[[Sequence[bool]], Sequence[AskedPrompt]]


class AnsweringEngine(Protocol):
    """Answers prompts in the place of the caller's model, many at a time; ``facekit.serving.batch`` has vLLM as one."""

    @property
    def identity(self) -> Mapping[str, str]:
        """What its answers depend on beside the model's parts and weights, by which runs are told apart."""
        ...

    def answer(self, media: Sequence[MediumTensors], prompt: str, max_new_tokens: int) -> Future[str]:
        """Begin a greedy answer, which ends where the future is cancelled.

        Args:
            media: Pictures and clips, in the order in which the prompt shows them.
            prompt: See ``Session.write_prompt``.
            max_new_tokens: Longest answer in tokens.
        """
        ...


@dataclass(frozen=True)
class Fault:
    """A subject or a question that cannot be answered.

    Args:
        subject: Number of the subject.
        question: Number of its question; None where all are concerned.
        error: Why not.
    """

    subject: int
    question: int | None
    error: Exception


FaultListener: TypeAlias = Callable[[Fault], None]


def open_subjects(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    subjects: Iterable[Subject],
    *,
    batch_size: int = 64,
    faults: tuple[type[Exception], ...] = (),
    on_fault: FaultListener | None = None,
) -> Iterator[list[tuple[int, Session]]]:
    """Open and encode subjects.

    Args:
        model: The model.
        processor: Its processor.
        subjects: The subjects; an iterator is read a batch at a time.
        batch_size: Subjects at a time.
        faults: Errors of opening that concern one subject, which is then passed over; others end the loop.
        on_fault: Called with each of these; it may raise.

    Yields:
        Numbers and sessions of the next subjects.

    Raises:
        ConfigurationError: ``batch_size`` is below 1.
    """
    for batch in _batches(subjects, batch_size):
        yield [pair for pair, _ in _open(model, processor, batch, faults, on_fault)]


def answer_subjects(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    subjects: Iterable[Subject],
    *,
    batch_size: int = 64,
    shared_from: int = SHARED_FROM,
    faults: tuple[type[Exception], ...] = (),
    on_fault: FaultListener | None = None,
    engine: AnsweringEngine | None = None,
) -> Iterator[tuple[int, int, str]]:
    """Answer the questions about subjects greedily.

    Few questions about many subjects are answered question by question, a batch of subjects each; many questions about
    a subject are answered subject by subject from one copy of its keys and values. Both ways give the same answers.

    Args:
        model: The model.
        processor: Its processor.
        subjects: The subjects; an iterator is read a batch at a time.
        batch_size: Subjects, or questions about one subject, at a time.
        shared_from: Questions about one subject from which on they share its keys and values.
        faults: Errors that concern one subject or question, which is then passed over; others end the loop. Where a
            batch raises one, its questions are asked one by one.
        on_fault: Called with each of these; it may raise.
        engine: Answers in place of the model, up to twice ``batch_size`` questions at a time; the next subjects are
            opened meanwhile.

    Yields:
        Number of the subject, number of the question among those about it, and the answer; in any order within a batch
        of subjects, all of one batch before the next. An engine's answers come in the order in which they end.

    Raises:
        ConfigurationError: ``batch_size`` is below 1.
        EngineError: The engine has failed.
    """
    if engine is not None:
        yield from _answer_by_engine(engine, subjects, 2 * _check_size(batch_size), faults, on_fault)
        return
    for batch in _batches(subjects, batch_size):
        rows: list[tuple[int, int]] = []
        requests: list[Request] = []
        for (number, session), subject in _open(model, processor, batch, faults, on_fault):
            try:
                asked = subject.write(session.media.is_clip)
            except faults as error:
                _tell(on_fault, Fault(number, None, error))
                continue
            rows += ((number, question) for question in range(len(asked)))
            requests += (Request(session.media, each.prompt, each.max_new_tokens) for each in asked)
        answered: set[int] = set()
        try:
            texts = iterate_answers(model, processor, requests, batch_size=batch_size, shared_from=shared_from)
            for row, found in texts:
                answered.add(row)
                yield *rows[row], found[0]
        except faults:
            for row in sorted(set(range(len(rows))) - answered):
                try:
                    text = next(iterate_answers(model, processor, [requests[row]]))[1][0]
                except faults as error:
                    _tell(on_fault, Fault(*rows[row], error))
                else:
                    yield *rows[row], text


def _answer_by_engine(
    engine: AnsweringEngine,
    subjects: Iterable[Subject],
    window: int,
    faults: tuple[type[Exception], ...],
    on_fault: FaultListener | None,
) -> Iterator[tuple[int, int, str]]:
    """Keep so many questions before an engine, and yield its answers as they end."""
    places: dict[Future[str], tuple[int, int]] = {}

    def take(limit: int) -> Iterator[tuple[int, int, str]]:
        """What has been answered, until fewer than ``limit`` questions are left."""
        while len(places) >= limit:
            for future in wait(places, return_when=FIRST_COMPLETED).done:
                subject, question = places.pop(future)
                try:
                    text = future.result()
                except faults as error:
                    _tell(on_fault, Fault(subject, question, error))
                else:
                    yield subject, question, text

    try:
        for number, subject in enumerate(subjects):
            try:
                media = subject.open()
                asked = subject.write([each.is_clip for each in media])
            except faults as error:
                _tell(on_fault, Fault(number, None, error))
                continue
            for question, each in enumerate(asked):
                places[engine.answer(media, each.prompt, each.max_new_tokens)] = number, question
            yield from take(window)
        yield from take(1)
    finally:
        for future in places:
            future.cancel()


def _check_size(batch_size: int) -> int:
    if batch_size < 1:
        raise ConfigurationError(f"batch_size must be at least 1, not {batch_size}")
    return batch_size


def _batches(subjects: Iterable[Subject], batch_size: int) -> Iterator[list[tuple[int, Subject]]]:
    numbered = iter(enumerate(subjects))
    while batch := list(islice(numbered, _check_size(batch_size))):
        yield batch


def _open(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    batch: Sequence[tuple[int, Subject]],
    faults: tuple[type[Exception], ...],
    on_fault: FaultListener | None,
) -> list[tuple[tuple[int, Session], Subject]]:
    """The sessions of those subjects of a batch that can be opened."""
    opened: list[tuple[int, Subject]] = []
    media: list[Sequence[MediumTensors]] = []
    for number, subject in batch:
        try:
            media.append(subject.open())
        except faults as error:
            _tell(on_fault, Fault(number, None, error))
        else:
            opened.append((number, subject))
    sessions = Session.open_many(model, processor, media)
    return [((number, session), subject) for (number, subject), session in zip(opened, sessions, strict=True)]


def _tell(on_fault: FaultListener | None, fault: Fault) -> None:
    if on_fault is not None:
        on_fault(fault)
