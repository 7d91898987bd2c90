"""Every encoder with every connector and every family of language models: forward, backward, generate, save, load.

The full product runs. FaRL's encoder is not in it because its size is fixed; it is open_clip's class. GGUF files give
a Llama like ``vicuna``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from language_families import FAMILIES
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
)

import facekit

CONNECTORS = {
    "mlp": "mlp?depth=3&keep_prefix_tokens=true",
    "pixel-shuffle": "pixel-shuffle",
    "region": "region?num_heads=4",
    "region-pixel-shuffle": "region?projector=pixel-shuffle&num_heads=4",
    "region-released": "region-released?num_heads=4&keep_prefix_tokens=true",
    "landmark-tokens": "landmark-tokens",
    "landmark-tokens-68": "landmark-tokens?landmark_tokens=68&projector=pixel-shuffle",
    "resampler": "resampler?num_tokens=4&width=32&num_heads=4",
}
ENCODERS = ("tiny", "openclip", "timm", "timm-pyramid", "hf-clip", "hf-dinov2", "languagebind", "iresnet", "fusion")
BACKBONES = ("tiny", *(name for name, family in FAMILIES.items() if family.exists and name != "llama2"))
TEMPLATES = {"vicuna": "?chat_template=vicuna", "phi": "?chat_template=plain"}


@pytest.fixture(scope="module")
def grid_specs(tmp_path_factory) -> dict[str, str]:
    """The spec of every encoder and backbone of the grid; their checkpoints lie in a temporary folder."""
    folder = tmp_path_factory.mktemp("grid")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    CLIPVisionModel(CLIPVisionConfig(intermediate_size=48, **sizes)).save_pretrained(folder / "clip")
    Dinov2Model(Dinov2Config(mlp_ratio=2, **sizes)).save_pretrained(folder / "dinov2")
    vision = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16}
    (folder / "openclip.json").write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision}))
    for name in BACKBONES[1:]:
        FAMILIES[name].save(folder / name)
    tower = Path(__file__).parents[1] / "data" / "face_llava_tiny" / "LanguageBind" / "LanguageBind_Image"
    return {
        "encoder-tiny": "tiny?image_size=32&width=32&depth=1",
        "encoder-openclip": f"openclip?config={folder / 'openclip.json'}",
        "encoder-timm": "timm:test_vit?image_size=64",
        "encoder-timm-pyramid": "timm:test_resnet?image_size=64&layer=2",
        "encoder-hf-clip": f"hf:{folder / 'clip'}",
        "encoder-hf-dinov2": f"hf:{folder / 'dinov2'}",
        "encoder-languagebind": f"languagebind:{tower}",
        "encoder-iresnet": "iresnet?depth=18&width=8&image_size=64",
        "encoder-fusion": "tiny?image_size=32&width=32&depth=1 + tiny?image_size=64&width=32&depth=1",
        "backbone-tiny": "tiny?width=32&depth=1&heads=4",
        **{f"backbone-{name}": f"hf:{folder / name}{TEMPLATES.get(name, '')}" for name in BACKBONES[1:]},
    }


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("connector", CONNECTORS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_composition_learns_answers_and_survives_saving(
    encoder, connector, backbone, grid_specs, chat, picture, points, tmp_path
):
    model, processor = facekit.create(
        encoder=grid_specs[f"encoder-{encoder}"],
        connector=CONNECTORS[connector],
        backbone=grid_specs[f"backbone-{backbone}"],
        seed=0,
    )
    inputs = processor(images=picture, text=chat(), landmarks=[points])
    assert int((inputs["input_ids"] == model.config.image_token_id).sum()) == model.tokens_per_frame

    output = model(**inputs, labels=inputs["input_ids"])
    assert output.logits.shape[:2] == inputs["input_ids"].shape
    assert output.logits.isfinite().all()
    output.loss.backward()
    for name, parameter in model.connector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    for part in (model.encoder, model.connector, model.language_model):
        assert any(each.grad is not None and each.grad.abs().max() > 0 for each in part.parameters())

    answer = model.generate(**inputs, max_new_tokens=2, min_new_tokens=2, do_sample=False)
    assert answer.shape == (1, inputs["input_ids"].shape[1] + 2)

    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    reloaded = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    again = AutoProcessor.from_pretrained(tmp_path)(images=picture, text=chat(), landmarks=[points])
    for name, value in inputs.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0)
    saved = dict(model.named_buffers()) | model.state_dict()
    restored = dict(reloaded.named_buffers()) | reloaded.state_dict()
    assert saved.keys() == restored.keys()
    assert all(torch.equal(restored[name], value) for name, value in saved.items())
    with torch.no_grad():
        torch.testing.assert_close(reloaded(**again).logits, output.logits, rtol=1e-5, atol=1e-5)
