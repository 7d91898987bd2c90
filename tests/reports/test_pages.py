"""One environment, one frame and one look; strangers' words are escaped, and nothing is loaded from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import pytest

import facekit
from facekit.reports import Cell, Section, Table, render_page, render_text
from facekit.reports.pages import environment, escape_cell

PACKAGE = Path(facekit.__file__).parent
FRAME = {"style", "lead", "content", "source"}
EVIL = '<script>alert("x")</script>'


def render(source, **values):
    template = environment().from_string('{% extends "reports/page.html.jinja" %}' + source)
    values = {"version": "0", "kind": "test", "title": "A title", "contents": (), **values}
    return template.render(**values)


def sources(suffix):
    return {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in PACKAGE.rglob(f"*{suffix}")}


def test_there_is_one_template_environment_in_the_package():
    found = {name for name, text in sources(".py").items() if re.search(r"(?<![A-Za-z])Environment\(", text)}
    assert found == {"reports/pages.py"}


def test_every_page_extends_the_one_frame_and_fills_only_its_blocks():
    pages = {name: text for name, text in sources(".html.jinja").items() if not name.startswith("reports/")}
    assert set(pages) >= {
        "datagen/quality/report.html.jinja",
        "demo/report.html.jinja",
        "evaluation/report/report.html.jinja",
        "training/watching/summary.html.jinja",
    }
    for name, text in pages.items():
        assert text.startswith('{% extends "reports/page.html.jinja" %}'), name
        assert set(re.findall(r"{% block (\w+)", text)) <= FRAME, name
        assert not re.search(r"<(html|body|head|footer|h1)\b", text), name


def test_no_template_loads_anything_or_switches_escaping_off():
    for name, text in sources(".html.jinja").items():
        assert not re.search(r"https?://|@import|<link|<script|url\(", text), name
        assert not re.search(r"\|\s*safe|autoescape false", text), name


def test_a_served_page_loads_its_own_files_alone():
    pages = sources(".html")
    assert list(pages) == ["serving/page/index.html"]
    for text in pages.values():
        assert not re.search(r"https?://|@import|url\(", text)
        loaded = re.findall(r"<(?:link|script)\b[^>]*\b(?:href|src)=\"([^\"]*)\"", text)
        assert loaded
        assert all(re.fullmatch(r"data:,|page/[a-z]+\.(?:css|js)", address) for address in loaded)
        assert len(loaded) == len(re.findall(r"<(?:link|script)\b", text))


def test_no_page_has_colours_of_its_own_outside_the_look():
    for name, text in sources(".html.jinja").items():
        if name != "reports/page.html.jinja":
            assert not re.search(r":\s*#[0-9a-fA-F]{3,8}\b", text), name


def test_the_frame_has_title_kind_and_version_and_knows_phones_and_the_dark():
    page = render("{% block content %}<section>hello</section>{% endblock %}")
    assert "<title>A title · facekit test</title>" in page
    assert "<h1>A title</h1>" in page
    assert '<p class="kind"><b>facekit</b> test</p>' in page
    assert "Written by facekit 0." in page
    assert 'content="width=device-width, initial-scale=1"' in page
    assert "@media (prefers-color-scheme: dark)" in page
    assert "<nav" not in page


def test_contents_link_to_sections_with_plain_anchors():
    section = Section.of("task", 'Odd "name" <b>')
    assert section.anchor == "task-odd-name-b"
    page = render("", contents=[section])
    assert '<a href="#task-odd-name-b">Odd &#34;name&#34; &lt;b&gt;</a>' in page


def test_strangers_words_are_escaped_everywhere_in_the_frame():
    page = render(
        "{% block lead %}{{ words }}{% endblock %}", title=EVIL, kind=EVIL, contents=[Section("a", EVIL)], words=EVIL
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 6


def test_a_forgotten_value_raises_and_does_not_become_an_empty_text():
    with pytest.raises(jinja2.UndefinedError, match="forgotten"):
        render("{% block content %}{{ forgotten }}{% endblock %}")


def test_a_template_that_is_not_there_is_named():
    with pytest.raises(jinja2.TemplateNotFound, match="demo/nothing"):
        render_page("demo/nothing.html.jinja", kind="demo", title="x")


@pytest.mark.parametrize("name", ["../pyproject.toml", "/etc/hostname"])
def test_templates_come_from_the_package_alone(name):
    with pytest.raises(jinja2.TemplateNotFound):
        render_text(name)


TABLE = '{% from "reports/components.html.jinja" import table %}{% block content %}{{ table(data) }}{% endblock %}'


def test_a_table_scrolls_in_a_box_of_its_own_with_a_hint():
    data = Table.of("some <numbers>", ["name"], ["count"], [["a", 1234], [Cell("b", "0.1 to 0.2", "bad"), None]])
    page = render(TABLE, data=data)
    body = page[page.index("</header>") :]
    assert '<div class="scroll" tabindex="0" role="region" aria-label="some &lt;numbers&gt;">' in body
    assert "scroll sideways" in body
    assert '<th class="number" scope="col">count</th>' in body
    assert '<td class="number">1,234</td>' in body
    assert '<td class="bad">b<small>0.1 to 0.2</small></td>' in body
    assert '<td class="number">–</td>' in body


def test_strangers_words_in_tables_are_escaped():
    page = render(TABLE, data=Table.of(EVIL, [EVIL], [], [[EVIL], [Cell(EVIL, EVIL)]]))
    assert "<script" not in page


def test_a_table_has_no_empty_cells_and_gives_running_text_room():
    rows = [["", "word " * 10, "two or three words", None], [None, "x", "y", 0]]
    data = Table.of("t", ["a", "b", "c"], ["d"], rows)
    assert [data.rows[0][index].text for index in (0, 3)] == ["–", "–"]
    assert data.rows[1][3].text == "0"
    assert [data.classes(index, Cell("x")) for index in range(4)] == [None, "long", "phrase", "number"]
    assert data.classes(3, Cell("x", kind="bad")) == "number bad"
    assert '<td class="long">' in render(TABLE, data=data)


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="table 'scores' has 1 cells for 2 columns"):
        Table.of("scores", ["a"], ["b"], [["x"]])


def test_cells_of_markdown_stay_in_their_cell():
    assert escape_cell("a|b\nc <i> \\") == "a\\|b c &lt;i> \\\\"
    assert escape_cell("![x](http://tracker) `a` &#106;") == "!\\[x\\](http://tracker) \\`a\\` &amp;#106;"


def test_every_picture_of_a_page_says_what_it_shows():
    for name, text in sources(".html.jinja").items():
        for picture in re.findall(r"<img\b[^>]*>", text):
            assert re.search(r'\balt="[^"]+"', picture), f"{name}: {picture}"
