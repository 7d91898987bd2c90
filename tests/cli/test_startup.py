"""The quick start of a verb: the garbage collector's rest, and imports that are put off."""

import gc
import sys

import pytest

from facekit.cli import startup
from facekit.compat.deferred_imports import DEFERRED


def puts_off_imports():
    return any(getattr(finder, "modules", None) == DEFERRED for finder in sys.meta_path)


@pytest.fixture(autouse=True)
def finders(monkeypatch):
    others = [finder for finder in sys.meta_path if getattr(finder, "modules", None) != DEFERRED]
    monkeypatch.setattr(sys, "meta_path", others)
    monkeypatch.delenv(startup.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setitem(startup._process, "own", False)


@pytest.fixture
def own_process():
    startup.own_process()
    before = gc.get_freeze_count()
    yield
    if not before:
        gc.unfreeze()


def test_the_collector_rests_within_the_block_and_spares_what_was_made_there(own_process):
    before = gc.get_freeze_count()
    with startup.starting():
        assert not gc.isenabled()
        made = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(made)
    assert puts_off_imports()


def test_the_collector_works_again_after_an_error(own_process):
    with pytest.raises(ZeroDivisionError), startup.starting():
        _ = 1 / 0
    assert gc.isenabled()


def test_a_collector_that_rests_already_is_left_alone(own_process):
    gc.disable()
    try:
        before = gc.get_freeze_count()
        with startup.starting():
            assert not gc.isenabled()
        assert not gc.isenabled()
        assert gc.get_freeze_count() <= before  # what was frozen elsewhere may have been let go since
    finally:
        gc.enable()


def test_a_program_that_calls_a_verb_keeps_its_collector():
    before = gc.get_freeze_count()
    with startup.starting():
        assert gc.isenabled()
    assert gc.get_freeze_count() <= before  # what was frozen elsewhere may have been let go since
    assert not puts_off_imports()


def test_the_environment_turns_the_quick_start_off(monkeypatch):
    monkeypatch.setenv("FACEKIT_QUICK_START", "0")
    startup.own_process()
    with startup.starting():
        assert gc.isenabled()
    assert not puts_off_imports()
