"""What every benchmark does: keep answers as they come, resume, and write the result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from facekit.data.atomic import write_text_atomically
from facekit.endpoints.texts import strip_thoughts
from facekit.errors import RecordError
from facekit.evaluation.evaluator import METRICS_NAME
from facekit.evaluation.models.answer_log import ANSWERS_NAME, AnswerLog
from facekit.evaluation.tasks.collecting import collect_replies, identify_answers
from facekit.evaluation.tasks.questions import ModelUnderTest, Question, Reply
from facekit.evaluation.tasks.sampling import choose_stratified
from facekit.reports import ProgressListener

Entry = TypeVar("Entry")


def choose_entries(
    entries: Sequence[Entry], limit: int | None, keys: Sequence[str], parts: Sequence[str]
) -> list[Entry]:
    """Choose so many of a benchmark's entries, each part in its share, the same in every run; all without a limit.

    Args:
        entries: The entries.
        limit: How many.
        keys: A unique name of each.
        parts: The part of the benchmark that each is of.
    """
    return [entries[index] for index in choose_stratified(keys, parts, limit)]


def ask_benchmark(
    model: ModelUnderTest,
    questions: Sequence[Question],
    *,
    output_dir: str | Path | None,
    resume: bool,
    on_progress: ProgressListener | None,
    max_new_tokens: int | None = None,
    answers_name: str = ANSWERS_NAME,
    stage: str = "ask",
    **facts: Any,
) -> list[Reply]:
    """Put a benchmark's questions to a model.

    Args:
        model: The model.
        questions: The questions.
        output_dir: Where answers are kept as they come; None keeps nothing.
        resume: Go on with the answers that are there.
        on_progress: Called with a ``Progress`` after every answer.
        max_new_tokens: Longest answer in tokens; by default each question's own.
        answers_name: Name of the file with the answers.
        stage: What progress calls it.
        facts: What a resumed run is compared by, such as the benchmark's name.

    Raises:
        RecordError: There are no questions, or a picture is missing.
        ConfigurationError: The folder has another run's answers.
    """
    if not questions:
        raise RecordError(f"the benchmark '{facts.get('benchmark', '')}' has no questions there")
    if max_new_tokens is not None:
        questions = [replace(question, max_new_tokens=max_new_tokens) for question in questions]
    missing = next((path for question in questions for path in question.pictures if not path.is_file()), None)
    if missing is not None:
        raise RecordError(f"the benchmark's picture {missing} is missing; assemble its images")
    with ExitStack() as stack:
        log = None
        if output_dir is not None:
            run = identify_answers(model, **facts)
            log = stack.enter_context(AnswerLog(Path(output_dir) / answers_name, run, resume=resume))
        return collect_replies(model, questions, log=log, stage=stage, on_progress=on_progress)


def without_thoughts(answer: str) -> str:
    """An answer as it is, or what a model says after its thoughts (``<think>`` …), which weigh every option.

    Nothing is left of one that breaks off in them.
    """
    words, is_cut = strip_thoughts(answer)
    return answer if words == answer.strip() and not is_cut else words


def write_result(result: Any, output_dir: str | Path | None) -> None:
    """Write a result's data class as ``metrics.json``, where there is a folder."""
    if output_dir is not None:
        write_text_atomically(Path(output_dir) / METRICS_NAME, json.dumps(asdict(result), indent=2) + "\n")
