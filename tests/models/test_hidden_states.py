"""The model without its head, as trainers that compute the head themselves call it."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForImageTextToText

from facekit.errors import ConfigurationError
from facekit.models import FaceKitForConditionalGeneration


def by_head(model, inputs):
    """Logits as a trainer with a fused head has them: the base's hidden states through the output embedding."""
    outputs = model.base_model(**inputs, use_cache=False)
    return model.get_output_embeddings()(outputs.last_hidden_state)


@pytest.mark.parametrize("backbone", ["tiny", "hf-llama", "hf-qwen2", "hf-gemma3"])
def test_its_hidden_states_give_the_models_logits(compose, make_batch, chat, backbone):
    model, processor = compose(backbone=backbone)
    inputs = make_batch(processor, [chat("Old?"), chat("Which expression?"), chat("Text alone?", images=0)])
    with torch.no_grad():
        torch.testing.assert_close(by_head(model, inputs), model(**inputs).logits, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_the_whole(compose, make_batch, chat):
    model, processor = compose()
    inputs = make_batch(processor, [chat("Old?"), chat("Which expression?")])
    gradients = []
    for logits in (by_head(model, inputs), model(**inputs).logits):
        model.zero_grad()
        logits.logsumexp(-1).sum().backward()
        gradients.append([each.grad.clone() for each in model.parameters() if each.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 20
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_adapters_stay_in_it(compose, make_batch, chat):
    model, processor = compose()
    inputs = make_batch(processor, [chat("Old?")])
    before = by_head(model, inputs)
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    whole = adapted.get_base_model()
    with torch.no_grad():
        torch.testing.assert_close(by_head(whole, inputs), adapted(**inputs).logits, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(by_head(whole, inputs), before)


def test_it_is_no_module_so_that_weights_keep_their_names(small):
    model, _ = small
    names = set(model.state_dict())
    assert not isinstance(model.base_model, torch.nn.Module)
    assert model.base_model.config is model.config
    assert set(model.state_dict()) == names


def test_a_language_model_that_is_all_head_is_refused(small):
    model, _ = small
    model.language_model.get_decoder = lambda: model.language_model
    with pytest.raises(ConfigurationError, match="LlamaForCausalLM has no model without a head inside it"):
        model.base_model(input_ids=torch.tensor([[1]]))


def test_a_saved_folder_says_which_class_opens_it_without_code_of_its_own(small, tmp_path):
    """TRL builds reference models so: by ``auto_map`` where transformers itself has no class of that name."""
    model, _ = small
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.architectures == ["FaceKitForConditionalGeneration"]
    assert set(config.auto_map) == {"AutoModelForImageTextToText"}
    for trusted in (False, True):
        opened = AutoModelForImageTextToText.from_pretrained(tmp_path, trust_remote_code=trusted)
        assert isinstance(opened, FaceKitForConditionalGeneration)
        assert opened.config.name_or_path == str(tmp_path)
    assert not list(tmp_path.glob("*.py"))
