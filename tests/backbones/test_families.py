"""Every family that facekit promises: loaded by path, its conversation, its end tokens, its targets for LoRA."""

from __future__ import annotations

import pytest
import torch
from language_families import FAMILIES
from peft import LoraConfig, get_peft_model

from facekit.backbones import add_image_token, load_huggingface_backbone, lora_target_modules

CHAT = [
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "Me."},
    {"role": "user", "content": "Sure?"},
]
VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
WRITTEN = {
    "vicuna": f"{VICUNA_SYSTEM} USER: Who? ASSISTANT: Me.</s>USER: Sure? ASSISTANT:",
    "llama2": "<s>[INST] Who? [/INST] Me. </s><s>[INST] Sure? [/INST]",
    "llama3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWho?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nMe.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nSure?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "qwen2": (
        "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\nMe.<|im_end|>\n"
        "<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n"
    ),
    "gemma3": (
        "<bos><start_of_turn>user\nWho?<end_of_turn>\n<start_of_turn>model\nMe.<end_of_turn>\n"
        "<start_of_turn>user\nSure?<end_of_turn>\n<start_of_turn>model\n"
    ),
    "mistral": "<s> [INST] Who? [/INST] Me.</s> [INST] Sure? [/INST]",
    "phi": "User: Who?\nAssistant: Me.<|endoftext|>\nUser: Sure?\nAssistant:",
    "phi3": "<|user|>\nWho?<|end|>\n<|assistant|>\nMe.<|end|>\n<|user|>\nSure?<|end|>\n<|assistant|>\n",
}
WRITTEN["qwen3"] = WRITTEN["qwen2"]
WRITTEN["internlm3"] = "<s>" + WRITTEN["qwen2"]
CHOSEN = {"vicuna": "vicuna", "phi": "plain"}


@pytest.fixture(scope="module", params=[name for name, family in FAMILIES.items() if family.exists])
def loaded(request, tmp_path_factory):
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    torch.manual_seed(0)
    FAMILIES[name].save(folder)
    return name, FAMILIES[name], load_huggingface_backbone(str(folder), chat_template=CHOSEN.get(name))


def test_a_conversation_is_written_in_the_familys_own_bytes(loaded):
    name, _, backbone = loaded
    assert backbone.tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True) == WRITTEN[name]


def test_special_tokens_of_a_conversation_are_single_ids_and_begin_once(loaded):
    name, family, backbone = loaded
    tokenizer = backbone.tokenizer
    text = WRITTEN[name]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    for token in family.tokens:
        assert ids.count(tokenizer.convert_tokens_to_ids(token)) == text.count(token), token
    if family.bos is not None:
        full = tokenizer("Who?")["input_ids"]
        assert full[0] == tokenizer.bos_token_id
        assert full.count(tokenizer.bos_token_id) == 1
    assert tokenizer.pad_token_id is not None
    assert "Who? ASSISTANT: Me." in tokenizer.decode(ids) or name != "vicuna"


def test_answers_end_where_the_family_ends_them(loaded):
    from facekit.backbones.end_tokens import find_end_tokens

    _, family, backbone = loaded
    assert find_end_tokens(backbone) == sorted(backbone.tokenizer.convert_tokens_to_ids(list(family.ends)))


def test_lora_adapts_every_linear_layer_of_attention_and_mlp_and_nothing_else(loaded):
    _, family, backbone = loaded
    expected = [f"model.layers.{layer}.{linear}" for layer in range(2) for linear in family.linears]
    targets = lora_target_modules(backbone.model)
    assert sorted(targets) == sorted(expected)


def test_peft_takes_the_targets_and_trains_all_of_them(loaded):
    _, family, backbone = loaded
    adapted = get_peft_model(backbone.model, LoraConfig(r=2, target_modules=lora_target_modules(backbone.model)))
    try:
        trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
        assert len(trained) == 2 * 2 * len(family.linears)
        ids = torch.tensor([[3, 5, 7, 9]])
        adapted(input_ids=ids, labels=ids).loss.backward()
        assert all(parameter.grad is not None for parameter in adapted.parameters() if parameter.requires_grad)
    finally:
        adapted.unload()


def test_an_image_token_takes_nobodys_place_and_the_model_is_resized_only_where_it_must(loaded):
    _, family, backbone = loaded
    before, rows = backbone.tokenizer.get_vocab(), backbone.model.config.vocab_size
    token = add_image_token(backbone.tokenizer, backbone.model)
    after = backbone.tokenizer.get_vocab()
    index = after.pop(token)
    assert after == before
    assert index not in before.values()
    assert backbone.tokenizer(f"Who?{token}?", add_special_tokens=False)["input_ids"].count(index) == 1
    assert backbone.model.config.vocab_size == (rows if family.spare_rows else rows + 1)
    assert backbone.model(torch.tensor([[index]])).logits.shape[-1] > index
