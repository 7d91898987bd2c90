"""The look in a real browser: phone width, wide tables with their hint, light and dark."""

from __future__ import annotations

import pytest
from browser import check_phone, lay_out, needs_chromium

from facekit.reports import Section, Table, histogram, line_chart
from facekit.reports.pages import environment

PAGE = """
{% extends "reports/page.html.jinja" %}
{% from "reports/components.html.jinja" import table %}
{% block lead %}<ul class="facts"><li><code>{{ "openclip:ViT-L-14?pretrained=" ~ "x" * 60 }}</code></li></ul>
{% endblock %}
{% block content %}
<section id="a"><h2>Wide</h2>{{ table(wide) }}</section>
<section id="b"><h2>Narrow</h2>{{ table(narrow) }}</section>
<section id="c"><h2>Charts</h2>{{ curve }}{{ bars }}</section>
<section id="d"><h2>Words</h2><pre>{{ "a_long_name_" * 20 }}</pre><p class="alarm">Take care.</p></section>
{% endblock %}
"""


@pytest.fixture(scope="module")
def page():
    wide = Table.of(
        "wide",
        ["question", "answer"],
        ["a metric", "another metric", "95 %", "p"],
        [["What is seen here?", "a sentence that goes on for a while and then ends", "0.123", None, "0.1 to 0.2", "1"]],
    )
    values = [6.0 / step for step in range(1, 400)]
    return (
        environment()
        .from_string(PAGE)
        .render(
            version="0", kind="test", title="runs/some-model-name-that-is-long/finetune",
            contents=[Section(name, f"Section {name}") for name in "abcd"],
            wide=wide, narrow=Table.of("narrow", ["name"], ["count"], [["a", 1], ["b", 2]]),
            curve=line_chart(range(1, 400), values, values, title="loss"),
            bars=histogram({0: 4, 5: 1200}, [*map(str, range(10, 120, 10)), "more"], "words"),
        )
    )  # fmt: skip


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_everything_without_scrolling_the_page(page, tmp_path, dark):
    layout = lay_out(page, tmp_path, 390, dark=dark)
    check_phone(layout)
    assert (layout["overflowing"], layout["sections"]) == (1, 4)
    assert layout["smallest"] >= 10.5, "letters of charts can be read"
    background, ink = (tuple(map(int, layout[name][4:-1].split(","))) for name in ("background", "ink"))
    assert (sum(background) < 100, sum(ink) > 600) == (dark, dark)
    shares = (layout.pixels.reshape(-1, 3) == background).all(1).mean()
    assert shares > 0.05


@needs_chromium
def test_a_desk_has_room_and_no_hint(page, tmp_path):
    layout = lay_out(page, tmp_path, 1280, height=1600)
    assert layout["width"] <= 1280
    assert (layout["hints"], layout["overflowing"], layout["broken"]) == (0, 0, [])
