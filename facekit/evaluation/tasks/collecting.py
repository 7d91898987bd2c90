"""Asking a model under test: questions that a resumed run has answers to are not asked again."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

from facekit.data.identity import RunIdentity
from facekit.errors import ConfigurationError
from facekit.evaluation.models.answer_log import AnswerLog, LoggedAnswer
from facekit.evaluation.tasks.fingerprints import Fingerprints
from facekit.evaluation.tasks.questions import (
    ModelUnderTest,
    Question,
    Reply,
    ScoresOptions,
    Unanswered,
    well_formed,
)
from facekit.reports import ProgressListener, ProgressMeter, as_listener

logger = logging.getLogger(__name__)

NOT_FINITE = "its likelihoods are not finite numbers, as where the floating type is too small for the model"


def identify_answers(model: ModelUnderTest, **facts: Any) -> RunIdentity:
    """What a run of questions is known by: the model and further facts; questions are compared one by one.

    A model may say by a mapping ``identity`` what it is beyond its name, such as a sample of its weights.
    """
    return RunIdentity({"model": well_formed(model.name), **getattr(model, "identity", {}), **facts})


def collect_replies(
    model: ModelUnderTest,
    questions: Sequence[Question],
    *,
    scoring: str = "generation",
    log: AnswerLog | None = None,
    stage: str = "ask",
    on_progress: ProgressListener | None = None,
) -> list[Reply]:
    """Put questions to a model.

    Args:
        model: The model.
        questions: The questions.
        scoring: ``generation``, the model writes its answer; ``likelihood``, the most likely option is its answer.
        log: Where replies are kept as they come. A question that it has an answer to is not asked again, unless its
            words, limits or pictures have changed, or nothing but a passing failure kept the model from answering.
        stage: What progress calls it.
        on_progress: Called with a ``Progress`` after every answer.

    Returns:
        One reply per question, in order; one with a ``problem`` where the model gave no answer.

    Raises:
        ConfigurationError: The scoring is unknown, the model cannot score options, or a question has none; two
            questions have the same id; or the model passed one over.
    """
    if len({question.id for question in questions}) < len(questions):
        raise ConfigurationError(
            "two questions of a run have the same id, so their answers would be mixed up; give each its own"
        )
    fingerprints = Fingerprints()
    marks = {} if log is None else {question.id: fingerprints.of(question) for question in questions}
    replies = {} if log is None else _answered(log, marks)
    waiting = [question for question in questions if question.id not in replies]
    done = len(questions) - len(waiting)
    meter = ProgressMeter(as_listener(on_progress, "collect_replies"), stage, len(questions), "questions", done=done)
    failed: list[str] = []
    for index, reply, is_final in _replies(model, waiting, scoring):
        question = waiting[index]
        replies[question.id] = reply
        if log is not None:
            log.append(question.id, LoggedAnswer(reply.text, marks[question.id], reply.scores, reply.problem, is_final))
        if reply.problem is not None:
            failed.append(f"'{question.id}' ({reply.problem})")
        done += 1
        meter.report(done)
    missing = next((question.id for question in questions if question.id not in replies), None)
    if missing is not None:
        raise ConfigurationError(
            f"the model '{well_formed(model.name)}' left the question '{missing}' without an answer"
        )
    if failed:
        logger.warning("%s gave no answer to %d of %d questions, the first %s; they are scored as unreadable",
                       well_formed(model.name), len(failed), len(questions), failed[0])  # fmt: skip
    return [replies[question.id] for question in questions]


def _answered(log: AnswerLog, marks: dict[str, str]) -> dict[str, Reply]:
    """Answers of an earlier run that stand for the questions as they are now."""
    return {
        key: Reply(each.text, each.scores, each.problem)
        for key, each in log.answers.items()
        if each.fingerprint == marks.get(key) and each.is_final
    }


def _replies(model: ModelUnderTest, questions: Sequence[Question], scoring: str) -> Iterator[tuple[int, Reply, bool]]:
    """Index, reply, and whether it would be the same again."""
    if scoring == "generation":
        for index, said in model.answer(questions):
            if isinstance(said, Unanswered):
                yield index, Reply("", problem=well_formed(said.reason)), said.is_final
            else:
                yield index, Reply(well_formed(said)), True
    elif scoring == "likelihood":
        without = next((question.id for question in questions if not question.options), None)
        if without is not None:
            raise ConfigurationError(f"the question '{without}' has no options, so likelihoods cannot be compared")
        if not isinstance(model, ScoresOptions):
            raise ConfigurationError(f"the model '{model.name}' gives no likelihoods; use scoring 'generation'")
        for index, scores in model.score_options(questions):
            if all(map(math.isfinite, scores.values())):
                yield index, Reply(max(scores, key=lambda option: scores[option]), scores), True
            else:
                yield index, Reply("", problem=NOT_FINITE), False
    else:
        raise ConfigurationError(f"scoring is 'generation' or 'likelihood', not {scoring!r}")
