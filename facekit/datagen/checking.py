"""What a run refuses before it reads records or asks anybody, and a dry run too."""

from __future__ import annotations

from pathlib import Path

from facekit.datagen.calls import Annotator
from facekit.datagen.exports import check_exports
from facekit.datagen.outputs import check_recipe
from facekit.datagen.recipe import Recipe
from facekit.datagen.settings import GenerationSettings
from facekit.errors import ConfigurationError


def check_run(output: Path, recipe: Recipe, judge: str | Annotator | None, settings: GenerationSettings) -> None:
    """Make sure that a run fits its recipe and its folder.

    Raises:
        ConfigurationError: A judge has nothing to rate, the folder has another recipe's records, or something is in the
            way of an export.
        MissingExtraError: An export needs a package that is not installed.
    """
    if judge is not None and recipe.rating is None:
        raise ConfigurationError(f"the recipe '{recipe.name}' has no rating, so a judge has nothing to do")
    check_recipe(output, recipe)
    check_exports(output, settings.formats)
