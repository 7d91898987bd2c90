"""Questions to models under test, the protocol of such models, and collecting their answers.

The protocol is small so that anything can be evaluated: a model in memory, a server, or a file of answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from PIL import Image

from facekit.data.dataset import open_frames
from facekit.data.identity import RunIdentity, describe_items
from facekit.data.records import FaceRecord
from facekit.errors import ConfigurationError
from facekit.evaluation.models.answer_log import AnswerLog
from facekit.faces import open_image
from facekit.reports import ProgressListener, ProgressMeter, as_listener

_PICTURED = {"id", "image", "video", "frames", "landmarks"}  # what of a record a model sees


@dataclass(frozen=True, eq=False)
class Question:
    """One question about one or several pictures.

    Args:
        id: Unique in its run.
        text: What is asked.
        pictures: Where the pictures are, in order; unused where there is a record.
        record: The face that is asked about, where the pictures come from a records file.
        folder: Folder of the record's paths.
        max_new_tokens: Longest answer in tokens.
        options: The answers to choose from where likelihoods are compared.
    """

    id: str
    text: str
    pictures: tuple[Path, ...] = ()
    record: FaceRecord | None = None
    folder: Path = Path()
    max_new_tokens: int = 96
    options: tuple[str, ...] = ()

    @property
    def subject(self) -> object:
        """What the pictures are of: questions with equal subjects are about the same pictures."""
        return self.pictures if self.record is None else (str(self.folder), self.record.id)

    def open_pictures(self) -> list[Image.Image]:
        """Open the pictures, or the frames of the record's clip; raises ``ImageError`` or ``RecordError``."""
        if self.record is None:
            return [open_image(path) for path in self.pictures]
        return [frame.image for frame in open_frames(self.record, self.folder)]


@runtime_checkable
class ModelUnderTest(Protocol):
    """Anything that answers questions about pictures.

    Attributes:
        name: Its name in reports, and what a resumed run is compared by.
    """

    name: str

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, str]]:
        """Answer questions.

        Args:
            questions: The questions; those about the same pictures follow each other.

        Yields:
            Index of a question and its answer, as soon as it is known and in any order; each index once.
        """
        ...


@runtime_checkable
class ScoresOptions(Protocol):
    """A model that can say how likely each of several answers is."""

    def score_options(self, questions: Sequence[Question]) -> Iterator[tuple[int, dict[str, float]]]:
        """Score the options of questions.

        Args:
            questions: Questions with ``options``.

        Yields:
            Place of a question, and log-probability of each option given pictures and question.
        """
        ...


@dataclass(frozen=True)
class Reply:
    """What a model said.

    Args:
        text: Its answer; where options were scored, the most likely one.
        scores: Log-probability of each option, where they were scored.
    """

    text: str
    scores: Mapping[str, float] | None = None


def identify_answers(model: ModelUnderTest, questions: Sequence[Question], **facts: Any) -> RunIdentity:
    """What a run of questions is known by: the model, the questions with their pictures, and further facts.

    A model may say by a mapping ``identity`` what it is beyond its name, such as a sample of its weights.
    """
    asked = [
        [question.id, question.text, [path.name for path in question.pictures], question.max_new_tokens,
         *question.options, "" if question.record is None else question.record.model_dump_json(include=_PICTURED)]
        for question in questions
    ]  # fmt: skip
    described = describe_items(json.dumps(each) for each in asked)
    return RunIdentity({"model": model.name, **getattr(model, "identity", {}), **facts, "questions": described})


def collect_replies(
    model: ModelUnderTest,
    questions: Sequence[Question],
    *,
    scoring: str = "generation",
    log: AnswerLog | None = None,
    stage: str = "ask",
    on_progress: ProgressListener | None = None,
) -> list[Reply]:
    """Put questions to a model; what the log has already is not asked again.

    Args:
        model: The model.
        questions: The questions.
        scoring: ``generation``, the model writes its answer; ``likelihood``, the most likely option is its answer.
        log: Where replies are kept as they come.
        stage: What progress calls it.
        on_progress: Called with a ``Progress`` after every answer.

    Returns:
        One reply per question, in order.

    Raises:
        ConfigurationError: The scoring is unknown, the model cannot score options, or a question has none; two
            questions have the same id; or the model left one unanswered.
    """
    if len({question.id for question in questions}) < len(questions):
        raise ConfigurationError("two questions of a run have the same id, so their answers could not be told apart")
    replies = {} if log is None else {key: Reply(*value) for key, value in log.replies.items()}
    waiting = [question for question in questions if question.id not in replies]
    done = len(questions) - len(waiting)
    meter = ProgressMeter(as_listener(on_progress, "collect_replies"), stage, len(questions), "questions", done=done)
    for index, reply in _replies(model, waiting, scoring):
        replies[waiting[index].id] = reply
        if log is not None:
            log.append(waiting[index].id, reply.text, reply.scores)
        done += 1
        meter.report(done)
    missing = next((question.id for question in questions if question.id not in replies), None)
    if missing is not None:
        raise ConfigurationError(f"the model '{model.name}' left the question '{missing}' without an answer")
    return [replies[question.id] for question in questions]


def _replies(model: ModelUnderTest, questions: Sequence[Question], scoring: str) -> Iterator[tuple[int, Reply]]:
    if scoring == "generation":
        yield from ((index, Reply(text)) for index, text in model.answer(questions))
    elif scoring == "likelihood":
        without = next((question.id for question in questions if not question.options), None)
        if without is not None:
            raise ConfigurationError(f"the question '{without}' has no options, so likelihoods cannot be compared")
        if not isinstance(model, ScoresOptions):
            raise ConfigurationError(f"the model '{model.name}' gives no likelihoods; use scoring 'generation'")
        for index, scores in model.score_options(questions):
            yield index, Reply(max(scores, key=lambda option: scores[option]), scores)
    else:
        raise ConfigurationError(f"scoring is 'generation' or 'likelihood', not {scoring!r}")
