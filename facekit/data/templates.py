"""Hand-written questions and answers for the five tasks.

The wordings are varied so that a model learns the question's meaning, and short so that a small one can. Every
answer can be parsed: it holds the label's own words from ``facekit.data.labels``, and of ``manipulated`` and
``genuine`` exactly one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facekit.data.labels import SYNTHETIC_ATTRIBUTES, TASKS, FaceLabels
from facekit.data.records import Turn
from facekit.errors import ConfigurationError, RecordError

__all__ = [
    "ANSWERS",
    "QUESTIONS",
    "TASKS",
    "canonical_question",
    "phrase_answer",
    "phrase_question",
    "write_conversation",
]

QUESTIONS: dict[str, tuple[str, ...]] = {
    "expression": (
        "Which expression does this face show?",
        "What is the facial expression?",
        "Name the expression of this person.",
        "What emotion does the face show?",
        "How does this person seem to feel?",
        "Which emotion can you read in this face?",
        "Tell me the expression on the face.",
        "What feeling is on this face?",
        "Classify the facial expression.",
        "Which of the seven expressions is this?",
        "What mood does the face express?",
        "Describe the emotion in one word.",
        "Say which expression you see.",
    ),
    "action_units": (
        "Which action units are active?",
        "List the facial action units.",
        "Which AUs can you see?",
        "Name the active AUs of this face.",
        "What facial action units are present?",
        "Which facial muscles move? Answer in AUs.",
        "Give the FACS codes of this face.",
        "Code this face with action units.",
        "Tell me all active action units.",
        "Which units of FACS does the face show?",
        "What AUs make up this expression?",
        "Detect the action units.",
        "List every AU that you see.",
    ),
    "attributes": (
        "Which attributes does this face have?",
        "List the visible attributes.",
        "What does this person wear and look like?",
        "Name the attributes of the face.",
        "Describe hair, makeup and accessories.",
        "Which facial attributes are present?",
        "What attributes can you see?",
        "Tell me the attributes of this person.",
        "What is visible on and around the face?",
        "Give the list of face attributes.",
        "Detect the facial attributes.",
        "How would you describe the look of this face?",
        "Say what attributes you see.",
    ),
    "age": (
        "How old is this person?",
        "What is the age of this person?",
        "Estimate the age.",
        "How many years old is the person?",
        "What age does the face show?",
        "Guess the age of this face.",
        "Tell me how old the person looks.",
        "About how old is this face?",
        "Give the age in years.",
        "Which age would you say?",
        "What age do you estimate?",
        "How old would you say the person is?",
        "Say the age of the person.",
    ),
    "manipulation": (
        "Is this picture genuine or manipulated?",
        "Was this face manipulated?",
        "Is the face real or fake?",
        "Has this picture been altered?",
        "Can this picture be trusted?",
        "Is this a deepfake?",
        "Was a part of the face replaced?",
        "Do you see signs of forgery?",
        "Tell me if the face was edited.",
        "Check the picture for manipulation.",
        "Is the picture authentic?",
        "Did someone tamper with this face?",
        "Say whether the picture is genuine.",
    ),
}
"""Wordings of each task's question; the first is the one that evaluation asks."""

ANSWERS: dict[str, tuple[str, ...]] = {
    "expression": (
        "The expression is {}.",
        "It is {}.",
        "I would say {}.",
        "Expression: {}.",
        "The best word is {}.",
        "I would call it {}.",
        "The face reads as {}.",
    ),
    "action_units": (
        "The active units are {}.",
        "I see {}.",
        "Active: {}.",
        "This face shows {}.",
        "The face has {}.",
        "These are active: {}.",
        "I would code {}.",
    ),
    "attributes": (
        "The person has {}.",
        "I see {}.",
        "Visible: {}.",
        "This face shows {}.",
        "The face has {}.",
        "It shows {}.",
        "I would list {}.",
    ),
    "age": (
        "The person is about {} years old.",
        "About {} years old.",
        "I would say {} years.",
        "The age is about {} years.",
        "This looks like {} years.",
        "I estimate {} years.",
        "Around {} years old.",
    ),
    "manipulation": (
        "The picture is {}.",
        "This face is {}.",
        "It is {}.",
        "I would say {}.",
        "This looks {}.",
        "The face seems {}.",
        "It looks {} to me.",
    ),
}
"""Wordings of each task's answer, with a gap for the label."""

