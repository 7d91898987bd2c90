"""Charts stay inside their frames, show whole steps, and escape what they are called."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from facekit.reports import histogram, line_chart


def points(svg):
    pairs = [pair for curve in re.findall(r'points="([^"]*)"', svg) for pair in curve.split()]
    return [tuple(map(float, pair.split(","))) for pair in pairs]


@pytest.mark.parametrize("logarithmic", [True, False])
@pytest.mark.parametrize(
    "values", [[3.0], [3.0, 3.0], [6.0 / n for n in range(1, 900)], [float("nan"), 2.0, 1.0], [0.0, 1.0], [1e-4, 0.0]]
)
def test_the_curve_stays_inside_its_frame(values, logarithmic):
    steps = list(range(1, len(values) + 1))
    svg = line_chart(steps, values, values, title="loss", width=700, height=260, logarithmic=logarithmic)
    assert all(0 <= x <= 700 and 0 <= y <= 260 for x, y in points(svg))
    assert svg.count("<polyline") == 2
    assert len(points(svg)) <= 2 * 240
    ElementTree.fromstring(svg)


def test_a_long_curve_keeps_its_first_and_last_value():
    values = [1.0] * 5000
    values[0], values[-1] = 10.0, 0.1
    places = points(line_chart(list(range(1, 5001)), values, title="loss"))
    assert len(places) == 240
    assert min(y for _, y in places) == places[0][1]
    assert max(y for _, y in places) == places[-1][1]


@pytest.mark.parametrize("values", [[], [float("nan")], [0.0, -1.0]])
def test_nothing_to_draw_is_no_chart(values):
    assert line_chart(list(range(1, len(values) + 1)), values, title="loss") == ""


@pytest.mark.parametrize(("first", "last"), [(1, 2), (1, 4), (1, 7), (3, 3), (1, 750), (200, 12000), (5, 6)])
def test_steps_are_whole_numbers_from_the_first_to_the_last(first, last):
    steps = list(range(first, last + 1))
    svg = line_chart(steps, [1.0 + math.sin(step) / 2 for step in steps], title="loss")
    ticks = [int(text.replace(",", "")) for text in re.findall(r'text-anchor="middle">([^<]*)<', svg)]
    assert ticks[0] == first
    assert all(first <= tick <= last for tick in ticks)
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= 8


def texts(svg):
    """Every text of a chart: what it says, where it is anchored and which part of it."""
    found = re.findall(
        r'<text (?:class="\w+" )?x="([\d.-]+)" y="([\d.-]+)"(?: text-anchor="(\w+)")?[^>]*>([^<]*)<', svg
    )
    return [(text, float(x), float(y), anchor or "start") for x, y, anchor, text in found]


@pytest.mark.parametrize(("values", "last"), [([2e-3, 5e-5], 6), ([123.4, 0.000123], 250_000), ([6.0, 5.9], 9_990)])
@pytest.mark.parametrize("logarithmic", [True, False])
def test_words_are_inside_the_frame_and_apart_at_the_size_of_a_phone(values, last, logarithmic):
    svg = line_chart([1, last], values, values, title="loss", width=720, height=288, logarithmic=logarithmic)
    size, digit = 24, 0.6 * 24
    for text, x, _, anchor in texts(svg):
        left = x - {"start": 0, "middle": 0.5, "end": 1}[anchor] * digit * len(text)
        assert left >= 0, text
        assert left + digit * len(text) <= 720, text
    rows = sorted(y for _, _, y, anchor in texts(svg) if anchor == "end")
    assert all(below - above >= size for above, below in pairwise(rows))
    ticks = [(x, len(text)) for text, x, _, anchor in texts(svg) if anchor == "middle" and text != "step"]
    for (x, length), (then, its_length) in pairwise(ticks):
        assert then - x > digit * (length + its_length) / 2
    assert [text for text, *_ in texts(svg)].count("step") == 1


def test_many_decades_have_few_ticks():
    svg = line_chart([1, 2], [5.0, 2e-8], title="loss")
    labels = [float(text) for text, _, _, anchor in texts(svg) if anchor == "end"]
    assert 3 <= len(labels) <= 7
    assert all(math.log10(label).is_integer() for label in labels)


def test_a_histogram_is_to_scale_and_says_its_counts():
    svg = histogram({0: 5, 2: 10, 3: 12345}, ["1", "2", "3", "4"], "rating", mark=1.5, mark_label="kept")
    heights = [float(value) for value in re.findall(r'class="column"[^>]* height="([\d.]+)"', svg)]
    assert len(heights) == 3
    assert heights[2] == 110
    assert heights[0] == heights[1] == 1.5, "a small count is still seen"
    assert ">12.3k<" in svg
    assert "<title>4: 12,345</title>" in svg
    assert float(re.search(r'<line class="mark" x1="([\d.]+)"', svg)[1]) == 80
    ElementTree.fromstring(svg)


def test_strangers_words_in_charts_are_escaped():
    evil = '"><script>alert(1)</script>'
    for svg in (
        histogram({0: 1}, [evil], evil, mark=0, mark_label=evil),
        line_chart([1, 2], [1.0, 2.0], title=evil),
    ):
        assert "<script" not in svg
        ElementTree.fromstring(svg)


@pytest.mark.parametrize(
    "values", [[0.3, 0.814706], [1e-6, 9.44e-6], [-0.031, 0.047], [3.0, 3.0], [0.0, 0.0], [-2.0, -1.0]]
)
def test_an_even_scale_has_round_ticks_around_all_values_and_zero(values):
    svg = line_chart([1, 2], values, title="reward", logarithmic=False)
    labels = re.findall(r'text-anchor="end">([^<]*)<', svg)
    ticks = [float(label) for label in labels]
    assert all(len(label) <= 6 for label in labels)
    assert 0.0 in ticks
    assert ticks == sorted(set(ticks))
    assert 2 <= len(ticks) <= 6
    stride = ticks[1] - ticks[0]
    assert min(ticks) <= min(values)
    assert max(ticks) + stride > max(values)
