"""``plan_tasks``: which tasks are asked about which records, in which words; ``plan_questions``: the questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from facekit.counted import counted
from facekit.data.dataset import RecordSet
from facekit.data.records import FaceRecord
from facekit.errors import RecordError
from facekit.evaluation.tasks.definitions import Task
from facekit.evaluation.tasks.prompts import RECORDED, TRAINED, PromptStyle
from facekit.evaluation.tasks.questions import Question
from facekit.evaluation.tasks.sampling import choose_stratified, stratum_of


@dataclass(frozen=True, eq=False)
class AskedTask:
    """A task as it is asked.

    Args:
        task: The task, in its words.
        indices: The records that are asked about, in order.
        labelled: How many records have a label of it.
        is_recorded: Whether the answers are recorded ones, so that nothing is asked.
    """

    task: Task
    indices: tuple[int, ...]
    labelled: int
    is_recorded: bool = False

    def prompts(self, truths: Sequence[Any]) -> dict[str, str]:
        """Every text that is asked about faces of these labels: by label, where each is asked for, else under ``""``.

        Of recorded answers there are none, because they may be answers to other words.
        """
        if self.is_recorded:
            return {}
        return {item: text for truth in truths for item, text in self.task.questions(truth).items()}


def plan_tasks(
    records: RecordSet,
    tasks: Sequence[Task],
    scoring: str = "generation",
    *,
    prompts: PromptStyle | None = None,
    limit: int | None = None,
    max_new_tokens: int | None = None,
) -> list[AskedTask]:
    """Choose the tasks that can be asked, and what each is asked about.

    Args:
        records: The records.
        tasks: The tasks; those without a label are left out. With ``likelihood`` those that ask for a list are asked
            label by label, and those without options are left out.
        scoring: ``generation`` or ``likelihood``.
        prompts: The words; those that facekit's models are trained on where it is None.
        limit: Ask about so many records of each task, a sample that has every label in its share.
        max_new_tokens: Longest answer in tokens; by default each task's own.

    Raises:
        RecordError: No task can be asked.
        ConfigurationError: A task has no prompt.
    """
    style = prompts or PromptStyle(TRAINED)
    planned = []
    if scoring == "likelihood":
        tasks = list({each.name: each for each in (task.one_by_one or task for task in tasks)}.values())
    ids: list[str] = []
    columns: list[list[Any]] = [[] for _ in tasks]
    for record in records.records:  # once: of a large file each is read where it is asked for
        ids.append(record.id)
        for column, task in zip(columns, tasks, strict=True):
            column.append(task.truth(record.labels))
    for task, found in zip(tasks, columns, strict=True):
        labelled = [index for index, truth in enumerate(found) if truth is not None]
        if not labelled or (scoring == "likelihood" and not task.options):
            continue
        truths = [found[index] for index in labelled]
        keys = [ids[index] for index in labelled]
        chosen = choose_stratified(keys, [stratum_of(truth) for truth in truths], limit)
        adapted = style.phrase(task.adapt(task, truths) if task.adapt is not None else task, truths)
        if max_new_tokens is not None:
            adapted = replace(adapted, max_new_tokens=max_new_tokens)
        indices = tuple(labelled[index] for index in chosen)
        planned.append(AskedTask(adapted, indices, len(labelled), style.name == RECORDED))
    if not planned:
        wanted = "a label" if scoring != "likelihood" else "a label, with options to choose from,"
        raise RecordError(
            f"none of {counted(len(records), 'record')} in {records.folder} has {wanted} of the tasks "
            f"{', '.join(task.name for task in tasks)}"
        )
    style.check([each.task for each in planned])
    return planned


def keep_asked(records: RecordSet, planned: Sequence[AskedTask]) -> tuple[RecordSet, list[AskedTask]]:
    """The records that any task asks about, in memory, and the tasks with their indices among them."""
    chosen = sorted({index for each in planned for index in each.indices})
    places = {index: place for place, index in enumerate(chosen)}
    kept = RecordSet(tuple(records.records[index] for index in chosen), records.folder)
    return kept, [replace(each, indices=tuple(places[index] for index in each.indices)) for each in planned]


def plan_questions(records: RecordSet, planned: Sequence[AskedTask]) -> list[Question]:
    """All questions, those about a record one after the other."""
    about = [(each.task, frozenset(each.indices)) for each in planned]
    return [
        question
        for index, record in enumerate(records.records)
        for task, indices in about
        if index in indices
        for question in _ask(task, record, records)
    ]


def question_id(record: FaceRecord, task: Task, item: str = "") -> str:
    """The id of a task's question about a record: ``RECORD/TASK`` or ``RECORD/TASK/ITEM``."""
    return f"{record.id}/{task.name}/{item}" if item else f"{record.id}/{task.name}"


def _ask(task: Task, record: FaceRecord, records: RecordSet) -> Iterator[Question]:
    for item, text in task.questions(task.truth(record.labels)).items():
        yield Question(
            question_id(record, task, item),
            text,
            record=record,
            folder=records.folder,
            max_new_tokens=task.max_new_tokens,
            options=task.options,
        )
