"""The colours of both looks, reports and the served page: words reach 4.5 to 1 and marks 3 to 1, light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import facekit

PACKAGE = Path(facekit.__file__).parent
LOOKS = {"reports": "reports/page.html.jinja", "serve": "serving/page/page.css"}
WORDS = {
    "ink": ("paper", "page", "code", "amber"),
    "soft": ("paper", "page", "code"),
    "blue": ("paper", "page"),
    "red": ("paper", "page", "red-soft"),
    "green": ("paper", "green-soft"),
    "on-blue": ("blue",),
}
MARKS = {"blue": ("paper", "line"), "blue-faint": ("paper",), "orange": ("paper",), "edge": ("paper", "page")}
CONFUSION = "evaluation/report/report.html.jinja"
SHADE = re.compile(r"rgba\(([\d, ]+), \{\{ \"%\.3f\"\|format\(([\d.]+) \+ ([\d.]+) \* share")


def luminance(colour):
    parts = [part / 255 for part in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def colours(look, *, dark):
    """The colours of a look by name."""
    light, _, after = (PACKAGE / LOOKS[look]).read_text("utf-8").partition("@media (prefers-color-scheme: dark)")
    block = after[: after.index("}\n}")] if dark else light
    found = re.findall(r"--([a-z-]+): #([0-9a-f]{6});", block)
    return {name: tuple(bytes.fromhex(digits)) for name, digits in found}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(("pairs", "least"), [(WORDS, 4.5), (MARKS, 3.0)], ids=["words", "marks"])
def test_what_is_read_stands_out_from_what_it_is_on(look, dark, pairs, least):
    known = colours(look, dark=dark)
    faint = {
        (name, ground): round(contrast(known[name], known[ground]), 2)
        for name, grounds in pairs.items()
        for ground in grounds
        if name in known and ground in known and contrast(known[name], known[ground]) < least
    }
    assert faint == {}
    assert {"ink", "soft", "blue", "paper", "page"} <= set(known)


def test_fields_of_the_served_page_have_an_edge_that_is_seen():
    style = (PACKAGE / LOOKS["serve"]).read_text("utf-8")
    for rule in ("input, select, textarea {", ".drop {"):
        assert "var(--edge)" in style.partition(f"\n{rule}")[2].partition("}")[0], rule


@pytest.mark.parametrize("dark", [False, True])
def test_counts_of_a_confusion_can_be_read_in_every_cell(dark):
    known = colours("reports", dark=dark)
    rgb, least, more = SHADE.search((PACKAGE / CONFUSION).read_text("utf-8")).groups()
    shade = tuple(map(int, rgb.split(",")))
    for share in (0.0, 0.5, 1.0):
        opacity = float(least) + float(more) * share
        cell = [opacity * over + (1 - opacity) * under for over, under in zip(shade, known["paper"], strict=True)]
        assert contrast(known["ink"], cell) >= 4.5


@pytest.mark.parametrize("kind", ["good", "bad"])
def test_what_a_colour_says_of_a_cell_its_weight_says_too(kind):
    style = (PACKAGE / LOOKS["reports"]).read_text("utf-8")
    assert "font-weight: 600" in style.partition(f"\n.{kind} {{")[2].partition("}")[0]
