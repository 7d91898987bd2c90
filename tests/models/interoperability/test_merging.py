"""What is written of a model with adapters is the model with its adapters, also where weights are shared."""

from __future__ import annotations

import pytest
import torch
from adapter_runs import adapt_with_peft, logits, save_base
from peft import LoraConfig, get_peft_model, inject_adapter_in_model
from small_vlms import save_small_vlm
from transformers import AutoModelForCausalLM

import facekit
from facekit.errors import ConfigurationError
from facekit.models.interoperability import export
from facekit.models.interoperability.merging import merge_adapters

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

SHARED = {
    "copy of the head": ({"modules_to_save": ["lm_head"]}, False),
    "copy of the embeddings": ({"modules_to_save": ["embed_tokens"]}, False),
    "copies of both": ({"modules_to_save": ["embed_tokens", "lm_head"]}, False),
    "copy that stays tied": ({"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}, True),
    "adapted head": ({"target_modules": ["q_proj", "lm_head"]}, False),
    "adapted embeddings": ({"target_modules": ["q_proj", "embed_tokens"]}, False),
    "trained rows": ({"trainable_token_indices": [5, 700, 7]}, True),
    "layers alone": ({"target_modules": ["q_proj", "down_proj"]}, True),
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


def adapted(kind, base, folder, is_loaded):
    """A model with an adapter, as PEFT trained it or as facekit loads it, and its processor and logits."""
    model = adapt_with_peft(base, folder, 0.2, **SHARED[kind][0])
    processor, expected = facekit.load(base)[1], logits(model)
    return (facekit.load(folder)[0] if is_loaded else model), processor, expected


@pytest.mark.parametrize("is_loaded", [False, True], ids=["trained", "loaded"])
@pytest.mark.parametrize("kind", SHARED)
def test_a_merged_export_of_a_model_with_shared_embeddings_has_its_logits(base, tmp_path, kind, is_loaded):
    model, processor, expected = adapted(kind, base, tmp_path / "adapter", is_loaded)
    before = model.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    again = facekit.load(export(model, processor, tmp_path / "merged", merge_lora=True))[0]
    torch.testing.assert_close(logits(again), expected, rtol=0, atol=1e-4)
    assert again.config.text_config.tie_word_embeddings is SHARED[kind][1]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    export(model, processor, tmp_path / "text", "language-model", merge_lora=True)
    alone = AutoModelForCausalLM.from_pretrained(tmp_path / "text").eval()
    ids = torch.arange(3, 30)[None]
    with torch.no_grad():
        torch.testing.assert_close(alone(ids).logits, again.language_model(ids).logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens", "q_proj"])
def test_merging_in_place_leaves_the_other_owner_of_a_shared_weight_as_it_was(base, target):
    model = facekit.load(base)[0]
    inject_adapter_in_model(LoraConfig(r=2, target_modules=[target], init_lora_weights=False), model)
    expected = logits(model.eval())
    merge_adapters(model)
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-4)
    assert model.config.text_config.tie_word_embeddings is (target == "q_proj")


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens", "q_proj"])
def test_a_merged_base_in_its_own_class_has_the_logits_of_its_adapters(tmp_path, target):
    save_small_vlm("gemma3", tmp_path / "base")
    model, processor = facekit.load(f"hf:{tmp_path / 'base'}", device="cpu")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=[target], init_lora_weights=False)).eval()
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        expected = adapted(input_ids=ids).logits
        export(adapted, processor, tmp_path / "merged", merge_lora=True)
        again, _ = facekit.load(tmp_path / "merged", device="cpu")
        torch.testing.assert_close(again(input_ids=ids).logits, expected, rtol=0, atol=1e-4)
        torch.testing.assert_close(adapted(input_ids=ids).logits, expected, rtol=0, atol=0)


def test_what_cannot_be_merged_is_one_sentence_and_leaves_no_files(base, tmp_path):
    model = adapt_with_peft(base, tmp_path / "adapter", 0.2, lora_bias=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="an adapter cannot be merged: Impossible to merge LoRA"):
        export(model, facekit.load(base)[1], tmp_path / "out", merge_lora=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]
    with pytest.raises(ConfigurationError, match="an adapter cannot be merged: Impossible to merge LoRA"):
        merge_adapters(model)


def test_copies_are_not_merged_in_place(base, tmp_path):
    model = adapt_with_peft(base, tmp_path, 0.2, modules_to_save=["lm_head"])
    with pytest.raises(ConfigurationError, match="has trained copies of modules"):
        merge_adapters(model)
