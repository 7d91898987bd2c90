"""The five tasks of face understanding: what is asked, what is true, how an answer is read and scored.

A task is data, so that a plugin can register its own under the kind ``task``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from facekit.catalog import current_registry
from facekit.data.labels import ACTIVE_INTENSITY, FaceLabels
from facekit.data.templates import canonical_question
from facekit.evaluation.metrics import (
    action_unit_metrics,
    age_metrics,
    attribute_metrics,
    expression_metrics,
    majority_label,
    majority_presence,
    manipulation_metrics,
    median_age,
)
from facekit.evaluation.parsing import (
    parse_action_units,
    parse_age,
    parse_attributes,
    parse_expression,
    parse_manipulation,
)


@dataclass(frozen=True)
class Task:
    """One task.

    Args:
        name: Its name in the registry and in results.
        title: Its name for people.
        question: What the model is asked.
        truth: The label of a face, or None where it is not annotated.
        parse: The label that an answer names, or None where it names none.
        score: Metrics by name, from truths and predictions.
        constant: The one answer that a model that sees nothing would best give, from the truths of the training set.
        headline: The metric that stands for the task.
        headline_title: Its name for people.
        higher_is_better: Whether the headline grows with quality.
        max_new_tokens: Longest answer in tokens.
    """

    name: str
    title: str
    question: str
    truth: Callable[[FaceLabels], Any | None]
    parse: Callable[[str], Any | None]
    score: Callable[[Sequence[Any], Sequence[Any]], dict[str, float]]
    constant: Callable[[Sequence[Any]], Any]
    headline: str
    headline_title: str
    higher_is_better: bool = True
    max_new_tokens: int = 96


def _active_units(labels: FaceLabels) -> dict[str, bool] | None:
    if labels.action_units is None:
        return None
    return {code: intensity >= ACTIVE_INTENSITY for code, intensity in labels.action_units.items()}


EXPRESSION = Task(
    name="expression",
    title="Expression",
    question=canonical_question("expression"),
    truth=lambda labels: labels.expression,
    parse=parse_expression,
    score=expression_metrics,
    constant=majority_label,
    headline="accuracy",
    headline_title="accuracy",
)
ACTION_UNITS = Task(
    name="action_units",
    title="Action units",
    question=canonical_question("action_units"),
    truth=_active_units,
    parse=parse_action_units,
    score=action_unit_metrics,
    constant=majority_presence,
    headline="mean_f1",
    headline_title="mean F1",
)
ATTRIBUTES = Task(
    name="attributes",
    title="Attributes",
    question=canonical_question("attributes"),
    truth=lambda labels: labels.attributes,
    parse=parse_attributes,
    score=attribute_metrics,
    constant=majority_presence,
    headline="mean_accuracy",
    headline_title="mean accuracy",
)
AGE = Task(
    name="age",
    title="Age",
    question=canonical_question("age"),
    truth=lambda labels: labels.age,
    parse=parse_age,
    score=age_metrics,
    constant=median_age,
    headline="mean_absolute_error",
    headline_title="mean error in years",
    higher_is_better=False,
)
MANIPULATION = Task(
    name="manipulation",
    title="Manipulation",
    question=canonical_question("manipulation"),
    truth=lambda labels: labels.manipulated,
    parse=parse_manipulation,
    score=manipulation_metrics,
    constant=majority_label,
    headline="accuracy",
    headline_title="accuracy",
)

ALL_TASKS = (EXPRESSION, ACTION_UNITS, ATTRIBUTES, AGE, MANIPULATION)


def load_tasks(names: Iterable[str]) -> tuple[Task, ...]:
    """Return registered tasks by name; raises ``UnknownPartError`` with the closest match."""
    return tuple(current_registry().load("task", name) for name in names)
