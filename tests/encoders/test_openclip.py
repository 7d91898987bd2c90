"""open_clip vision transformers as encoders: tokens, layers, preprocessing, weights, and what is refused."""

from __future__ import annotations

import json
import pickle

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from facekit.catalog import current_registry
from facekit.encoders.openclip import OpenClipEncoder
from facekit.errors import CheckpointError, InvalidSpecError
from facekit.spec import PartSpec

VISION = {"image_size": 32, "layers": 4, "width": 48, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
MODEL = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.json"
    path.write_text(json.dumps(MODEL))
    return str(path)


@pytest.fixture
def trained(tmp_path):
    model = open_clip.CLIP(**MODEL).eval()
    save_file(model.state_dict(), tmp_path / "small.safetensors")
    return model, str(tmp_path / "small.safetensors")


def encoder_of(config, **options):
    return OpenClipEncoder.from_spec(None, config=config, **options).eval()


def test_a_configured_model_keeps_the_interface(config, checks):
    encoder = encoder_of(config)
    assert (encoder.hidden_size, encoder.grid, encoder.num_prefix_tokens) == (48, (4, 4), 1)
    checks.interface(encoder)
    checks.independent_frames(encoder)
    checks.round_trip(encoder)
    checks.row_major(encoder)
    checks.class_token(encoder)
    checks.bfloat16(encoder)


def test_a_model_that_open_clip_knows_is_built_by_name():
    encoder = OpenClipEncoder.from_spec("ViT-S-32-alt", layer=1)
    assert (encoder.hidden_size, encoder.grid, encoder.image_size) == (384, (7, 7), 224)
    assert not any(name.startswith("transformer") for name, _ in encoder.named_children())


def test_blocks_after_the_layer_the_projection_and_the_text_side_are_not_kept(config):
    encoder = encoder_of(config, layer=2)
    names = encoder.state_dict().keys()
    assert any("resblocks.1." in name for name in names)
    assert not any("resblocks.2." in name or name.split(".")[-1] == "proj" or "ln_post" in name for name in names)
    assert sum(p.numel() for p in encoder.parameters()) < sum(p.numel() for p in encoder_of(config).parameters())


@pytest.mark.parametrize("layer", [1, 2, -2, -1])
def test_a_layer_is_the_output_of_that_block_with_loaded_weights(layer, config, trained):
    model, weights = trained
    encoder = encoder_of(config, pretrained=weights, layer=layer)
    pixels = torch.randn(3, 1, 3, 32, 32)
    index = layer - 1 if layer > 0 else 4 + layer
    with torch.no_grad():
        known = model.visual.forward_intermediates(
            pixels[:, 0], indices=[index], output_fmt="NLC", output_extra_tokens=True
        )
        tokens = encoder(pixels)[:, 0]
    assert torch.equal(tokens[:, 1:], known["image_intermediates"][0])
    assert torch.equal(tokens[:, :1], known["image_intermediates_prefix"][0])


def test_weights_of_the_picture_side_alone_are_taken_too(tmp_path, config, trained):
    model, _ = trained
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.visual.state_dict().items()}}, tmp_path / "v.pt")
    encoder = encoder_of(config, pretrained=str(tmp_path / "v.pt"))
    assert torch.equal(encoder.features.visual.conv1.weight, model.visual.conv1.weight)


def test_a_folder_that_open_clip_saved_is_read(tmp_path, trained, portrait):
    model, _ = trained
    folder = tmp_path / "saved"
    folder.mkdir()
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bilinear"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": preprocess}))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    encoder = OpenClipEncoder.from_spec(f"local-dir:{folder}")
    assert torch.equal(encoder.features.visual.positional_embedding, model.visual.positional_embedding)
    assert encoder.transform.std == (0.25, 0.25, 0.25)
    settings = open_clip.transform.PreprocessCfg(size=32, **preprocess)
    expected = open_clip.transform.image_transform_v2(settings, is_train=False)(portrait)
    torch.testing.assert_close(encoder.transform(portrait), expected, atol=1e-4, rtol=0)


def test_the_transform_is_open_clips_own(config, portrait):
    expected = open_clip.image_transform(32, is_train=False)(portrait)
    torch.testing.assert_close(encoder_of(config).transform(portrait), expected, atol=1e-4, rtol=0)


def test_towers_that_are_timm_models_work(tmp_path, checks):
    vision = {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 64}
    path = tmp_path / "around_timm.json"
    path.write_text(json.dumps({**MODEL, "vision_cfg": vision}))
    encoder = encoder_of(str(path))
    assert (encoder.hidden_size, encoder.grid, encoder.num_prefix_tokens) == (64, (4, 4), 1)
    checks.interface(encoder)
    checks.round_trip(encoder)


def test_another_size_resamples_the_trained_positions(config, trained, checks):
    model, weights = trained
    encoder = encoder_of(config, pretrained=weights, image_size=48)
    assert (encoder.image_size, encoder.grid, encoder.transform.image_size) == (48, (6, 6), 48)
    positions = encoder.features.visual.positional_embedding
    state = {"visual.positional_embedding": model.visual.positional_embedding.detach().clone()}
    open_clip.model.resize_pos_embed(state, type("Model", (), {"visual": encoder.features.visual}))
    torch.testing.assert_close(positions.detach(), state["visual.positional_embedding"], atol=1e-6, rtol=0)
    checks.interface(encoder)
    checks.round_trip(encoder)
    with pytest.raises(InvalidSpecError, match="image_size=50: it is no multiple of 8"):
        encoder_of(config, image_size=50)


