"""Tables in a terminal at every width: words are whole, and nothing is left out."""

import io
import re
import sys

import pytest
from rich.console import Console
from rich.table import Table

from facekit.cli.drawing import draw_table
from facekit.evaluation.report.tables import make_table

WIDTHS = (200, 120, 100, 80, 60, 40)
INDENT = 4


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def in_terminal(monkeypatch, run_facekit):
    """Returns what a command prints in a terminal of a width, without colours."""

    def show(width, *words):
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", str(width))
            patch.setenv("TERM", "xterm")
            patch.setattr(sys, "stdout", Screen())
            run_facekit(*words)
            return re.sub(r"\x1b\[[\d;]*m", "", sys.stdout.getvalue())

    return show


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ["encoders", "presets", "datasets", "landmarkers"])
def test_a_list_is_as_wide_as_the_terminal_and_its_words_are_those_of_a_pipe(in_terminal, run_facekit, kind, width):
    _, piped, _ = run_facekit("list", kind)
    shown = in_terminal(width, "list", kind)
    words = {word for line in piped.splitlines()[1:] for word in line.split()}
    assert words - set(shown.split()) == set()
    longest = max(map(len, words))
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= max(width, longest + INDENT)


def test_inspected_parts_are_whole_in_a_narrow_terminal(in_terminal, run_facekit, model_folder):
    _, piped, _ = run_facekit("inspect", model_folder)
    rows = [line.split("\t") for line in piped.splitlines() if line.count("\t") == 5]
    shown = in_terminal(40, "inspect", model_folder)
    assert len(rows) > 3
    assert {word for row in rows[1:] for cell in row for word in cell.split()} <= set(shown.split())


def draw(table, width):
    screen = io.StringIO()
    draw_table(table, Console(file=screen, width=width, emoji=False))
    return screen.getvalue()


def scores():
    table = make_table("scores of two models", ["model", "task"], ["accuracy", "95 % interval"])
    table.add_row("a-model-with-a-long-name", "expression", "0.867", "0.840 to 0.893")
    table.add_row("", "age", "5.8", "5.4 to 6.3")
    table.add_row("b", "age", "", "6.1 to 7.0")
    return table


def test_a_wide_column_leaves_others_the_width_of_their_words():
    table = Table("name", "summary", "licence")
    table.add_row("x" * 30, "word " * 40, "Community-Licence-Agreement-of-2024")
    lines = draw(table, 90).splitlines()
    assert "x" * 30 in "".join(lines)
    assert "Community-Licence-Agreement-of-2024" in "".join(lines)
    assert {len(line) for line in lines} == {90}


def test_numbers_stay_with_their_units_and_intervals():
    table = make_table("", ["part", "shape"], ["median size"])
    table.add_row("encoder", "a few words of a shape", "7.09 MB")
    table.add_row("head", "none", "0.840 to 0.893")
    lines = [line for line in draw(table, 44).splitlines() if line]
    assert any("7.09 MB" in line for line in lines)
    assert any("0.840 to 0.893" in line for line in lines)
    assert len(lines) > 6, "the words beside them are wrapped"


def test_where_there_is_room_a_table_is_as_narrow_as_its_text():
    assert len(draw(scores(), 300).splitlines()[1]) < 90


def test_rows_without_room_are_a_list_whose_headings_go_on(capsys):
    assert draw(scores(), 40) == ""
    assert capsys.readouterr().out.splitlines() == [
        "scores of two models",
        "",
        "a-model-with-a-long-name",
        "  task: expression",
        "  accuracy: 0.867",
        "  95 % interval: 0.840 to 0.893",
        "",
        "a-model-with-a-long-name",
        "  task: age",
        "  accuracy: 5.8",
        "  95 % interval: 5.4 to 6.3",
        "",
        "b",
        "  task: age",
        "  95 % interval: 6.1 to 7.0",
    ]


def test_a_column_that_is_not_wrapped_heads_its_row(capsys):
    table = Table("kind", "summary")
    table.add_column("name", no_wrap=True)
    table.add_row("encoder", "a tower of vision", "two words " * 5)
    draw(table, 30)
    assert capsys.readouterr().out.splitlines()[0] == " ".join(["two words"] * 5)


def test_a_last_column_without_words_gives_its_room_to_others(in_terminal, run_facekit):
    _, piped, _ = run_facekit("list", "connectors")
    assert piped.splitlines()[0].endswith("\tinstall"), "scripts find the same columns whatever is installed"
    shown = in_terminal(80, "list", "connectors")
    assert "install" not in shown
    assert "licence" in shown


def test_a_table_without_rows_draws_too(capsys):
    assert "name" in draw(Table("name"), 20)
    draw(make_table("nothing", ["a-long-heading", "another-heading"], []), 12)
    assert capsys.readouterr().out == "nothing\n\n"
