"""A session opens media as ``ask`` does, keeps what it encoded, and scores options."""

from __future__ import annotations

import pytest

import facekit
from facekit.errors import ConfigurationError
from facekit.models import Session

QUESTIONS = ["How old is this person?", "Smile?"]


def test_a_session_gives_the_answers_of_ask_and_encodes_once_for_all_calls(small, picture, points):
    model, processor = small
    expected = facekit.ask(model, processor, picture, QUESTIONS, landmarks=points, max_new_tokens=6, system="Look.")
    seen = []
    model.encoder.register_forward_hook(lambda module, given, result: seen.append(given[0].shape[0]))
    session = Session.open(model, processor, picture, landmarks=points)
    assert session.generate(QUESTIONS, max_new_tokens=6, system="Look.") == expected
    session.score("Old?", ["yes", "no"])
    session.generate("Smile?", max_new_tokens=1)
    assert seen == [1]


def test_scores_are_log_probabilities_and_more_likely_options_score_higher(small, picture, points):
    model, processor = small
    session = Session.open(model, processor, picture, landmarks=points)
    written = session.generate("Smile?", max_new_tokens=3, min_new_tokens=3)[0]
    scores = session.score("Smile?", [written, written[::-1] + "?", "no"])
    assert all(score < 0 for score in scores)
    assert scores[0] > scores[1]
    assert session.score("Smile?", ["no"]) == pytest.approx([scores[2]], abs=1e-4)
    assert session.score("Smile?", ["no"], system="Look.") != pytest.approx([scores[2]], abs=1e-4)


@pytest.mark.parametrize(
    ("question", "options", "message"),
    [("Smile?", [], "no option"), (" ", ["yes"], "needs words"), ("Smile?", "yes", "options are a list of texts")],
)
def test_what_cannot_be_scored_is_told(small, picture, points, question, options, message):
    session = Session.open(*small, picture, landmarks=points)
    with pytest.raises(ConfigurationError, match=message):
        session.score(question, options)


def test_options_and_questions_with_control_tokens_are_scored_as_words(small, picture, points):
    session = Session.open(*small, picture, landmarks=points)
    scores = session.score("Is <image> or <|end|> shown?", ["yes", "<|end|>", "yes<|end|>"])
    assert len({*scores}) == 3
    assert scores[2] < scores[0]  # one more word to write
    plain = session.score("Smile?", ["yes"])
    assert session.score("Smile?", ["yes", "<|end|>"])[0] == pytest.approx(plain[0], abs=1e-4)
