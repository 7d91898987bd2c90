"""The quick start of a verb: the garbage collector's rest, and imports that are put off."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import small_runs

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
    monkeypatch.setitem(startup._process, "quick", False)


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


ENDING = """
import atexit, sys, tempfile, threading
from facekit.cli import startup
folder = tempfile.TemporaryDirectory()
print(folder.name)
atexit.register(print, "at the end")
class Kept:
    def __del__(self):
        print("freed")
kept = Kept()
startup.own_process()
with startup.starting():
    pass
{after}
startup.leave(3)
print("left to the interpreter")
"""


def run_ending(after="", **environment):
    source = ENDING.format(after=after)
    environment = os.environ | {"PYTHONPATH": small_runs.SEARCH_PATH, "FACEKIT_QUICK_START": "1"} | environment
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, env=environment, check=False)
    assert not done.stderr
    folder, *lines = done.stdout.splitlines()
    assert not Path(folder).exists()
    return done.returncode, lines


def test_a_quick_process_ends_with_its_output_files_and_status_in_order_but_frees_nothing():
    assert run_ending() == (3, ["at the end"])


def test_the_interpreter_ends_a_process_whose_threads_it_would_wait_for():
    after = "threading.Timer(0.3, print, ['the thread has ended']).start()"
    status, lines = run_ending(after=after)
    assert (status, lines[:3]) == (0, ["left to the interpreter", "the thread has ended", "at the end"])


def test_the_interpreter_ends_a_process_without_a_quick_start():
    assert run_ending(FACEKIT_QUICK_START="0") == (0, ["left to the interpreter", "at the end", "freed"])
