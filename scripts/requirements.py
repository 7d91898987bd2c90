"""What ``pyproject.toml`` asks for, and requirement files for both ends of it.

    python -m scripts.requirements floors    # constraints: every direct requirement at its lower bound
    python -m scripts.requirements newest    # requirements without upper bounds; --pre NAME lets pre-releases in

``make oldest`` and ``make newest`` install from these; ``scripts.lock`` and ``scripts.compare_versions`` read the same
lists. pip resolves what the requirements need in turn.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
LOWER_BOUNDS = (">=", "~=", "==")
PLATFORM_BUILDS = ("torch", "torchvision", "triton")


class RequirementsError(Exception):
    """pyproject.toml or the environment is not as these scripts need it; the message says what to mend."""


def read_project(pyproject: Path = PYPROJECT) -> dict[str, Any]:
    """Return the ``[project]`` table of a pyproject file."""
    return tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]


def direct_requirements(project: dict[str, Any], extras: Iterable[str]) -> list[Requirement]:
    """Return a project's own requirements and those of some extras, the extras that they name in turn followed.

    Raises:
        RequirementsError: No such extra.
    """
    own_name, optional = canonicalize_name(project["name"]), project.get("optional-dependencies", {})
    found = [Requirement(line) for line in project["dependencies"]]
    waiting, seen = list(extras), set()
    while waiting:
        extra = waiting.pop(0)
        if extra in seen:
            continue
        seen.add(extra)
        if extra not in optional:
            raise RequirementsError(f"pyproject.toml has no extra {extra!r}; it has {', '.join(sorted(optional))}")
        for requirement in map(Requirement, optional[extra]):
            if canonicalize_name(requirement.name) == own_name:
                waiting += sorted(requirement.extras)
            else:
                found.append(requirement)
    return found


def floor_of(requirement: Requirement) -> Version:
    """Return the lowest version that a requirement allows.

    Raises:
        RequirementsError: It has no lower bound, so that the oldest supported version is not known.
    """
    bounds = [Version(each.version) for each in requirement.specifier if each.operator in LOWER_BOUNDS]
    if not bounds:
        raise RequirementsError(
            f"{requirement.name} has no lower bound in pyproject.toml; give it the oldest that works"
        )
    return max(bounds)


def floors(requirements: Iterable[Requirement], unpinned: Iterable[str] = ()) -> list[str]:
    """Return constraints that pin each requirement to its lower bound; where it is named twice, the higher one counts.

    Args:
        requirements: Direct requirements.
        unpinned: Names that get no pin, such as torch on a machine that has one build of it only.
    """
    left_out = {canonicalize_name(name) for name in unpinned}
    lowest: dict[tuple[str, str], tuple[Requirement, Version]] = {}
    for requirement in requirements:
        key = (canonicalize_name(requirement.name), str(requirement.marker or ""))
        floor = floor_of(requirement)
        if key[0] not in left_out and (key not in lowest or lowest[key][1] < floor):
            lowest[key] = (requirement, floor)
    return [
        f"{name}=={floor}" + (f"; {marker}" if marker else "") for (name, marker), (_, floor) in sorted(lowest.items())
    ]


def without_upper_bounds(requirements: Iterable[Requirement], prereleases: Iterable[str] = ()) -> list[str]:
    """Return the requirements with their lower bounds only.

    Args:
        requirements: Direct requirements.
        prereleases: Names of which pre-releases count as releases.
    """
    early = {canonicalize_name(name) for name in prereleases}
    lines = []
    for requirement in requirements:
        kept = [str(each) for each in requirement.specifier if each.operator in (">=", ">", "!=")]
        if canonicalize_name(requirement.name) in early:
            kept = [f">={floor_of(requirement)}.dev0"]  # pip takes pre-releases where a bound is one
        requirement.specifier = SpecifierSet(",".join(kept))
        lines.append(str(requirement))
    return sorted(set(lines), key=str.lower)


def main(arguments: list[str] | None = None) -> None:
    """Print the requirement file of one end."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("end", choices=("floors", "newest"))
    parser.add_argument("--extras", default="dev", help="extras of pyproject.toml, with commas between")
    parser.add_argument("--pre", action="append", default=[], metavar="NAME", help="newest: let its pre-releases in")
    parser.add_argument(
        "--any-torch", action="store_true", help=f"floors: no pin for {', '.join(PLATFORM_BUILDS)}: what pip finds here"
    )
    options = parser.parse_args(arguments)
    try:
        requirements = direct_requirements(read_project(), options.extras.split(","))
        if options.end == "floors":
            lines = floors(requirements, PLATFORM_BUILDS if options.any_torch else ())
        else:
            lines = without_upper_bounds(requirements, options.pre)
    except RequirementsError as error:
        raise SystemExit(f"requirements: {error}") from error
    print("\n".join(lines))


if __name__ == "__main__":
    main()
