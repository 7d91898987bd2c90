"""What a run refuses before it reads records or asks anybody, and a dry run too."""

from __future__ import annotations

from pathlib import Path

from facekit.datagen.calls import Annotator
from facekit.datagen.exports import check_exports
from facekit.datagen.outputs import check_recipe
from facekit.datagen.recipe import Recipe
from facekit.datagen.settings import GenerationSettings
from facekit.endpoints.client import EndpointClient
from facekit.errors import ConfigurationError


def has_batches(annotator: Annotator) -> bool:
    """Whether an annotator answers through the Batch API."""
    return isinstance(annotator, EndpointClient)


def check_batches(settings: GenerationSettings, *annotators: Annotator) -> None:
    """Make sure that where batches are asked for somebody has them.

    Raises:
        ConfigurationError: Nobody has.
    """
    if settings.batch and not any(map(has_batches, annotators)):
        named = " and ".join(f"'{each.model}'" for each in annotators)
        raise ConfigurationError(f"batch means nothing for {named}: endpoints alone have batches; leave it out")


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
