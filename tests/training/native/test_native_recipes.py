"""Recipes over bases in their own class: the size of pictures is one of them alone."""

from __future__ import annotations

import pytest
from small_vlms import save_small_vlm

from facekit.errors import ConfigurationError
from facekit.training.recipes.recipe import ModelChoice, load_recipe
from facekit.training.recipes.stages import open_model


def test_the_size_of_pictures_decides_the_tiles_of_a_base_in_its_own_class(tmp_path):
    save_small_vlm("internvl", tmp_path)
    costs = [
        open_model(ModelChoice(load=f"hf:{tmp_path}", image_size=size))[1].tokens_per_frame for size in (None, 32, 64)
    ]
    assert costs == [4, 4, 20]
    with pytest.raises(ConfigurationError, match=r"image_size is for a base in its own class .* takes 32 px"):
        open_model(ModelChoice(load=str(tmp_path), image_size=64))


def test_the_size_of_pictures_goes_with_a_checkpoint():
    given = ["records=faces.jsonl", "output=runs/x", "model.image_size=64"]
    assert load_recipe("facellm-any", given).model.image_size == 64
    with pytest.raises(ConfigurationError, match="'image_size' says how a checkpoint is opened; it goes with 'load'"):
        load_recipe("facellm-lora", given)
