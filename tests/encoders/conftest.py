"""What every encoder has to keep, checked by one function, and a picture to transform."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from facekit.encoders.base import VisionEncoder


def check_interface(encoder: VisionEncoder) -> None:
    size, (rows, columns) = encoder.image_size, encoder.grid
    tokens = encoder(torch.randn(2, 3, 3, size, size))
    assert tokens.shape == (2, 3, encoder.num_prefix_tokens + rows * columns, encoder.hidden_size)
    assert tokens.isfinite().all()
    assert encoder.tokens_per_frame == tokens.shape[2]
    assert encoder.transform.image_size == size
    with pytest.raises(ValueError, match="pixel_values must be"):
        encoder(torch.randn(2, 3, size, size))
    with pytest.raises(ValueError, match="pixel_values must be"):
        encoder(torch.randn(2, 1, 3, size, size + 1))


def check_frames_are_independent(encoder: VisionEncoder) -> None:
    clip = torch.randn(2, 3, 3, encoder.image_size, encoder.image_size)
    with torch.no_grad():
        together = encoder.eval()(clip)
        alone = encoder(clip[1:, 2:])
    torch.testing.assert_close(together[1:, 2:], alone, atol=1e-4, rtol=1e-4)


def check_patches_are_row_major(encoder: VisionEncoder, *, smooth: bool = False) -> None:
    """Change the pixels under one patch and see that its token, by row-major count, changes most.

    Convolutions see beyond a patch: with ``smooth`` the tokens that change most must be centred on it instead.
    """
    encoder.eval()
    rows, columns = encoder.grid
    side = encoder.image_size // rows
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(1, 1, 3, encoder.image_size, encoder.image_size, generator=generator)
    for row, column in ((0, columns - 1), (rows - 2, 1), (rows // 2, columns // 2)):
        changed = base.clone()
        block = 2 * torch.randn(3, side, side, generator=generator)
        changed[0, 0, :, row * side : (row + 1) * side, column * side : (column + 1) * side] += block
        with torch.no_grad():
            difference = (encoder(changed) - encoder(base)).norm(dim=-1)[0, 0, encoder.num_prefix_tokens :]
        strongest = int(difference.argmax())
        if smooth:
            assert abs(strongest // columns - row) <= 1
            assert abs(strongest % columns - column) <= 1
        else:
            assert strongest == row * columns + column


def check_round_trip(encoder: VisionEncoder) -> None:
    config = encoder.to_config()
    assert json.loads(json.dumps(config)) == config
    rebuilt = type(encoder).from_config(json.loads(json.dumps(config)))
    rebuilt.load_state_dict(encoder.state_dict())
    assert rebuilt.to_config() == config
    assert (rebuilt.grid, rebuilt.num_prefix_tokens) == (encoder.grid, encoder.num_prefix_tokens)
    assert rebuilt.transform == encoder.transform
    pixels = torch.randn(1, 1, 3, encoder.image_size, encoder.image_size)
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(pixels), encoder.eval()(pixels))


def check_bfloat16(encoder: VisionEncoder) -> None:
    pixels = torch.randn(1, 1, 3, encoder.image_size, encoder.image_size)
    with torch.no_grad():
        exact = encoder.eval()(pixels)
        coarse = encoder.to(torch.bfloat16)(pixels)
    assert coarse.dtype == torch.bfloat16
    assert (coarse.float() - exact).norm() / exact.norm() < 0.05


def check_class_token(encoder: VisionEncoder) -> None:
    """Rebuild the encoder without its prefix tokens: the patches are the same, and the configuration remembers it."""
    config = {**encoder.to_config(), "class_token": False}
    patches_only = type(encoder).from_config(config).eval()
    patches_only.load_state_dict(encoder.state_dict())
    pixels = torch.randn(1, 2, 3, encoder.image_size, encoder.image_size)
    with torch.no_grad():
        tokens, patches = encoder.eval()(pixels), patches_only(pixels)
    assert encoder.num_prefix_tokens > 0
    assert (patches_only.num_prefix_tokens, patches.shape[2]) == (0, encoder.num_patches)
    assert torch.equal(patches, tokens[:, :, encoder.num_prefix_tokens :])
    assert patches_only.to_config() == config


@pytest.fixture
def portrait() -> Image.Image:
    """A square picture with gradients, edges and noise, larger than any encoder's input."""
    rows, columns = np.mgrid[0:300, 0:300] / 299.0
    pixels = np.stack([rows, columns, (rows - columns) ** 2], axis=-1) * 255
    pixels[80:200, 90:150] = (240, 30, 80)
    pixels += np.random.default_rng(0).normal(0, 8, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture
def checks() -> type:
    """The checks of this file, by name."""

    class Checks:
        interface = staticmethod(check_interface)
        independent_frames = staticmethod(check_frames_are_independent)
        row_major = staticmethod(check_patches_are_row_major)
        round_trip = staticmethod(check_round_trip)
        bfloat16 = staticmethod(check_bfloat16)
        class_token = staticmethod(check_class_token)

    return Checks
