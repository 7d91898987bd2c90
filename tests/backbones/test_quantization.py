"""Loading in 4 and 8 bits: what becomes of the layers, how far the logits move, and what is told where it cannot be."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from language_families import FAMILIES
from peft import LoraConfig, get_peft_model
from PIL import Image

import facekit
from facekit.backbones import load_huggingface_backbone, lora_target_modules
from facekit.backbones.quantization import quantize, read_quantization
from facekit.errors import ConfigurationError, InvalidSpecError, MissingExtraError
from facekit.models.interoperability import export

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None or importlib.util.find_spec("accelerate") is None,
    reason="the extra 'quantization' is not installed",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistral")
    torch.manual_seed(0)
    FAMILIES["mistral"].save(folder, hidden_size=64, intermediate_size=128)  # blocks of 64 weights share a scale
    return str(folder)


@needs_bitsandbytes
@pytest.mark.parametrize(
    ("load_in", "layer", "tolerance"), [("4bit", "Linear4bit", 0.3), ("8bit", "Linear8bitLt", 0.05)]
)
def test_layers_are_quantised_logits_stay_near_and_adapters_train(checkpoint, load_in, layer, tolerance):
    exact = load_huggingface_backbone(checkpoint).model
    backbone = load_huggingface_backbone(checkpoint, load_in=load_in, dtype="float32")
    model = backbone.model
    targets = lora_target_modules(model)
    assert len(targets) == 14
    assert {type(model.get_submodule(name)).__name__ for name in targets} == {layer}
    ids = torch.tensor([[1, 20, 30, 40]], device=model.device)
    with torch.no_grad():
        expected, logits = exact(ids.cpu()).logits, model(ids).logits.float().cpu()
    assert 0 < (logits - expected).norm() / expected.norm() < tolerance
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=targets))
    adapted(input_ids=ids, labels=ids).loss.backward()
    assert all(parameter.grad is not None for parameter in adapted.parameters() if parameter.requires_grad)


@needs_bitsandbytes
@pytest.mark.parametrize("load_in", ["4bit", "8bit"])
def test_a_loaded_model_is_packed_to_the_same_logits_as_one_loaded_packed(checkpoint, load_in):
    packed = load_huggingface_backbone(checkpoint, load_in=load_in, dtype="float32").model
    model = load_huggingface_backbone(checkpoint, dtype="float32").model
    quantize(model, load_in)
    ids = torch.tensor([[1, 20, 30, 40]])
    with torch.no_grad():
        assert torch.equal(model(ids).logits, packed(ids.to(packed.device)).logits.cpu())
    assert type(model.get_output_embeddings()) is torch.nn.Linear


@needs_bitsandbytes
@pytest.mark.parametrize("load_in", ["4bit", "8bit"])
def test_a_composed_model_answers_and_is_not_saved_in_packed_form(checkpoint, tmp_path, load_in):
    model, processor = facekit.create(
        encoder="tiny?image_size=48&width=32&depth=1",
        connector="mlp",
        backbone=f"hf:{checkpoint}?load_in={load_in}",
        seed=0,
    )
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who?"}]}]
    inputs = processor(images=Image.new("RGB", (64, 64)), text=chat, landmarks=[None]).to(model.device)
    answer = model.generate(**inputs, max_new_tokens=2, min_new_tokens=2, do_sample=False)
    assert answer.shape[1] == inputs["input_ids"].shape[1] + 2
    with pytest.raises(ConfigurationError, match=r"quantised .* cannot be saved whole"):
        model.save_pretrained(tmp_path)
    for kind in ("facekit", "language-model"):
        with pytest.raises(ConfigurationError, match=r"quantised .* cannot be saved whole"):
            export(model, processor, tmp_path / kind, kind)
        assert not (tmp_path / kind).exists()


def test_a_missing_package_is_named_with_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"needs bitsandbytes, accelerate; .*facekit-mllm\[quantization\]"):
        read_quantization("4bit", None)


def test_another_width_is_refused():
    with pytest.raises(InvalidSpecError, match="load_in=2bit is neither 4bit nor 8bit"):
        read_quantization("2bit", None)


@needs_bitsandbytes
def test_four_bits_are_nf4_with_products_in_the_chosen_type():
    settings = read_quantization("4bit", torch.float16)
    assert (settings.bnb_4bit_quant_type, settings.bnb_4bit_use_double_quant) == ("nf4", True)
    assert settings.bnb_4bit_compute_dtype == torch.float16
    assert read_quantization("4bit", None).bnb_4bit_compute_dtype == torch.bfloat16
