"""Several encoders at once: one grid, each with its own pixels, and the text that names them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from facekit.encoders.fusion import (
    FusionEncoder,
    build_encoder,
    convert_pixels,
    encoder_name,
    resample_patches,
    split_encoder_specs,
)
from facekit.encoders.languagebind import LanguageBindEncoder
from facekit.encoders.languagebind_tower import LanguageBindSettings
from facekit.encoders.tiny import TinyEncoder
from facekit.encoders.transform import ImageTransform
from facekit.errors import InvalidSpecError, UnknownPartError

TEXT = "tiny?image_size=64&width=64&depth=1 + iresnet?depth=18&width=4&layer=-2"


@pytest.fixture
def fused():
    torch.manual_seed(0)
    return build_encoder(TEXT).eval()


def test_widths_add_up_on_the_larger_grid(fused, checks):
    small, fine = fused.members
    assert (small.grid, fine.grid, fused.grid) == ((4, 4), (14, 14), (14, 14))
    assert (fused.hidden_size, fused.image_size, fused.num_prefix_tokens) == (64 + 16, 112, 0)
    checks.interface(fused)
    checks.independent_frames(fused)
    checks.round_trip(fused)
    checks.bfloat16(fused)


def test_each_member_sees_its_own_pixels(fused, portrait):
    small, fine = fused.members
    clip = fused.transform(portrait)[None, None]
    with torch.no_grad():
        tokens = fused(clip)
        own_small = small(small.transform(portrait)[None, None])[:, :, 1:]
        own_fine = fine(fine.transform(portrait)[None, None])
    planes = own_small.reshape(4, 4, 64).permute(2, 0, 1)[None]
    wanted = nn.functional.interpolate(planes, (14, 14), mode="bilinear").reshape(64, 196).T
    assert (tokens[0, 0, :, :64] - wanted).norm() / wanted.norm() < 0.05
    assert (tokens[..., 64:] - own_fine).norm() / own_fine.norm() < 0.1


def test_pixels_are_the_ones_that_the_other_transform_would_make(portrait):
    given_ = ImageTransform(64, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    other = ImageTransform(64, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    converted = convert_pixels(given_(portrait)[None, None], given_, other)
    torch.testing.assert_close(converted[0, 0], other(portrait), atol=1e-5, rtol=0)
    large, half = ImageTransform(128), ImageTransform(64)
    converted = convert_pixels(large(portrait)[None, None], large, half)
    assert (converted[0, 0] - half(portrait)).abs().mean() < 0.03
    same = large(portrait)[None, None]
    assert convert_pixels(same, large, replace(large, interpolation="bilinear")) is same


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 5), columns=st.integers(1, 5), wanted=st.tuples(st.integers(1, 8), st.integers(1, 8)))
def test_constant_patches_stay_constant_on_any_grid(rows, columns, wanted):
    patches = torch.tensor([1.0, -2.0]).expand(2, 3, rows * columns, 2)
    resampled = resample_patches(patches, (rows, columns), wanted)
    torch.testing.assert_close(resampled, torch.tensor([1.0, -2.0]).expand(2, 3, wanted[0] * wanted[1], 2))


def test_doubling_a_grid_keeps_rows_and_columns_apart():
    patches = torch.arange(4.0).reshape(1, 1, 4, 1)
    resampled = resample_patches(patches, (2, 2), (4, 4)).reshape(4, 4)
    expected = 2 * torch.tensor([0, 0.25, 0.75, 1.0])[:, None] + torch.tensor([0, 0.25, 0.75, 1.0])
    torch.testing.assert_close(resampled, expected)


def test_prefix_tokens_are_kept_where_all_members_have_as_many():
    torch.manual_seed(0)
    fused = build_encoder("tiny?image_size=64&width=64&depth=1 + tiny?image_size=64&width=32&depth=1").eval()
    assert (fused.num_prefix_tokens, fused.hidden_size) == (1, 96)
    frames = torch.randn(1, 2, 3, 64, 64)
    with torch.no_grad():
        tokens = fused(frames)
        members = [member(frames) for member in fused.members]
    assert torch.equal(tokens, torch.cat(members, dim=-1))


def test_a_member_that_looks_across_time_still_does():
    torch.manual_seed(0)
    video = LanguageBindEncoder(LanguageBindSettings(32, 48, 2, 4, 64, 16, add_time_attn=True, num_frames=4))
    fused = FusionEncoder([TinyEncoder(64, 32, 1), video], ["tiny", "languagebind"]).eval()
    clip = torch.randn(1, 4, 3, 64, 64)
    changed = clip.clone()
    changed[:, 3] += 1.0
    with torch.no_grad():
        difference = (fused(changed) - fused(clip))[0, 0].abs().amax(dim=0)
    assert float(difference[:32].max()) < 1e-5
    assert float(difference[32:].max()) > 1e-4


def test_a_cut_of_the_middle_grows_with_the_frames():
    first, second = TinyEncoder(64, 32, 1), TinyEncoder(96, 32, 1)
    first.transform = ImageTransform(64, framing="crop", shortest_edge=72)
    fused = FusionEncoder([first, second], ["tiny", "tiny"])
    assert fused.transform == ImageTransform(96, framing="crop", shortest_edge=108)


def test_gradients_reach_every_member(fused):
    fused(torch.randn(1, 1, 3, 112, 112)).square().sum().backward()
    assert [name for name, weight in fused.named_parameters() if weight.grad is None] == []


def test_fusions_nest_in_their_configuration(fused, checks):
    nested = FusionEncoder([fused, TinyEncoder(64, 32, 1)], ["fusion", "tiny"])
    config = nested.to_config()
    assert [member["name"] for member in config["members"]] == ["fusion", "tiny"]
    assert [member["name"] for member in config["members"][0]["members"]] == ["tiny", "iresnet"]
    checks.round_trip(nested)


def test_one_spec_or_several_are_read():
    specs = split_encoder_specs(" openclip:ViT-B-32?layer=-2 + farl:/data/farl+1.pth  +  tiny ")
    assert [(spec.name, spec.argument) for spec in specs] == [
        ("openclip", "ViT-B-32"),
        ("farl", "/data/farl+1.pth"),
        ("tiny", None),
    ]
    assert specs[0].options == {"layer": "-2"}
    assert (encoder_name("tiny?depth=1"), encoder_name(TEXT)) == ("tiny", "fusion")
    assert type(build_encoder("tiny?image_size=64&width=32&depth=1")) is TinyEncoder


def test_the_name_can_be_written_where_members_have_no_options():
    fused = FusionEncoder.from_spec("tiny + tiny")
    assert (fused.names, fused.hidden_size) == (("tiny", "tiny"), 384)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", InvalidSpecError, "an encoder is named by text"),
        ("tiny + ", InvalidSpecError, r"nothing on one side of a '\+'"),
        (" + tiny", InvalidSpecError, r"nothing on one side of a '\+'"),
        ("tiny +  + tiny", InvalidSpecError, r"nothing on one side of a '\+'"),
        ("tiny + tinny", UnknownPartError, "did you mean 'tiny'"),
        ("tiny + tiny?depth=x", InvalidSpecError, "takes an integer"),
        ("fusion", InvalidSpecError, "without a name before them"),
        ("fusion:tiny", InvalidSpecError, "joins two encoders or more"),
    ],
)
def test_text_that_names_no_fusion_is_refused(text, error, message):
    with pytest.raises(error, match=message):
        build_encoder(text)
