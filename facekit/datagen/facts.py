"""Facts about a face, in the words that prompts use.

A fact is a group (``gender``, ``race``, ``age_group`` and whatever else a record has), one of the five labels, or
``person``, the noun that fits both. Prompts are templates over facts; a fact that a record lacks is undefined there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, UndefinedError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from facekit.data.labels import TASKS, FaceLabels
from facekit.data.records import FaceRecord
from facekit.data.templates import label_words
from facekit.errors import ConfigurationError, RecordError

LACKS_FACT = "the prompt needs what the record does not have"
"""How a reason says that a label or group is missing."""

OLDEST_CHILD = 10
"""Below this many years a person is called a boy or a girl, as FairFaceGPT does for the group 3-9."""

_NOUNS = {
    "man": ("man", "boy"), "male": ("man", "boy"), "woman": ("woman", "girl"), "female": ("woman", "girl"),
}  # fmt: skip
_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)

Words = Mapping[str, Mapping[str, str]]


def record_facts(record: FaceRecord, words: Words | None = None) -> dict[str, str]:
    """The facts of a record.

    Args:
        record: The record.
        words: For a fact, what its values are called, such as ``{"race": {"Latino_Hispanic": "Latino or Hispanic"}}``;
            a value that is not listed stands for itself.

    Returns:
        Words by the fact's name.
    """
    return facts_of(record.labels, record.groups, words)


def facts_of(labels: FaceLabels, groups: Mapping[str, str], words: Words | None = None) -> dict[str, str]:
    """The facts of a record by its labels and groups; see ``record_facts``."""
    facts = dict(groups)
    for task in TASKS:
        if is_known(task, labels, groups):
            facts[task] = label_words(task, labels)
    facts["person"] = _person(facts)
    for name, forms in (words or {}).items():
        if name in facts:
            facts[name] = forms.get(facts[name], facts[name])
    return facts


def is_known(name: str, labels: Any, groups: Mapping[str, str]) -> bool:
    """Whether a record has a fact, without putting it into words.

    Args:
        name: A task or a group.
        labels: The labels, as ``FaceLabels`` or as the table that stands in a records file.
        groups: The groups.
    """
    if name not in TASKS:
        return name in groups
    field = "manipulated" if name == "manipulation" else name
    value = labels.get(field) if isinstance(labels, Mapping) else getattr(labels, field)
    return value is not None


def fill(template: str, facts: Mapping[str, Any]) -> str:
    """Fill a template with facts; runs of blank space become one space.

    Raises:
        RecordError: If the template needs a fact that is not there.
        ConfigurationError: If the template is wrong.
    """
    try:
        text = compile_template(template).render(facts)
    except UndefinedError as error:
        raise RecordError(f"{LACKS_FACT} ({error.message})") from error
    except TemplateError as error:
        raise ConfigurationError(f"the template {template[:60]!r} cannot be filled in ({error})") from error
    paragraphs = (re.sub(r"\s+", " ", paragraph).strip() for paragraph in re.split(r"\n\s*\n", text))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


@lru_cache(maxsize=1024)
def compile_template(template: str) -> Template:
    """Compile a Jinja template, in a sandbox; raises ``ConfigurationError`` where it is not one."""
    try:
        return _ENVIRONMENT.from_string(template)
    except TemplateError as error:
        raise ConfigurationError(f"the template {template[:60]!r} is not a Jinja template ({error})") from error


@lru_cache(maxsize=1024)
def template_names(template: str) -> frozenset[str]:
    """The facts that a template may ask for."""
    return frozenset(meta.find_undeclared_variables(_ENVIRONMENT.parse(template)))


def _person(facts: Mapping[str, str]) -> str:
    age = facts.get("age") or facts.get("age_group", "")
    years = re.match(r"\d+", age)
    child = int(years[0]) < OLDEST_CHILD if years else age in ("child", "baby", "infant")
    adult, young = _NOUNS.get(facts.get("gender", "").lower(), ("person", "child"))
    return young if child else adult
