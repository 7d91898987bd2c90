"""Trials: one or two pictures, a yes-or-no question about them, and what a model says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from facekit.data.atomic import write_text_atomically
from facekit.data.records import FaceRecord
from facekit.errors import ConfigurationError, RecordError
from facekit.evaluation.biometrics.verdicts import YesNoReader
from facekit.evaluation.models.answer_log import ANSWERS_NAME, AnswerLog
from facekit.evaluation.tasks.collecting import collect_replies, identify_answers
from facekit.evaluation.tasks.questions import ModelUnderTest, Question, Reply
from facekit.faces.file_kinds import VIDEO_SUFFIXES
from facekit.reports import ProgressListener

OPTIONS = ("yes", "no")
ANSWER_TOKENS = 32
"""Longest answer to a yes-or-no question."""


@dataclass(frozen=True)
class Trial:
    """One comparison of two faces, or one presentation to a camera.

    Args:
        id: Unique in its set.
        pictures: One or two pictures, or one clip.
        is_positive: The truth: the same person, or an attack.
        kind: Kind of attack; empty for what is genuine, and for comparisons.
        subjects: Who is in the pictures, one name for each or one for all; empty where that is not known.
        fold: Part of the set, for accuracy by folds.
        groups: Demographic groups, as in records.
        record: The record that the pictures are of, whose crops and landmarks the model is shown; None for pictures
            as they are.
        folder: Folder of the record's paths.
    """

    id: str
    pictures: tuple[Path, ...]
    is_positive: bool
    kind: str = ""
    subjects: tuple[str, ...] = ()
    fold: int | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    record: FaceRecord | None = None
    folder: Path = Path()


@dataclass(frozen=True)
class TrialVerdict:
    """What a model says of a trial.

    Args:
        decision: Yes, no, or None where no answer could be read.
        score: Log-probability of yes beyond that of no, where options were scored.
        answer: Its words.
        problem: Why there is no answer.
    """

    decision: bool | None
    score: float | None = None
    answer: str = ""
    problem: str | None = None


def choose_evenly(trials: list[Trial], limit: int | None) -> list[Trial]:
    """So many trials, evenly spread over the list; all of them without a limit."""
    if limit is None or limit >= len(trials):
        return trials
    return [trials[index] for index in np.unique(np.linspace(0, len(trials) - 1, limit).round().astype(int))]


def write_result(result: dict[str, Any], output_dir: str | Path | None, name: str) -> None:
    """Write what a benchmark found as JSON; nothing without a folder."""
    if output_dir is not None:
        write_text_atomically(Path(output_dir) / name, json.dumps(result, indent=2) + "\n")


def ask_trials(
    model: ModelUnderTest,
    trials: Sequence[Trial],
    question: str,
    reader: YesNoReader,
    *,
    benchmark: str,
    scoring: str = "likelihood",
    max_new_tokens: int = ANSWER_TOKENS,
    output_dir: str | Path | None = None,
    resume: bool = True,
    on_progress: ProgressListener | None = None,
) -> list[TrialVerdict]:
    """Put one yes-or-no question about every trial to a model.

    Args:
        model: The model.
        trials: The trials.
        question: What is asked of each.
        reader: Reads yes or no from an answer in words.
        benchmark: Name of the set, which a resumed run is compared by.
        scoring: ``likelihood``, for a score; or ``generation``, for models that only write.
        max_new_tokens: Longest answer in tokens.
        output_dir: Where ``answers.jsonl`` is kept; None keeps nothing.
        resume: Go on with the answers that are there.
        on_progress: Called with a ``Progress`` after every answer.

    Raises:
        RecordError: There are no trials, or a picture is missing.
        ConfigurationError: The folder has another run's answers, or the model cannot be scored that way.
    """
    if not trials:
        raise RecordError(f"there are no trials in '{benchmark}'")
    missing = next((path for trial in trials for path in trial.pictures if not path.is_file()), None)
    if missing is not None:
        raise RecordError(f"{benchmark}: the picture {missing} is missing; give the folder that the list belongs to")
    questions = [_question(trial, question, max_new_tokens) for trial in trials]
    with ExitStack() as stack:
        log = None
        if output_dir is not None:
            run = identify_answers(model, benchmark=benchmark, scoring=scoring)
            log = stack.enter_context(AnswerLog(Path(output_dir) / ANSWERS_NAME, run, resume=resume))
        replies = collect_replies(model, questions, scoring=scoring, log=log, on_progress=on_progress)
    return [_verdict(reply, reader) for reply in replies]


def _question(trial: Trial, text: str, max_new_tokens: int) -> Question:
    if trial.record is not None:
        return Question(trial.id, text, (), trial.record, trial.folder, max_new_tokens, OPTIONS)
    clip = trial.pictures[0]
    if len(trial.pictures) == 1 and clip.suffix.lower() in VIDEO_SUFFIXES:
        record = FaceRecord(id=trial.id, video=clip.name)
        return Question(trial.id, text, (), record, clip.parent, max_new_tokens, OPTIONS)
    return Question(trial.id, text, trial.pictures, max_new_tokens=max_new_tokens, options=OPTIONS)


def _verdict(reply: Reply, reader: YesNoReader) -> TrialVerdict:
    if reply.scores is not None:
        score = reply.scores["yes"] - reply.scores["no"]
        return TrialVerdict(score >= 0, score, reply.text)
    return TrialVerdict(None if reply.problem else reader(reply.text), None, reply.text, reply.problem)


def choose_scoring(model: ModelUnderTest, scoring: str | None) -> str:
    """``likelihood`` for models that can score options, else ``generation``, where nothing is chosen."""
    if scoring is not None and scoring not in ("generation", "likelihood"):
        raise ConfigurationError(f"scoring is 'generation' or 'likelihood', not {scoring!r}")
    return scoring or ("likelihood" if hasattr(model, "score_options") else "generation")


def weigh_subjects(trials: Sequence[Trial], *, resamples: int, seed: int) -> np.ndarray:
    """Bootstrap weights ``(resamples, n)`` over people: a trial weighs as often as its people are drawn, multiplied.

    A comparison of two people depends on both (Owen 2007); a trial without names is a person by itself.
    """
    names = [trial.subjects or (f"trial {trial.id}",) for trial in trials]
    numbers = {name: index for index, name in enumerate(dict.fromkeys(name for each in names for name in each))}
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=resamples).astype(float)
    ends = [np.array([numbers[sorted(set(each))[end]] for each in names]) for end in (0, -1)]
    weights = drawn[:, ends[0]]
    of_two = np.flatnonzero(ends[0] != ends[1])
    weights[:, of_two] *= drawn[:, ends[1][of_two]]
    return weights
