"""Tokens for images in tokenizers that have one already, or whose ids have gaps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from facekit.backbones import add_image_token, load_tiny_backbone
from facekit.errors import ConfigurationError


def tokenizer_of(vocabulary, added=()):
    backend = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    for token in added:
        tokenizer.add_tokens(AddedToken(token, special=True), special_tokens=True)
    return tokenizer


@pytest.fixture(scope="module")
def model():
    return load_tiny_backbone(width=32, depth=1, heads=2).model


def test_a_special_image_token_of_the_tokenizer_is_used_as_it_is(model):
    tokenizer = tokenizer_of({"a": 0, "b": 1}, ["<image>"])
    before = tokenizer.get_vocab()
    assert add_image_token(tokenizer, model) == "<image>"
    assert tokenizer.get_vocab() == before


def test_an_ordinary_word_of_that_name_is_left_alone(model):
    tokenizer = tokenizer_of({"a": 0, "<image>": 1})
    assert add_image_token(tokenizer, model) == "<face_image>"
    assert tokenizer.convert_tokens_to_ids("<face_image>") == 2


def test_gaps_that_would_cost_another_token_its_id_are_refused(model):
    with pytest.raises(ConfigurationError, match="would get the id 2 of 'b'"):
        add_image_token(tokenizer_of({"a": 0, "b": 2}), model)


@given(st.sets(st.integers(0, 9), min_size=1, max_size=8), st.lists(st.sampled_from("uvwxyz"), unique=True, max_size=3))
def test_no_vocabulary_loses_a_token(model, ids, added):
    tokenizer = tokenizer_of({chr(ord("a") + number): index for number, index in enumerate(sorted(ids))}, added)
    before = tokenizer.get_vocab()
    collided = len(set(before.values())) < len(before)  # adding the special tokens themselves may have collided
    try:
        token = add_image_token(tokenizer, model)
    except ConfigurationError:
        return
    after = tokenizer.get_vocab()
    index = after.pop(token)
    assert after == before
    assert collided or index not in before.values()
    assert tokenizer.convert_ids_to_tokens(index) == token
