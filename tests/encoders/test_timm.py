"""timm models as encoders: tokens, layers, sizes, weights, and what is refused."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

from facekit.catalog import current_registry
from facekit.encoders.timm import TimmEncoder
from facekit.errors import CheckpointError, ConfigurationError, InvalidSpecError
from facekit.spec import PartSpec

HIERARCHICAL = ["resnet10t", "test_convnext", "test_efficientnet"]


@pytest.mark.parametrize("name", ["test_vit", "vit_tiny_patch16_224", *HIERARCHICAL])
def test_models_of_several_families_keep_the_interface(name, checks):
    encoder = TimmEncoder.from_spec(name, layer=-2, image_size=64)
    checks.interface(encoder)
    checks.independent_frames(encoder)
    checks.round_trip(encoder)


@pytest.mark.parametrize(
    ("name", "prefix"), [("test_vit", 1), ("vit_small_patch14_reg4_dinov2", 5), ("vit_base_patch32_siglip_256", 0)]
)
def test_prefix_tokens_are_counted(name, prefix):
    encoder = TimmEncoder.from_spec(name, layer=1, image_size=56 if "14" in name else 64)
    assert encoder.num_prefix_tokens == prefix
    assert encoder.tokens_per_frame == prefix + encoder.grid[0] ** 2


def test_patches_of_a_vision_transformer_are_in_row_major_order(checks):
    checks.row_major(TimmEncoder.from_spec("test_vit"))


def test_places_of_a_convolutional_network_are_in_row_major_order(checks):
    checks.row_major(TimmEncoder.from_spec("test_convnext", layer=2, image_size=64), smooth=True)


@pytest.mark.parametrize("layer", [1, 3, -2, -1])
def test_a_layer_is_the_output_of_that_block(layer):
    encoder = TimmEncoder.from_spec("test_vit", layer=layer).eval()
    model = timm.create_model("test_vit").eval()
    model.load_state_dict({**model.state_dict(), **encoder.features.model.state_dict()})
    caught = []
    blocks = model.blocks[: len(encoder.features.model.blocks)]
    assert len(blocks) == (layer if layer > 0 else 6 + layer + 1)
    blocks[-1].register_forward_hook(lambda module, inputs, output: caught.append(output))
    pixels = torch.randn(2, 1, 3, 160, 160)
    with torch.no_grad():
        model(pixels[:, 0])
        torch.testing.assert_close(encoder(pixels)[:, 0], caught[0])


def test_the_final_norm_is_applied_where_it_is_asked_for():
    encoder = TimmEncoder.from_spec("test_vit", norm=True).eval()
    pixels = torch.randn(1, 1, 3, 160, 160)
    with torch.no_grad():
        tokens = encoder(pixels)[:, 0]
        torch.testing.assert_close(tokens, encoder.features.model.forward_features(pixels[:, 0]))
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(1, 101), atol=1e-5, rtol=0)


def test_stages_of_a_network_have_their_own_width_and_grid():
    shapes = {}
    for layer in (-3, -2, -1):
        encoder = TimmEncoder.from_spec("resnet10t", layer=layer, image_size=96)
        shapes[layer] = (encoder.hidden_size, encoder.grid)
    assert shapes == {-3: (128, (12, 12)), -2: (256, (6, 6)), -1: (512, (3, 3))}


def test_a_network_can_take_a_size_that_its_stride_does_not_divide(checks):
    encoder = TimmEncoder.from_spec("test_convnext", image_size=80, layer=2)
    assert encoder.grid == (10, 10)
    checks.interface(TimmEncoder.from_spec("resnet10t", image_size=80))


def test_frames_in_bfloat16_models_are_cast(checks):
    checks.bfloat16(TimmEncoder.from_spec("test_vit", image_size=64))


@pytest.mark.parametrize("name", ["test_vit", "resnet10t"])
def test_the_transform_is_timms_own_without_the_margin_crop(name, portrait):
    encoder = TimmEncoder.from_spec(name)
    settings = {**resolve_model_data_config(timm.create_model(name)), "crop_pct": 1.0}
    expected = create_transform(**settings, is_training=False)(portrait)
    torch.testing.assert_close(encoder.transform(portrait), expected, atol=1e-4, rtol=0)


def test_weights_of_a_local_checkpoint_are_used_and_its_classifier_left_out(tmp_path):
    trained = timm.create_model("test_vit", num_classes=7)
    save_file(trained.state_dict(), tmp_path / "trained.safetensors")
    encoder = TimmEncoder.from_spec("test_vit", checkpoint=str(tmp_path / "trained.safetensors"))
    assert torch.equal(encoder.features.model.pos_embed, trained.pos_embed)
    assert torch.equal(encoder.features.model.blocks[5].mlp.fc2.weight, trained.blocks[5].mlp.fc2.weight)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    save_file(timm.create_model("test_convnext").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="missing, first 'blocks"):
        TimmEncoder.from_spec("test_vit", checkpoint=str(tmp_path / "other.safetensors"))


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no weights file .*absent\.pth"):
        TimmEncoder.from_spec("test_vit", checkpoint=str(tmp_path / "absent.pth"))


@pytest.mark.parametrize(
    ("argument", "options", "message"),
    [
        (None, {}, "needs a model name"),
        ("vit_base_patch16_225", {}, "did you mean 'vit_base_patch16_224'"),
        ("nothing_like_it", {}, "known: .*vit_base_patch16_224"),
        ("vit_base_patch16_224.bogus", {}, "[Ii]nvalid pretrained tag"),
        ("test_vit", {"layers": "1"}, "no option 'layers'; did you mean 'layer'.*known: checkpoint"),
        ("test_vit", {"layer": "last"}, "it takes an integer"),
        ("test_vit", {"layer": "7"}, "layers 1 to 6.*no layer 7"),
        ("test_vit", {"layer": "0"}, "no layer 0"),
        ("test_vit", {"image_size": "0"}, "an integer from 1"),
        ("test_vit", {"image_size": "70"}, "cannot take image_size=70"),
        ("test_vit", {"pretrained": "maybe"}, "true or false"),
        ("test_vit", {"pretrained": "true", "checkpoint": "x"}, "not both"),
        ("resnet10t", {"norm": "true"}, "no final norm"),
        ("vit_base_patch16_224", {"image_size": "100", "layer": "1"}, "cannot take image_size=100"),
    ],
)
def test_what_cannot_be_used_is_named(argument, options, message):
    with pytest.raises(InvalidSpecError, match=message):
        current_registry().build("encoder", PartSpec("timm", argument, options))


def test_features_of_another_grid_than_timm_says_are_refused():
    encoder = TimmEncoder.from_spec("resnet10t", image_size=96)
    encoder.features.grid = (4, 4)
    with pytest.raises(ConfigurationError, match="choose another layer"):
        encoder(torch.randn(1, 1, 3, 96, 96))


def test_the_class_token_can_be_left_out(checks):
    checks.class_token(TimmEncoder.from_spec("test_vit"))
    encoder = TimmEncoder.from_spec("test_vit", class_token=False)
    assert (encoder.num_prefix_tokens, encoder.tokens_per_frame) == (0, encoder.num_patches)


def test_batch_norms_keep_their_statistics_in_training():
    encoder = TimmEncoder.from_spec("resnet10t", image_size=64)
    frames = torch.randn(2, 1, 3, 64, 64)
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    fresh, trained = encoder(frames), encoder.train()(frames)
    assert torch.equal(fresh, trained)
    torch.testing.assert_close(trained[1:], encoder(frames[1:]), atol=1e-5, rtol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())
