"""Every example is in the table of the examples, has its command in its head, is tested, and is in the cookbook."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from facekit.training import load_recipe

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


def commands_of(path):
    """The commands in the head of a script that run it, as words."""
    head = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).replace("\\\n", " ")
    lines = [line.partition(" # ")[0].strip() for line in head.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(f"python examples/{path.name}")]


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.name for path in SCRIPTS])
def test_the_commands_in_a_head_have_options_that_the_script_has(path):
    known = set(re.findall(r'add_argument\("(--[a-z-]+)"', path.read_text(encoding="utf-8")))
    given = {word for words in commands_of(path) for word in words if word.startswith("--")}
    assert given <= known


@pytest.mark.parametrize(("name", "recipe"), [("train_facellm", "facellm-lora"), ("train_face_llava", "face-llava")])
def test_the_overrides_in_a_head_fit_the_recipe(name, recipe):
    commands = commands_of(ROOT / "examples" / f"{name}.py")
    assert len(commands) == 2
    for _, _, records, output, *overrides in commands:
        assert load_recipe(recipe, [f"records={records}", f"output={output}", *overrides]).name == recipe
