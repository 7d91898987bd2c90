"""Composing models from specs: presets, overrides, image tokens, seeds, and what is refused."""

from __future__ import annotations

import pytest
import torch

import facekit
from facekit.backbones.tiny import load_tiny_backbone
from facekit.errors import CheckpointError, ConfigurationError, InvalidSpecError, UnknownPartError
from facekit.models import Preset
from facekit.models.create import add_image_token, set_dtype


def test_a_preset_names_all_parts_and_each_can_be_replaced(registry):
    preset = Preset("tiny?image_size=48&width=32&depth=1", "region", "tiny?width=48&heads=4&depth=1", "small")
    registry.register("preset", "small", preset)
    model, processor = facekit.create(preset="small", connector="mlp?depth=1")
    assert model.config.encoder == {"name": "tiny", "image_size": 48, "width": 32, "depth": 1}
    assert model.config.connector["name"] == "mlp"
    assert model.config.connector["depth"] == 1
    assert processor.image_processor.landmarker == "mesh"


def test_a_preset_may_name_an_encoder_for_clips(registry):
    parts = ("tiny?image_size=48&width=32&depth=1", "mlp", "tiny?width=48&heads=4&depth=1")
    registry.register(
        "preset", "two", Preset(*parts, "two encoders", video_encoder="tiny?image_size=48&width=32&depth=2")
    )
    model, processor = facekit.create(preset="two", dtype="bfloat16")
    assert model.config.video_encoder == {"name": "tiny", "image_size": 48, "width": 32, "depth": 2}
    assert (model.encoder_for(1), model.encoder_for(8)) == (model.encoder, model.video_encoder)
    assert next(model.video_encoder.parameters()).dtype == torch.bfloat16
    assert processor.count_visual_tokens(8) == model.count_visual_tokens(8) == 72
    other, _ = facekit.create(preset="two", video_encoder="tiny?image_size=48&width=32&depth=1")
    assert other.config.video_encoder["depth"] == 1


def test_a_part_whose_to_config_takes_the_key_of_its_name_is_refused_before_it_could_be_saved(registry):
    from facekit.encoders import TinyEncoder

    class Named(TinyEncoder):
        def to_config(self):
            return {**super().to_config(), "name": "resnet18"}

    registry.register("encoder", "named", Named, summary="", licence="", source="")
    with pytest.raises(ConfigurationError, match="to_config of 'named' has a key 'name'"):
        facekit.create(
            encoder="named?image_size=48&width=32&depth=1", connector="mlp", backbone="tiny?width=48&depth=1"
        )


def test_the_shipped_preset_builds():
    model, processor = facekit.create(preset="facekit-tiny")
    assert model.config.connector["name"] == "region"
    assert processor.tokens_per_frame == model.tokens_per_frame == 36
    assert not model.training


def test_a_seed_makes_weights_repeatable_and_leaves_the_random_state_alone(compose):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, _ = compose(seed=3, lively=False)
    assert torch.equal(torch.get_rng_state(), state)
    second, other = compose(seed=3, lively=False)[0], compose(seed=4, lively=False)[0]
    weights = first.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in second.state_dict().items())
    assert not all(torch.equal(value, weights[name]) for name, value in other.state_dict().items())


def test_loaded_language_models_keep_their_weights(compose, specs):
    from transformers import AutoModelForCausalLM

    model, _ = compose(backbone="hf-gemma3", lively=False)
    original = AutoModelForCausalLM.from_pretrained(specs["hf-gemma3"].removeprefix("hf:"))
    for name, value in original.state_dict().items():
        kept = model.language_model.state_dict()[name]
        torch.testing.assert_close(kept[: len(value)], value, rtol=0, atol=0)


def test_loaded_encoders_keep_their_weights(compose, specs):
    from transformers import CLIPVisionModel

    model, _ = compose(encoder="hf")
    original = CLIPVisionModel.from_pretrained(specs["hf-encoder"].removeprefix("hf:")).state_dict()
    kept = {name.removeprefix("model."): value for name, value in model.encoder.state_dict().items()}
    assert len(kept) > 20
    for name, value in kept.items():
        torch.testing.assert_close(value, original[name], rtol=0, atol=0)


def test_generation_settings_of_the_language_model_are_kept(compose):
    model, processor = compose(backbone="hf-gemma3")
    assert model.generation_config.eos_token_id == [1, 4]
    assert model.generation_config.pad_token_id == processor.tokenizer.pad_token_id == 0
    assert model.generation_config.suppress_tokens == [model.config.image_token_id]


