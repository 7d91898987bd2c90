"""Explanations to judge: answers from a predictions file or from records, and the judge's prompt about each.

The criteria are those of Face-LLaVA (arXiv 2504.07198): consistency with the picture, consistency with the label, and
completeness, from 1 to 10; the wording is facekit's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facekit.answers.fencing import FENCED, fence
from facekit.catalog import current_registry
from facekit.data.atomic import open_atomically
from facekit.data.dataset import RecordSet
from facekit.data.labels import TASKS
from facekit.data.record_files import read_text
from facekit.data.records import FaceRecord
from facekit.data.templates import label_words
from facekit.errors import RecordError
from facekit.evaluation.evaluator import PREDICTIONS_NAME, describe_label
from facekit.evaluation.models.answer_log import ANSWERS_NAME, AnswerLog, resumed_by_default
from facekit.evaluation.tasks.asked import question_id
from facekit.evaluation.tasks.collecting import collect_replies, identify_answers
from facekit.evaluation.tasks.definitions import ALL_TASKS, Task, load_tasks
from facekit.evaluation.tasks.questions import ModelUnderTest, Question
from facekit.faces.frames import FRAMES_PER_CLIP, choose_frames
from facekit.reports import ProgressListener, as_listener

CRITERION_TITLES = {
    "image": "consistency with the image",
    "label": "consistency with the label",
    "completeness": "completeness",
    "overall": "overall",
}
"""What is rated; the first three are the papers' columns."""

CONVERSATION = "conversation"
"""The task of a message that names none."""

EXPLAIN = "Explain what you see in the face that speaks for your answer."
"""What ``ask_for_explanations`` adds to a task's question."""
EXPLANATION_TOKENS = 256
PERSONAL_GROUPS = ("gender", "race", "age_group")

SYSTEM = (
    "You judge what models say about faces. You look at the picture or the frames yourself, you are strict, and you "
    f"answer in the requested form only. {FENCED}"
)
PROMPT = (
    "The question:\n{question}\n\nThe explanation:\n{answer}\n\nCorrect annotation: {known}.\n\n"
    "Rate the explanation from 1 (useless) to 10 (flawless). image: do its observations agree with what can be seen? "
    "label: does it agree with the correct annotation, as far as the question asks for it? completeness: does it give "
    "all the reasons that the picture offers for its answer? overall: how good is it as a whole? Give the four whole "
    "numbers image, label, completeness and overall, and a reason of one sentence."
)


