"""Which deprecations fail a test: those that a call of this repository meets, by a warning or in a log."""

import importlib
import logging
import sys
import textwrap
import warnings

import pytest

LIBRARY = """
    import contextlib, logging, warnings

    def old(category=FutureWarning, stacklevel=1):
        warnings.warn("old() goes away", category, stacklevel)

    def public():
        inner()

    def inner():
        warnings.warn("inner() goes away", DeprecationWarning)

    def logged():
        logging.getLogger("transformers.some_room").warning("`logged` is deprecated, use `log`")

    @contextlib.contextmanager
    def opened():
        warnings.warn("opened() goes away", FutureWarning)
        yield

    class Model:
        @property
        def flag(self):
            warnings.warn("`flag` goes away", FutureWarning)
            return True
"""
PEER = """
    import a_library

    def calls_it():
        a_library.old()
        a_library.logged()
        return getattr(a_library.Model(), "flag", False)

    def calls_back(function):
        return function()
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Two installed libraries: one that deprecates, and a peer that uses it."""
    for name, text in (("a_library", LIBRARY), ("a_peer", PEER)):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("a_library"), importlib.import_module("a_peer")
    for name in ("a_library", "a_peer"):
        del sys.modules[name]


@pytest.fixture
def log_of_transformers(caplog, monkeypatch):
    """What transformers logs, which by its own setting may stop at its own logger, where caplog does not listen."""
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    return caplog


@pytest.mark.parametrize("category", [DeprecationWarning, PendingDeprecationWarning, FutureWarning])
@pytest.mark.parametrize("stacklevel", [1, 2, 3])
def test_a_deprecated_call_of_ours_is_an_error_whatever_its_category_and_stack_level(library, category, stacklevel):
    with pytest.raises(category, match=r"a call of ours uses what is deprecated: old\(\) goes away"):
        library[0].old(category, stacklevel)


def test_what_a_library_deprecates_behind_its_own_public_function_is_an_error_too(library):
    with pytest.raises(DeprecationWarning, match="inner"):
        library[0].public()


def test_properties_and_context_managers_of_the_standard_library_in_between_change_nothing(library):
    with pytest.raises(FutureWarning, match="flag"):
        getattr(library[0].Model(), "flag", False)
    with pytest.raises(FutureWarning, match="opened"), library[0].opened():
        pass


def test_a_deprecation_that_is_only_logged_is_an_error_whatever_the_log_level(library, caplog):
    caplog.set_level(logging.CRITICAL, "transformers")
    with pytest.raises(FutureWarning, match="`logged` is deprecated"):
        library[0].logged()


def test_a_library_that_uses_what_another_deprecates_fails_no_test(library, log_of_transformers):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert library[1].calls_it() is True
    assert [str(each.message) for each in seen] == ["old() goes away", "`flag` goes away"]
    assert log_of_transformers.messages == ["`logged` is deprecated, use `log`"]


def test_a_callback_of_ours_that_a_library_calls_is_ours(library):
    with pytest.raises(FutureWarning, match="old"):
        library[1].calls_back(lambda: library[0].old())


def test_other_warnings_and_log_lines_pass_and_keep_where_they_came_from(library, log_of_transformers):
    with pytest.warns(UserWarning, match="^plain$") as seen:
        library[0].old.__globals__["warnings"].warn("plain", UserWarning, stacklevel=1)
    assert seen[0].filename == __file__
    logging.getLogger("transformers.some_room").warning("a %s line", "plain")
    assert log_of_transformers.messages == ["a plain line"]
    assert log_of_transformers.records[0].pathname == __file__
