"""The workflows run targets that exist, on the versions of Python that the project names."""

import re

import pytest
import yaml

from scripts.requirements import PYPROJECT, read_project

ROOT = PYPROJECT.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def steps(workflow):
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def matrix(name, job, key):
    (file,) = [each for each in WORKFLOWS if each.stem == name]
    return yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"][job]["strategy"]["matrix"][key]


def test_there_is_one_workflow_for_pushes_one_for_both_ends_and_one_for_releases():
    assert [each.stem for each in WORKFLOWS] == ["release", "tests", "versions"]
    triggers = [yaml.safe_load(each.read_text(encoding="utf-8"))[True] for each in WORKFLOWS]  # YAML 1.1: on is true
    assert triggers[0] == {"push": {"tags": ["v*"]}}
    assert set(triggers[1]) == {"push", "pull_request"}
    assert re.fullmatch(r"\d+ \d+ \* \* \d", triggers[2]["schedule"][0]["cron"])


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_command_is_a_target_of_the_makefile(workflow):
    commands = [step["run"] for step in steps(workflow) if "run" in step]
    assert commands
    for command in commands:
        make, target, *_ = command.split()
        assert make == "make"
        assert target in TARGETS


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_to_a_major_version_and_no_secret_is_read(workflow):
    uses = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert uses
    pinned = re.compile(r"actions/[a-z-]+@v\d+|pypa/gh-action-pypi-publish@release/v\d+")
    assert all(pinned.fullmatch(each) for each in uses)
    text = workflow.read_text(encoding="utf-8")
    assert "secrets." not in text
    assert "contents: read" in text


def test_the_tests_run_on_every_python_that_the_project_names():
    prefix = "Programming Language :: Python :: "
    named = [each.removeprefix(prefix) for each in read_project()["classifiers"] if each.startswith(prefix)]
    assert matrix("tests", "test", "python") == named
    assert set(matrix("versions", "newest", "python")) <= set(named)


def test_coverage_is_counted_and_kept():
    (file,) = [each for each in WORKFLOWS if each.stem == "tests"]
    *_, counted, kept = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]["coverage"]["steps"]
    assert counted["run"] == "make coverage"
    assert kept["with"]["path"] == "coverage.xml"


def test_both_ends_are_run_and_prereleases_too():
    (file,) = [each for each in WORKFLOWS if each.stem == "versions"]
    commands = [step["run"] for step in steps(file) if "run" in step]
    assert commands == ["make newest ${{ matrix.prereleases }}", "make oldest"]
    assert matrix("versions", "newest", "prereleases") == ["", "PRE=1"]
