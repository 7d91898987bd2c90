"""The tiny Llama and its tokenizer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facekit.backbones.tiny import load_tiny_backbone, load_tiny_tokenizer
from facekit.catalog import current_registry
from facekit.errors import InvalidSpecError
from facekit.spec import PartSpec


@pytest.fixture(scope="module")
def tokenizer():
    return load_tiny_tokenizer()


def test_sizes_are_as_asked_for():
    backbone = load_tiny_backbone(width=64, depth=3, heads=2, context=256)
    config = backbone.model.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (64, 3, 2)
    assert config.max_position_embeddings == 256
    assert config.vocab_size % 64 == 0
    assert config.vocab_size > len(backbone.tokenizer)
    assert config.eos_token_id == backbone.tokenizer.eos_token_id


def test_the_model_reads_what_the_tokenizer_writes():
    backbone = load_tiny_backbone(width=32, depth=1, heads=2)
    inputs = backbone.tokenizer(["How old?", "Guess?"], padding=True, return_tensors="pt")
    logits = backbone.model(**inputs).logits
    assert logits.shape == (*inputs["input_ids"].shape, backbone.model.config.vocab_size)
    assert logits.isfinite().all()
    assert torch.equal(inputs["attention_mask"].sum(dim=1), torch.tensor([3, 2]))


def test_sentences_of_the_tasks_are_short(tokenizer):
    assert tokenizer.tokenize("The active units are AU6, AU12 and AU25.") == [
        "The", "Ġactive", "Ġunits", "Ġare", "ĠAU6", ",", "ĠAU12", "Ġand", "ĠAU25", "."
    ]  # fmt: skip
    assert tokenizer.tokenize(" about 34 years") == ["Ġabout", "Ġ3", "4", "Ġyears"]


@given(st.text())
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_chat_template_marks_roles(tokenizer):
    chat = [{"role": "user", "content": "Guess?"}, {"role": "assistant", "content": "It."}]
    written = "<|user|>Guess?<|end|><|assistant|>It.<|end|>"
    assert tokenizer.apply_chat_template(chat, tokenize=False) == written
    assert tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True) == (
        "<|user|>Guess?<|end|><|assistant|>"
    )
    assert len(tokenizer(written)["input_ids"]) == 8


@pytest.mark.parametrize(
    ("argument", "options", "message"),
    [
        ("large", {}, "takes no argument, got 'large'"),
        (None, {"width": "0"}, "cannot use width=0: it takes an integer from 1"),
        (None, {"depth": "2.5"}, "cannot use depth=2.5: it takes an integer from 1"),
        (None, {"width": "50", "heads": "4"}, "width=50 with heads=4"),
        (None, {"width": "12", "heads": "4"}, "width=12 with heads=4"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(argument, options, message):
    with pytest.raises(InvalidSpecError, match=message):
        current_registry().build("backbone", PartSpec("tiny", argument, options))
