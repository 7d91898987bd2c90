"""What every encoder refuses before it computes: pixels of another shape, type or device than its own."""

from __future__ import annotations

import pytest
import torch

from facekit.encoders import VisionEncoder, build_encoder
from facekit.errors import ConfigurationError


@pytest.fixture(scope="module")
def encoder() -> VisionEncoder:
    return build_encoder("tiny?image_size=32&width=32&depth=1").eval()


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (torch.zeros(3, 32, 32), r"pixel_values must be \(B, T, 3, 32, 32\), not \(3, 32, 32\)"),
        (torch.zeros(1, 1, 3, 32, 48), r"pixel_values must be \(B, T, 3, 32, 32\), not \(1, 1, 3, 32, 48\)"),
        (torch.zeros(1, 1, 1, 32, 32), r"pixel_values must be \(B, T, 3, 32, 32\), not \(1, 1, 1, 32, 32\)"),
        (
            torch.zeros(1, 1, 3, 32, 32, dtype=torch.uint8),
            "must be normalised floating values, not torch.uint8; prepare",
        ),
        (
            torch.zeros(1, 1, 3, 32, 32, device="meta"),
            r"on meta but the encoder is on cpu; move them with .to\('cpu'\)",
        ),
    ],
    ids=["no batch", "no square", "grey", "bytes", "another device"],
)
def test_pixels_that_do_not_fit_are_one_sentence(encoder, pixels, words):
    with pytest.raises(ConfigurationError, match=words):
        encoder(pixels)


def test_pixels_of_any_floating_type_are_taken_into_that_of_the_weights(encoder):
    pixels = torch.rand(2, 1, 3, 32, 32)
    with torch.inference_mode():
        exact = encoder(pixels)
        coarse = encoder(pixels.bfloat16())
    assert coarse.dtype == exact.dtype == torch.float32
    torch.testing.assert_close(coarse, exact, atol=0.05, rtol=0.05)
