"""The reference pages: every public name and command has its place, and nothing else does."""

import ast
import importlib
import importlib.util
import itertools
import re
from pathlib import Path

import pytest
import yaml

from scripts.reference import read_commands, read_rooms, write_command, write_reference, write_room

ROOT = Path(__file__).parents[2]
ROOMS = read_rooms(ROOT)


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_page_has_every_name_that_its_package_exports_where_it_is_defined(room):
    exported = {name for name in importlib.import_module(room.name).__all__ if not name.startswith("_")}
    assert set(room.homes) == exported
    page = write_room(room)
    for name, home in room.homes.items():
        assert hasattr(importlib.import_module(home), name)
        assert f"::: {home}.{name}\n" in page


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_every_name_of_the_reference_is_documented_where_it_is_defined(room):
    assert [name for name, home in room.homes.items() if not _documented(home, name)] == []


def _documented(home: str, name: str) -> bool:
    """Whether a class or function has a docstring, and any other name a string below it, as mkdocstrings reads both."""
    body = ast.parse(Path(importlib.util.find_spec(home).origin).read_text(encoding="utf-8")).body
    for node, after in itertools.zip_longest(body, body[1:]):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            if any(getattr(each, "id", None) == "overload" for each in node.decorator_list):
                continue
            return bool(ast.get_docstring(node))
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(getattr(target, "id", None) == name for target in targets):
            return isinstance(after, ast.Expr) and isinstance(getattr(after.value, "value", None), str)
    return True  # imported there from elsewhere


def test_a_package_that_lists_its_names_exports_no_others(tmp_path):
    package = tmp_path / "facekit"
    package.mkdir()
    (package / "__init__.py").write_text(
        '"""Top: first line.\n\nMore."""\nfrom facekit.a import one, two\nimport os\n__all__ = ["one", "_hidden"]\n'
    )
    (rooms,) = [read_rooms(tmp_path)]
    assert [(room.name, room.summary, room.homes) for room in rooms] == [
        ("facekit", "Top: first line.", {"one": "facekit.a"})
    ]


def test_a_package_without_a_list_of_names_exports_none(tmp_path):
    page = tmp_path / "facekit" / "page"
    page.mkdir(parents=True)
    (page / "__init__.py").write_text('"""A page."""\nfrom facekit.a import one\n')
    assert read_rooms(tmp_path) == []


def test_a_command_page_has_every_option_with_its_help():
    _, commands = read_commands()
    page = write_command("eval", commands["eval"])
    for parameter in commands["eval"].params:
        assert f"| `{parameter.opts[0]}".lower() in page.lower()  # typer 0.20 writes arguments large
    assert re.search(r"^\| `--batch-size [^`]+` \| Pictures at a time\.", page, re.MULTILINE)
    assert "facexbench" not in commands  # deprecated


def test_a_command_line_is_written_as_people_type_it():
    _, commands = read_commands()
    page = write_command("ask", commands["ask"])
    assert "facekit ask [OPTIONS] [IMAGE] [QUESTIONS]...\n" in page
    assert "facekit convert [OPTIONS] ORIGIN… OUTPUT\n" in write_command("convert", commands["convert"])
    assert "list[" not in page
    assert "int range" not in page
    assert "; at least 1]" in page
    assert "more failed than `--max-failures`" in page
    assert "``" not in page.replace("```", "")


def test_values_made_by_calls_and_private_bases_are_not_shown(tmp_path):
    package = tmp_path / "facekit"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from facekit.a import Base, MADE, PLAIN, READERS\n__all__ = ['Base', 'MADE', 'PLAIN', 'READERS']\n"
    )
    (package / "a.py").write_text(
        "MADE = tuple(get_args(int))\nPLAIN: dict = {1: range(3)}\nREADERS = {'a': _read}\nclass Base(_Table): ...\n"
    )
    (room,) = read_rooms(tmp_path)
    values = "show_attribute_values: false"
    assert room.display == {"Base": "show_bases: false", "MADE": values, "READERS": values}
    assert f"::: facekit.a.MADE\n    options: {{show_root_heading: true, {values}}}\n" in write_room(room)


def test_the_navigation_names_exactly_the_pages_that_there_are(tmp_path):
    stale = tmp_path / "facekit.gone.md"
    stale.write_text("old")
    written = {str(path.relative_to(tmp_path)) for path in write_reference(ROOT, tmp_path)}
    assert not stale.exists()

    def pages(node):
        if isinstance(node, str):
            return {node}
        return set().union(*(pages(each) for each in (node.values() if isinstance(node, dict) else node)))

    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    shown = pages(navigation)
    assert {page.removeprefix("reference/") for page in shown if page.startswith("reference/")} == written
    assert {page for page in shown if "/" not in page} == {path.name for path in (ROOT / "docs").glob("*.md")}
