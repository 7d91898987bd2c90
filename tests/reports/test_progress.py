"""One signature for progress; callbacks of earlier signatures go on working, with a warning."""

from __future__ import annotations

import functools
import io
import itertools
import threading
import warnings

import pytest
from rich.console import Console

from facekit.reports import Progress, ProgressDisplay, ProgressMeter, ProgressState, as_listener
from facekit.reports.display import describe_progress


class Clock:
    """Time that passes only when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def display(clock, width=200):
    stream = io.StringIO()
    return ProgressDisplay(Console(file=stream, width=width), seconds=5.0, clock=clock), stream


def test_a_meter_counts_the_rate_and_the_time_left_of_this_run_alone():
    clock, seen = Clock(), []
    meter = ProgressMeter(seen.append, "ask", 100, "questions", done=40, clock=clock)
    meter.report(40)
    clock.now += 10
    meter.report(60)
    assert seen[0] == Progress("ask", 40, 100, "questions", None, None)
    assert seen[1] == Progress("ask", 60, 100, "questions", 2.0, 20.0)
    assert isinstance(seen[1], ProgressState)


def test_a_meter_without_a_listener_reports_to_nobody():
    ProgressMeter(None, "ask", 1).report(1)


def test_the_rate_has_digits_that_matter():
    assert Progress("a", 1, 2, "faces", 2.345, 1.0).detail == "2.3 faces/s"
    assert Progress("a", 1, 2, "faces", 1234.5, 1.0).detail == "1,234 faces/s"
    assert Progress("a", 1, 2, "", 2.0).detail == "2.0/s"
    assert Progress("a", 1, 2).detail == ""


def test_a_line_has_amount_detail_and_time_left():
    state = Progress("ask", 250, 1000, "questions", 2.0, 375.0)
    assert describe_progress(state) == "ask: 250 of 1,000 questions (25 %), 2.0 questions/s, 6 min 15 s left"
    assert describe_progress(Progress("draw", 3, 3, "faces")) == "draw: 3 of 3 faces (100 %)"
    assert describe_progress(Progress("draw", 0, 0)) == "draw: 0 of 0"
    assert describe_progress(Progress("two\nlines", 1, 2)) == "two lines: 1 of 2 (50 %)"


def test_a_pipe_gets_a_line_every_few_seconds_with_the_first_and_the_last():
    clock = Clock()
    progress, stream = display(clock)
    with progress:
        for done in range(101):
            progress(Progress("ask", done, 100, "questions"))
            clock.now += 0.3
    lines = stream.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["0", "17", "34", "51", "68", "85", "100"]
    assert "\x1b" not in stream.getvalue()


def test_lines_of_a_narrow_console_are_not_broken():
    progress, stream = display(Clock(), width=20)
    progress(Progress("ask a model with a long name", 1, 1000, "questions", 2.0, 375.0))
    assert stream.getvalue().count("\n") == 1


def test_what_is_known_of_a_stage_that_was_broken_off_is_written_at_the_end():
    clock = Clock()
    progress, stream = display(clock)
    with progress:
        progress(Progress("ask", 0, 100))
        clock.now += 1
        progress(Progress("ask", 7, 100))
        assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().splitlines()[-1] == "ask: 7 of 100 (7 %)"


def test_the_end_is_said_once_and_stages_keep_their_own_time():
    clock = Clock()
    progress, stream = display(clock)
    with progress:
        for stage, done in itertools.product(("first", "second"), (1, 2, 2, 2)):
            progress(Progress(stage, done, 2))
    assert stream.getvalue().splitlines() == [
        "first: 1 of 2 (50 %)", "first: 2 of 2 (100 %)", "second: 1 of 2 (50 %)", "second: 2 of 2 (100 %)",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [40, 80, 140])
def test_a_terminal_gets_one_line_per_stage_at_every_width(width):
    stream = io.StringIO()
    with ProgressDisplay(Console(file=stream, width=width, force_terminal=True, color_system=None)) as progress:
        progress(Progress("draw [b]faces[/b]", 3, 4, "faces", 12.5, 95.0))
        progress(Progress("train", 5, 10, "steps", 0.5, 10.0))
    drawn = stream.getvalue().split("\x1b[?25h")[0].splitlines()
    last = drawn[-2:]
    assert "3/4" in last[0]
    assert "5/10" in last[1]
    if width >= 80:
        assert "draw [b]faces[/b]" in last[0]
        assert "12.5 faces/s" in last[0]
        assert "1 min 35 s left" in last[0]


def test_a_dumb_terminal_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = io.StringIO()
    with ProgressDisplay(Console(file=stream, force_terminal=True)) as progress:
        progress(Progress("ask", 1, 2))
    assert stream.getvalue() == "ask: 1 of 2 (50 %)\n"


def test_a_quiet_display_writes_nothing():
    for terminal in (True, False):
        stream = io.StringIO()
        with ProgressDisplay(Console(file=stream, force_terminal=terminal), quiet=True) as progress:
            progress(Progress("ask", 1, 2))
        assert stream.getvalue() == ""


def test_several_threads_write_whole_lines():
    progress, stream = display(Clock())
    threads = [
        threading.Thread(target=lambda name=f"stage {n}": [progress(Progress(name, i, 50)) for i in range(51)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 16
    assert {line for line in lines if "100 %" in line} == {f"stage {n}: 50 of 50 (100 %)" for n in range(8)}


def test_a_callback_of_todays_signature_is_taken_as_it_is():
    def callback(state, verbose=False):
        raise AssertionError

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_listener(callback, "evaluate") is callback
        assert as_listener(None, "evaluate") is None
        assert as_listener(print, "evaluate") is print
        seen = []
        assert as_listener(seen.append, "evaluate") == seen.append


@pytest.mark.parametrize(
    ("make", "words", "expected"),
    [
        (lambda seen: lambda done, total: seen.append((done, total)), r"\(done, total\)", (3, 9)),
        (
            lambda seen: lambda stage, done, total, detail: seen.append((stage, done, total, detail)),
            r"\(stage, done, total, detail\)",
            ("ask", 3, 9, "1.0 faces/s"),
        ),
        (
            lambda seen: functools.partial(lambda seen, done, total: seen.append((done, total)), seen),
            r"\(done, total\)",
            (3, 9),
        ),
    ],
)
def test_callbacks_of_earlier_signatures_are_called_as_before_with_a_warning(make, words, expected):
    seen = []
    with pytest.warns(DeprecationWarning, match=rf"on_progress of evaluate .*facekit\.reports\.Progress.*{words}"):
        listener = as_listener(make(seen), "evaluate")
    listener(Progress("ask", 3, 9, "faces", 1.0))
    assert seen == [expected]


def test_a_log_gets_lines_where_ci_forces_colours(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with ProgressDisplay() as progress:
        for done in (1, 2, 3):
            progress(Progress("train", done, 3, "steps"))
    assert capsys.readouterr().err.splitlines() == ["train: 1 of 3 steps (33 %)", "train: 3 of 3 steps (100 %)"]


def test_one_step_is_told_in_the_singular():
    assert describe_progress(Progress("train", 1, 1, "steps")) == "train: 1 of 1 step (100 %)"
