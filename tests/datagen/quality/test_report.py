"""The page on generated answers: contents, legible charts, numbers as counted, and strangers' words escaped."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from browser import check_phone, lay_out, needs_chromium
from PIL import Image

from facekit.datagen.outputs import Written
from facekit.datagen.quality.report import AspectData, Example, GroupData, ReportData, write_report
from facekit.datagen.recipe import load_recipe
from facekit.datagen.selection import DROPPED, FAILED_CALL, KEPT

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def data(tmp_path):
    """Two aspects, one with ratings and an example with a picture, one whose calls failed; groups of two values."""
    Image.new("RGB", (300, 200), (200, 10, 10)).save(tmp_path / "a.png")
    data = ReportData(tmp_path, load_recipe("fairfacegpt"), rated=True, threshold=7)
    example = Example("0", f"face {EVIL}", str(tmp_path / "a.png"), "Describe it.", EVIL, EVIL, {"overall": 4.5}, EVIL)
    data.aspects["facial_structure"] = AspectData(
        outcomes=Counter({KEPT: 1500, DROPPED: 500}),
        reasons=Counter({"rated low": 500}),
        words=Counter({0: 3, 11: 2}),
        ratings={"overall": Counter({6: 500, 9: 1500})},
        examples={KEPT: [], DROPPED: [example]},
    )
    data.aspects[EVIL] = AspectData(outcomes=Counter({FAILED_CALL: 4}))
    data.groups["age_group"] = {
        EVIL: GroupData(Counter({KEPT: 3, DROPPED: 1}), overall=30.0, rated=4),
        "20-29": GroupData(Counter({FAILED_CALL: 2})),
    }
    data.models["a model"] = 2000
    return data


@pytest.fixture
def page(data, tmp_path):
    written = Written(1000, 1500, 500, 4, 6, {"rated low": 500, "refusal": 4})
    return write_report(tmp_path, data, written, 12.5).read_text(encoding="utf-8")


def rows(page):
    return [
        [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", page)
    ]


def test_every_section_is_in_the_contents_and_the_other_way_round(page):
    links = re.findall(r'<a href="#([^"]+)">', page)
    assert links == re.findall(r'<section id="([^"]+)"', page)
    assert links[:4] == ["reasons", "tasks", "groups", "task-facial-structure"]
    assert len(set(links)) == 5


def test_totals_and_shares_are_those_that_were_counted(page):
    totals = (("1,500", "kept"), ("500", "dropped"), ("4", "failed"), ("6", "still open"), ("$12.50", "cost"))
    for number, word in totals:
        assert f"<b>{number}</b>{word}" in page
    assert ["facial structure", "1,500", "500", "0", "75.0 %"] in rows(page)
    assert ["rated low", "500"] in rows(page)
    assert ["20-29", "0", "0", "2", "0.0 %", "–"] in rows(page)
    assert next(row for row in rows(page) if row[-1] == "7.50")[1:] == ["3", "1", "0", "75.0 %", "7.50"]


def test_charts_say_their_counts_in_letters_that_can_be_read(page):
    charts = re.findall(r"<figure>(<svg.*?</svg>)<figcaption>([^<]*)", page)
    assert [title for _, title in charts] == ["words in an answer, up to", "overall, rated 1 to 10"]
    rating = charts[1][0]
    assert "<title>6: 500</title>" in rating
    assert "<title>9: 1,500</title>" in rating
    assert ">kept from 7<" in rating
    mark = float(re.search(r'<line class="mark" x1="([\d.]+)"', rating)[1])
    bars = {title: float(x) for x, title in re.findall(r'<rect class="column" x="([\d.]+)".*?<title>(\d+):', rating)}
    assert bars["6"] < mark < bars["9"], "what is kept stands right of the mark"
    assert mark == 6 * 40
    assert "svg.chart text { font: 12px" in page


def test_strangers_words_are_escaped_and_nothing_is_loaded(page):
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 7
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert page.count('src="data:image/jpeg;base64,') == 1


def test_a_run_without_faults_groups_or_ratings_has_no_sections_for_them(data, tmp_path):
    bare = ReportData(tmp_path, data.recipe, rated=False, threshold=7)
    page = write_report(tmp_path, bare, Written(), 0.0).read_text(encoding="utf-8")
    assert re.findall(r'<section id="([^"]+)"', page) == ["tasks"]
    assert "Answers were not rated." in page


@needs_chromium
def test_a_phone_shows_the_page_without_scrolling_it(page, tmp_path):
    layout = lay_out(page, tmp_path, 390)
    check_phone(layout)
    assert layout["smallest"] >= 9, "letters of charts can be read"
    assert layout["images"] == 1
