"""Pictures of requests are opened as pictures of files are, and are told by their number."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from facekit.errors import ImageError
from facekit.faces import open_image
from facekit.serving.media import open_picture


def encode(image, **options):
    file = BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def deep_grey():
    return encode(Image.fromarray(np.linspace(0, 65535, 30).astype(np.uint16).reshape(5, 6)))


@pytest.mark.parametrize("content", [deep_grey(), encode(Image.new("RGBA", (6, 4), (9, 8, 7, 0)))])
def test_a_picture_has_the_pixels_of_its_file(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    opened = open_picture(content, "picture 1", 1000)
    assert np.array_equal(np.asarray(opened), np.asarray(open_image(tmp_path / "a.png")))
    assert opened.getextrema() != ((255, 255),) * 3


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", r"^picture 2 is empty"),
        (b"words", r"^picture 2 is not a picture of a known format"),
        (deep_grey()[:50], r"^picture 2 (is damaged|cannot be read)"),
        (encode(Image.new("L", (40, 40))), r"^picture 2 has 40 x 40 = 1,600 pixels, above the bound of 1,000"),
    ],
)
def test_what_cannot_be_used_is_told_by_its_number(content, told):
    with pytest.raises(ImageError, match=told):
        open_picture(content, "picture 2", 1000)
