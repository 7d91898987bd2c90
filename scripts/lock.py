"""Write ``constraints.txt``: the versions of this environment, in which the tests passed.

    make lock                       # from .venv, after `make test`
    make lock VENV=.venv-newest     # from the environment of `make newest`

It holds what facekit and its extras need, in turn, as far as it is installed. Torch and what comes with it differ
between machines and get ranges in place of versions: those of the extra ``tested`` in ``pyproject.toml``, and the
installed major version of NVIDIA's packages, whose exact versions torch itself pins.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts.requirements import RequirementsError, direct_requirements, read_project

INSTALLERS = frozenset({"pip", "setuptools", "wheel"})  # the build's concern, and torch caps setuptools by itself
OF_NVIDIA = ("nvidia-", "cuda-")
REQUIRED_EXTRA = "dev"  # what `make test` installs: without it this is no environment that the tests passed in
RANGES_EXTRA = "tested"

HEAD = """\
# The versions that facekit's tests passed with; made by `make lock` (scripts/lock.py) on Python {python}.
# Use: pip install --constraint constraints.txt ...
# A constraint installs nothing: it counts where something requires that package, so one that another version of
# Python does not need does no harm there, and one that only another version needs is resolved freely.
"""


def installed_version(name: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def requirements_of(name: str) -> list[Requirement]:
    """Return what an installed distribution requires, extras included with their markers."""
    return [Requirement(line) for line in importlib.metadata.requires(name) or []]


def closure(
    roots: Iterable[Requirement],
    version_of: Callable[[str], str | None] = installed_version,
    requires: Callable[[str], list[Requirement]] = requirements_of,
) -> dict[str, Version]:
    """Return name and version of what is installed among some requirements and all that they need in turn."""
    found: dict[str, Version] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(requirement, "") for requirement in roots]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        version = version_of(name)
        if version is None:
            continue
        found[name] = Version(version)
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                waiting += [(each, wanted) for each in requires(name)]
    return found


def missing(requirements: Iterable[Requirement]) -> list[str]:
    """Return the names of requirements that hold here and are not installed."""
    wanted = [each.name for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    return sorted({name for name in wanted if installed_version(name) is None})


def constraint(name: str, version: Version, ranges: dict[str, str]) -> str:
    """Return the line for one package: its range where builds differ between machines, else its exact version."""
    if name in ranges:
        return ranges[name]
    if name.startswith(OF_NVIDIA):
        return f"{name}>={version.major},<{version.major + 1}"
    return f"{name}=={version.public}"


def lock() -> str:
    """Return the text of ``constraints.txt`` for this environment.

    Raises:
        RequirementsError: A package that the tests need is missing here.
    """
    project = read_project()
    absent = missing(direct_requirements(project, [REQUIRED_EXTRA]))
    if absent:
        raise RequirementsError(
            f"the tests did not pass here, since {', '.join(absent)} is missing; run `make test` first"
        )
    tested = project["optional-dependencies"][RANGES_EXTRA]
    ranges = {canonicalize_name(Requirement(line).name): line for line in tested}
    versions = closure(direct_requirements(project, project["optional-dependencies"]))
    names = sorted((versions.keys() | ranges.keys()) - INSTALLERS)
    lines = [constraint(name, versions.get(name, Version("0")), ranges) for name in names]
    return HEAD.format(python=".".join(platform.python_version_tuple()[:2])) + "\n".join(lines) + "\n"


def main() -> None:
    """Write the file named by the only argument."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m scripts.lock constraints.txt")
    try:
        text = lock()
    except RequirementsError as error:
        raise SystemExit(f"lock: {error}") from error
    Path(sys.argv[1]).write_text(text, encoding="utf-8")
    print(f"{sys.argv[1]}: {sum(not line.startswith('#') for line in text.splitlines())} packages")


if __name__ == "__main__":
    main()
