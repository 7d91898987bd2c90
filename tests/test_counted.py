"""Amounts with their nouns, and that messages are made of them."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import facekit
from facekit.counted import counted, plural, singular

PACKAGE = Path(facekit.__file__).parent


@pytest.mark.parametrize(
    ("amount", "noun", "words"),
    [
        (0, "shard", "0 shards"), (1, "shard", "1 shard"), (2000, "shard", "2,000 shards"), (1, "reply", "1 reply"),
        (2, "reply", "2 replies"), (2, "near copy", "2 near copies"), (3, "batch", "3 batches"), (2, "day", "2 days"),
        (1.0, "year", "1 year"), (1.5, "year", "1.5 years"), (np.int64(1_234_567), "row", "1,234,567 rows"),
    ],
)  # fmt: skip
def test_an_amount_is_told_with_its_noun(amount, noun, words):
    assert counted(amount, noun) == words


@pytest.mark.parametrize("noun", ["step", "reply", "batch", "day", "class", "face"])
def test_the_singular_of_a_plural_is_the_noun(noun):
    assert singular(plural(noun)) == noun


def test_what_verbs_print_counts_by_this_function():
    noun = re.compile(r"^ (records|shards|faces|questions|answers|pictures|files|calls|copies)\b")
    bare = [
        f"{path.name}:{node.lineno}"
        for path in (PACKAGE / "cli").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.JoinedStr)
        for value, text in zip(node.values, node.values[1:], strict=False)
        if isinstance(value, ast.FormattedValue) and isinstance(text, ast.Constant) and noun.match(str(text.value))
    ]
    assert bare == []
