"""Text by SentencePiece's rules: what the tokenizers library makes of the same vocabulary."""

import pytest
from gguf_models import prepended, unprefixed
from hypothesis import given, settings
from hypothesis import strategies as st

from facekit.models.interoperability.gguf_pieces import SentencePieces

MERGES = ["ol", "old", "▁old", "is", "▁is"]


def pieces_of(tokenizer, *, begins_with_space):
    tokens = [tokenizer.id_to_token(index) for index in range(tokenizer.get_vocab_size())]
    scores = [-float(MERGES.index(token)) if token in MERGES else 0.0 for token in tokens]
    controls = {"<s>": 1, "</s>": 2}
    tokenizer.add_special_tokens(list(controls))
    return SentencePieces(tokens, scores, controls, begins_with_space=begins_with_space)


@pytest.mark.parametrize(("make", "begins_with_space"), [(prepended, True), (unprefixed, False)])
@settings(max_examples=60, deadline=None)
@given(words=st.lists(st.sampled_from(["old", "is", " ", "  ", "o", "ld", "<s>", "</s>", "é", "笑", "\n", "sold"])))
def test_tokens_are_those_of_the_tokenizers_library(make, begins_with_space, words):
    tokenizer = make()
    pieces = pieces_of(tokenizer, begins_with_space=begins_with_space)
    text = "".join(words)
    assert pieces.read(text) == tokenizer.encode(text, add_special_tokens=False).ids


def test_the_higher_score_is_joined_first_and_the_leftmost_of_equal_ones():
    tokens = ["a", "b", "c", "ab", "bc", "aa"]
    assert SentencePieces(tokens, [0, 0, 0, -2, -1, -3], {}, begins_with_space=False).read("abc") == [0, 4]
    assert SentencePieces(tokens, [0, 0, 0, -1, -2, -3], {}, begins_with_space=False).read("abc") == [3, 2]
    assert SentencePieces(tokens, [0, 0, 0, -1, -2, -3], {}, begins_with_space=False).read("aaa") == [5, 0]
