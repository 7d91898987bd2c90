"""Rooms name what they export twice, for loading on first use and for type checkers; both name the same."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "facekit"
ROOMS = sorted(path for path in ROOT.rglob("__init__.py") if "lazy_loader.attach" in path.read_text(encoding="utf-8"))


def named_for_type_checkers(tree: ast.Module, room: str) -> dict[str, list[str]]:
    """Names by file, as the block under ``TYPE_CHECKING`` imports them."""
    found: dict[str, list[str]] = {}
    for block in tree.body:
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING":
            for node in block.body:
                assert isinstance(node, ast.ImportFrom)
                found[(node.module or "").removeprefix(f"{room}.")] = sorted(alias.name for alias in node.names)
    return found


def named_for_loading(tree: ast.Module) -> dict[str, list[str]]:
    """Names by file, as ``lazy_loader.attach`` is given them."""
    (call,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "attach"
    )
    (table,) = (keyword.value for keyword in call.keywords if keyword.arg == "submod_attrs")
    return {module: sorted(names) for module, names in ast.literal_eval(table).items()}


@pytest.mark.parametrize("path", ROOMS, ids=[str(path.parent.relative_to(ROOT)) for path in ROOMS])
def test_a_room_names_the_same_for_type_checkers_and_for_loading(path):
    room = ".".join(["facekit", *path.parent.relative_to(ROOT).parts])
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert named_for_type_checkers(tree, room) == named_for_loading(tree)


def test_exported_names_are_there():
    for room in ("encoders", "connectors", "faces", "data", "data.sources", "models", "training", "reports"):
        module = importlib.import_module(f"facekit.{room}")
        missing = [name for name in module.__all__ if not hasattr(module, name)]
        assert not missing, f"facekit.{room} names {missing}, which its files do not have"
