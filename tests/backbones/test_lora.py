"""Targets of LoRA in composed models and in models whose layers cannot be found."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, MixtralConfig, MixtralForCausalLM

import facekit
from facekit.backbones import load_tiny_backbone, lora_target_modules
from facekit.errors import ConfigurationError


def test_a_composed_model_is_adapted_in_its_language_model_alone():
    model, _ = facekit.create(
        encoder="tiny?image_size=48&width=32&depth=2", connector="resampler", backbone="tiny?width=32&heads=2&depth=2"
    )
    targets = lora_target_modules(model)
    assert len(targets) == 2 * 7
    assert all(name.startswith("language_model.model.layers.") for name in targets)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=targets))
    names = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert len(names) == 2 * len(targets)
    assert all(".language_model.model.layers." in name for name in names)


def test_quantised_and_transposed_layers_count_and_routers_and_heads_do_not():
    gpt2 = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=20, n_positions=16))
    layer = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert lora_target_modules(gpt2) == [f"transformer.h.{index}.{name}" for index in range(2) for name in layer]
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2}
    experts = MixtralForCausalLM(MixtralConfig(vocab_size=20, num_hidden_layers=1, num_local_experts=2, **sizes))
    names = {name.rpartition(".")[2] for name in lora_target_modules(experts)}
    assert {"q_proj", "k_proj", "v_proj", "o_proj"} <= names
    assert not names & {"gate", "router", "lm_head"}


def test_a_model_without_a_list_of_layers_is_refused():
    model = load_tiny_backbone(width=32, depth=2, heads=2).model
    model.model.layers = nn.ModuleList([model.model.layers[0]])
    with pytest.raises(ConfigurationError, match="LlamaForCausalLM has no list of 2 layers"):
        lora_target_modules(model)


def test_the_adapter_changes_the_logits_it_should():
    model = load_tiny_backbone(width=32, depth=1, heads=2).model.eval()
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        plain = model(ids).logits
        adapted = get_peft_model(model, LoraConfig(r=2, target_modules=lora_target_modules(model)))
        torch.testing.assert_close(adapted(ids).logits, plain)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
        assert not torch.allclose(adapted(ids).logits, plain, atol=1e-3)
