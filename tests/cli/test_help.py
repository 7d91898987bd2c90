"""Help at any width, in a pipe and without colours: names of options and summaries are whole."""

from __future__ import annotations

import re

import pytest

from facekit.cli.main import app
from scripts.reference import read_commands

GROUP, COMMANDS = read_commands()


@pytest.fixture
def help_of(monkeypatch, run_facekit):
    """Returns what ``--help`` of a verb prints at a width."""

    def show(width, *words):
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", str(width))
            patch.setenv("FORCE_COLOR", "1")
            status, told, _ = run_facekit(*words, "--help")
        assert status == 0
        return told

    return show


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("verb", COMMANDS)
def test_every_option_of_a_verb_is_whole(verb, width, help_of):
    told = help_of(width, verb)
    names = {name for each in COMMANDS[verb].params for name in (*each.opts, *each.secondary_opts) if name[0] == "-"}
    assert names
    assert names <= set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", told))
    assert "\x1b" not in told
    assert max(map(len, told.splitlines())) <= max(width, 80)


@pytest.mark.parametrize("width", [80, 120])
def test_the_help_of_all_has_their_summaries_whole(width, help_of):
    words = " ".join(help_of(width).split())
    for verb in app.registered_commands:
        summary = " ".join(verb.callback.__doc__.partition("\n\n")[0].split())
        assert f"{verb.name} {summary}" in words
