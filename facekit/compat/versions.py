"""A one-line warning about library versions outside the tested range.

The ranges are those of facekit's own metadata, so that ``pyproject.toml`` alone states them: its requirements, and for
torch those of the extra ``tested``. ``FACEKIT_VERSION_NOTICE=0`` in the environment turns the notice off.
"""

from __future__ import annotations

import importlib.metadata
import logging
import multiprocessing
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

DISTRIBUTION = "facekit-mllm"
LIBRARIES = ("torch", "transformers", "huggingface-hub", "peft", "accelerate", "timm", "open-clip-torch")
ENVIRONMENT_VARIABLE = "FACEKIT_VERSION_NOTICE"

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class UntestedVersion:
    """A library whose installed version is outside its tested range.

    Attributes:
        library: Name of the distribution, normalised.
        installed: Its version here.
        tested: The range, such as ``>=5.17,<5.25``.
    """

    library: str
    installed: str
    tested: str


def declared_ranges() -> dict[str, SpecifierSet]:
    """Return the range of each library that facekit's metadata names; empty where facekit is not installed."""
    wanted = {library: SpecifierSet() for library in LIBRARIES}
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    for line in lines:
        name = _normalised(line)
        if name in wanted:
            wanted[name] &= Requirement(line).specifier
    return {name: specifier for name, specifier in wanted.items() if len(specifier)}


def untested_versions() -> list[UntestedVersion]:
    """Return the installed libraries outside their tested range; one that is not installed is nobody's concern here."""
    found = []
    for name, specifier in declared_ranges().items():
        try:
            installed = importlib.metadata.version(name)
            inside = specifier.contains(Version(installed), prereleases=True)
        except (importlib.metadata.PackageNotFoundError, InvalidVersion):
            continue
        if not inside:
            bounds = sorted({str(bound) for bound in specifier}, reverse=True)  # ">=" before "<"
            found.append(UntestedVersion(name, installed, ",".join(bounds)))
    return found


def describe(untested: Iterable[UntestedVersion]) -> str:
    """Return the notice: what is outside which range, and the command that installs tested versions."""
    untested = list(untested)
    versions = ", ".join(f"{each.library} {each.installed} (tested: {each.tested})" for each in untested)
    wanted = " ".join(f"'{each.library}{each.tested}'" for each in untested)
    return f"facekit was not tested with {versions}; for tested versions run: pip install {wanted}"


@cache
def notice_untested_versions() -> None:
    """Log the notice as a warning, the first time it is called; workers and further ranks leave it to the first one."""
    if os.environ.get(ENVIRONMENT_VARIABLE) == "0" or os.environ.get("RANK", "0") != "0":
        return
    if multiprocessing.parent_process() is not None:
        return
    untested = untested_versions()
    if untested:
        logger.warning("%s", describe(untested))


def _normalised(line: str) -> str:
    """Name of the distribution at the start of a requirement, as package indexes normalise it."""
    found = _NAME.match(line)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""
