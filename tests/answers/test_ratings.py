import json

import pytest

from facekit.answers.ratings import parse_rating, review_rating
from facekit.endpoints.requests import Reply

WHOLE = {"image": 8.0, "label": 9.0, "completeness": 7.0, "overall": 8.0}


@pytest.mark.parametrize("text", [
    '{"image": 8, "label": 9, "completeness": 7, "overall": 8, "reason": "good"}',
    '```json\n{"image": 8, "label": 9, "completeness": 7, "overall": 8}\n```',
    "Image: 8/10\nLabel: 9/10\nCompleteness: 7/10\nOverall: 8/10",
    "**Image** - 8, **Label** - 9, **Completeness** - 7, **Overall** - 8",
])  # fmt: skip
def test_ratings_are_read_from_json_and_from_text(text):
    assert parse_rating(text) == WHOLE
    assert json.loads(review_rating(Reply(text, "m")).answer) == WHOLE


@pytest.mark.parametrize("text", [
    "", "Good.", "Image: good, Label: 9, Completeness: 7, Overall: 8", '{"image": 8, "label": 9, "completeness": 7}',
    '{"image": 0, "label": 9, "completeness": 7, "overall": 8}',
    '{"image": 8, "label": 11, "completeness": 7, "overall": 8}',
    '{"image": true, "label": 9, "completeness": 7, "overall": 8}',
])  # fmt: skip
def test_what_is_no_whole_rating_is_unusable(text):
    assert review_rating(Reply(text, "m")).reason.startswith("no rating: ")
