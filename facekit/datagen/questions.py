"""Stored questions: the question that goes with an answer, without the labels of its prompt."""

from __future__ import annotations

from facekit.datagen.instructions import choose_instruction, load_instructions
from facekit.datagen.recipe import Recipe
from facekit.errors import ConfigurationError


def stored_question(recipe: Recipe, aspect: str, record: str) -> str:
    """The question of an aspect, or the instruction that a record gets.

    Args:
        recipe: The recipe.
        aspect: One of its aspects.
        record: The record's id.
    """
    asked = recipe.aspects[aspect]
    if asked.question is not None:
        return " ".join(asked.question.split())
    if asked.instructions is None:
        raise ConfigurationError(f"aspect '{aspect}' has neither a question nor instructions; give it one of them")
    return choose_instruction(load_instructions(asked.instructions), record, aspect)
