import logging
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from facekit.compat import versions
from facekit.compat.versions import UntestedVersion, describe, notice_untested_versions, untested_versions

ROOT = Path(__file__).parents[2]
REQUIREMENTS = (
    "torch>=2.11",
    "torch<2.16,>=2.11; extra == 'tested'",
    "transformers<5.25,>=5.17",
    "Open_CLIP.torch<3.4,>=3.2",
    "numpy>=1.26",
)
INSIDE = {"torch": "2.14.1+cpu", "transformers": "5.24.3", "open_clip_torch": "3.2"}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Writes distributions as pip leaves them, in front of those that are really installed."""

    def write(name: str, version: str, requires: tuple[str, ...] = ()) -> Path:
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        info.joinpath("METADATA").write_text("\n".join(lines + [f"Requires-Dist: {each}" for each in requires]) + "\n")
        return tmp_path

    write("facekit-mllm", "0.1.0", REQUIREMENTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv(versions.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.delenv("RANK", raising=False)
    notice_untested_versions.cache_clear()
    yield write
    notice_untested_versions.cache_clear()


def install_all(write, **changed):
    for name, version in {**INSIDE, **changed}.items():
        write(name, version)


def test_versions_inside_their_ranges_are_tested_whatever_their_build(installed):
    install_all(installed)
    assert untested_versions() == []


@pytest.mark.parametrize("version", ["5.25.0", "5.16.9", "6.0.0rc1", "5.17.0.dev0"])
def test_a_version_above_or_below_its_range_is_untested(installed, version):
    install_all(installed, transformers=version)
    assert untested_versions() == [UntestedVersion("transformers", version, ">=5.17,<5.25")]


def test_the_next_minors_prerelease_is_untested(installed):
    install_all(installed, transformers="5.25.0rc1")
    assert [each.installed for each in untested_versions()] == ["5.25.0rc1"]


def test_torchs_range_is_that_of_the_extra_tested_and_names_are_normalised(installed):
    install_all(installed, torch="2.16.0+cu130", open_clip_torch="3.4.0")
    assert untested_versions() == [
        UntestedVersion("torch", "2.16.0+cu130", ">=2.11,<2.16"),
        UntestedVersion("open-clip-torch", "3.4.0", ">=3.2,<3.4"),
    ]


def test_a_version_that_is_none_is_passed_over(installed):
    install_all(installed, transformers="built-by-hand")
    assert untested_versions() == []


def test_without_facekits_metadata_nothing_is_said(monkeypatch):
    monkeypatch.setattr(versions, "DISTRIBUTION", "no-such-distribution")
    assert untested_versions() == []


def test_the_notice_names_each_library_its_range_and_one_command():
    untested = [UntestedVersion("torch", "2.16.0", ">=2.11,<2.16"), UntestedVersion("peft", "0.30.0", ">=0.19,<0.22")]
    assert describe(untested) == (
        "facekit was not tested with torch 2.16.0 (tested: >=2.11,<2.16), peft 0.30.0 (tested: >=0.19,<0.22); "
        "for tested versions run: pip install 'torch>=2.11,<2.16' 'peft>=0.19,<0.22'"
    )


def test_the_notice_is_logged_once_in_one_line(installed, caplog):
    install_all(installed, transformers="5.30.0")
    notice_untested_versions()
    notice_untested_versions()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == describe(untested_versions())
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize(("variable", "value"), [(versions.ENVIRONMENT_VARIABLE, "0"), ("RANK", "3")])
def test_the_notice_is_off_by_the_variable_and_on_all_ranks_but_the_first(
    installed, caplog, monkeypatch, variable, value
):
    install_all(installed, transformers="5.30.0")
    monkeypatch.setenv(variable, value)
    notice_untested_versions()
    assert caplog.records == []


def run(folder: Path, code: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    environment.pop(versions.ENVIRONMENT_VARIABLE, None)
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)


def notices(text: str) -> list[str]:
    return [line for line in text.splitlines() if "was not tested with" in line]


def test_the_command_line_says_it_on_standard_error_and_not_in_its_output(installed):
    folder = installed("transformers", "5.99.0")
    done = run(
        folder, "import sys; sys.argv = ['facekit', 'list', 'connectors']; import facekit.cli.main as m; m.main()"
    )
    assert done.returncode == 0
    assert "region" in done.stdout
    assert "not tested" not in done.stdout
    assert len(notices(done.stderr)) == 1
    assert "pip install 'transformers>=5.17,<5.25'" in notices(done.stderr)[0]


def test_a_library_that_breaks_facekit_on_import_is_named_before_the_traceback(installed):
    folder = installed("transformers", "5.99.0")
    (folder / "transformers").mkdir()
    (folder / "transformers" / "__init__.py").write_text("raise ImportError('AutoConfig went away')")
    done = run(folder, "import facekit; facekit.create")
    assert done.returncode == 1
    assert len(notices(done.stderr)) == 1
    assert done.stderr.index("was not tested with") < done.stderr.index("AutoConfig went away")


def test_importing_facekit_alone_reads_no_metadata():
    done = run(ROOT, "import sys, facekit; print('facekit.compat.versions' in sys.modules)")
    assert done.stdout == "False\n"


def test_every_library_has_both_bounds_in_the_projects_file():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["tested"]]
    for library in versions.LIBRARIES:
        bounds = {
            bound.operator
            for line in lines
            if versions._normalised(line) == library
            for bound in Requirement(line).specifier
        }
        assert bounds == {">=", "<"}, library
