"""The garbage collector's rest at the start of a verb."""

import gc

import pytest

from facekit.cli import startup


@pytest.fixture
def own_process(monkeypatch):
    monkeypatch.setitem(startup._process, "own", True)
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
        assert gc.get_freeze_count() == before
    finally:
        gc.enable()


def test_a_program_that_calls_a_verb_keeps_its_collector():
    before = gc.get_freeze_count()
    with startup.starting():
        assert gc.isenabled()
    assert gc.get_freeze_count() == before
