"""A recipe of data generation: aspects to ask about, prompts for the annotator, and what is stored, as one short YAML.

The known labels go into the annotator's prompt and never into the stored question: the label helps the annotator and
is hidden from the student (Otroshi Shahreza and Marcel, "FaceLLM", arXiv 2507.10300).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from facekit.answers.fencing import FENCED
from facekit.datagen.facts import compile_template
from facekit.datagen.instructions import load_instructions
from facekit.endpoints.languages import Language, language_of
from facekit.endpoints.pictures import LARGEST_SIDE, SMALLEST_SIDE, check_image_side
from facekit.errors import ConfigurationError, FaceKitError, RecordError, yaml_fault
from facekit.spec import closest_match_hint

NAMES = ("fairfacegpt", "faceinstruct")
"""The recipes that facekit comes with."""

Text = Annotated[str, Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Aspect(_Model):
    """One question about a face.

    Attributes:
        prompt: What the annotator is asked; a template over facts, so that it may hold the labels.
        question: The stored question, which holds none; give either this or ``instructions``.
        instructions: Name of a list of instructions, or path of a YAML list of them, of which each record gets one.
        requires: Facts without which a record is not asked about.
        template: The template annotator's answer.
        checks: Labels that the answer must not contradict: tasks, ``gender`` or ``age_group``.
        max_tokens: Longest answer; None for the recipe's.
        minimum_words: Shorter answers are dropped; in Chinese and Japanese two characters count as a word.
    """

    prompt: Text
    question: Text | None = None
    instructions: Text | None = None
    requires: tuple[Text, ...] = ()
    template: Text | None = None
    checks: tuple[Text, ...] = ()
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    minimum_words: Annotated[int, Field(ge=1)] = 4

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if (self.question is None) == (self.instructions is None):
            raise ValueError("give exactly one of 'question' and 'instructions'")
        return self


class Rating(_Model):
    """How a judge rates an answer.

    Attributes:
        system: The judge's system prompt.
        prompt: What it is asked; a template over facts, ``question``, ``answer`` and ``known`` (the labels in words).
        threshold: Lowest overall rating that is kept.
        max_tokens: Longest reply.
    """

    system: Text
    prompt: Text
    threshold: Annotated[float, Field(ge=1.0, le=10.0)] = 7.0
    max_tokens: Annotated[int, Field(ge=1)] = 200


class Recipe(_Model):
    """A whole recipe.

    Attributes:
        name: Its name.
        summary: One line.
        version: Raised by hand where the meaning of the prompts changes.
        system: The annotator's system prompt.
        aspects: What is asked, by name, in order.
        rating: How answers are rated; None where they are not.
        words: What values of facts are called in prompts.
        conversation: ``joined`` stores all answers about a face in one record; ``single`` makes a record of each.
        structured: Ask for JSON where the endpoint can; plain text is understood all the same.
        language: In which answers are wanted; None for that of the prompts. Answers in another are dropped.
        image_side: Longest side, in pixels, at which pictures are sent.
        frames: Frames of a clip that are sent.
        max_tokens: Longest answer.
        temperature: Of sampling; None for the endpoint's default.
        second_tries: How often a refused, empty, cut off or leaking answer is asked for again.
        duplicate_similarity: Share of common word triples from which a longer answer is a duplicate of an earlier
            one; None keeps all.
    """

    name: Text
    summary: str = ""
    version: Annotated[int, Field(ge=1)] = 1
    system: Text
    aspects: Annotated[dict[Text, Aspect], Field(min_length=1)]
    rating: Rating | None = None
    words: dict[str, dict[str, str]] = Field(default_factory=dict)
    conversation: Literal["joined", "single"] = "joined"
    structured: bool = True
    language: Language | None = None
    image_side: Annotated[int, Field(ge=SMALLEST_SIDE, le=LARGEST_SIDE)] = 512
    frames: Annotated[int, Field(ge=1, le=64)] = 8
    max_tokens: Annotated[int, Field(ge=1)] = 512
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    second_tries: Annotated[int, Field(ge=0, le=5)] = 1
    duplicate_similarity: Annotated[float, Field(gt=0.0, le=1.0)] | None = 0.9

    @model_validator(mode="after")
    def _templates_compile(self) -> Self:
        for name, aspect in self.aspects.items():
            for template in (aspect.prompt, aspect.template or ""):
                try:
                    compile_template(template)
                except ConfigurationError as error:
                    raise ValueError(f"aspect '{name}': {error}") from error
        return self

    def answer_language(self) -> str | None:
        """The language of the answers; None where it is not given and the prompts do not show it."""
        return self.language or _language_of_prompts(" ".join(aspect.prompt for aspect in self.aspects.values()))

    def prompt_version(self, aspect: str) -> str:
        """The version of an aspect's prompt and its settings; changes with every word of it."""
        chosen = self.aspects[aspect]
        return self._version(
            self.system, chosen.prompt, self.words, self.image_side, self.frames, chosen.max_tokens or self.max_tokens
        )

    def rating_version(self, aspect: str) -> str:
        """The version of the judge's prompt about an aspect's answer."""
        rating = self.rating
        if rating is None:
            raise ConfigurationError(f"the recipe '{self.name}' has no rating; add one to rate answers")
        return self._version(rating.system, FENCED, rating.prompt, self.prompt_version(aspect))

    def prompt_versions(self) -> dict[str, str]:
        """Prompt version by aspect."""
        return {name: self.prompt_version(name) for name in self.aspects}

    def rating_versions(self) -> dict[str, str]:
        """Rating version by aspect."""
        return {name: self.rating_version(name) for name in self.aspects}

    def _version(self, *parts: Any) -> str:
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{self.version}-{digest[:10]}"

    def only(self, aspects: list[str]) -> Recipe:
        """The recipe with some of its aspects; raises ``ConfigurationError`` with the closest match."""
        for name in aspects:
            if name not in self.aspects:
                hint = closest_match_hint(name, self.aspects)
                raise ConfigurationError(f"the recipe '{self.name}' has no aspect '{name}'{hint}")
        return self.model_copy(update={"aspects": {name: self.aspects[name] for name in aspects}})

    def with_image_side(self, image_side: int) -> Recipe:
        """The recipe with pictures of another size; raises ``ConfigurationError`` where it is out of range."""
        check_image_side(image_side)
        return self.model_copy(update={"image_side": image_side})


