"""The image transform: three framings by hand, two resizers, and what is refused."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from facekit.encoders.transform import ImageTransform
from facekit.errors import ConfigurationError

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def ramp(width, height):
    """A picture whose red grows with x and whose green grows with y."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8))


def test_padding_keeps_every_pixel_and_fills_with_the_mean_colour_rounded_down():
    transform = ImageTransform(12, (0.5, 0.25, 0.75), (1.0, 1.0, 1.0))
    pixels = transform(ramp(12, 6))
    assert transform.fill_colour == (127, 63, 191)
    inside = pixels[:, 3:9] + torch.tensor([0.5, 0.25, 0.75]).view(3, 1, 1)
    assert torch.equal((255 * inside[0]).round(), torch.arange(12.0).expand(6, 12))
    assert torch.allclose(pixels[:, 0, 0], torch.tensor([127, 63, 191]) / 255 - torch.tensor([0.5, 0.25, 0.75]))


def test_cropping_resizes_the_shortest_edge_and_keeps_the_middle():
    pixels = ImageTransform(4, **PLAIN, framing="crop")(ramp(10, 4))
    assert torch.equal((255 * pixels[0, 0]).round(), torch.tensor([3.0, 4.0, 5.0, 6.0]))
    wide = ImageTransform(4, **PLAIN, framing="crop", shortest_edge=6)(ramp(6, 8))
    assert torch.equal((255 * wide[0, 0]).round(), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert torch.equal((255 * wide[1, :, 0]).round(), torch.tensor([2.0, 3.0, 4.0, 5.0]))


def test_stretching_shows_the_whole_picture():
    pixels = ImageTransform(8, **PLAIN, framing="stretch", interpolation="nearest")(ramp(16, 4))
    assert float(pixels[0].max()) * 255 > 13
    assert torch.equal((255 * pixels[1, :, 0]).round(), torch.tensor([0.0, 0, 1, 1, 2, 2, 3, 3]))


@pytest.mark.parametrize("framing", ["pad", "stretch", "crop"])
@pytest.mark.parametrize("resizer", ["pil", "torchvision"])
def test_a_square_picture_of_the_size_is_only_normalised(framing, resizer):
    picture = ramp(16, 16)
    transform = ImageTransform(16, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), framing=framing, resizer=resizer)
    values = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
    expected = (values - torch.tensor(transform.mean).view(3, 1, 1)) / torch.tensor(transform.std).view(3, 1, 1)
    torch.testing.assert_close(transform(picture), expected)


def test_torchvision_resizes_bytes():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (31, 47, 3), dtype=np.uint8))
    pixels = ImageTransform(20, **PLAIN, framing="stretch", resizer="torchvision")(picture)
    expected = F.resize(F.pil_to_tensor(picture), [20, 20], interpolation=InterpolationMode.BICUBIC, antialias=True)
    assert torch.equal((pixels * 255).round().to(torch.uint8), expected)


def test_it_survives_being_written_down():
    transform = ImageTransform(4, **PLAIN, framing="crop", shortest_edge=6, resizer="torchvision")
    assert ImageTransform(**transform.to_config()) == transform


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_size": 10**9}, "image_size is from 1 to 8192 pixels, not 1000000000"),
        ({"framing": "letterbox"}, "framing is one of pad, stretch, crop"),
        ({"resizer": "cv2"}, "resizer one of pil, torchvision"),
        ({"shortest_edge": 40}, "shortest_edge=40 goes with framing 'crop'"),
        ({"framing": "crop", "shortest_edge": 8}, "at least the image_size of 32"),
        ({"interpolation": "cubist"}, "unknown interpolation 'cubist'"),
    ],
)
def test_what_it_does_not_do_is_refused(changes, words):
    with pytest.raises(ConfigurationError, match=words):
        ImageTransform(**{"image_size": 32} | changes)


@pytest.fixture
def little_memory():
    """As much memory as there is now and half a gigabyte more."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + (1 << 29), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("resizer", ["pil", "torchvision"])
@pytest.mark.parametrize("framing", ["pad", "crop"])
@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_a_picture_of_a_single_row_or_column_takes_no_memory_for_its_square(size, framing, resizer, little_memory):
    transform = ImageTransform(224, **PLAIN, framing=framing, resizer=resizer)
    pixels = transform(Image.new("RGB", size, (255, 255, 255)))
    assert pixels.shape == (3, 224, 224)
    assert pixels[:, 112, 112].min() > (0.0 if framing == "pad" else 0.999)


def test_what_is_cut_out_of_a_long_picture_is_its_middle(monkeypatch):
    transform = ImageTransform(12, **PLAIN, framing="crop")
    whole = transform(ramp(240, 12))
    monkeypatch.setattr("facekit.encoders.transform._LARGEST_RESULT", 12 * 100)
    assert torch.equal(transform(ramp(240, 12)), whole)
