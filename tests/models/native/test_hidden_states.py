"""A base in its own class without its head, as trainers that compute the head themselves ask for it."""

from __future__ import annotations

import pytest
import torch
from small_vlms import FAMILIES, RECURRENT, face_picture
from transformers import GenerationConfig

import facekit
from facekit.models.landmark_rows import split_landmark_rows
from facekit.models.native.region import build_region
from facekit.spec import PartSpec

SIDE = 64


@pytest.fixture
def open_base(small_vlm, tmp_path):
    def build(family, connector=None):
        small_vlm(family)
        model, processor = facekit.load(f"hf:{tmp_path / family}")
        processor.image_processor.image_size, processor.image_processor.landmarker = SIDE, None
        if connector is not None:
            model.add_region(build_region(model.native, PartSpec.parse(connector)))
            torch.nn.init.constant_(model.region.cross_attention.gain, 2.0)
        return model, processor

    return build


def prompts(processor, points=None):
    """A batch of two questions of different length about two pictures."""
    landmarks = [points, None if points is None else points.flip(-1)]
    return processor(
        images=[[face_picture(number, SIDE, SIDE)] for number in (1, 2)],
        text=[f"{processor.image_token} Old?", f"{processor.image_token} How old is this face?"],
        landmarks=landmarks,
    )


@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_hidden_states_before_the_head_give_the_logits(family, open_base):
    model, processor = open_base(family)
    inputs = prompts(processor)
    with torch.inference_mode():
        expected = model(**inputs).logits
        hidden = model.base_model(**inputs, use_cache=False).last_hidden_state
        found = model.get_output_embeddings()(hidden)
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["qwen2.5-vl", "internvl", "gemma3"])
def test_landmarks_in_the_pixels_reach_generation_and_the_hidden_states(family, open_base):
    model, processor = open_base(family, "region?num_heads=4")
    points = torch.rand(68, 2, generator=torch.Generator().manual_seed(3))
    beside = prompts(processor, points)
    processor.landmarks_in_pixels = True
    inside = prompts(processor, points)
    assert "landmarks" not in inside
    assert torch.equal(split_landmark_rows(inside["pixel_values"]).landmarks, beside["landmarks"])
    blind = {**beside, "landmarks": torch.full_like(beside["landmarks"], torch.nan)}
    with torch.inference_mode():
        seen, same, without = (
            model.base_model(**inputs).last_hidden_state[:, -1] for inputs in (beside, inside, blind)
        )
        written = [model.generate(**inputs, max_new_tokens=4, do_sample=False) for inputs in (beside, inside)]
    assert torch.equal(seen, same)
    assert (seen - without).abs().max() > 1e-3
    assert torch.equal(*written)


def test_a_generation_configuration_given_to_the_model_is_that_of_its_own_class(open_base):
    model, _ = open_base("internvl")
    given = GenerationConfig(max_new_tokens=3)
    model.generation_config = given
    assert model.native.generation_config is given is model.generation_config