@lru_cache(maxsize=64)
def _language_of_prompts(prompts: str) -> str | None:
    return language_of(re.sub(r"\{\{.*?\}\}|\{%.*?%\}", " ", prompts))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Load a recipe of facekit's by name, or one's own by path.

    Args:
        name_or_path: One of ``NAMES``, or the path of a YAML file.

    Raises:
        ConfigurationError: If there is no such recipe, or it is wrong; the message has the file, the key and, for an
            unknown key, the closest one.
    """
    text = str(name_or_path)
    if text in NAMES:
        return parse_recipe((resources.files("facekit.datagen") / "recipes" / f"{text}.yaml").read_text("utf-8"), text)
    path = Path(name_or_path).expanduser()
    if not path.is_file():
        raise ConfigurationError(
            f"there is no recipe '{text}'{closest_match_hint(text, NAMES)}; give a name or the path of a YAML file"
        )
    try:
        return parse_recipe(path.read_text(encoding="utf-8"), str(path), path.parent)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the recipe {path} cannot be read ({yaml_fault(error)})") from error


def parse_recipe(text: str, source: str, folder: Path | None = None) -> Recipe:
    """Parse the YAML of a recipe.

    Args:
        text: The YAML.
        source: What messages call it.
        folder: What paths in it are relative to.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"the recipe {source} is not YAML ({yaml_fault(error)})") from error
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"the recipe {source} is no table of keys and values; see the built-in ones")
    try:
        recipe = Recipe.model_validate({"name": Path(source).stem, **_resolved(values, folder)})
        for aspect in recipe.aspects.values():
            if aspect.instructions is not None:
                load_instructions(aspect.instructions)
    except ValidationError as error:
        raise ConfigurationError(f"recipe {source}: {_explain(error)}") from error
    except (RecordError, ConfigurationError) as error:
        raise _named(error, source) from error
    return recipe


def _resolved(values: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """Make paths of instruction lists relative to the recipe's folder."""
    aspects = values.get("aspects")
    if folder is None or not isinstance(aspects, Mapping):
        return dict(values)
    resolved = {}
    for name, aspect in aspects.items():
        listed = aspect.get("instructions") if isinstance(aspect, Mapping) else None
        if isinstance(listed, str) and listed.endswith((".yaml", ".yml")):
            aspect = {**aspect, "instructions": str(folder / listed)}
        resolved[name] = aspect
    return {**values, "aspects": resolved}


def _explain(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    path = problem["loc"]
    where = ".".join(str(part) for part in path)
    if problem["type"] == "extra_forbidden":
        known = Aspect if path[0] == "aspects" else Rating if path[0] == "rating" else Recipe
        return f"unknown key '{where}'{closest_match_hint(str(path[-1]), known.model_fields)}"
    if problem["type"] == "missing":
        return f"the key '{where}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    shown = repr(problem.get("input"))
    return f"{where + ': ' if where else ''}{message} (got {shown if len(shown) <= 60 else shown[:57] + '...'})"


def _named(error: FaceKitError, source: str) -> ConfigurationError:
    return ConfigurationError(f"recipe {source}: {error}")
