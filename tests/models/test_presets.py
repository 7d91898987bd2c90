"""Presets: what each names, starting from a checkpoint instead of parts, and what cannot be exchanged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_vlms import save_small_vlm
from transformers import InternVLConfig, InternVLForConditionalGeneration

import facekit
from facekit.catalog import current_registry
from facekit.errors import ConfigurationError, UnknownPartError
from facekit.models.presets import OWN_CONNECTOR, Preset
from facekit.registry import PartSpec

NAMES = (
    "face-llava-7b", "face-llava-7b-released", "facekit-tiny", "facellm-1b", "facellm-1b-region", "facellm-38b",
    "facellm-8b", "facellm-gemma3-4b", "facellm-internvl3.5-4b", "facellm-internvl3.5-region", "facellm-qwen-2b",
    "facellm-qwen-4b", "facellm-qwen-8b", "facellm-qwen-region", "facellm-smolvlm2-2b",
)  # fmt: skip


@pytest.fixture(scope="session")
def released_folder():
    return Path(__file__).parents[1] / "data" / "face_llava_tiny"


@pytest.fixture(scope="session")
def internvl_folder(tmp_path_factory):
    """A tiny InternVL without tokenizer, as its weights alone would be handed on."""
    folder = tmp_path_factory.mktemp("internvl")
    text = {"model_type": "qwen2", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64}  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 32, "patch_size": 8}  # fmt: skip
    torch.manual_seed(0)
    config = InternVLConfig(
        vision_config=vision, text_config=text, image_token_id=5, image_seq_length=4, tie_word_embeddings=False
    )
    model = InternVLForConditionalGeneration(config)
    model.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    return folder, model.eval()


def test_the_presets_are_listed():
    assert tuple(facekit.list_parts("preset")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_names_registered_parts_and_shows_its_facts(name):
    part = current_registry().part("preset", name)
    preset = part.load()
    for kind in ("encoder", "connector", "backbone"):
        if getattr(preset, kind) == OWN_CONNECTOR:
            continue
        assert PartSpec.parse(getattr(preset, kind)).name in facekit.list_parts(kind)
    assert set(part.details) == {"encoder", "connector", "backbone", "parameters", "tokens"}
    assert part.licence
    assert "@" not in str(part.details)


@pytest.mark.parametrize(
    ("preset", "family"),
    [("facellm-qwen-region", "qwen3-vl"), ("facellm-internvl3.5-region", "internvl"), ("facellm-qwen-4b", "qwen3-vl")],
)
def test_a_preset_on_a_base_in_its_own_class_gives_that_base_with_region_attention_or_as_it_is(
    preset, family, tmp_path
):
    save_small_vlm(family, tmp_path)
    given = {"preset": preset, "checkpoint": f"hf:{tmp_path}"}
    if "region" in preset:
        model, processor = facekit.create(**given, connector="region?num_heads=4", seed=3)
        again, _ = facekit.create(**given, connector="region?num_heads=4", seed=3)
        assert not model.region.cross_attention.gain.any()
        assert torch.equal(model.region.cross_attention.value_weight, again.region.cross_attention.value_weight)
    else:
        model, processor = facekit.create(**given)
        assert model.region is None
    assert type(model.native).__name__ in ("Qwen3VLForConditionalGeneration", "InternVLForConditionalGeneration")
    assert processor.image_processor.landmarker == current_registry().load("preset", preset).landmarker
    assert facekit.create(**given, landmarker="none")[1].image_processor.landmarker is None


def test_a_preset_of_a_checkpoint_gives_its_very_model(internvl_folder):
    folder, theirs = internvl_folder
    model, processor = facekit.create(preset="facellm-1b", checkpoint=str(folder))
    assert model.config.connector["name"] == "pixel-shuffle"
    assert processor.image_processor.landmarker is None
    pixels, ids = torch.randn(1, 1, 3, 32, 32), torch.tensor([[7, 5, 5, 5, 5, 9]])
    with torch.no_grad():
        expected = theirs(input_ids=ids, pixel_values=pixels[:, 0]).logits
        torch.testing.assert_close(model(input_ids=ids, pixel_values=pixels).logits, expected, rtol=0, atol=1e-4)


def test_region_attention_goes_behind_the_checkpoints_own_projector(internvl_folder):
    folder, theirs = internvl_folder
    model, processor = facekit.create(preset="facellm-1b-region", checkpoint=str(folder), seed=0)
    assert model.config.connector["name"] == "region"
    assert model.config.connector["projector"] == "pixel-shuffle"
    assert processor.image_processor.landmarker == "mesh"
    assert processor.tokens_per_frame == model.tokens_per_frame == 4
    pixels, ids = torch.randn(1, 1, 3, 32, 32), torch.tensor([[7, 5, 5, 5, 5, 9]])
    landmarks = torch.rand(1, 1, 68, 2)
    with torch.no_grad():
        expected = theirs(input_ids=ids, pixel_values=pixels[:, 0]).logits
        without = model(input_ids=ids, pixel_values=pixels).logits
        with_landmarks = model(input_ids=ids, pixel_values=pixels, landmarks=landmarks).logits
    torch.testing.assert_close(without, expected, rtol=0, atol=1e-4)
    assert not torch.allclose(with_landmarks, expected, atol=1e-5)


def test_a_model_that_started_from_a_checkpoint_saves_and_loads(internvl_folder, tmp_path):
    model, processor = facekit.create(preset="facellm-1b-region", checkpoint=str(internvl_folder[0]), seed=0)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, _ = facekit.load(tmp_path)
    state = again.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_released_face_llava_starts_from_its_weights(registry, released_folder, monkeypatch):
    preset = registry.load("preset", "face-llava-7b-released")
    registry.register("preset", "released-tiny", replace(preset, checkpoint=str(released_folder / "FaceLLaVA-tiny")))
    monkeypatch.chdir(released_folder)  # the towers' names are folders from here, as they are hub ids elsewhere
    model, processor = facekit.create(preset="released-tiny")
    assert model.config.connector["name"] == "region-released"
    assert model.video_encoder is not None
    assert processor.image_processor.landmarker == "mesh"


def test_a_connector_can_be_exchanged_and_the_seed_decides_what_is_new(internvl_folder):
    given = {"preset": "facellm-1b", "checkpoint": str(internvl_folder[0]), "connector": "resampler?num_tokens=3"}
    first, _ = facekit.create(**given, seed=1)
    second, processor = facekit.create(**given, seed=1)
    other, _ = facekit.create(**given, seed=2)
    weights = first.connector.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in second.connector.state_dict().items())
    assert not all(torch.equal(value, weights[name]) for name, value in other.connector.state_dict().items())
    assert processor.tokens_per_frame == second.tokens_per_frame


@pytest.mark.parametrize("part", ["encoder", "backbone", "video_encoder"])
def test_parts_that_belong_together_cannot_be_exchanged(part, internvl_folder):
    with pytest.raises(ConfigurationError, match="whose encoder and language model belong together"):
        facekit.create(preset="facellm-1b", checkpoint=str(internvl_folder[0]), **{part: "tiny"})


def test_a_checkpoint_goes_with_a_preset_that_starts_from_one():
    with pytest.raises(ConfigurationError, match="starts from no checkpoint"):
        facekit.create(preset="facekit-tiny", checkpoint="x/y")
    with pytest.raises(ConfigurationError, match=r"facekit\.load reads a checkpoint by itself"):
        facekit.create(encoder="tiny", connector="mlp", backbone="tiny", checkpoint="x/y")


def test_unknown_landmarkers_and_connectors_are_refused_before_anything_is_loaded():
    with pytest.raises(UnknownPartError, match="unknown landmarker 'dlip'"):
        facekit.create(preset="facellm-1b", checkpoint="./nowhere", landmarker="dlip")
    with pytest.raises(UnknownPartError, match="unknown connector 'regoin'"):
        facekit.create(preset="facellm-1b", checkpoint="./nowhere", connector="regoin")


def test_a_preset_of_parts_is_plain_data():
    preset = Preset("tiny", "mlp", "tiny", "small")
    assert (preset.landmarker, preset.video_encoder, preset.checkpoint) == ("mesh", None, None)
