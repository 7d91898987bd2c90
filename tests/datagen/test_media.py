import asyncio
import base64
import io

import pytest
from PIL import Image

from facekit.datagen.calls import PermanentCallError
from facekit.datagen.media import MediaEncoder, encode_picture
from facekit.errors import ConfigurationError


def test_a_picture_is_bounded_and_loses_its_metadata(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    Image.new("RGB", (900, 300), "red").save(tmp_path / "a.jpg", exif=exif)
    image = Image.open(io.BytesIO(encode_picture(str(tmp_path / "a.jpg"), 256)))
    assert image.format == "JPEG"
    assert image.size in ((256, 85), (256, 86))
    assert not image.getexif()
    assert Image.open(io.BytesIO(encode_picture(str(tmp_path / "a.jpg"), 1024))).size == (900, 300)


def test_calls_about_one_record_share_one_encoding(tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")

    async def encode():
        encoder = MediaEncoder()
        return await asyncio.gather(*(encoder.data_urls([str(tmp_path / "a.png")], 64) for _ in range(3)))

    first, second, third = asyncio.run(encode())
    assert first is second is third
    assert base64.b64decode(first[0].removeprefix("data:image/jpeg;base64,"))[:2] == b"\xff\xd8"


def test_a_broken_picture_is_a_failure_for_good(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(PermanentCallError, match=r"the picture cannot be used: .*a\.png"):
        asyncio.run(MediaEncoder().data_urls([str(tmp_path / "a.png")], 64))


def test_a_size_out_of_range_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="image_side=8"):
        encode_picture("a.png", 8)
