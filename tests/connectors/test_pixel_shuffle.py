"""Pixel shuffle and its projector against the module of transformers, and region attention on the shuffled grid."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import InternVLConfig, InternVLModel

from facekit.connectors import PixelShuffleConnector, RegionConnector, shuffle_patches
from facekit.errors import ConfigurationError, InvalidSpecError
from facekit.faces import region_centroids

WIDTH, OUT, SIDE = 12, 20, 6


@pytest.fixture(scope="module")
def internvl():
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = InternVLConfig(
        vision_config={"hidden_size": WIDTH, "image_size": [24, 24], "patch_size": [4, 4], **sizes},
        text_config={"model_type": "qwen2", "hidden_size": OUT, "num_key_value_heads": 2, "vocab_size": 32, **sizes},
        downsample_ratio=0.5,
    )
    model = InternVLModel(config).eval()
    for parameter in model.multi_modal_projector.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # LayerNorm starts at one and zero, which would hide a wrong order
    return model


def convert(model, layers):
    theirs = model.multi_modal_projector
    for index, source in ((0, theirs.layer_norm), (1, theirs.linear_1), (3, theirs.linear_2)):
        layers[index].load_state_dict(source.state_dict())


@pytest.fixture
def connector(internvl):
    connector = PixelShuffleConnector(WIDTH, OUT)
    convert(internvl, connector.layers)
    return connector


def their_tokens(model, patches):
    """What InternVL makes of patches ``(F, SIDE * SIDE, C)``, through its own two modules."""
    picture = patches.reshape(len(patches), SIDE, SIDE, WIDTH)
    shuffled = model.pixel_shuffle(picture, scale_factor=0.5)
    return model.multi_modal_projector(shuffled.reshape(len(patches), -1, 4 * WIDTH))


def test_value_and_token_order_are_those_of_internvl_in_transformers(internvl, connector):
    tokens = torch.randn(2, 3, 1 + SIDE * SIDE, WIDTH)
    expected = their_tokens(internvl, tokens[:, :, 1:].flatten(0, 1)).reshape(2, 3 * 9, OUT)
    output = connector(tokens, (SIDE, SIDE))
    assert output.shape == (2, 3 * connector.tokens_per_frame((SIDE, SIDE), 1), OUT)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)


def test_the_whole_road_of_internvl_from_pixels_is_the_same(internvl, connector):
    pixels = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        hidden = internvl.vision_tower(pixel_values=pixels).last_hidden_state
        expected = internvl.get_image_features(
            pixels, vision_feature_layer=-1, vision_feature_select_strategy="default"
        ).pooler_output
        output = connector(hidden[:, None], (SIDE, SIDE))
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)


def test_one_token_holds_a_block_of_two_by_two_patches_in_reading_order():
    patches = torch.arange(4 * 6).reshape(1, 24, 1)
    blocks = shuffle_patches(patches, (4, 6), 2)
    assert blocks.tolist() == [
        [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11], [12, 13, 18, 19], [14, 15, 20, 21], [16, 17, 22, 23]]
    ]


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5))
def test_shuffling_only_moves_numbers(rows, columns, factor, width):
    grid = (rows * factor, columns * factor)
    patches = torch.arange(grid[0] * grid[1] * width).reshape(1, -1, width)
    blocks = shuffle_patches(patches, grid, factor)
    assert blocks.shape == (1, rows * columns, factor**2 * width)
    assert torch.equal(blocks.flatten().sort().values, patches.flatten())
    # a block's first channels are its upper left patch
    corners = patches.reshape(*grid, width)[::factor, ::factor].reshape(1, -1, width)
    assert torch.equal(blocks[..., :width], corners)


def test_layers_are_named_as_in_the_original_checkpoints():
    names = set(PixelShuffleConnector(WIDTH, OUT).state_dict())
    assert names == {f"layers.{index}.{kind}" for index in (0, 1, 3) for kind in ("weight", "bias")}


def test_configuration_and_spec_rebuild_the_module():
    connector = PixelShuffleConnector.from_spec(None, input_width=WIDTH, output_width=OUT, factor=3)
    assert connector.to_config() == {"input_width": WIDTH, "output_width": OUT, "factor": 3}
    again = PixelShuffleConnector.from_config(connector.to_config())
    again.load_state_dict(connector.state_dict())
    tokens = torch.randn(1, 1, SIDE * SIDE, WIDTH)
    assert torch.equal(again(tokens, (SIDE, SIDE)), connector(tokens, (SIDE, SIDE)))
    assert connector.tokens_per_frame((6, 9), 5) == 6


def test_weights_can_be_drawn_after_the_meta_device():
    with torch.device("meta"):
        connector = PixelShuffleConnector(WIDTH, OUT)
    connector.to_empty(device="cpu").reset_parameters()
    assert torch.equal(connector.layers[0].weight, torch.ones(4 * WIDTH))
    assert connector(torch.randn(1, 1, 4, WIDTH), (2, 2)).isfinite().all()


@pytest.mark.parametrize("grid", [(7, 7), (4, 7), (7, 4)])
def test_a_grid_that_does_not_divide_is_refused_before_and_while_running(grid):
    connector = PixelShuffleConnector(WIDTH, OUT)
    message = f"multiple of 2, not {grid[0]} x {grid[1]} patches"
    with pytest.raises(ConfigurationError, match=message):
        connector.tokens_per_frame(grid, 0)
    with pytest.raises(ConfigurationError, match=message):
        connector(torch.randn(1, 1, grid[0] * grid[1], WIDTH), grid)


def test_options_that_cannot_be_used_are_refused():
    with pytest.raises(ConfigurationError, match="factor of at least 1, got 0"):
        PixelShuffleConnector(WIDTH, OUT, factor=0)
    with pytest.raises(InvalidSpecError, match="no option 'ratio'"):
        PixelShuffleConnector.from_spec(None, input_width=WIDTH, output_width=OUT, ratio="0.5")
    with pytest.raises(ConfigurationError, match="no vision projector 'pixelshuffle'; did you mean 'pixel-shuffle'"):
        RegionConnector(WIDTH, OUT, num_heads=2, projector="pixelshuffle")
    with pytest.raises(ConfigurationError, match="prefix tokens cannot go through a pixel shuffle"):
        RegionConnector(WIDTH, OUT, num_heads=2, projector="pixel-shuffle", keep_prefix_tokens=True)


@pytest.fixture
def region(internvl):
    torch.manual_seed(1)
    connector = RegionConnector(WIDTH, OUT, num_heads=4, projector="pixel-shuffle")
    convert(internvl, connector.vision_projector)
    return connector


def test_region_over_pixel_shuffle_attends_on_the_shuffled_grid(internvl, region):
    grid = (32, 32)
    tokens, landmarks = torch.randn(2, 2, 3 + 32 * 32, WIDTH), torch.rand(2, 2, 68, 2)
    assert region.tokens_per_frame(grid, 3) == 256
    output = region(tokens, grid, landmarks)
    assert output.shape == (2, 2 * 256, OUT)
    points = landmarks.flatten(0, 1)
    projected = region.vision_projector(shuffle_patches(tokens[:, :, 3:].flatten(0, 1), grid, 2))
    expected = region.cross_attention(
        projected, region.landmark_projector(points), grid=(16, 16), region_positions=region_centroids(points)
    )
    torch.testing.assert_close(output, expected.reshape(2, 512, OUT))
    assert not torch.allclose(output, projected.reshape(2, 512, OUT), atol=1e-3)


def test_region_over_pixel_shuffle_is_internvl_where_landmarks_are_absent(internvl, region):
    tokens = torch.randn(2, 1, 1 + SIDE * SIDE, WIDTH)
    expected = their_tokens(internvl, tokens[:, 0, 1:])
    absent = torch.full((2, 1, 68, 2), float("nan"))
    for landmarks in (None, absent):
        torch.testing.assert_close(region(tokens, (SIDE, SIDE), landmarks), expected, rtol=0, atol=1e-6)


def test_region_over_pixel_shuffle_is_one_argument_and_survives_its_configuration(region):
    connector = RegionConnector.from_spec(
        None, input_width=WIDTH, output_width=OUT, projector="pixel-shuffle", num_heads="4"
    )
    connector.load_state_dict(region.state_dict())
    again = RegionConnector.from_config(connector.to_config())
    again.load_state_dict(connector.state_dict())
    tokens, landmarks = torch.randn(1, 1, SIDE * SIDE, WIDTH), torch.rand(1, 1, 68, 2)
    assert torch.equal(again(tokens, (SIDE, SIDE), landmarks), region(tokens, (SIDE, SIDE), landmarks))