def test_towers_that_are_timm_models_take_another_size_too(tmp_path, checks):
    vision = {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160}
    path = tmp_path / "around_timm.json"
    path.write_text(json.dumps({**MODEL, "vision_cfg": vision}))
    encoder = encoder_of(str(path), image_size=96, class_token=False)
    assert (encoder.grid, encoder.num_prefix_tokens, encoder.transform.image_size) == ((6, 6), 0, 96)
    checks.interface(encoder)
    checks.round_trip(encoder)


@pytest.mark.parametrize(("layer", "side", "width"), [(1, 16, 32), (-2, 4, 128), (-1, 2, 256)])
def test_a_layer_of_a_resnet_is_a_stage(layer, side, width, tmp_path, checks):
    path = tmp_path / "resnet.json"
    path.write_text(json.dumps({**MODEL, "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}}))
    model = open_clip.CLIP(24, {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}, TEXT).eval()
    save_file(model.state_dict(), tmp_path / "resnet.safetensors")
    encoder = encoder_of(str(path), layer=layer, pretrained=str(tmp_path / "resnet.safetensors"))
    assert (encoder.grid, encoder.hidden_size, encoder.num_prefix_tokens) == ((side, side), width, 0)
    checks.interface(encoder)
    checks.round_trip(encoder)
    checks.independent_frames(encoder)
    frames = torch.randn(2, 3, 64, 64)
    index = int(layer) if int(layer) > 0 else 5 + int(layer)
    with torch.no_grad():
        stages = model.visual.forward_intermediates(frames, indices=[index], intermediates_only=True)
        (known,) = stages["image_intermediates"]
        torch.testing.assert_close(encoder(frames[:, None])[:, 0], known.flatten(2).mT, atol=1e-5, rtol=1e-5)
    assert encoder_of(str(path), layer=-1, image_size=96).grid == (3, 3)


def test_patches_are_never_dropped_in_training(tmp_path):
    path = tmp_path / "dropping.json"
    path.write_text(json.dumps({**MODEL, "vision_cfg": {**VISION, "patch_dropout": 0.5}}))
    encoder = encoder_of(str(path)).train()
    assert encoder(torch.randn(1, 1, 3, 32, 32)).shape == (1, 1, 17, 48)


def test_gradients_reach_every_weight_that_is_kept(config):
    encoder = encoder_of(config).train()
    encoder(torch.randn(1, 1, 3, 32, 32)).square().sum().backward()
    assert [name for name, weight in encoder.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(
    ("argument", "options", "message"),
    [
        (None, {}, "takes a model name"),
        ("ViT-B-16", {"config": "x.json"}, "or config=PATH"),
        ("ViT-B-61", {}, "did you mean 'ViT-B-16'"),
        ("ViT-S-32-alt", {"layer": "13"}, "layers 1 to 12.*no layer 13"),
        ("ViT-B-32", {"pretraned": "openai"}, "did you mean 'pretrained'"),
        ("ViT-B-32", {"pretrained": "opnai"}, "did you mean 'openai'"),
        ("RN50", {"layer": "5"}, "layers 1 to 4.*no layer 5"),
        ("RN50", {"image_size": "100"}, "image_size=100: it is no multiple of 32"),
        ("hf-hub:timm/ViT-B-16-SigLIP", {}, "download .* to a folder"),
        (None, {"config": "/nowhere/model.json"}, "/nowhere/model.json cannot be read"),
    ],
)
def test_what_cannot_be_used_is_named(argument, options, message):
    with pytest.raises(InvalidSpecError, match=message):
        current_registry().build("encoder", PartSpec("openclip", argument, options))


def test_a_file_that_is_no_configuration_is_named(tmp_path):
    (tmp_path / "other.json").write_text('{"width": 3}')
    with pytest.raises(InvalidSpecError, match="no embed_dim"):
        encoder_of(str(tmp_path / "other.json"))
    (tmp_path / "wrong.json").write_text(json.dumps({**MODEL, "vision_cfg": {"widths": 3}}))
    with pytest.raises(InvalidSpecError, match="cannot build the vision_cfg"):
        encoder_of(str(tmp_path / "wrong.json"))


def test_weights_of_another_size_are_refused(tmp_path, trained):
    path = tmp_path / "wider.json"
    path.write_text(json.dumps({**MODEL, "vision_cfg": {**VISION, "width": 64}}))
    with pytest.raises(CheckpointError, match="of another shape, first 'class_embedding'"):
        encoder_of(str(path), pretrained=trained[1])


def test_pickled_code_in_weights_is_refused_and_not_run(tmp_path, config):
    witness = tmp_path / "ran"

    class Harmful:
        def __reduce__(self):
            return (open, (str(witness), "w"))

    path = tmp_path / "harmful.pt"
    path.write_bytes(pickle.dumps({"visual.proj": Harmful()}, protocol=2))
    with pytest.raises(CheckpointError, match="pickled code"):
        encoder_of(config, pretrained=str(path))
    torch.save({"visual.proj": Harmful()}, path)
    with pytest.raises(CheckpointError, match="pickled code"):
        encoder_of(config, pretrained=str(path))
    assert not witness.exists()


def test_a_missing_weights_file_is_named(config, tmp_path):
    with pytest.raises(CheckpointError, match="no weights file"):
        encoder_of(config, pretrained=str(tmp_path / "absent.safetensors"))
    with pytest.raises(CheckpointError, match="no open_clip weights"):
        OpenClipEncoder.from_spec(f"local-dir:{tmp_path}")
