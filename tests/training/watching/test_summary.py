"""The page of a stage says what the JSON says, has no empty cells and no half steps, and escapes strangers' words."""

from __future__ import annotations

import json
import re

import pytest
from browser import check_phone, lay_out, needs_chromium
from PIL import Image

from facekit.data.counting import RecordCounts
from facekit.data.dataset import RecordSet
from facekit.data.records import FaceRecord, Turn
from facekit.data.shortened import ShortenedRecord
from facekit.data.skipping import SkippedRecord
from facekit.data.usable import LeftOut
from facekit.models.memory import MemoryEstimate
from facekit.training import LossHistory, TrainingSettings
from facekit.training.trainable.parts import TrainedPart
from facekit.training.watching.history import LossPoint, draw_loss
from facekit.training.watching.measuring import RunCost
from facekit.training.watching.run_report import StageReport
from facekit.training.watching.summary import write_summary
from facekit.training.watching.validation import ValidationAnswer, ValidationPoint, questions_of

EVIL = "<script>alert(1)</script>"


def make_report(points=(), **changes):
    history = LossHistory(tuple(LossPoint(step, step / 3, 6.0 / step, 1e-3 / step) for step in (1, 2, 3)))
    values = {
        "recipe": "small", "summary": "A small one.", "stage": "finetune", "start": "nothing",
        "settings": TrainingSettings(steps=3), "origins": (),
        "parts": (
            TrainedPart("encoder", 12345, 0, None),
            TrainedPart("connector", 678, 678, None),
            TrainedPart("connector.region", 600, 600, 1e-3),
        ),
        "records": "faces.jsonl", "counts": RecordCounts(records=24), "skipped": 2, "history": history, "steps": 3,
        "resumed_from": 0, "cost": RunCost(3, 24, 960, 2.0, 2**30, "CPU"),
        "estimate": MemoryEstimate(8, 40, 1, 1, 1, 1, 1), "points": tuple(points),
    }  # fmt: skip
    return StageReport(**{**values, **changes})


def look(step, *answers, **metrics):
    return ValidationPoint(step, tuple(ValidationAnswer(*answer) for answer in answers), metrics)


def test_a_metric_that_fell_below_its_first_interval_is_red(tmp_path):
    first = ValidationPoint(
        0, (), {"age": 4.0, "expression": 0.6}, {"age": (3.0, 5.0), "expression": (0.5, 0.7)}, ("age",)
    )
    then = ValidationPoint(2, (), {"age": 5.5, "expression": 0.55}, {"age": (4.0, 6.0)}, ("age",), ("age",))
    assert then.fallen_since(first) == ["age"]
    page = write_summary(tmp_path, make_report([first, then])).read_text(encoding="utf-8")
    red = re.findall(r'<td class="[^"]*bad[^"]*"[^>]*>(.*?)</td>', page)
    assert red == ["5.500 [4.000, 6.000]"]
    assert "0.550" in page
    assert "with 95 % intervals" in page


def test_a_run_on_rewards_shows_them_and_says_what_its_loss_is(tmp_path):
    points = tuple(LossPoint(step, step / 3, 0.0, 1e-3, reward=0.1 * step) for step in (1, 2, 3))
    report = make_report(history=LossHistory(points), settings=TrainingSettings(steps=3, grpo={}))
    page = write_summary(tmp_path, report).read_text(encoding="utf-8")
    assert "reward by step" in page
    assert "Loss of GRPO" in page
    assert page.count("<polyline") == 4  # a loss of zero is drawn: raw and smoothed, the rate and the reward
    assert "nats per token" not in page
    plain = write_summary(tmp_path, make_report()).read_text(encoding="utf-8")
    assert "reward by step" not in plain
    assert "Loss per supervised token" in plain


