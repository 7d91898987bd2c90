"""Reward functions as TRL calls them: completions and the records' columns in, a number or None for each out.

A function returns None where it has nothing to say, such as for another task, and TRL leaves it out of the sum. They
may be called by hand, or from a notebook, all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import ValidationError

from facekit.data.labels import FaceLabels
from facekit.errors import ConfigurationError, first_line
from facekit.training.rewards.guards import find_hack
from facekit.training.rewards.scoring import SAME_PERSON, score_answer, score_format, score_verification

Completion: TypeAlias = str | Sequence[Mapping[str, Any]]
RewardFunction: TypeAlias = Callable[..., list[float | None]]


def face_reward(
    completions: Sequence[Completion],
    task: Sequence[str | None],
    labels: Sequence[FaceLabels | Mapping[str, Any] | str | None],
    prompts: Sequence[Completion] | None = None,
    **columns: Any,
) -> list[float | None]:
    """Reward answers to the five tasks, see ``facekit.training.rewards.scoring``; each from 0 to 1.

    Args:
        completions: What the model wrote: texts, or chats of one message.
        task: The records' tasks; answers to other tasks than the five get None.
        labels: The records' labels, as objects, tables or JSON; keys without a value count as not annotated, because
            a data set of the Hugging Face kind adds such keys to every row.
        prompts: What was asked; the last message tells what a mere "yes" answers.
        **columns: The others. Of ``log_metric``, which TRL passes, the share of refused answers is logged; answers that
            are true in ``cut``, because they did not end within the longest length, score 0.

    Raises:
        ConfigurationError: There are not as many tasks or labels as completions, or labels are none.
    """
    _check_lengths(completions, task=task, labels=labels)
    texts = [text_of(each) for each in completions]
    questions = [""] * len(texts) if prompts is None else [text_of(each) for each in prompts]
    if callable(columns.get("log_metric")) and texts:
        columns["log_metric"]("refused", sum(find_hack(text) is not None for text in texts) / len(texts))
    scores = [
        None if name is None else score_answer(name, text, read_labels(known), question)
        for name, text, known, question in zip(task, texts, labels, questions, strict=True)
    ]
    return _without_cut([None if score is None else score.value for score in scores], columns)


def verification_reward(
    completions: Sequence[Completion],
    same: Sequence[bool | None],
    prompts: Sequence[Completion] | None = None,
    **columns: Any,
) -> list[float | None]:
    """Reward answers on whether two pictures show the same person, see ``score_verification``; each from 0 to 1.

    Args:
        completions: What the model wrote.
        same: Whether they do; None for records that are about something else.
        prompts: What was asked.
        **columns: The others; of ``cut`` see ``face_reward``.

    Raises:
        ConfigurationError: There are not as many values as completions.
    """
    _check_lengths(completions, same=same)
    questions = [SAME_PERSON] * len(completions) if prompts is None else [text_of(each) for each in prompts]
    values = [
        None if truth is None else score_verification(text_of(each), truth, question).value
        for each, truth, question in zip(completions, same, questions, strict=True)
    ]
    return _without_cut(values, columns)


def format_reward(completions: Sequence[Completion], **columns: Any) -> list[float | None]:
    """Reward the form ``<think>reasons</think><answer>answer</answer>``, see ``score_format``; each 0 or 1.

    Args:
        completions: What the model wrote.
        **columns: The records' columns; of ``cut`` see ``face_reward``.
    """
    return _without_cut([score_format(text_of(each)).value for each in completions], columns)


REWARDS: dict[str, RewardFunction] = {
    "face": face_reward,
    "verification": verification_reward,
    "format": format_reward,
}
"""Name in recipes to function."""


def text_of(completion: Completion) -> str:
    """The words of the last message of a chat, or a text as it is."""
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content", "") if completion else ""
    if isinstance(content, str):
        return content
    return "\n".join(str(entry["text"]) for entry in content if entry.get("type") == "text")


def read_labels(known: FaceLabels | Mapping[str, Any] | str | None) -> FaceLabels:
    """A record's labels from a column of a data set.

    Raises:
        ConfigurationError: They are no labels.
    """
    if isinstance(known, FaceLabels):
        return known
    try:
        if isinstance(known, str):
            return FaceLabels.model_validate_json(known)
        return FaceLabels.model_validate(_without_none(known or {}))
    except ValidationError as error:
        raise ConfigurationError(f"the column 'labels' holds no labels of a record: {first_line(error)}") from error


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: _without_none(value) if isinstance(value, Mapping) else value for name, value in table.items()}
    return {name: value for name, value in kept.items() if value is not None and value != {}}


def _without_cut(values: list[float | None], columns: Mapping[str, Any]) -> list[float | None]:
    cut = columns.get("cut") or [False] * len(values)
    _check_lengths(values, cut=cut)
    return [0.0 if is_cut and value is not None else value for value, is_cut in zip(values, cut, strict=True)]


def _check_lengths(completions: Sequence[Any], **columns: Sequence[Any]) -> None:
    for name, values in columns.items():
        if len(values) != len(completions):
            raise ConfigurationError(f"there are {len(completions)} completions, but {len(values)} values of '{name}'")
