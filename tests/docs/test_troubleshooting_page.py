"""The page on errors: each message on it is one that facekit's code has, with names and numbers filled in."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = [line for block in re.findall(r"^```text\n(.*?)^```$", PAGE, re.M | re.S) for line in block.splitlines()]
LEAST_FIXED = 0.4
"""Share of a message that the code must have word for word; the rest is filled in."""


def templates() -> list[re.Pattern[str]]:
    """Texts in facekit's code as patterns, whose groups are what is fixed in them."""
    found = set()
    for path in (ROOT / "facekit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                pieces = [node.value]
            elif isinstance(node, ast.JoinedStr):
                pieces = ["" if isinstance(each, ast.FormattedValue) else str(each.value) for each in node.values]
            else:
                continue
            if len("".join(pieces)) >= 12 and not any("\n" in piece for piece in pieces):
                found.add("".join(f"({re.escape(piece)})" if piece else ".+?" for piece in pieces))
    return [re.compile(pattern) for pattern in found]


TEMPLATES = templates()


def fixed_share(message: str) -> float:
    """The share of a message that texts of the code account for; of a message put together, several do."""
    fixed: set[int] = set()
    for pattern in TEMPLATES:
        if match := pattern.search(message):
            fixed |= {place for group in range(1, pattern.groups + 1) for place in range(*match.span(group))}
    return len(fixed) / len(message)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_the_page_is_one_of_the_code(message):
    assert fixed_share(message) >= LEAST_FIXED


@pytest.mark.parametrize(
    "message",
    ["the flux capacitor is not charged; charge it", "there is no such file as photo.jpg", "CUDA out of memory"],
)
def test_a_message_that_the_code_does_not_have_is_noticed(message):
    assert fixed_share(message) < LEAST_FIXED


def test_the_page_has_messages_of_every_kind():
    assert len(MESSAGES) > 50
    assert len(set(MESSAGES)) == len(MESSAGES)