@dataclass(frozen=True, eq=False)
class JudgedAnswer:
    """One answer that is to be judged.

    Args:
        id: Unique in its file.
        record: The face.
        folder: What the record's paths are relative to.
        task: Name of the task, or ``CONVERSATION``.
        question: What was asked.
        answer: What was said.
        known: The label in words.
        item: The single label that was asked about, where the task asks one by one.
    """

    id: str
    record: FaceRecord
    folder: Path
    task: str
    question: str
    answer: str
    known: str
    item: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said."""
        return not self.answer.strip()


@dataclass(frozen=True)
class RatingRequest:
    """What a judge is asked about one answer.

    Args:
        id: Names the answer and what was said, so that another answer to the same question is another request.
        version: Changes with every word of the prompt.
        system: The system prompt.
        prompt: The question.
        media: Paths of the picture, or of frames in order.
        problem: Why the judge cannot be asked; None where it can.
    """

    id: str
    version: str
    system: str
    prompt: str
    media: tuple[str, ...]
    problem: str | None = None


def read_predictions(
    path: str | Path, records: RecordSet | str | Path, tasks: Sequence[Task] | None = None
) -> tuple[JudgedAnswer, ...]:
    """Read the answers of an evaluation.

    Args:
        path: JSON lines with ``answer``, and ``id`` with ``task`` (and ``item``), or ``question``, the question's id:
            ``predictions.jsonl`` or ``answers.jsonl`` of an evaluation. ``asked`` is what was asked; without it, it is
            the task's question.
        records: The records that the answers are about.
        tasks: The tasks whose answers are judged; all registered ones by default.

    Returns:
        The answers in the order of the records and tasks.

    Raises:
        RecordError: The file cannot be read, or none of its answers is about these records and tasks, or, where
            ``tasks`` is left out, one of them is not.
    """
    record_set = RecordSet.of(records)
    chosen = load_tasks(current_registry().names("task")) if tasks is None else tuple(tasks)
    given = dict(_read_lines(Path(path)))
    found = []
    for record, task, item, text in _questions(record_set, chosen):
        key = question_id(record, task, item)
        if key in given:
            answer, asked = given.pop(key)
            known = _known_label(task, record, item)
            found.append(JudgedAnswer(key, record, record_set.folder, task.name, asked or text, answer, known, item))
    stray = next(iter(given), None)
    if not found or (tasks is None and stray is not None):
        which = f"'{stray}' is" if found else f"none of the {len(given)} answers is"
        raise RecordError(
            f"{path}: {which} about a labelled record of {record_set.folder} and one of the tasks "
            f"{', '.join(task.name for task in chosen)}; give the records that were evaluated"
        )
    return tuple(found)


def read_conversations(records: RecordSet | str | Path) -> tuple[JudgedAnswer, ...]:
    """Take the assistant's messages out of records with conversations, such as instruction data.

    Raises:
        RecordError: No record has an answer.
    """
    record_set = RecordSet.of(records)
    found = []
    for record in record_set.records:
        question = ""
        for number, turn in enumerate(record.conversations):
            if turn.role == "user":
                question = turn.content
            elif turn.role == "assistant":
                task = turn.task or CONVERSATION
                key = f"{record.id}/turn-{number}"
                known = _known_labels(record)
                found.append(JudgedAnswer(key, record, record_set.folder, task, question, turn.content, known))
    if not found:
        raise RecordError(f"no record in {record_set.folder} has a conversation with an answer; give predictions")
    return tuple(found)


@resumed_by_default
def ask_for_explanations(
    model: ModelUnderTest,
    records: RecordSet | str | Path,
    output_dir: str | Path,
    tasks: Sequence[Task] = ALL_TASKS,
    *,
    resume: bool = False,
    on_progress: ProgressListener | None = None,
) -> Path:
    """Ask a model for answers with reasons, which is what there is to judge.

    Args:
        model: Any model under test.
        records: Records with labels.
        output_dir: Where ``answers.jsonl`` (as they come) and ``predictions.jsonl`` are written.
        tasks: What is asked; a record is asked what it has a label for.
        resume: Go on with the answers that are there; otherwise they are dropped.
        on_progress: Called with a ``Progress`` after every answer.

    Returns:
        The predictions file, for ``read_predictions``.

    Raises:
        RecordError: No record has a label of the tasks.
    """
    on_progress = as_listener(on_progress, "ask_for_explanations")
    record_set, folder = RecordSet.of(records), Path(output_dir)
    rows = plan_explanations(record_set, tasks)
    questions = [
        Question(question_id(record, task, item), f"{text} {EXPLAIN}", record=record, folder=record_set.folder,
                 max_new_tokens=EXPLANATION_TOKENS)
        for record, task, item, text in rows
    ]  # fmt: skip
    with AnswerLog(folder / ANSWERS_NAME, identify_answers(model), resume=resume) as log:
        replies = collect_replies(model, questions, log=log, stage="explain", on_progress=on_progress)
    path = folder / PREDICTIONS_NAME
    with open_atomically(path) as lines:
        for (record, task, item, _), question, reply in zip(rows, questions, replies, strict=True):
            entry = {"id": record.id, "task": task.name, "item": item or None, "asked": question.text,
                     "answer": reply.text, "groups": record.groups}  # fmt: skip
            entry = {name: value for name, value in entry.items() if value is not None}
            lines.write(json.dumps(entry, ensure_ascii=False) + "\n")
    return path


def plan_explanations(records: RecordSet, tasks: Sequence[Task]) -> list[tuple[FaceRecord, Task, str, str]]:
    """What ``ask_for_explanations`` asks about: record, task, label where each is asked for, and the task's question.

    Raises:
        RecordError: No record has a label of the tasks.
    """
    rows = list(_questions(records, tasks))
    if not rows:
        raise RecordError(f"no record in {records.folder} has a label of the tasks that are asked")
    return rows


def sample_answers(answers: Sequence[JudgedAnswer], per_task: int, *, seed: int = 0) -> tuple[JudgedAnswer, ...]:
    """Draw so many answers of every task, without replacement, in their order; all of a task that has fewer."""
    rng, kept = np.random.default_rng(seed), set()
    for task in sorted({answer.task for answer in answers}):
        indices = [index for index, answer in enumerate(answers) if answer.task == task]
        kept.update(rng.permutation(indices)[:per_task].tolist())
    return tuple(answers[index] for index in sorted(kept))


def write_request(answer: JudgedAnswer) -> RatingRequest:
    """Write what a judge is asked about an answer; ``problem`` says where it cannot see the pictures."""
    digest = hashlib.sha256(json.dumps([answer.question, answer.answer, answer.known]).encode()).hexdigest()
    prompt = PROMPT.format(
        question=fence(answer.question, "question", answer.id),
        answer=fence(answer.answer, "explanation", answer.id),
        known=" ".join(answer.known.split()),
    )
    try:
        media, problem = _media(answer.record, answer.folder), None
    except RecordError as error:
        media, problem = (), str(error)
    return RatingRequest(f"{answer.id}#{digest[:12]}", prompt_version(), SYSTEM, prompt, media, problem)


def prompt_version() -> str:
    """The version of the judging prompt; changes with every word of it."""
    return f"judging-{hashlib.sha256((SYSTEM + PROMPT).encode()).hexdigest()[:10]}"


def _media(record: FaceRecord, folder: Path) -> tuple[str, ...]:
    if isinstance(record.video, str):
        raise RecordError(f"{record.video} is a video file; take frames out of it first, with facekit preprocess")
    paths = record.media_paths(folder)
    if record.image is None and len(paths) > FRAMES_PER_CLIP:
        paths = [paths[index] for index in choose_frames(len(paths))]
    return tuple(map(str, paths))


def _questions(records: RecordSet, tasks: Sequence[Task]) -> Iterator[tuple[FaceRecord, Task, str, str]]:
    for record in records.records:
        for task in tasks:
            truth = task.truth(record.labels)
            for item, text in ({} if truth is None else task.questions(truth)).items():
                yield record, task, item, text


def _known_label(task: Task, record: FaceRecord, item: str) -> str:
    truth: Any = task.truth(record.labels)
    if item:
        return f"{item.replace('_', ' ')}: {'yes' if truth[item] else 'no'}"
    words = label_words(task.name, record.labels) if task.name in TASKS else describe_label(truth)
    return f"{task.title.lower()}: {words}"


def _known_labels(record: FaceRecord) -> str:
    facts = {name: record.groups[name] for name in PERSONAL_GROUPS if name in record.groups}
    for task in load_tasks(TASKS):
        if task.truth(record.labels) is not None:
            facts[task.name] = label_words(task.name, record.labels)
    return "; ".join(f"{name.replace('_', ' ')}: {words}" for name, words in sorted(facts.items())) or "nothing"


def _read_lines(path: Path) -> Iterator[tuple[str, tuple[str, str | None]]]:
    for number, line in enumerate(read_text(path, "predictions").split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry: dict[str, Any] = json.loads(line)
            if not isinstance(entry, dict):
                raise TypeError("the line is no object")
            if "run" not in entry:
                keys = [str(entry[name]) for name in ("id", "task", "item") if entry.get(name) is not None]
                answer = "" if entry["answer"] is None else str(entry["answer"])
                yield str(entry.get("question") or "/".join(keys)), (answer, entry.get("asked"))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RecordError(f"{path}, line {number}: needs 'answer' and 'question' or 'id' ({error})") from error
