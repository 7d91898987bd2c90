"""Imports in guides and examples: they name facekit, a room of it or a room in a room, never a file, and exist."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.py")])
BLOCK = re.compile(r"^```(?:python|py)\b[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
GROUND_FLOOR = {"facekit.errors", "facekit.spec"}
"""Files that are rooms of their own."""


def imports_of(page: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Modules of facekit that a page imports, each with the names that it takes from it."""
    text = page.read_text(encoding="utf-8")
    found: list[tuple[str, tuple[str, ...]]] = []
    for code in [text] if page.suffix == ".py" else BLOCK.findall(text):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "facekit":
                found.append((node.module or "", tuple(alias.name for alias in node.names)))
            elif isinstance(node, ast.Import):
                found += [(alias.name, ()) for alias in node.names if alias.name.partition(".")[0] == "facekit"]
    return found


def is_room(module: str) -> bool:
    found = importlib.util.find_spec(module)
    return found is not None and found.submodule_search_locations is not None


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_a_page_imports_from_rooms_and_all_names_are_there(page):
    for module, names in imports_of(page):
        assert module.count(".") <= 2, f"{page.name}: {module} is a deep path; export {', '.join(names)} from its room"
        assert module in GROUND_FLOOR or is_room(module), f"{page.name}: {module} is a file; export {', '.join(names)}"
        for name in names:
            assert hasattr(importlib.import_module(module), name), f"{page.name}: {module} has no {name}"


def test_code_blocks_with_imports_are_found():
    pages = {page.name for page in PAGES if imports_of(page)}
    assert {"README.md", "bring-your-own.md", "distributed.md", "mix_parts.py"} <= pages
