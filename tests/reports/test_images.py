"""Pictures go into a page as text and come out of it as pictures."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from facekit.reports import file_url, image_url


def decode(url):
    return Image.open(io.BytesIO(base64.b64decode(url.partition(";base64,")[2])))


def test_a_picture_survives_its_data_url():
    url = image_url(Image.new("RGB", (20, 10), (250, 0, 0)))
    assert url.startswith("data:image/jpeg;base64,")
    picture = decode(url)
    assert picture.size == (20, 10)
    red, green, _ = picture.getpixel((5, 5))
    assert red > 240
    assert green < 10


@pytest.mark.parametrize(("size", "expected"), [((400, 200), (100, 50)), ((50, 80), (50, 80)), ((30, 300), (10, 100))])
def test_a_large_picture_is_scaled_to_its_longest_side_and_a_small_one_stays(size, expected):
    picture = Image.new("L", size)
    assert decode(image_url(picture, side=100)).size == expected
    assert picture.size == size


def test_transparent_pictures_become_opaque():
    assert decode(image_url(Image.new("RGBA", (4, 4), (0, 200, 0, 10)))).mode == "RGB"


def test_a_file_goes_in_byte_for_byte(tmp_path):
    path = tmp_path / "dot.PNG"
    Image.new("RGB", (3, 3)).save(path, "PNG")
    url = file_url(path)
    assert url.startswith("data:image/png;base64,")
    assert base64.b64decode(url.partition(",")[2]) == path.read_bytes()


def test_a_file_that_is_no_picture_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"notes\.txt cannot be put into a page"):
        file_url(tmp_path / "notes.txt")
