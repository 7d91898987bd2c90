"""The parts of ``make real``: what is skipped, what has failed, and what is kept for the next run."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.real import ROOT, BrokenError, Part, Result, UnavailableError, main, prepare, read_parts, run

PART = Part("invented", "nothing real", ())
XFAIL = "@pytest.mark.xfail(strict=True)\ndef test_it():\n    assert False\n"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def build_wheel(folder: Path, name: str) -> Path:
    """A package with one module that holds one value, as pip installs it without building anything."""
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", "VALUE = 42\n")
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        tags = "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{name}-1.0.dist-info/WHEEL", tags)
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return wheel


def write_test(folder: Path, body: str) -> str:
    path = folder / "test_invented.py"
    path.write_text(body)
    return str(path)


def test_every_part_names_tests_that_are_there():
    parts = read_parts()
    assert {"smollm", "templates", "heic", "pages", "ray", "trl", "lmms-eval"} <= parts.keys()
    for part in parts.values():
        assert part.tests
        assert all((ROOT / path.partition("::")[0]).exists() for path in part.tests)
        others = [package for package in part.packages if not package.startswith(".")]
        assert all("==" in package for package in others), "a release must not break a run by surprise"


def test_packages_are_installed_once_and_lie_before_the_environment(tmp_path):
    wheel = build_wheel(tmp_path, "invented_package")
    test = write_test(tmp_path, "import invented_package\ndef test_it():\n    assert invented_package.VALUE == 42\n")
    part = replace(PART, tests=(test,), packages=(str(wheel),))
    result = run(part, tmp_path / "kept")
    assert (result.outcome, result.told) == ("passed", "1 passed")
    wheel.unlink()
    assert prepare(part, tmp_path / "kept")[1] == str(tmp_path / "kept" / "invented")
    with pytest.raises(BrokenError):
        prepare(replace(part, packages=(str(wheel), "other==1")), tmp_path / "kept")


def test_a_part_whose_packages_no_registry_has_is_skipped_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    result = run(replace(PART, packages=("facekit-invented-package==1.0",)), tmp_path)
    assert result.outcome == "skipped"
    assert "No matching distribution found for facekit-invented-package==1.0" in result.told


def test_a_part_whose_packages_are_there_and_do_not_install_has_failed(tmp_path):
    (tmp_path / "invented_package-1.0-py3-none-any.whl").write_bytes(b"no archive")
    result = run(replace(PART, packages=(str(tmp_path / "invented_package-1.0-py3-none-any.whl"),)), tmp_path)
    assert result.outcome == "failed"
    assert result.told.startswith("its packages do not install: ")


def test_what_cannot_be_started_here_is_skipped_with_its_reason(tmp_path):
    probe = tmp_path / "start.py"
    probe.write_text("import sys\nprint('no disk', file=sys.stderr)\nsys.exit('the node does not start')\n")
    result = run(replace(PART, tests=(write_test(tmp_path, "def test_it():\n    pass\n"),), probe=str(probe)), tmp_path)
    assert (result.outcome, result.told) == ("skipped", "the node does not start")
    probe.write_text("")
    assert prepare(replace(PART, probe=str(probe)), tmp_path)


def test_programs_and_modules_that_are_not_there_are_told(tmp_path):
    with pytest.raises(UnavailableError, match="there is no imagined or invented here; apt-get install invention"):
        prepare(replace(PART, programs=(("imagined|invented", "invention"),)), tmp_path)
    assert prepare(replace(PART, programs=(("imagined|python3", "invention"),)), tmp_path)
    with pytest.raises(UnavailableError, match="there is no module invented_module"):
        prepare(replace(PART, modules=("invented_module",)), tmp_path)


@pytest.mark.parametrize(
    ("body", "outcome", "told"),
    [
        ("def test_it():\n    assert False\ndef test_other():\n    pass\n", "failed", "1 passed, 1 failed"),
        ("import pytest\ndef test_it():\n    pytest.skip('no')\ndef test_other():\n    pass\n", "failed",
         "1 passed, 1 skipped"),
        (f"import pytest\n{XFAIL}def test_other():\n    pass\n", "passed", "1 passed, 1 known to fail"),
        ("", "failed", "no test ran"),
        ("import a_module_that_is_missing\n", "failed", "1 failed"),
    ],
)  # fmt: skip
def test_a_part_passes_where_all_of_its_tests_run_and_pass(body, outcome, told, tmp_path):
    result = run(replace(PART, tests=(write_test(tmp_path, body),)), tmp_path)
    assert (result.outcome, result.told) == (outcome, told)


def test_a_part_that_takes_too_long_has_failed(tmp_path):
    test = write_test(tmp_path, "import time\ndef test_it():\n    time.sleep(60)\n")
    result = run(replace(PART, tests=(test,), minutes=0.02), tmp_path)
    assert (result.outcome, result.told) == ("failed", "it took longer than 0.02 minutes")


def test_the_run_fails_where_one_part_failed_and_not_where_one_was_skipped(monkeypatch, capsys):
    outcomes = {"pages": "skipped", "ray": "passed", "trl": "failed"}
    monkeypatch.setattr("scripts.real.run", lambda part: Result(part.name, outcomes[part.name], "so it is"))
    assert main(["pages", "ray"]) == 0
    assert main(["pages", "ray", "trl"]) == 1
    assert capsys.readouterr().out.rstrip().endswith("real: 1 passed, 1 failed, 1 skipped")


def test_a_part_that_is_not_there_is_told(capsys):
    with pytest.raises(SystemExit):
        main(["pagse"])
    assert "there is no part 'pagse'; the parts are smollm," in capsys.readouterr().err
