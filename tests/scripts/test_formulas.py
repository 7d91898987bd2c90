"""Formulas of the documentation: MathML where LaTeX can be read, an error where it cannot."""

import re
from pathlib import Path

import pytest

from scripts.formulas import write_formula

pytest.importorskip("latex2mathml", reason="the extra docs is not installed")
ROOT = Path(__file__).parents[2]
FORMULAS = [
    (page.name, text)
    for page in sorted((ROOT / "docs").glob("*.md"))
    for text in re.findall(r"^```math\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
]


def test_lines_of_a_formula_become_rows_of_a_table():
    markup = write_formula("\\begin{split} Q &= X W^\\top \\\\ P &= \\sqrt{d} \\end{split}")
    assert markup.count("<mtr>") == 2
    assert "<msqrt>" in markup
    assert markup.startswith('<div class="formula"')


@pytest.mark.parametrize("source", ["\\begin{aligned} a &= b \\end{aligned}", "\\nosuchthing x"])
def test_what_cannot_be_read_is_an_error_and_not_left_as_it_is(source):
    with pytest.raises(ValueError, match="formula"):
        write_formula(source)


@pytest.mark.parametrize(("page", "source"), FORMULAS)
def test_a_formula_of_a_page_can_be_read(page, source):
    assert write_formula(source).count("<math") == 1


def test_formulas_of_pages_are_found():
    assert len([page for page, _ in FORMULAS if page == "region-attention.md"]) == 2
