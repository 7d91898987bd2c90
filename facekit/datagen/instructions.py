"""Instruction phrasings of a task, one for each record, chosen reproducibly."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path

import yaml

from facekit.data.labels import TASKS
from facekit.errors import ConfigurationError, yaml_fault
from facekit.spec import closest_match_hint


@lru_cache(maxsize=64)
def load_instructions(name_or_path: str) -> tuple[str, ...]:
    """The phrasings of a task.

    Args:
        name_or_path: A task, for facekit's hundred phrasings, or the path of a YAML list.

    Raises:
        ConfigurationError: If there is no such list, or it holds a blank or repeated phrasing.
    """
    if name_or_path in TASKS:
        source = resources.files("facekit.datagen") / "recipes" / "instructions" / f"{name_or_path}.yaml"
    else:
        source = Path(name_or_path)
        if not source.is_file():
            raise ConfigurationError(
                f"there is no list of instructions '{name_or_path}'{closest_match_hint(name_or_path, TASKS)}"
            )
    try:
        phrasings = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"the instructions {name_or_path} cannot be read ({yaml_fault(error)}); give a YAML list"
        ) from error
    if not isinstance(phrasings, list) or not phrasings or not all(isinstance(text, str) for text in phrasings):
        raise ConfigurationError(
            f"the instructions {name_or_path} are no list of sentences; write one behind each dash of a YAML list"
        )
    check_distinct(phrasings, name_or_path)
    return tuple(phrasings)


def check_distinct(phrasings: Sequence[str], source: str) -> None:
    """Raise ``ConfigurationError`` if a phrasing is blank or occurs twice, apart from case and space."""
    seen: set[str] = set()
    for number, phrasing in enumerate(phrasings, 1):
        plain = " ".join(phrasing.lower().split())
        if not plain or plain in seen:
            raise ConfigurationError(
                f"the instructions {source}, number {number}: blank or repeated ({phrasing!r}); remove it"
            )
        seen.add(plain)


def choose_instruction(phrasings: Sequence[str], record: str, aspect: str) -> str:
    """The phrasing that a record gets; depends on nothing but the record's id and the aspect."""
    digest = hashlib.sha256(f"{record}\0{aspect}".encode()).digest()
    return phrasings[int.from_bytes(digest[:8], "big") % len(phrasings)]