def test_the_image_token_gets_a_mean_embedding_where_the_model_has_no_row():
    backbone = load_tiny_backbone(width=32, depth=1, heads=2)
    backbone.model.resize_token_embeddings(len(backbone.tokenizer), mean_resizing=False)
    rows = len(backbone.tokenizer)
    mean = backbone.model.get_input_embeddings().weight.mean(dim=0)
    token = add_image_token(backbone.tokenizer, backbone.model)
    assert backbone.tokenizer.convert_tokens_to_ids(token) == rows
    assert backbone.model.config.vocab_size == rows + 1
    torch.testing.assert_close(backbone.model.get_input_embeddings().weight[rows], mean)
    assert backbone.model.get_output_embeddings().weight is backbone.model.get_input_embeddings().weight


def test_a_spare_row_is_used_without_resizing():
    backbone = load_tiny_backbone(width=32, depth=1, heads=2)
    rows = backbone.model.config.vocab_size
    assert add_image_token(backbone.tokenizer, backbone.model) == "<image>"
    assert backbone.model.config.vocab_size == rows


def test_an_image_token_that_the_vocabulary_has_already_is_not_taken():
    backbone = load_tiny_backbone(width=32, depth=1, heads=2)
    backbone.tokenizer.add_tokens(["<image>"])
    assert add_image_token(backbone.tokenizer, backbone.model) == "<face_image>"
    assert add_image_token(backbone.tokenizer, backbone.model) == "<face_image>"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"encoder": None}, ConfigurationError, "missing: encoder"),
        ({"encoder": "tny"}, UnknownPartError, "unknown encoder 'tny'; did you mean 'tiny'"),
        ({"preset": "face-llava-70b"}, UnknownPartError, "unknown preset"),
        ({"landmarker": "dlip"}, UnknownPartError, "unknown landmarker 'dlip'; did you mean 'dlib'"),
        ({"landmarker": "mesh?threshold=nan"}, InvalidSpecError, "landmarker 'mesh' cannot use threshold=nan"),
        ({"landmarker": "mesh:nowhere?treshold=0.5"}, InvalidSpecError, "has no option 'treshold'"),
        ({"backbone": "tiny?widht=3"}, InvalidSpecError, "'tiny' has no option 'widht'; did you mean 'width'"),
        ({"backbone": "tiny?width=many"}, InvalidSpecError, "cannot use width=many: it takes an integer from 1"),
        ({"backbone": "hf:./nowhere"}, CheckpointError, "no such folder"),
        ({"connector": "mlp?depth=0"}, ConfigurationError, "depth"),
        ({"dtype": "float33"}, InvalidSpecError, "dtype=float33 is no floating type"),
        ({"dtype": "int8"}, InvalidSpecError, "dtype=int8 is no floating type"),
    ],
)
def test_what_cannot_be_composed_is_refused(changes, error, message):
    parts = {"encoder": "tiny?depth=1&width=32", "connector": "mlp", "backbone": "tiny?width=48&heads=4&depth=1"}
    with pytest.raises(error, match=message):
        facekit.create(**{**parts, **changes})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("backbone", ["hf-llama", "hf-qwen2", "hf-gemma3"])
def test_another_float_type_leaves_rotary_frequencies_exact(compose, tmp_path, backbone, dtype):
    model, processor = compose(encoder="tiny", backbone=backbone)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    before = {name: value.clone() for name, value in model.named_buffers()}
    frequencies = [name for name in before if "inv_freq" in name]
    assert frequencies
    set_dtype(model, dtype)
    assert {value.dtype for value in model.parameters()} == {dtype}
    for name in frequencies:
        assert model.get_buffer(name).dtype == torch.float32
        assert torch.equal(model.get_buffer(name), before[name])
        assert not torch.equal(before[name], before[name].to(dtype).float())
    loaded, _ = facekit.load(tmp_path, dtype=str(dtype).removeprefix("torch."))
    assert all(torch.equal(loaded.get_buffer(name), before[name]) for name in frequencies)


def test_a_seed_is_none_of_accelerators(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    before = torch.get_rng_state()
    parts = {"encoder": "tiny?depth=1&width=32", "connector": "mlp", "backbone": "tiny?width=48&heads=4&depth=1"}
    first, second = (facekit.create(**parts, seed=7)[0].state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert torch.equal(torch.get_rng_state(), before)
    assert seeded == []
