"""Free words of emotion are grouped on wheels and scored as sets."""

from __future__ import annotations

import json

import pytest

from facekit.errors import ConfigurationError, RecordError
from facekit.evaluation.metrics.emotion_wheels import EmotionWheels, free_words, hit_rate, wheel_scores

FIRST = {"anger": {"mad": ["furious"], "bitter": ["jealous"]}, "joy": {"happy": ["merry"], "proud": ["bold"]}}
SECOND = {"bad": {"anger": ["mad"], "fear": ["scared"]}, "good": {"joy": ["happy"]}}
WORDS = ("anger", "mad", "furious", "bitter", "jealous", "joy", "happy", "merry", "proud", "bold", "fear", "scared")
WHEELS = EmotionWheels(
    {**{word: [word] for word in WORDS}, "angered": ["angry"], "angry": ["angry"], "happily": ["happy"]},
    {**{word: [word] for word in WORDS}, "angry": ["mad", "anger"]},
    (FIRST, SECOND),
)


def test_a_form_goes_to_its_word_its_synonyms_and_a_wheels_group():
    assert WHEELS.groups(["Angered ", "happily", "table"], 0) == {"anger", "joy"}
    assert WHEELS.groups(["furious", "jealous"], 0, ring=2) == {"mad", "bitter"}
    assert WHEELS.groups(["joy"], 0, ring=2) == {"happy"}  # the first of its middle ring
    assert WHEELS.groups(["furious"], 1) == set()


def test_sets_of_free_words_have_precision_recall_and_f_of_each_wheel():
    truths = [["angry", "merry"], ["happy"], ["table"]]
    answers = [["furious"], ["joy", "mad"], ["joy"]]
    # wheel 1: {anger, joy} against {anger}; {joy} against {joy, anger}; the third face is left out
    # wheel 2: {bad} against nothing (furious and merry are not on it); {good} against {good, bad}
    found = wheel_scores(WHEELS, truths, answers)
    assert found.count == 2
    assert found.precision == pytest.approx(((1 + 1 / 2) / 2 + (0 + 1 / 2) / 2) / 2)
    assert found.recall == pytest.approx(((1 / 2 + 1) / 2 + (0 + 1) / 2) / 2)
    first, second = 2 * 0.75 * 0.75 / 1.5, 2 * 0.25 * 0.5 / 0.75
    assert found.f_score == pytest.approx((first + second) / 2)


def test_a_hit_is_a_true_group_among_those_said():
    truths = ["anger", "happy", "neutral"]
    assert hit_rate(WHEELS, truths, [["mad"], ["proud", "scared"], ["joy"]]) == pytest.approx((1.0 + 0.5) / 2)
    assert hit_rate(WHEELS, ["neutral"], [["joy"]]) == 0.0


def test_lists_of_words_are_split():
    assert free_words("[Happy, 'slightly nervous' and proud.]") == ["happy", "slightly nervous", "proud"]
    assert free_words("joy；anger\nfear".replace("；", ";")) == ["joy", "anger", "fear"]
    assert free_words(" ") == []


def test_wheels_read_back_and_what_is_none_is_said(tmp_path):
    path = tmp_path / "wheels.json"
    path.write_text(json.dumps({"forms": WHEELS.forms, "synonyms": WHEELS.synonyms, "wheels": WHEELS.wheels}))
    assert EmotionWheels.read(path).groups(["angered"], 0) == {"anger"}
    path.write_text('{"forms": {}, "synonyms": {}, "wheels": []}')
    with pytest.raises(RecordError, match="no wheels"):
        EmotionWheels.read(path)
    good = {"forms": WHEELS.forms, "synonyms": WHEELS.synonyms, "wheels": WHEELS.wheels}
    for part, wrong, words in (
        ("forms", {"glad": "joy"}, "a list of words for each word"), ("forms", ["joy"], "a list of words"),
        ("synonyms", {"joy": [1]}, "a list of words"), ("wheels", [{"joy": {"glad": "merry"}}], "three rings"),
        ("wheels", [{"joy": {}}], "three rings"), ("wheels", [{}], "three rings"),
    ):  # fmt: skip
        path.write_text(json.dumps({**good, part: wrong}))
        with pytest.raises(RecordError, match=words):
            EmotionWheels.read(path)
    with pytest.raises(ConfigurationError, match="1 and 2, not 3"):
        WHEELS.groups(["joy"], 0, ring=3)
