"""Language models in the Hugging Face layout: chat templates, pad tokens, and what is wrong with a checkpoint."""

from __future__ import annotations

import json
import logging

import pytest
import torch

from facekit.backbones.huggingface import load_huggingface_backbone
from facekit.backbones.tiny import load_tiny_backbone
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


def drop_pad(tokenizer):
    tokenizer.pad_token = None


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


@pytest.mark.parametrize(("extra", "pad"), [("<|endoftext|>", "<|endoftext|>"), (None, "<|end|>")])
def test_a_missing_pad_token_is_chosen_from_the_vocabulary(checkpoint, extra, pad):
    def change(tokenizer):
        drop_pad(tokenizer)
        special = json.loads(tokenizer.backend_tokenizer.to_str())
        assert special["model"]["vocab"]["<|pad|>"] == 0
        if extra is not None:
            tokenizer.add_special_tokens({"additional_special_tokens": [extra]})

    backbone = load_huggingface_backbone(checkpoint(change))
    assert backbone.tokenizer.pad_token in (pad, "<|pad|>")


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


def test_a_tokenizer_with_more_ids_than_embeddings_is_refused(checkpoint):
    folder = checkpoint(lambda tokenizer: tokenizer.add_tokens([f"word{index}" for index in range(100)]))
    with pytest.raises(CheckpointError, match="ids up to 781, the model only 704 embeddings"):
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
