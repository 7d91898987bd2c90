"""A judge's ratings: the criteria, the JSON form that is asked for, and its parser.

The four criteria, from 1 to 10, are those of Face-LLaVA (arXiv 2504.07198, section 3).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from facekit.endpoints.requests import AnswerSchema, Reply, Review
from facekit.endpoints.texts import find_json

CRITERIA = ("image", "label", "completeness", "overall")
LOWEST, HIGHEST = 1.0, 10.0
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:/\s*10)?\s*")
_BETWEEN = rf"(?:(?!\b(?:{'|'.join(CRITERIA)})\b)[^\d\n]){{0,40}}?"

RATING_SCHEMA = AnswerSchema(
    "rating",
    {
        "type": "object",
        "properties": {**{name: {"type": "integer"} for name in CRITERIA}, "reason": {"type": "string"}},
        "required": [*CRITERIA, "reason"],
        "additionalProperties": False,
    },
)


def parse_rating(text: str) -> dict[str, float] | None:
    """Read a rating from JSON, or from lines such as ``Overall: 8/10``.

    Returns:
        A number from 1 to 10 for each of ``CRITERIA``; None where one is missing or out of range.
    """
    values = find_json(text)
    if isinstance(values, Mapping):
        values = {str(name).strip().lower(): value for name, value in values.items()}
    found: dict[str, float] = {}
    for name in CRITERIA:
        if isinstance(values, Mapping):
            number = _NUMBER.fullmatch(str(values.get(name)))
            if number:
                found[name] = float(number[1])
        elif number := re.search(rf"\b{name}\b{_BETWEEN}(\d+(?:\.\d+)?)", text, re.IGNORECASE):
            found[name] = float(number[1])
    if len(found) != len(CRITERIA) or not all(LOWEST <= value <= HIGHEST for value in found.values()):
        return None
    return found


def review_rating(reply: Reply) -> Review:
    """Judge a judge's reply: stored as JSON where it is a rating."""
    rating = parse_rating(reply.text)
    if rating is None:
        return Review(reply.text.strip(), "no rating: the judge gave no numbers from 1 to 10 for all criteria")
    return Review(json.dumps(rating))
