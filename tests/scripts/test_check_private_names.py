"""Reaches into private names of other libraries are found, and nothing else is."""

from __future__ import annotations

import textwrap

import pytest

from scripts.check_private_names import check, main, private_names

LIBRARY = {
    "__init__.py": "def __getattr__(name): ...",  # classes are imported from elsewhere in the package, lazily
    "models.py": """
        from .mixins import Saving
        from collections import OrderedDict

        TABLE = (
            1,
        )

        class Model(Saving, OrderedDict):
            _supports = False

            def __init__(self):
                self._state = {}

            def _load(self): ...
            def load(self): ...
    """,
    "mixins/__init__.py": "",
    "mixins/saving.py": """
        from otherlib import Root

        class Saving(Root):
            def _save(self): ...
    """,
}


@pytest.fixture
def report(tmp_path, monkeypatch):
    """A function from files of a package ``pack`` to what is reported, as ``file:line text``."""
    libraries = tmp_path / "libraries"
    write(libraries / "library", LIBRARY)
    write(libraries, {"otherlib.py": "class Root:\n    def _root(self): ..."})
    monkeypatch.syspath_prepend(str(libraries))
    private_names.cache_clear()

    def run(**files: str) -> list[str]:
        package = tmp_path / "pack"
        write(package, {f"{name.replace('__', '/')}.py": text for name, text in files.items()})
        return [f"{found.path.relative_to(package)}:{found.line} {found.what}" for found in check(package)]

    yield run
    private_names.cache_clear()


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("from library import _hidden", "library._hidden is private to library"),
        ("from library._inner import public", "library._inner.public is private to library"),
        ("import library._inner", "library._inner is private to library"),
        ("from peft.utils.integrations import anything", "is not documented by peft"),
        ("def f(x): return x._state", "x._state is private to another library"),
        ("def f(x): x._state = 1", "x._state is private to another library"),
        ("def f(x): del x.inner._state", "x.inner._state is private to another library"),
        ("def f(x): return x()._state", "x()._state is private to another library"),
        ("def f(x): return getattr(x, '_state', None)", "'_state' is private to another library"),
        ("def f(x): return hasattr(x, '_state')", "'_state' is private to another library"),
        ("import operator\nf = operator.attrgetter('inner._state')", "'_state' is private to another library"),
        ("def f(x): return x(_state=1)", "'_state' is private to another library"),
        ("class A:\n    def f(self): return self._state", "self._state is private to another library"),
    ],
)
def test_a_private_name_that_the_package_does_not_define_is_found(report, line, what):
    (found,) = report(module=line)
    assert found.endswith(what)
    assert found.startswith(f"module.py:{len(line.splitlines())} ")


@pytest.mark.parametrize(
    "line",
    [
        "class A:\n    def __init__(self): self._own = 1\ndef f(a): return a._own",
        "class A:\n    _own: int = 1\ndef f(a): return getattr(a, '_own')",
        "def _own(): ...\nfrom pack import module\nmodule._own()",
        "from pack.module import _own",
        "from collections import namedtuple\ndef f(row): return row._asdict(), row._replace(a=1)",
        "import os\nos._exit(0)",
        "from __future__ import annotations\nclass A: __slots__ = ()\ndef f(a): return a.__dict__, a.__class__",
        "import enum\nclass A(enum.Enum):\n    @classmethod\n    def _missing_(cls, value): ...",
        "def f(x): return getattr(x, 'state'), '_state'",
        "def f(x, _own): return x(_own=_own)",
    ],
)
def test_what_is_the_packages_own_or_documented_passes(report, line):
    assert report(module=line) == []


def test_a_method_that_a_foreign_base_has_is_found_through_bases_of_both_sides(report):
    found = report(
        base="""
            from library import Model
            from typing import Generic, TypeVar
            class Base(Model): ...
        """,
        module="""
            import library.models as lib
            from pack.base import Base
            class First(Base):
                _supports = True
                def _helper(self): ...
            class Second(lib.Model):
                def _save(self): ...
                def load(self): ...
            class Third(First):
                def __init__(self):
                    self._state = None
                async def _root(self): ...
        """,
    )
    assert found == [
        "module.py:5 First._supports overrides what is private to library.Model",
        "module.py:8 Second._save overrides what is private to library.models.Model",
        "module.py:12 Third._state overrides what is private to library.Model",
        "module.py:13 Third._root overrides what is private to library.Model",
    ]


def test_the_folder_for_it_may_do_all_this_but_lends_its_names_to_nobody(report):
    bridge = """
        from library import Model, _hidden
        class Mine(Model):
            def _save(self): return _hidden(self._state)
    """
    assert report(compat__bridge=bridge) == []
    assert report(compat__bridge=bridge, module="def f(x): x._save()") == [
        "module.py:1 x._save is private to another library"
    ]


def test_a_base_that_is_not_installed_is_passed_over(report):
    assert report(module="from nowhere import Model\nclass A(Model):\n    def _save(self): ...") == []


def test_private_names_of_the_libraries_that_facekit_is_built_into_are_read():
    assert {"_save", "_save_checkpoint", "_load_from_checkpoint"} <= private_names("transformers.Trainer")
    model = private_names("transformers.PreTrainedModel")
    assert {"_init_weights", "_no_split_modules", "_parameters", "_load_from_state_dict"} <= model
    assert "_expand_inputs_for_generation" in private_names("transformers.GenerationMixin")
    assert "_parameters" in private_names("torch.nn.Module")


def test_the_command_prints_each_line_and_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["check_private_names", str(tmp_path / "pack")])
    write(tmp_path / "pack", {"module.py": "def f(x): return x.state"})
    assert main() == 0
    assert capsys.readouterr().out == ""
    write(tmp_path / "pack", {"module.py": "def f(x): return x._state"})
    assert main() == 1
    assert "module.py:1: x._state is private to another library; use a public name, or move it to facekit/compat" in (
        capsys.readouterr().out
    )
