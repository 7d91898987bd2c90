"""Tiles are measured on what an image processor makes of a picture, whatever its family calls them."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    CLIPImageProcessor,
    GotOcr2ImageProcessor,
    Idefics3ImageProcessor,
    LlavaOnevisionImageProcessor,
    Qwen2VLImageProcessor,
)

from facekit.errors import ConfigurationError
from facekit.models.native.tiles import Tiles, measure_tiles

CORNERS = [[x / 3, y / 3] for y in range(3) for x in range(3)]


@pytest.mark.parametrize("side", [48, 96, 200])
def test_internvl_cuts_a_square_row_by_row_and_shows_it_whole_behind(side):
    tiles = measure_tiles(
        GotOcr2ImageProcessor(size={"height": 32, "width": 32}, crop_to_patches=True, min_patches=9, max_patches=9),
        side,
    )
    assert torch.allclose(tiles.origins, torch.tensor([*CORNERS, [0.0, 0.0]]))
    assert torch.allclose(tiles.sides, torch.tensor([[1 / 3, 1 / 3]] * 9 + [[1.0, 1.0]]))
    assert tiles.whole == 9


def test_idefics_shows_the_whole_behind_and_onevision_before():
    idefics = Idefics3ImageProcessor(size={"longest_edge": 96}, max_image_size={"longest_edge": 32})
    assert torch.allclose(measure_tiles(idefics, 96).origins, torch.tensor([*CORNERS, [0.0, 0.0]]))
    onevision = LlavaOnevisionImageProcessor(
        size={"height": 32, "width": 32}, image_grid_pinpoints=[[32, 32], [96, 96]]
    )
    tiles = measure_tiles(onevision, 96)
    assert torch.allclose(tiles.origins, torch.tensor([[0.0, 0.0], *CORNERS]))
    assert tiles.whole == 0


def test_one_square_and_patches_show_the_picture_whole():
    clip = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    for processor in (clip, Qwen2VLImageProcessor()):
        origins, sides = measure_tiles(processor, 100)
        assert (origins.tolist(), sides.tolist()) == ([[0.0, 0.0]], [[1.0, 1.0]])


def test_a_crop_that_leaves_the_border_out_cannot_be_placed():
    clip = CLIPImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32})
    with pytest.raises(ConfigurationError, match="cuts pictures of 100 px into tiles that facekit cannot place"):
        measure_tiles(clip, 100)


def test_landmarks_are_those_of_each_tile_and_absent_ones_stay_absent():
    tiles = Tiles(torch.tensor([[0.5, 0.0], [0.0, 0.0]]), torch.tensor([[0.5, 0.5], [1.0, 1.0]]))
    landmarks = torch.full((2, 68, 2), 0.75)
    landmarks[1] = torch.nan
    mapped = tiles.map_landmarks(landmarks)
    assert mapped.shape == (4, 68, 2)
    assert mapped[0, 0].tolist() == [0.5, 1.5]
    assert mapped[1, 0].tolist() == [0.75, 0.75]
    assert mapped[2:].isnan().all()
