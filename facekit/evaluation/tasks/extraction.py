"""``extract_labels``: a language model maps answers to labels where the rules read none, and how far both agree.

The model sees the question, the answer between marks that the answer cannot close, and the allowed labels; its reply
counts only where it is one of them and nothing else. It is asked about what the rules could not read, and about some of
what they read, for the agreement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facekit.answers.fencing import FENCED, fence
from facekit.answers.reading import Reading, Rule
from facekit.answers.text.normalising import bounded
from facekit.data.dataset import RecordSet
from facekit.data.records import FaceRecord
from facekit.endpoints.texts import strip_thoughts
from facekit.evaluation.models.answer_log import AnswerLog
from facekit.evaluation.report.results import Extraction
from facekit.evaluation.tasks.asked import AskedTask, question_id
from facekit.evaluation.tasks.collecting import collect_replies, identify_answers
from facekit.evaluation.tasks.definitions import Task
from facekit.evaluation.tasks.label_sets import LabelSet
from facekit.evaluation.tasks.questions import ModelUnderTest, Question, Reply
from facekit.reports import ProgressListener

EXTRACTIONS_NAME = "extractions.jsonl"
"""The log of the extracting model's replies in a run's folder."""
CHECKED = 50
"""Answers of each task that the rules read and that the model is asked about too, for the agreement."""
LONGEST_ANSWER = 4_000
EXTRACTION_TOKENS = 256
SAME_YEARS = 2.0
"""Two ages that are so many years apart at most are the same for the agreement."""
PROMPT = (
    "A model was asked a question about a face. You map its answer to a label. You do not see the face, you do not "
    "judge whether the answer is right, and you do not guess: the label is the one that the answer itself commits to "
    "in the end. {fenced}\n\nThe question:\n{question}\n\nThe answer:\n{answer}\n\n{instruction} where the answer "
    "commits itself to no label. Write nothing else."
)


@dataclass(frozen=True)
class Extractor:
    """Who extracts labels, and from which answers.

    Args:
        model: The language model; it is asked without pictures.
        every: Whether it is asked about every answer; otherwise about what the rules could not read, and about
            ``CHECKED`` of each task's others.
    """

    model: ModelUnderTest
    every: bool = False


Extracted = Mapping[str, Reading[Any]]
"""Question's id to what the model extracted from its answer."""


