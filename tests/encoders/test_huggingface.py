"""Vision models in the Hugging Face layout as encoders: tokens, layers, preprocessing, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    InternVLVisionModel,
    Siglip2Config,
    Siglip2Model,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

from facekit.catalog import current_registry
from facekit.encoders.huggingface import HuggingFaceEncoder
from facekit.errors import CheckpointError, ConfigurationError, InvalidSpecError
from facekit.spec import PartSpec

VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
DINO = {name: value for name, value in VISION.items() if name != "intermediate_size"}
TEXT = {**VISION, "vocab_size": 50, "num_hidden_layers": 1, "max_position_embeddings": 8, "projection_dim": 8}
LANGUAGE = {
    "model_type": "qwen2",
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
PREFIX = {
    "clip": 1,
    "clip_vision": 1,
    "siglip": 0,
    "dinov2": 1,
    "registers": 4,
    "dinov3": 3,
    "internvit": 1,
    "internvl": 1,
}


def small_model(kind):
    if kind == "clip":
        return CLIPModel(CLIPConfig(vision_config=VISION, text_config=TEXT))
    if kind == "clip_vision":
        return CLIPVisionModel(CLIPVisionConfig(**VISION))
    if kind == "siglip":
        return SiglipModel(SiglipConfig(vision_config=VISION, text_config=TEXT))
    if kind == "dinov2":
        return Dinov2Model(Dinov2Config(**DINO))
    if kind == "dinov3":
        return DINOv3ViTModel(DINOv3ViTConfig(**VISION, num_register_tokens=2))
    if kind == "internvit":
        return InternVLVisionModel(InternVLVisionConfig(**VISION, attention_bias=True))
    if kind == "internvl":
        vision = {**VISION, "model_type": "internvl_vision"}
        return InternVLForConditionalGeneration(InternVLConfig(vision_config=vision, text_config=LANGUAGE))
    return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**DINO, num_register_tokens=3))


@pytest.fixture
def saved(tmp_path):
    def save(kind):
        model = small_model(kind).eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight) * 0.05)
        model.save_pretrained(tmp_path / kind)
        vision = model.model.vision_tower if kind == "internvl" else getattr(model, "vision_model", model)
        return vision, str(tmp_path / kind)

    return save


@pytest.mark.parametrize("kind", PREFIX)
def test_each_architecture_keeps_the_interface(kind, saved, checks):
    encoder = HuggingFaceEncoder.from_spec(saved(kind)[1])
    assert (encoder.hidden_size, encoder.grid, encoder.num_prefix_tokens) == (32, (4, 4), PREFIX[kind])
    checks.interface(encoder)
    checks.independent_frames(encoder)
    checks.round_trip(encoder)
    checks.row_major(encoder)
    if PREFIX[kind]:
        checks.class_token(encoder)
    checks.bfloat16(encoder)


@pytest.mark.parametrize("layer", [1, -2, -1])
@pytest.mark.parametrize("kind", PREFIX)
def test_a_layer_is_the_librarys_own_hidden_state(kind, layer, saved):
    model, folder = saved(kind)
    encoder = HuggingFaceEncoder.from_spec(folder, layer=layer).eval()
    pixels = torch.randn(2, 1, 3, 32, 32)
    with torch.no_grad():
        states = model(pixels[:, 0], output_hidden_states=True).hidden_states
        tokens = encoder(pixels)[:, 0]
    assert len(states) == 4
    assert torch.equal(tokens, states[layer])
    assert not torch.allclose(states[1], states[2])


def test_layers_after_the_chosen_one_and_the_text_half_are_not_kept(saved):
    encoder = HuggingFaceEncoder.from_spec(saved("clip")[1], layer=1)
    names = "\n".join(encoder.state_dict())
    assert "layers.0." in names
    assert "layers.1." not in names
    assert "text" not in names
    assert encoder.to_config()["vision_config"]["num_hidden_layers"] == 1


@pytest.mark.parametrize("kind", PREFIX)
def test_another_size_interpolates_the_position_embeddings(kind, saved, checks):
    encoder = HuggingFaceEncoder.from_spec(saved(kind)[1], image_size=48)
    assert encoder.grid == (6, 6)
    checks.interface(encoder)
    checks.round_trip(encoder)


def test_a_configuration_without_weights_gives_random_ones(tmp_path):
    Dinov2Config(**DINO).save_pretrained(tmp_path)
    first, second = (HuggingFaceEncoder.from_spec(str(tmp_path), pretrained=False) for _ in range(2))
    names = [name for name, weight in first.named_parameters() if weight.ndim > 1 and weight.std() > 0]
    assert any(not torch.equal(first.get_parameter(name), second.get_parameter(name)) for name in names)
    with pytest.raises(CheckpointError, match="cannot load weights"):
        HuggingFaceEncoder.from_spec(str(tmp_path))


def test_the_transform_is_clips_own(saved, portrait):
    _, folder = saved("clip")
    processor = CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_mean=[0.4, 0.5, 0.6]
    )
    processor.save_pretrained(folder)
    encoder = HuggingFaceEncoder.from_spec(folder)
    assert encoder.transform.mean == (0.4, 0.5, 0.6)
    expected = processor(portrait, return_tensors="pt").pixel_values[0]
    assert (encoder.transform(portrait) - expected).abs().mean() < 0.02


def test_the_transform_is_siglips_own(saved, portrait):
    _, folder = saved("siglip")
    processor = SiglipImageProcessor(size={"height": 48, "width": 48}, resample=2)
    processor.save_pretrained(folder)
    encoder = HuggingFaceEncoder.from_spec(folder)
    assert (encoder.image_size, encoder.transform.interpolation) == (48, "bilinear")
    expected = processor(portrait, return_tensors="pt").pixel_values[0]
    assert (encoder.transform(portrait) - expected).abs().mean() < 0.02


def test_without_preprocessing_the_architectures_own_values_are_used(saved):
    assert HuggingFaceEncoder.from_spec(saved("dinov2")[1]).transform.mean == (0.485, 0.456, 0.406)
    assert HuggingFaceEncoder.from_spec(saved("siglip")[1]).transform.mean == (0.5, 0.5, 0.5)
    assert HuggingFaceEncoder.from_spec(saved("clip")[1]).transform.mean[0] == pytest.approx(0.48145466)


def test_preprocessing_that_is_not_square_is_refused(saved):
    _, folder = saved("siglip")
    SiglipImageProcessor(size={"height": 32, "width": 48}).save_pretrained(folder)
    with pytest.raises(InvalidSpecError, match="square pictures"):
        HuggingFaceEncoder.from_spec(folder)


def test_loading_leaves_the_librarys_logging_as_it_was(saved):
    before = transformers.logging.get_verbosity()
    HuggingFaceEncoder.from_spec(saved("clip")[1])
    assert transformers.logging.get_verbosity() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "4"}, "layers 1 to 3.*no layer 4"),
        ({"layer": "-4"}, "no layer -4"),
        ({"layr": "1"}, "did you mean 'layer'"),
        ({"image_size": "0"}, "an integer from 1"),
    ],
)
def test_options_that_cannot_be_used_are_named(options, message, saved):
    with pytest.raises(InvalidSpecError, match=message):
        current_registry().build("encoder", PartSpec("hf", saved("clip_vision")[1], options))


def test_a_size_that_patches_do_not_fill_is_refused(saved):
    with pytest.raises(ConfigurationError, match="multiple of 8"):
        HuggingFaceEncoder.from_spec(saved("clip_vision")[1], image_size=36)


def test_an_argument_is_needed():
    with pytest.raises(InvalidSpecError, match="hub id or a folder"):
        HuggingFaceEncoder.from_spec()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot read the configuration of .*absent"):
        HuggingFaceEncoder.from_spec(str(tmp_path / "absent"))


def test_other_architectures_are_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(InvalidSpecError, match="not 'vit'"):
        HuggingFaceEncoder.from_spec(str(tmp_path))


def test_siglip_2_of_a_free_resolution_gets_square_frames(tmp_path, checks):
    vision = {name: value for name, value in VISION.items() if name != "image_size"}
    text = {name: value for name, value in TEXT.items() if name != "image_size"}
    model = Siglip2Model(Siglip2Config(vision_config={**vision, "num_patches": 16}, text_config=text)).eval()
    model.save_pretrained(tmp_path)
    encoder = HuggingFaceEncoder.from_spec(str(tmp_path), layer=-1).eval()
    assert (encoder.image_size, encoder.grid, encoder.num_prefix_tokens) == (32, (4, 4), 0)
    checks.interface(encoder)
    checks.independent_frames(encoder)
    checks.round_trip(encoder)
    checks.row_major(encoder)
    frames = torch.randn(2, 3, 32, 32)
    patches = frames.reshape(2, 3, 4, 8, 4, 8).permute(0, 2, 4, 3, 5, 1).reshape(2, 16, 8 * 8 * 3)
    with torch.no_grad():
        mask, shapes = torch.ones(2, 16), torch.tensor([[4, 4], [4, 4]])
        states = model.vision_model(patches, mask, shapes, output_hidden_states=True).hidden_states
        torch.testing.assert_close(encoder(frames[:, None])[:, 0], states[-1], atol=1e-5, rtol=1e-5)
    larger = HuggingFaceEncoder.from_spec(str(tmp_path), image_size=48)
    checks.interface(larger)


def test_the_default_layer_is_what_models_of_the_kind_read(saved):
    last = [saved(kind)[1] for kind in ("internvit", "clip")]
    layers = [HuggingFaceEncoder.from_spec(folder).to_config()["vision_config"]["num_hidden_layers"] for folder in last]
    assert layers == [3, 2]


def test_positions_are_not_shaken_in_training(saved):
    encoder = HuggingFaceEncoder.from_spec(saved("dinov3")[1])
    pixels = torch.randn(1, 1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(encoder.train()(pixels), encoder.eval()(pixels))


def test_code_that_comes_with_a_checkpoint_is_not_run(tmp_path):
    witness = tmp_path / "ran"
    (tmp_path / "modeling.py").write_text(f"open({str(witness)!r}, 'w')")
    settings = {"model_type": "own", "auto_map": {"AutoConfig": "modeling.Own", "AutoModel": "modeling.OwnModel"}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match="cannot read the configuration"):
        HuggingFaceEncoder.from_spec(str(tmp_path))
    assert not witness.exists()


def test_incomplete_weights_are_refused(saved):
    _, folder = saved("clip_vision")
    path = f"{folder}/model.safetensors"
    weights = load_file(path)
    lost = next(name for name in weights if "layers.0.mlp.fc1.weight" in name)
    save_file({name: value for name, value in weights.items() if name != lost}, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lack 1 tensor, first .*layers\.0\.mlp\.fc1\.weight"):
        HuggingFaceEncoder.from_spec(folder)


def test_weights_of_another_size_are_refused(saved):
    _, folder = saved("clip_vision")
    path = Path(folder) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "hidden_size": 48}))
    with pytest.raises(CheckpointError, match="cannot load weights"):
        HuggingFaceEncoder.from_spec(folder)


def test_pickled_code_in_weights_is_refused_and_not_run(saved, tmp_path):
    _, folder = saved("clip_vision")
    witness = tmp_path / "ran"

    class Harmful:
        def __reduce__(self):
            return (open, (str(witness), "w"))

    (tmp_path / "clip_vision" / "model.safetensors").unlink()
    for write in (
        lambda path: torch.save({"w": Harmful()}, path),
        lambda path: path.write_bytes(pickle.dumps(Harmful())),
    ):
        write(tmp_path / "clip_vision" / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match="pickled code"):
            HuggingFaceEncoder.from_spec(folder)
    assert not witness.exists()