def cells(page):
    return [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", page, re.S)]


def test_the_page_says_what_the_json_says(tmp_path):
    report = make_report([look(3, age=4.5)])
    page = write_summary(tmp_path, report).read_text(encoding="utf-8")
    written = json.loads(report.write(tmp_path).read_text(encoding="utf-8"))
    assert f"{written['final_loss']:.3f} nats per token" in page
    assert f"<dt>samples/s</dt><dd>{written['cost']['samples_per_second']:.1f}</dd>" in page
    assert f"<dt>steps</dt><dd>{written['steps']}</dd>" in page
    assert "24, 2 skipped" in page
    assert f"{written['metrics']['age']:.3f}" in cells(page)
    for part in written["parts"]:
        assert f"{part['parameters']:,}" in cells(page)


def test_no_cell_is_empty_where_looks_differ_in_metrics_answers_and_rates(tmp_path):
    report = make_report(
        [
            look(1, ("a", "How old?", "", "40"), age=9.0),
            look(2),
            look(3, ("a", "How old?", "41", "40"), ("a", "A smile?", "yes", ""), age=5.0, expression=0.5),
        ]
    )
    page = write_summary(tmp_path, report).read_text(encoding="utf-8")
    found = cells(page)
    assert all(found)
    assert found.count("step 2") == 0, "a look without anything gets no column"
    assert "(nothing)" in found
    assert found[found.index("encoder") : found.index("encoder") + 4] == ["encoder", "12,345", "frozen", "–"]
    assert found[found.index("connector") : found.index("connector") + 4] == [
        "connector",
        "678",
        "678",
        "see its parts",
    ]
    assert found[found.index("expression") : found.index("expression") + 3] == ["expression", "–", "0.500"]


def test_a_long_run_shows_six_looks_with_the_first_and_the_last(tmp_path):
    report = make_report([look(step, ("a", "q", f"answer {step}", "t"), age=1.0) for step in range(1, 102)])
    found = cells(write_summary(tmp_path, report).read_text(encoding="utf-8"))
    assert [cell for cell in found if cell.startswith("step ")] == [
        f"step {step}" for step in (1, 21, 41, 61, 81, 101)
    ] * 2
    assert "answer 101" in found


def test_steps_are_whole_on_the_page_and_in_the_picture(tmp_path):
    report = make_report()
    page = write_summary(tmp_path, report).read_text(encoding="utf-8")
    ticks = re.findall(r'text-anchor="middle">([^<]*)<', page)
    assert ticks == ["1", "2", "3"] * 2
    figure = draw_loss(report.history, tmp_path / "loss.png")
    assert Image.open(figure).size == (1280, 736)


def test_strangers_words_are_escaped_and_sections_without_content_are_left_out(tmp_path):
    report = make_report([look(3, (EVIL, EVIL, EVIL, EVIL), **{EVIL: 1.0})], recipe=EVIL, summary=EVIL, start=EVIL)
    page = write_summary(tmp_path, report).read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 8
    bare = write_summary(tmp_path, make_report(history=LossHistory(()))).read_text(encoding="utf-8")
    assert "No loss above 0 was logged" in bare
    for anchor in ("metrics", "answers"):
        assert f'id="{anchor}"' in page
        assert f'id="{anchor}"' not in bare
        assert f'href="#{anchor}"' not in bare


@pytest.mark.parametrize("broken", [False, True])
def test_a_face_is_shown_with_its_picture_where_that_opens(tmp_path, broken):
    Image.new("RGB", (400, 300), (10, 200, 10)).save(tmp_path / "a.png")
    if broken:
        (tmp_path / "a.png").write_bytes(b"nothing")
    shown = RecordSet((FaceRecord(id="a", image="a.png"), FaceRecord(id="b", image="a.png")), tmp_path)
    page = write_summary(tmp_path, make_report([look(3, ("a", "q", "x", "t"))]), shown).read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == (0 if broken else 1)
    assert "<figcaption>a</figcaption>" in page


@needs_chromium
def test_a_phone_shows_the_page_without_scrolling_it(tmp_path):
    answer = "The person has eyeglasses, black hair, bangs and no beard."
    points = [look(step, ("a", "Which attributes?", answer, answer), age=1.0) for step in (1, 2, 3)]
    layout = lay_out(write_summary(tmp_path, make_report(points)).read_text(encoding="utf-8"), tmp_path, 390)
    check_phone(layout)
    assert layout["overflowing"] >= 1
    assert layout["smallest"] >= 9, "letters of charts can be read"


def test_validation_asks_a_dialogue_its_first_question_only():
    """A later one cannot be asked without what it refers to."""
    words = ("Joy or fear?", "Joy.", "What makes you say so?", "The smile.")
    turns = [Turn(role=("user", "assistant")[place % 2], content=each) for place, each in enumerate(words)]
    record = FaceRecord(id="a", image="a.png", conversations=turns)
    assert questions_of(record) == [(None, "Joy or fear?", "Joy.")]
    alone = record.model_copy(update={"independent_questions": True})
    assert [question for _, question, _ in questions_of(alone)] == [words[0], words[2]]


def test_every_record_and_question_that_was_left_out_is_on_the_page_once_with_its_reason(tmp_path):
    skipped = tuple(SkippedRecord(index, f"face-{index}", f"reason {index} {EVIL}") for index in range(3))
    shortened = (ShortenedRecord(7, "face-7", (0,), (LeftOut(2, "it is too long"), LeftOut(3, "it has no answer"))),)
    report = make_report(skipped=3, skipped_records=skipped, shortened_records=shortened)
    page = write_summary(tmp_path, report).read_text(encoding="utf-8")
    found = cells(page)
    for index in range(3):
        assert found.count(f"face-{index}") == 1
        assert found[found.index(f"face-{index}") + 1].startswith(f"reason {index} ")
    assert [found[at + 1 : at + 3] for at, cell in enumerate(found) if cell == "face-7"] == [
        ["it is too long", "2"], ["it has no answer", "3"],
    ]  # fmt: skip
    assert EVIL not in page
    assert 'href="#left-out"' in page
    written = json.loads(report.write(tmp_path).read_text(encoding="utf-8"))["records"]
    assert [entry["id"] for entry in written["skipped_records"]] == ["face-0", "face-1", "face-2"]
    assert written["shortened_records"][0]["left_out"][0] == {"question": 2, "reason": "it is too long"}
    assert "left-out" not in write_summary(tmp_path, make_report()).read_text(encoding="utf-8")
