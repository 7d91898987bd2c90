"""Encoder and connector without a language model, as a serving engine builds them."""

from __future__ import annotations

import pytest
import torch

import facekit
from facekit.connectors.region import RegionConnector
from facekit.encoders.tiny import TinyEncoder
from facekit.errors import ConfigurationError, UnknownPartError
from facekit.models import FaceKitConfig, FaceKitVisionModel, build_part


@pytest.fixture(scope="module")
def whole():
    return facekit.create(
        encoder="tiny?image_size=48&width=32&depth=1",
        video_encoder="tiny?image_size=48&width=32&depth=2",
        connector="region?num_heads=4",
        backbone="tiny?width=48&heads=4&depth=1",
        landmarker="none",
        seed=0,
    )[0]


def test_the_visual_half_of_a_saved_model_gives_the_tokens_that_the_whole_gives(whole, tmp_path):
    whole.config.save_pretrained(tmp_path)
    vision = FaceKitVisionModel(FaceKitConfig.from_pretrained(tmp_path)).eval()
    tensors = whole.state_dict()
    assert {name.partition(".")[0] for name in vision.state_dict()} == {"encoder", "video_encoder", "connector"}
    vision.load_state_dict({name: tensors[name] for name in vision.state_dict()})
    landmarks = torch.rand(2, 4, 68, 2)
    for frames in (1, 4):
        pixels = torch.rand(2, frames, 3, 48, 48)
        with torch.inference_mode():
            ours = vision.get_image_features(pixels, landmarks[:, :frames])
            theirs = whole.get_image_features(pixels, landmarks[:, :frames])
        assert ours.shape == (2, whole.count_visual_tokens(frames), 48)
        assert torch.equal(ours, theirs)
    assert vision.tokens_per_frame == whole.tokens_per_frame == 9


def test_one_part_is_built_from_its_own_part_of_the_configuration(whole):
    assert isinstance(build_part("encoder", whole.config.encoder), TinyEncoder)
    assert len(build_part("encoder", whole.config.video_encoder).to_config()) == len(whole.config.encoder) - 1
    connector = build_part("connector", whole.config.connector)
    assert isinstance(connector, RegionConnector)
    assert (connector.input_width, connector.output_width) == (32, 48)


def test_a_part_has_the_default_floating_type(whole):
    torch.set_default_dtype(torch.bfloat16)
    try:
        connector = build_part("connector", whole.config.connector)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {weight.dtype for weight in connector.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        (None, ConfigurationError, "the configuration names no connector"),
        ({"input_width": 32}, ConfigurationError, "it needs {'name': ..., ...}"),
        ({"name": "regoin"}, UnknownPartError, "did you mean 'region'"),
    ],
)
def test_a_part_that_is_not_named_is_one_sentence(values, error, words):
    with pytest.raises(error, match=words):
        build_part("connector", values)


def test_parts_of_different_widths_are_refused(whole):
    config = FaceKitConfig(
        encoder={**whole.config.encoder, "width": 64},
        connector=whole.config.connector,
        text_config=whole.config.text_config,
        image_token_id=1,
    )
    with pytest.raises(ConfigurationError, match="encoder has width 64 but the connector's input has width 32"):
        FaceKitVisionModel(config)
