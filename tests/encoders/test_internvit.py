"""InternViT in its authors' layout: names, the joint projection, whole models, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from facekit.encoders.huggingface import HuggingFaceEncoder
from facekit.errors import CheckpointError

WIDTH, HIDDEN, LAYERS, HEADS, PATCH, SIZE = 32, 48, 2, 4, 8, 32


def official_settings(**changes):
    values = {
        "architectures": ["InternVisionModel"],
        "model_type": "intern_vit_6b",
        "auto_map": {"AutoModel": "modeling_intern_vit.InternVisionModel"},
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "patch_size": PATCH,
        "image_size": SIZE,
        "qkv_bias": True,
        "qk_normalization": False,
        "hidden_act": "gelu",
        "norm_type": "layer_norm",
        "layer_norm_eps": 1e-6,
        "drop_path_rate": 0.1,
        "use_flash_attn": True,
    }
    return {**values, **changes}


def official_weights(*, qk_norm=False, biases=True):
    """Random weights under the names of the authors' code, written down independently of the package."""
    shapes = {
        "embeddings.class_embedding": (1, 1, WIDTH),
        "embeddings.position_embedding": (1, 1 + (SIZE // PATCH) ** 2, WIDTH),
        "embeddings.patch_embedding.weight": (WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embedding.bias": (WIDTH,),
    }
    for index in range(LAYERS):
        at = f"encoder.layers.{index}."
        shapes |= {f"{at}ls1": (WIDTH,), f"{at}ls2": (WIDTH,), f"{at}attn.qkv.weight": (3 * WIDTH, WIDTH)}
        shapes |= {f"{at}attn.proj.weight": (WIDTH, WIDTH), f"{at}attn.proj.bias": (WIDTH,)}
        shapes |= {f"{at}mlp.fc1.weight": (HIDDEN, WIDTH), f"{at}mlp.fc1.bias": (HIDDEN,)}
        shapes |= {f"{at}mlp.fc2.weight": (WIDTH, HIDDEN), f"{at}mlp.fc2.bias": (WIDTH,)}
        for norm in ("norm1", "norm2"):
            shapes[f"{at}{norm}.weight"] = (WIDTH,)
            if biases:
                shapes[f"{at}{norm}.bias"] = (WIDTH,)
        if biases:
            shapes[f"{at}attn.qkv.bias"] = (3 * WIDTH,)
        if qk_norm:
            shapes |= {f"{at}attn.q_norm.weight": (WIDTH,), f"{at}attn.k_norm.weight": (WIDTH,)}
    generator = torch.Generator().manual_seed(0)
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def reference(weights, frames, layers=LAYERS):
    """What the authors' code computes, from their weights."""
    tokens = F.conv2d(
        frames, weights["embeddings.patch_embedding.weight"], weights["embeddings.patch_embedding.bias"], PATCH
    )
    tokens = torch.cat([weights["embeddings.class_embedding"].expand(len(frames), -1, -1), tokens.flatten(2).mT], dim=1)
    tokens = tokens + weights["embeddings.position_embedding"]
    for index in range(layers):
        at = f"encoder.layers.{index}."

        def layer(name, values, at=at):
            return F.linear(values, weights[f"{at}{name}.weight"], weights.get(f"{at}{name}.bias"))

        def norm(name, values, at=at):
            return F.layer_norm(values, (WIDTH,), weights[f"{at}{name}.weight"], weights[f"{at}{name}.bias"], 1e-6)

        joint = layer("attn.qkv", norm("norm1", tokens))
        query, key, value = joint.reshape(len(frames), -1, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + weights[f"{at}ls1"] * layer("attn.proj", mixed)
        hidden = F.gelu(layer("mlp.fc1", norm("norm2", tokens)))
        tokens = tokens + weights[f"{at}ls2"] * layer("mlp.fc2", hidden)
    return tokens


@pytest.mark.parametrize("layer", [1, -1])
def test_the_authors_layout_gives_their_features(layer, tmp_path):
    weights = official_weights()
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(official_settings()))
    encoder = HuggingFaceEncoder.from_spec(str(tmp_path), layer=layer).eval()
    frames = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        tokens = encoder(frames[:, None])[:, 0]
    torch.testing.assert_close(tokens, reference(weights, frames, layer % 3), atol=1e-4, rtol=1e-4)


def test_a_whole_model_gives_its_vision_part_and_its_code_is_not_run(tmp_path):
    witness = tmp_path / "ran"
    (tmp_path / "configuration_internvl_chat.py").write_text(f"open({str(witness)!r}, 'w')")
    auto_map = {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"}
    whole = {"model_type": "internvl_chat", "auto_map": auto_map, "vision_config": official_settings()}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    weights = official_weights()
    named = {f"vision_model.{name}": value for name, value in weights.items()}
    save_file(named, tmp_path / "a.safetensors")
    save_file({"language_model.model.norm.weight": torch.ones(4)}, tmp_path / "b.safetensors")
    places = dict.fromkeys(named, "a.safetensors") | {"language_model.model.norm.weight": "b.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (tmp_path / "b.safetensors").unlink()
    encoder = HuggingFaceEncoder.from_spec(str(tmp_path)).eval()
    frames = torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad():
        torch.testing.assert_close(encoder(frames[:, None])[0], reference(weights, frames), atol=1e-4, rtol=1e-4)
    assert not witness.exists()


def test_normalised_queries_and_keys_and_missing_biases_have_their_places(tmp_path):
    settings = official_settings(qkv_bias=False, qk_normalization=True, norm_type="rms_norm")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    save_file(official_weights(qk_norm=True, biases=False), tmp_path / "model.safetensors")
    encoder = HuggingFaceEncoder.from_spec(str(tmp_path))
    assert encoder(torch.randn(1, 1, 3, SIZE, SIZE)).shape == (1, 1, 17, WIDTH)


def test_missing_and_unexpected_names_are_listed(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(official_settings()))
    weights = official_weights()
    del weights["encoder.layers.0.ls1"]
    weights["encoder.layers.1.attn.rope"] = torch.zeros(2)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        HuggingFaceEncoder.from_spec(str(tmp_path))
    assert "1 missing, first 'encoder.layer.0.lambda_1'" in str(caught.value)
    assert "1 left over, first 'encoder.layer.1.attn.rope'" in str(caught.value)


def test_pickled_code_is_refused_and_not_run(tmp_path):
    witness = tmp_path / "ran"

    class Harmful:
        def __reduce__(self):
            return (open, (str(witness), "w"))

    (tmp_path / "config.json").write_text(json.dumps(official_settings()))
    torch.save({"embeddings.class_embedding": Harmful()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickled code, which is refused"):
        HuggingFaceEncoder.from_spec(str(tmp_path))
    assert not witness.exists()


def test_a_configuration_that_lacks_entries_is_named(tmp_path):
    settings = official_settings()
    del settings["qk_normalization"], settings["norm_type"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match="lacks qk_normalization, norm_type"):
        HuggingFaceEncoder.from_spec(str(tmp_path))
