"""The five tasks of face understanding: question, truth, parser and metrics of each.

A task is data, so that a plugin can register its own under the kind ``task``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from facekit.answers.parsing import (
    parse_action_units,
    parse_age,
    parse_attributes,
    parse_expression,
    parse_manipulation,
    parse_presence,
)
from facekit.answers.readers.ages import read_age
from facekit.answers.readers.attributes import read_attributes
from facekit.answers.readers.expressions import read_expression
from facekit.answers.readers.manipulation import read_manipulation
from facekit.answers.readers.units import read_action_units
from facekit.answers.readers.yes_or_no import read_presence
from facekit.answers.reading import Reading, Rule
from facekit.catalog import current_registry
from facekit.data.labels import ACTION_UNIT_NAMES, ACTIVE_INTENSITY, ALL_EXPRESSIONS, EXPRESSIONS, FaceLabels
from facekit.data.templates import attribute_words, canonical_question
from facekit.errors import ConfigurationError
from facekit.evaluation.metrics.scores import (
    action_unit_metrics,
    age_metrics,
    attribute_metrics,
    expression_metrics,
    majority_label,
    majority_presence,
    manipulation_metrics,
    median_age,
)
from facekit.evaluation.metrics.weighted import (
    Decisions,
    WeightedMetrics,
    decide_expressions,
    decide_manipulation,
    decide_presence,
    weigh_action_units,
    weigh_ages,
    weigh_attributes,
    weigh_expressions,
    weigh_manipulation,
    weigh_scores,
)
from facekit.evaluation.tasks.closed_questions import (
    REAL_OR_FAKE,
    ask_action_units,
    ask_age,
    ask_attributes,
    ask_expression,
    ask_manipulation,
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
        weigh: The metrics as a function of record weights; without it intervals are computed slowly, by ``score``.
        decide: The yes-or-no decisions behind the answers, for equalised odds; None where there are none.
        options: The answers to choose from where likelihoods are compared; empty where that cannot be.
        positive: The option whose likelihood is a score for the area under the ROC curve.
        ask_each: The question about each label of a truth, for tasks that ask one by one; ``question`` is then
            only their description.
        parse_item: The presence of one label, from the answer to its question.
        adapt: The task for a data set with these truths, where it depends on them.
        reader: As ``parse``, with the rule that read the answer and its words; without it, ``parse`` reads alone.
        item_reader: As ``parse_item``, with the rule and the words.
        closed: The question with the labels to choose from and the form of the answer, from the truths of a data set;
            without it, ``question`` is asked of every model.
        closed_options: ``options`` in the words of the closed question, in the same order; empty where they are the
            same.
        one_by_one: The task that asks about the same labels one by one, in place of this one where likelihoods are
            compared; None where this one has options.
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
    weigh: Callable[[Sequence[Any], Sequence[Any]], WeightedMetrics] | None = None
    decide: Callable[[Sequence[Any], Sequence[Any]], Decisions] | None = None
    options: tuple[str, ...] = ()
    positive: str | None = None
    ask_each: Callable[[Any], dict[str, str]] | None = None
    parse_item: Callable[[str, str], bool | None] | None = None
    adapt: Callable[[Task, Sequence[Any]], Task] | None = None
    reader: Callable[[str], Reading[Any]] | None = None
    item_reader: Callable[[str, str], Reading[bool]] | None = None
    closed: Callable[[Sequence[Any]], str] | None = None
    closed_options: tuple[str, ...] = ()
    one_by_one: Task | None = None

    def questions(self, truth: Any) -> dict[str, str]:
        """The questions about a face with this truth: item to text; the item is empty where there is only one."""
        return {"": self.question} if self.ask_each is None else self.ask_each(truth)

    def read(self, answers: Mapping[str, str]) -> Any | None:
        """The prediction that answers by item amount to, or None where none can be read."""
        if self.ask_each is None or self.parse_item is None:
            return self.reading(answers[""]).value
        return {item: self.reading(answer, item).value for item, answer in answers.items()}

    def reading(self, answer: str, item: str = "") -> Reading[Any]:
        """What one answer says, by which rule, and in which of its words.

        Args:
            answer: The answer.
            item: The label that was asked for, for tasks that ask one by one.
        """
        if item and self.parse_item is not None:
            if self.item_reader is not None:
                return self.item_reader(answer, item)
            value: Any | None = self.parse_item(answer, item)
        elif self.reader is not None:
            return self.reader(answer)
        else:
            value = self.parse(answer)
        return Reading(value, Rule.NOTHING if value is None else Rule.OWN)

    def weighted(self, truths: Sequence[Any], predictions: Sequence[Any]) -> WeightedMetrics:
        """The metrics as a function of record weights."""
        if self.weigh is not None:
            return self.weigh(truths, predictions)
        return weigh_scores(self.score, truths, predictions)


def _active_units(labels: FaceLabels) -> dict[str, bool] | None:
    if labels.action_units is None:
        return None
    return {code: intensity >= ACTIVE_INTENSITY for code, intensity in labels.action_units.items()}


def _with_classes(task: Task, truths: Sequence[str]) -> Task:
    """Also read the expressions beyond the seven that a data set has; choose among those that it has.

    A data set of one expression leaves nothing to choose, so there it is chosen among all.
    """
    classes = tuple(name for name in ALL_EXPRESSIONS if name in EXPRESSIONS or name in truths)
    options = tuple(name for name in ALL_EXPRESSIONS if name in truths)
    return replace(
        task,
        parse=partial(parse_expression, classes=classes),
        reader=partial(read_expression, classes=classes),
        options=options if len(options) > 1 else classes,
    )


def _unit_questions(truth: Mapping[str, bool]) -> dict[str, str]:
    named = {code: f"{code} ({ACTION_UNIT_NAMES[code]})" if code in ACTION_UNIT_NAMES else code for code in truth}
    return {code: f"Is this action unit active in the face: {name}? Answer yes or no." for code, name in named.items()}


def _attribute_questions(truth: Mapping[str, bool]) -> dict[str, str]:
    return {name: f"Is this true of the face: {attribute_words(name)}? Answer yes or no." for name in truth}


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
    weigh=weigh_expressions,
    decide=decide_expressions,
    options=EXPRESSIONS,
    adapt=_with_classes,
    reader=read_expression,
    closed=ask_expression,
)
"""The expression: one of seven, and of the others that a data set has labels of; accuracy, UAR and WAR."""

_LISTED_UNITS = Task(
    name="action_units",
    title="Action units",
    question=canonical_question("action_units"),
    truth=_active_units,
    parse=parse_action_units,
    score=action_unit_metrics,
    constant=majority_presence,
    headline="mean_f1",
    headline_title="mean F1",
    weigh=weigh_action_units,
    decide=decide_presence,
    reader=read_action_units,
    closed=ask_action_units,
)
_LISTED_ATTRIBUTES = Task(
    name="attributes",
    title="Attributes",
    question=canonical_question("attributes"),
    truth=lambda labels: labels.attributes,
    parse=parse_attributes,
    score=attribute_metrics,
    constant=majority_presence,
    headline="mean_accuracy",
    headline_title="mean accuracy",
    weigh=weigh_attributes,
    decide=decide_presence,
    reader=read_attributes,
    closed=ask_attributes,
)
ACTION_UNIT_QUESTIONS = replace(
    _LISTED_UNITS,
    name="action_unit_questions",
    title="Action units, one by one",
    question="Is this action unit active in the face: …? Answer yes or no.",
    max_new_tokens=16,
    options=("yes", "no"),
    positive="yes",
    ask_each=_unit_questions,
    parse_item=parse_presence,
    item_reader=read_presence,
    closed=None,
)
"""Each annotated action unit as a question, which share one reading of the picture."""

ATTRIBUTE_QUESTIONS = replace(
    _LISTED_ATTRIBUTES,
    name="attribute_questions",
    title="Attributes, one by one",
    question="Is this true of the face: …? Answer yes or no.",
    max_new_tokens=16,
    options=("yes", "no"),
    positive="yes",
    ask_each=_attribute_questions,
    parse_item=parse_presence,
    item_reader=read_presence,
    closed=None,
)
"""CelebA's forty attributes as forty questions, which share one reading of the picture."""

