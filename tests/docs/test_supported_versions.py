"""The page on versions says what pyproject.toml, constraints.txt and the notice say."""

import re
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from facekit.compat import versions
from facekit.compat.versions import UntestedVersion, describe
from scripts.compare_versions import read_constraints
from scripts.requirements import direct_requirements, read_project

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "supported-versions.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\w+) \| ([\d.]+) \| ([\d.]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)


def test_every_library_of_the_notice_has_a_row():
    assert {canonicalize_name(name) for name, *_ in ROWS} == {*versions.LIBRARIES, "torchvision", "triton"}


@pytest.mark.parametrize(("name", "oldest", "below", "exact"), ROWS, ids=[name for name, *_ in ROWS])
def test_a_row_has_the_bounds_of_the_project_and_the_version_of_the_constraints(name, oldest, below, exact):
    requirements = direct_requirements(read_project(), ["tested"])
    bounds = {str(bound) for each in requirements if each.name == name for bound in each.specifier}
    assert bounds == {f">={oldest}", f"<{below}"}
    locked = read_constraints(ROOT / "constraints.txt")[canonicalize_name(name)].specifier
    assert str(locked) == f"=={exact}" if exact != "a range" else {str(bound) for bound in locked} == bounds


def test_the_notice_on_the_page_is_the_one_that_is_logged():
    (line,) = re.findall(r"^facekit was not tested with .*$", PAGE, re.MULTILINE)
    assert line == describe([UntestedVersion("transformers", "5.31.0", ">=5.17,<5.25")])
    assert f"`{versions.ENVIRONMENT_VARIABLE}=0`" in PAGE
    assert f"`{versions.__name__}`" in PAGE


def test_the_pythons_are_those_of_the_project():
    named = [each.rpartition(" ")[2] for each in read_project()["classifiers"] if ":: Python :: 3" in each]
    assert f"Python {named[0]} to {named[-1]}," in PAGE


@pytest.mark.parametrize("page", ["README.md", "docs/supported-versions.md"])
def test_the_library_install_takes_the_constraints(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert (
        "pip install --constraint constraints.txt --editable '.[mesh,video,datasets,duplicates,train,eval,serve]'"
        in text
    )
