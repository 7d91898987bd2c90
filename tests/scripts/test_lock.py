from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from scripts import lock
from scripts.compare_versions import read_constraints
from scripts.requirements import PYPROJECT, RequirementsError, direct_requirements, read_project

CONSTRAINTS = Path(PYPROJECT).parent / "constraints.txt"

INSTALLED = {"torch": "2.14.1+cpu", "openai": "3.0", "aiohttp": "3.14", "old-backport": "1.0", "loose": "0.1"}
REQUIRES = {
    "torch": ["filelock>=3"],
    "openai": ["aiohttp; extra == 'aiohttp'", "loose; extra == 'never'"],
    "aiohttp": ["openai>=2", "old-backport; python_version < '3'"],
}


def closure(*roots):
    return lock.closure(
        map(Requirement, roots), INSTALLED.get, lambda name: [Requirement(line) for line in REQUIRES.get(name, [])]
    )


def test_the_closure_has_what_is_needed_in_turn_and_ends_on_a_cycle():
    assert closure("openai[aiohttp]>=2") == {"openai": Version("3.0"), "aiohttp": Version("3.14")}


def test_an_extra_counts_only_where_it_is_asked_for():
    assert closure("openai") == {"openai": Version("3.0")}


def test_what_no_requirement_names_or_what_is_not_installed_is_left_out():
    assert closure("torch", "mediapipe") == {"torch": Version("2.14.1+cpu")}


@pytest.mark.parametrize(
    ("name", "version", "line"),
    [
        ("transformers", "5.24.0", "transformers==5.24.0"),
        ("certifi", "2026.10.19.post1", "certifi==2026.10.19.post1"),
        ("av", "18.1.0+local.7", "av==18.1.0"),
        ("torch", "2.14.1", "torch>=2.11,<2.16"),
        ("nvidia-cudnn-cu13", "9.24.0.43", "nvidia-cudnn-cu13>=9,<10"),
        ("cuda-toolkit", "13.0.3.0", "cuda-toolkit>=13,<14"),
    ],
)
def test_a_line_is_exact_but_for_what_differs_between_machines(name, version, line):
    assert lock.constraint(name, Version(version), {"torch": "torch>=2.11,<2.16"}) == line


def test_an_environment_without_what_the_tests_need_is_not_locked(monkeypatch):
    monkeypatch.setattr(lock, "installed_version", lambda name: None if name in {"ray", "hypothesis"} else "1")
    with pytest.raises(RequirementsError, match="hypothesis, ray is missing; run `make test` first"):
        lock.lock()


def test_the_file_of_the_project_holds_every_requirement_of_the_tests_inside_its_bounds():
    constraints = read_constraints(CONSTRAINTS)
    for requirement in direct_requirements(read_project(), ["dev"]):
        line = constraints.get(lock.canonicalize_name(requirement.name))
        assert line is not None, f"{requirement.name} has no constraint; run `make lock`"
        exact = [bound.version for bound in line.specifier if bound.operator == "=="]
        assert all(requirement.specifier.contains(version) for version in exact), f"{line} is outside {requirement}"


def test_the_file_of_the_project_is_exact_but_for_torch_and_what_comes_with_it():
    ranged = {
        name
        for name, line in read_constraints(CONSTRAINTS).items()
        if [bound.operator for bound in line.specifier] != ["=="]
    }
    assert {name for name in ranged if not name.startswith(lock.OF_NVIDIA)} == {"torch", "torchvision", "triton"}


def test_the_file_of_the_project_names_no_address_and_no_installer():
    text = CONSTRAINTS.read_text(encoding="utf-8")
    assert "://" not in text
    assert " @ " not in text
    assert not lock.INSTALLERS & read_constraints(CONSTRAINTS).keys()
