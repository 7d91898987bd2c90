"""The cycle check sees circles through functions and lazy packages, and facekit has none."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("check_cycles", ROOT / "scripts" / "check_cycles.py")
check_cycles = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check_cycles)


def write(folder, **files):
    root = folder / "house"
    for name, text in {"__init__": "", **files}.items():
        path = root / f"{name.replace('__room__', 'room/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def cycles_of(root):
    return check_cycles.find_cycles(check_cycles.read_imports(root))


def test_facekit_has_no_circle(capsys):
    assert check_cycles.main([str(ROOT / "facekit")]) == 0
    assert capsys.readouterr().out == ""


def test_two_files_that_import_each_other_are_a_circle(tmp_path, capsys):
    root = write(tmp_path, a="from house.b import x", b="import house.c", c="from . import a", d="import house.a")
    assert cycles_of(root) == [["house.a", "house.b", "house.c"]]
    assert check_cycles.main([str(root)]) == 1
    assert capsys.readouterr().out == "these files import each other: house.a, house.b, house.c\n"


def test_an_import_inside_a_function_closes_a_circle(tmp_path):
    root = write(tmp_path, a="def f():\n    from house.b import x", b="from .a import f")
    assert cycles_of(root) == [["house.a", "house.b"]]


def test_an_import_for_types_only_closes_none(tmp_path):
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.b import X\n"
    assert cycles_of(write(tmp_path, a=typed, b="from house.a import f")) == []
    assert cycles_of(write(tmp_path, a=typed + "else:\n    import house.b", b="from house.a import f")) == [
        ["house.a", "house.b"]
    ]


def test_a_name_that_a_package_resolves_lazily_leads_to_its_file(tmp_path):
    package = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.room.inner import Inner\n"
    files = {"__room____init__": package, "__room__inner": "from house.user import y"}
    assert cycles_of(write(tmp_path, **files, user="from house.room import Inner")) == [
        ["house.room.inner", "house.user"]
    ]
    assert cycles_of(write(tmp_path, **files, user="from house.room import other")) == []


def test_a_folder_that_is_no_package_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is no package: it has no __init__\.py"):
        check_cycles.read_imports(tmp_path)
