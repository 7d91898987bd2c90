"""Language models in the Hugging Face layout: chat templates, pad tokens, and what is wrong with a checkpoint."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from facekit.backbones.base import ensure_pad_token
from facekit.backbones.huggingface import load_huggingface_backbone
from facekit.backbones.tiny import load_tiny_backbone, load_tiny_tokenizer
from facekit.errors import CheckpointError, InvalidSpecError

CHAT = [
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "Me."},
    {"role": "user", "content": "Sure?"},
]


@pytest.fixture
def checkpoint(tmp_path):
    """A function that saves a small Llama, after a change to its tokenizer."""

    def save(change=lambda tokenizer: None):
        backbone = load_tiny_backbone(width=32, depth=1, heads=2)
        change(backbone.tokenizer)
        backbone.model.save_pretrained(tmp_path)
        backbone.tokenizer.save_pretrained(tmp_path)
        return str(tmp_path)

    return save


def drop_template(tokenizer):
    tokenizer.chat_template = None


def byte_tokenizer(special):
    vocabulary = {token: index for index, token in enumerate(["<|end|>", *special, "a", "b"])}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE(vocab=vocabulary, merges=[])), eos_token="<|end|>")


def test_a_checkpoint_is_loaded_with_its_template(checkpoint):
    backbone = load_huggingface_backbone(checkpoint())
    assert type(backbone.model).__name__ == "LlamaForCausalLM"
    assert backbone.model.dtype == torch.float32
    assert backbone.tokenizer.apply_chat_template(CHAT[:1], tokenize=False) == "<|user|>Who?<|end|>"


def test_type_and_attention_can_be_chosen(checkpoint):
    backbone = load_huggingface_backbone(checkpoint(), dtype="bfloat16", attention="eager")
    assert backbone.model.dtype == torch.bfloat16
    assert backbone.model.config._attn_implementation == "eager"


def test_without_a_template_plain_is_used_and_noted(checkpoint, caplog):
    with caplog.at_level(logging.WARNING, logger="facekit"):
        backbone = load_huggingface_backbone(checkpoint(drop_template))
    assert "'plain' is used" in caplog.text
    written = backbone.tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert written == "User: Who?\nAssistant: Me.<|end|>\nUser: Sure?\nAssistant:"


def test_vicuna_replaces_the_template(checkpoint):
    backbone = load_huggingface_backbone(checkpoint(), chat_template="vicuna")
    system = (
        "A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions. "
    )
    turns = "USER: Who? ASSISTANT: Me.<|end|>USER: Sure? ASSISTANT:"
    write = backbone.tokenizer.apply_chat_template
    assert write(CHAT, tokenize=False, add_generation_prompt=True) == system + turns
    own = [{"role": "system", "content": "Be brief."}, *CHAT]
    assert write(own, tokenize=False, add_generation_prompt=True) == "Be brief. " + turns


def test_a_template_may_come_from_a_file(checkpoint, tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text("{% for message in messages %}[{{ message.content }}]{% endfor %}")
    backbone = load_huggingface_backbone(checkpoint(), chat_template=str(file))
    assert backbone.tokenizer.apply_chat_template(CHAT, tokenize=False) == "[Who?][Me.][Sure?]"


@pytest.mark.parametrize(("usual", "chosen"), [(None, "<|end|>"), ("[PAD]", "[PAD]")])
def test_a_missing_pad_token_is_chosen_from_the_vocabulary(usual, chosen):
    tokenizer = byte_tokenizer([] if usual is None else [usual])
    assert tokenizer.pad_token is None
    ensure_pad_token(tokenizer)
    assert tokenizer.pad_token == chosen
    ensure_pad_token(tokenizer)
    assert tokenizer.pad_token == chosen


def test_a_tokenizer_with_neither_pad_nor_end_is_refused():
    tokenizer = byte_tokenizer([])
    tokenizer.eos_token = None
    with pytest.raises(CheckpointError, match="neither a pad nor an end-of-text token"):
        ensure_pad_token(tokenizer)


@pytest.mark.parametrize(
    ("argument", "options", "error", "message"),
    [
        (None, {}, InvalidSpecError, "needs a hub id or a folder"),
        ("./nowhere", {}, CheckpointError, "no such folder"),
        ("~/nowhere/at/all", {}, CheckpointError, "no such folder"),
        ("a/b/c", {}, CheckpointError, "no such folder"),
    ],
)
def test_a_missing_checkpoint_is_told(argument, options, error, message):
    with pytest.raises(error, match=message):
        load_huggingface_backbone(argument, **options)


def test_a_hub_id_that_cannot_be_reached_is_told_in_one_line():
    with pytest.raises(CheckpointError, match="hf:nobody/nothing' cannot be loaded") as caught:
        load_huggingface_backbone("nobody/nothing")
    assert "\n" not in str(caught.value)


def test_a_folder_without_configuration_is_told(tmp_path):
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_huggingface_backbone(str(tmp_path))


def test_a_model_that_is_no_language_model_is_told(checkpoint, tmp_path):
    folder = checkpoint()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip_vision_model"}))
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_huggingface_backbone(folder)


def test_truncated_weights_are_told(checkpoint, tmp_path):
    folder = checkpoint()
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-64])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_huggingface_backbone(folder)


def test_missing_weights_are_counted(checkpoint, tmp_path):
    folder = checkpoint()
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 weights, the first is model\.norm\.weight"):
        load_huggingface_backbone(folder)


def test_a_tokenizer_with_more_ids_than_embeddings_is_refused(checkpoint):
    folder = checkpoint(lambda tokenizer: tokenizer.add_tokens([f"word{index}" for index in range(100)]))
    highest, rows = len(load_tiny_tokenizer()) + 99, load_tiny_backbone(width=32, depth=1, heads=2).model.vocab_size
    with pytest.raises(CheckpointError, match=f"ids up to {highest}, the model only {rows} embeddings"):
        load_huggingface_backbone(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float33"}, "dtype=float33 is no floating type"),
        ({"chat_template": "vicunia"}, "chat_template=vicunia is neither .* did you mean 'vicuna'"),
    ],
)
def test_options_that_cannot_be_used_are_refused(checkpoint, options, message):
    with pytest.raises(InvalidSpecError, match=message):
        load_huggingface_backbone(checkpoint(), **options)