NO_UNITS = "no action units"
NO_ATTRIBUTES = "none of the attributes"


def canonical_question(task: str) -> str:
    """The question that evaluation asks for a task.

    Args:
        task: One of ``TASKS``.

    Returns:
        One of the task's wordings.

    Raises:
        ConfigurationError: If there is no such task.

    Examples:
        >>> from facekit.data import canonical_question
        >>> canonical_question("age")
        'How old is this person?'
    """
    return _wordings(QUESTIONS, task)[0]


def phrase_question(task: str, rng: np.random.Generator) -> str:
    """Draw a wording of a task's question.

    Args:
        task: One of ``TASKS``.
        rng: Source of randomness.

    Returns:
        The question.

    Raises:
        ConfigurationError: If there is no such task.
    """
    return _draw(_wordings(QUESTIONS, task), rng)


def phrase_answer(task: str, labels: FaceLabels, rng: np.random.Generator) -> str:
    """Draw a wording of a task's answer.

    Args:
        task: One of ``TASKS``.
        labels: Labels that include the one the task asks for.
        rng: Source of randomness.

    Returns:
        The answer, such as ``"I see AU6, AU12 and AU25."``.

    Raises:
        ConfigurationError: If there is no such task.
        RecordError: If the labels lack what the task asks for.
    """
    return _draw(_wordings(ANSWERS, task), rng).format(label_words(task, labels))


def write_conversation(labels: FaceLabels, rng: np.random.Generator, *, questions: int | None = None) -> list[Turn]:
    """Ask and answer about everything that is known, in random order and wording.

    Args:
        labels: The annotations; tasks without one are not asked about.
        rng: Source of randomness.
        questions: Most questions to ask; ``None`` asks about every annotated task.

    Returns:
        Question and answer in turn, each with its task.
    """
    known = [task for task in TASKS if getattr(labels, _field(task)) is not None]
    turns = []
    for index in rng.permutation(len(known))[:questions]:
        task = known[int(index)]
        turns.append(Turn(role="user", content=phrase_question(task, rng), task=task))
        turns.append(Turn(role="assistant", content=phrase_answer(task, labels, rng), task=task))
    return turns


def label_words(task: str, labels: FaceLabels) -> str:
    """The words that a task's answer has in common over all its wordings.

    Args:
        task: One of ``TASKS``.
        labels: Labels that include the one the task asks for.

    Returns:
        For example ``"happiness"``, ``"AU6, AU12 and AU25"``, ``"eyeglasses and brown hair"``, ``"34"`` or
        ``"genuine"``.

    Raises:
        ConfigurationError: If there is no such task.
        RecordError: If the labels lack what the task asks for.
    """
    _wordings(ANSWERS, task)
    field = _field(task)
    if getattr(labels, field) is None:
        raise RecordError(f"the labels have no '{field}', so the question about {task} has no answer; leave it out")
    if task == "expression":
        return str(labels.expression)
    if task == "action_units":
        return _enumerate(labels.active_units()) or NO_UNITS
    if task == "attributes":
        present = labels.present_attributes()
        return _enumerate([attribute_words(name) for name in present]) or NO_ATTRIBUTES
    if task == "age":
        return str(round(labels.age or 0.0))
    return "manipulated" if labels.manipulated else "genuine"


def attribute_words(name: str) -> str:
    """Natural words for an attribute, such as ``"a hat"`` for ``"Wearing_Hat"``.

    Args:
        name: A CelebA name; names that the synthetic faces do not have are spelled out in lower case.
    """
    return SYNTHETIC_ATTRIBUTES.get(name, name.replace("_", " ").lower())


def _field(task: str) -> str:
    return "manipulated" if task == "manipulation" else task


def _enumerate(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _draw(wordings: Sequence[str], rng: np.random.Generator) -> str:
    return wordings[int(rng.integers(len(wordings)))]


def _wordings(table: dict[str, tuple[str, ...]], task: str) -> tuple[str, ...]:
    if task not in table:
        raise ConfigurationError(f"there is no task {task!r}; the tasks are {', '.join(TASKS)}")
    return table[task]
