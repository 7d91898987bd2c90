"""What a call is asked with: a digest of the facts that its prompt names. Answers to others are asked for anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache

from facekit.datagen.facts import template_names
from facekit.datagen.recipe import Aspect, Rating

__all__ = ["NOTHING", "asked_with", "rated_with"]

NOTHING = ""
"""What a call was asked with that could not be made."""


def asked_with(aspect: Aspect, facts: Mapping[str, str], *, by_template: bool) -> str:
    """What an aspect is asked with, apart from the words of its prompt, which its version tells.

    Args:
        aspect: The aspect.
        facts: Of the record.
        by_template: Whether the template annotator answers, whose words are in no version.
    """
    if by_template:
        return _shared_digest(aspect.template, _named(aspect.template or "", facts))
    return _shared_digest(_named(aspect.prompt, facts))


def rated_with(rating: Rating, facts: Mapping[str, str], answer: str) -> str:
    """What a judge is asked with: an answer, and the facts that its prompt names, ``known`` among them."""
    return _digest(_named(rating.prompt, facts), answer)


def _named(template: str, facts: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}\0{facts[name]}" for name in sorted(template_names(template)) if name in facts)


def _digest(*parts: object) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()


_shared_digest = lru_cache(maxsize=100_000)(_digest)  # many faces have the same labels