@dataclass(frozen=True)
class Readings:
    """Replies by question, as they are read: by the rules, and by a model where these read nothing.

    Args:
        replies: Question's id to the reply.
        extracted: What a model extracted from answers that the rules could not read.
    """

    replies: Mapping[str, Reply]
    extracted: Extracted
    _read: dict[str, Reading[Any]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def reading(self, task: Task, key: str, item: str = "") -> Reading[Any]:
        """What the reply to one question says; each is read once, which takes most of the time of scoring."""
        if key not in self._read:
            found = self.extracted.get(key)
            self._read[key] = task.reading(self.replies[key].text, item) if found is None else found
        return self._read[key]

    def prediction(self, task: Task, record: FaceRecord, truth: Any) -> Any | None:
        """What the replies to a task's questions about a record amount to; None where nothing can be read."""
        if task.ask_each is None or task.parse_item is None:
            return self.reading(task, question_id(record, task)).value
        items = task.questions(truth)
        return {item: self.reading(task, question_id(record, task, item), item).value for item in items}


@dataclass(frozen=True)
class _Candidate:
    """One answer of a task, as the rules read it."""

    id: str
    question: str
    answer: str
    labels: LabelSet
    reading: Reading[Any]


def extract_labels(
    extractor: Extractor,
    records: RecordSet,
    planned: Sequence[AskedTask],
    replies: Mapping[str, Reply],
    *,
    output_dir: Path | None = None,
    resume: bool = False,
    on_progress: ProgressListener | None = None,
) -> tuple[Extracted, dict[str, Extraction]]:
    """Ask a model for the labels of answers.

    Args:
        extractor: The model, and which answers it is asked about.
        records: The records.
        planned: The tasks.
        replies: Question's id to the reply.
        output_dir: Where ``extractions.jsonl`` is written as replies come; None writes nothing.
        resume: Go on with the replies that are there.
        on_progress: Called with a ``Progress`` after every reply.

    Returns:
        Readings by question for the answers that the rules could not read and the model could, and per task how it
        went.

    Raises:
        ConfigurationError: No call can succeed, or the log is another model's.
    """
    by_task = {each.task.name: _candidates(each, records, replies) for each in planned}
    asked = {name: [each for each in found if extractor.every or _is_unread(each)] for name, found in by_task.items()}
    if not extractor.every:
        for name, found in by_task.items():
            asked[name] += _spread([each for each in found if not _is_unread(each)], CHECKED)
    questions = [_question(each) for found in asked.values() for each in found]
    with ExitStack() as stack:
        log = None
        if output_dir is not None:
            run = identify_answers(extractor.model, purpose="extraction")
            log = stack.enter_context(AnswerLog(output_dir / EXTRACTIONS_NAME, run, resume=resume))
        stage = f"extract labels with {extractor.model.name}"
        given = collect_replies(extractor.model, questions, log=log, stage=stage, on_progress=on_progress)
    said = {question.id: reply.text for question, reply in zip(questions, given, strict=True)}
    extracted: dict[str, Reading[Any]] = {}
    results = {}
    for name, found in asked.items():
        values = {each.id: each.labels.read(strip_thoughts(said[each.id])[0]) for each in found}
        unread = [each for each in found if _is_unread(each)]
        new = {each.id: values[each.id] for each in unread if values[each.id] is not None}
        extracted |= {key: Reading(value, Rule.EXTRACTED, said[key]).shortened() for key, value in new.items()}
        pairs = [
            (each.reading.value, values[each.id], each.labels)
            for each in found
            if not _is_unread(each) and values[each.id] is not None
        ]
        same = sum(_are_same(*pair) for pair in pairs)
        results[name] = Extraction(extractor.model.name, len(unread), len(new), len(pairs), same, _kappa(pairs))
    return extracted, results


def _candidates(asked: AskedTask, records: RecordSet, replies: Mapping[str, Reply]) -> list[_Candidate]:
    """The task's answers that have words and can be mapped to a label."""
    task = asked.task
    about = [records.records[index] for index in asked.indices]
    truths = [task.truth(record.labels) for record in about]
    found = []
    for record, truth in zip(about, truths, strict=True):
        for item, question in task.questions(truth).items():
            key = question_id(record, task, item)
            reply, labels = replies[key], LabelSet.of(task, truths, item)
            answer = strip_thoughts(reply.text)[0]
            if labels is not None and answer.strip() and reply.problem is None and reply.scores is None:
                found.append(_Candidate(key, question, answer, labels, task.reading(reply.text, item)))
    return found


def _is_unread(candidate: _Candidate) -> bool:
    return candidate.reading.value is None


def _spread(candidates: Sequence[_Candidate], count: int) -> list[_Candidate]:
    """So many of the candidates, evenly from first to last."""
    step = max(1.0, len(candidates) / count)
    return [candidates[int(place * step)] for place in range(min(count, len(candidates)))]


def _question(candidate: _Candidate) -> Question:
    instruction = candidate.labels.instruction
    answer = bounded(candidate.answer)[-LONGEST_ANSWER:]
    fenced = fence(answer, "answer", candidate.question, instruction)
    text = PROMPT.format(fenced=FENCED, question=candidate.question, answer=fenced, instruction=instruction)
    return Question(candidate.id, text, max_new_tokens=EXTRACTION_TOKENS)


def _are_same(by_rules: Any, by_model: Any, labels: LabelSet) -> bool:
    if isinstance(by_rules, float) and isinstance(by_model, float):
        return abs(by_rules - by_model) <= SAME_YEARS
    if labels.is_list:
        return all((name in by_rules) == (name in by_model) for name in labels.values.values())
    return bool(by_rules == by_model)


def _kappa(pairs: Sequence[tuple[Any, Any, LabelSet]]) -> float | None:
    """Cohen's kappa of both readers; None for ages, and where it is not defined."""
    from sklearn.metrics import cohen_kappa_score

    first: list[str] = []
    second: list[str] = []
    for by_rules, by_model, labels in pairs:
        if isinstance(by_rules, float):
            return None
        if labels.is_list:
            first += [str(name in by_rules) for name in labels.values.values()]
            second += [str(name in by_model) for name in labels.values.values()]
        else:
            first.append(str(by_rules))
            second.append(str(by_model))
    if len({*first, *second}) < 2:
        return None
    kappa = float(cohen_kappa_score(first, second))
    return None if math.isnan(kappa) else kappa