ACTION_UNITS = replace(_LISTED_UNITS, one_by_one=ACTION_UNIT_QUESTIONS)
"""The active action units, asked for as a list; F1 of each unit and their mean."""

ATTRIBUTES = replace(_LISTED_ATTRIBUTES, one_by_one=ATTRIBUTE_QUESTIONS)
"""CelebA's attributes, asked for as a list; accuracy of each attribute and their mean."""

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
    weigh=weigh_ages,
    options=tuple(str(years) for years in range(1, 101)),
    reader=read_age,
    closed=ask_age,
)
"""The apparent age; mean absolute error in years."""

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
    weigh=weigh_manipulation,
    decide=decide_manipulation,
    options=("genuine", "manipulated"),
    positive="manipulated",
    reader=read_manipulation,
    closed=ask_manipulation,
    closed_options=REAL_OR_FAKE,
)
"""Whether the picture was manipulated; accuracy, and with likelihoods the area under the ROC curve."""

ALL_TASKS = (EXPRESSION, ACTION_UNITS, ATTRIBUTES, AGE, MANIPULATION)
"""The tasks that ``evaluate_model`` asks about by default."""


def load_tasks(names: Iterable[str]) -> tuple[Task, ...]:
    """Return registered tasks by name.

    Raises:
        UnknownPartError: There is no such task; the message has the closest match.
        ConfigurationError: One is named twice.
    """
    chosen = tuple(names)
    twice = next((name for index, name in enumerate(chosen) if name in chosen[:index]), None)
    if twice is not None:
        raise ConfigurationError(f"the task '{twice}' is named twice; leave one of them out")
    return tuple(current_registry().load("task", name) for name in chosen)
