"""Every entry of ``facekit.compat`` says what it was seen with, why it is there and when it can go."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

import facekit.compat

FOLDER = Path(facekit.compat.__file__).parent
# versions.py tells of versions outside the tested range, and reaches into no library.
ALONE = sorted(path for path in FOLDER.glob("*.py") if path.name not in ("__init__.py", "versions.py"))
FILES = [*ALONE, *sorted(FOLDER.glob("*/*.py"))]  # those in folders may need their library to be imported
ENTRY = re.compile(r"\n\s*Seen: \S.*\n(?:.*\n)*?\s*Why: \S.*\n(?:.*\n)*?\s*Until: \S")


def entries(path: Path) -> dict[str, str]:
    """Public names of a file and their docstrings; those of a constant stand below it."""
    found: dict[str, str] = {}
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = ast.get_docstring(node) or ""
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            if isinstance(target, ast.Name):
                found[target.id] = str(following.value.value) if is_text else ""
    return {name: text for name, text in found.items() if not name.startswith("_")}


ALL = {
    f"{path.relative_to(FOLDER).with_suffix('')}.{name}": text for path in FILES for name, text in entries(path).items()
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_every_file_has_entries_and_is_short(path):
    assert any(ENTRY.search(f"\n{text}") for text in entries(path).values())
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("name", sorted(ALL))
def test_an_entry_has_versions_a_reason_and_an_end(name):
    assert ENTRY.search(f"\n{ALL[name]}"), name


def classes_with_overrides() -> list[tuple[type, str]]:
    found = []
    for path in ALONE:
        module = importlib.import_module(f"facekit.compat.{path.stem}")
        for _, each in inspect.getmembers(module, inspect.isclass):
            if each.__module__ == module.__name__:
                private = [name for name in vars(each) if re.match(r"_[a-z]\w*[a-z]$", name)]
                found += [(each, name) for name in private if not name.startswith("_abc_")]
    return found


def test_every_private_name_that_is_overridden_is_still_there_below():
    overrides = classes_with_overrides()
    assert {name for _, name in overrides} >= {"_save_checkpoint", "_load_from_checkpoint", "_supports_sdpa"}
    gone = [f"{kind.__name__}.{name}" for kind, name in overrides if not hasattr(kind.__mro__[1], name)]
    assert gone == []
