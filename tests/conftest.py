"""Fixtures that every test may use."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from local_hub import reserve_address

# huggingface_hub reads its address when it is first imported, which any test may do; tests/hub serves there.
os.environ["HF_ENDPOINT"] = reserve_address()
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ["FACEKIT_QUICK_START"] = "0"  # a command ends its process quickly, and this one goes on to other tests
os.environ["TERM"] = "xterm-256color"  # what a terminal gets is tested where there is none, too
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell hands it to what it starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is first imported, which any test may do

import deprecations

from facekit.catalog import isolated_registry
from facekit.cli import main as cli

deprecations.watch()

collect_ignore = [] if "FACEKIT_REAL" in os.environ else ["real"]  # `make real` runs these, with what they need

settings.register_profile("facekit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("facekit")  # a busy machine fails no test


@pytest.fixture
def registry():
    """A copy of the registry: what a test registers leaves no trace."""
    with isolated_registry() as copy:
        yield copy


@pytest.fixture
def run_facekit(monkeypatch, capsys):
    """Runs a command in this process; returns exit status, standard output and standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["facekit", *map(str, arguments)])
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call
