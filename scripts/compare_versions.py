"""Print how this environment differs from ``constraints.txt``, or the versions of what facekit requires.

    python -m scripts.compare_versions constraints.txt    # a table: package, constraint, here
    python -m scripts.compare_versions                    # one paragraph: Python, torch, transformers, ...

``make newest`` and ``make oldest`` print the table before the tests and the paragraph after them. Packages of the file
that are not installed here are left out: the file also covers extras that the tests do not need.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import textwrap
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.lock import INSTALLERS, installed_version
from scripts.requirements import direct_requirements, read_project


def read_constraints(path: Path) -> dict[str, Requirement]:
    """Return the constraints of a file by normalised name."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    constraints = [Requirement(line) for line in lines if line]
    return {canonicalize_name(each.name): each for each in constraints}


def differences(constraints: dict[str, Requirement], installed: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return package, constraint and installed version where the two do not agree, or the file has no line for it."""
    rows = []
    for name, version in sorted(installed.items()):
        if name not in constraints:
            rows.append((name, "-", version))
        elif not constraints[name].specifier.contains(version, prereleases=True):
            rows.append((name, str(constraints[name].specifier), version))
    return rows


def table(rows: list[tuple[str, str, str]]) -> str:
    """Return the rows as aligned columns under their heads."""
    lines = [("package", "constraint", "here"), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def installed_packages() -> dict[str, str]:
    """Return what is installed here but installers and facekit itself, by normalised name."""
    own = {canonicalize_name(read_project()["name"]), *INSTALLERS}
    found = {canonicalize_name(each.metadata["Name"]): each.version for each in importlib.metadata.distributions()}
    return {name: version for name, version in found.items() if name not in own}


def summary() -> str:
    """Return Python's version and that of each installed direct requirement of the tests, as a paragraph."""
    names = dict.fromkeys(canonicalize_name(each.name) for each in direct_requirements(read_project(), ["dev"]))
    versions = [f"{name} {version}" for name in names if (version := installed_version(name))]
    return textwrap.fill(", ".join([f"Python {platform.python_version()}", *versions]), width=110)


def main() -> None:
    """Print the table for the file given, or the paragraph without one."""
    if len(sys.argv) == 1:
        print(summary())
        return
    rows = differences(read_constraints(Path(sys.argv[1])), installed_packages())
    print(table(rows) if rows else f"every version here is the one of {sys.argv[1]}")


if __name__ == "__main__":
    main()
