"""Every example is in the table of the examples, has its command in its head, is tested, and is in the cookbook."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.suffix in (".py", ".ipynb", ".slurm"))
SCRIPTS = [path for path in EXAMPLES if path.suffix == ".py"]
COOKBOOK = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "cookbook").glob("*.md"))
TESTS = "".join(
    path.read_text(encoding="utf-8")
    for folder in (Path(__file__).parent, ROOT / "tests" / "real")  # the latter has what needs more packages
    for path in folder.glob("test_*.py")
)


def test_the_table_names_every_example_and_nothing_else():
    table = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    linked = {link for link in re.findall(r"\]\(([^)]+)\)", table) if "." in link}
    assert linked == {path.name for path in EXAMPLES}


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.name for path in SCRIPTS])
def test_a_script_is_short_tested_and_has_its_command_in_its_head(path):
    text = path.read_text(encoding="utf-8")
    head = ast.get_docstring(ast.parse(text))
    assert head is not None
    assert f"python examples/{path.name}" in head
    assert f'"{path.name}"' in TESTS
    assert len(text.splitlines()) <= 110


def test_the_cookbook_includes_files_that_are_there_and_those_of_every_workflow():
    included = set(re.findall(r'^--8<-- "examples/([^"]+)"$', COOKBOOK, re.MULTILINE))
    assert included <= {path.name for path in SCRIPTS}
    left_out = {path.name for path in SCRIPTS} - included
    assert left_out == {"draw_fairface.py", "mix_parts.py", "train_adapter.py"}
