import asyncio
import base64
import io

import numpy as np
import pytest
from PIL import Image
from video_files import grey_frames, places_of, write_video

from facekit.data.media_files import ClipFrames, MediaFiles, encode_picture
from facekit.endpoints.pictures import MediaEncoder
from facekit.endpoints.requests import PermanentCallError
from facekit.errors import ConfigurationError, ImageError


def files(path, **options):
    return MediaFiles((str(path),), 64, **options)


def noise(side):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


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
        return await asyncio.gather(*(encoder.data_urls(files(tmp_path / "a.png")) for _ in range(3)))

    first, second, third = asyncio.run(encode())
    assert first is second is third
    assert base64.b64decode(first[0].removeprefix("data:image/jpeg;base64,"))[:2] == b"\xff\xd8"


def test_a_broken_picture_is_a_failure_for_good(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(PermanentCallError, match=r"the picture cannot be used: .*a\.png"):
        asyncio.run(MediaEncoder().data_urls(files(tmp_path / "a.png")))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_bare_jpeg_within_the_bound_is_sent_as_it_is(tmp_path, options):
    noise(96).save(tmp_path / "a.jpg", **options)
    assert encode_picture(str(tmp_path / "a.jpg"), 96) == (tmp_path / "a.jpg").read_bytes()


def with_something(image, path, kind):
    """Save a picture so that it may not be sent as it is."""
    if kind == "comment":
        image.save(path, comment=b"my name is")
    elif kind == "profile":
        image.save(path, icc_profile=b"profile")
    elif kind == "grey":
        image.convert("L").save(path)
    else:
        image.save(path)
        extra = {"behind the end": b"hidden", "another picture": path.read_bytes()}[kind]
        path.write_bytes(path.read_bytes() + extra)


@pytest.mark.parametrize("kind", ["comment", "profile", "grey", "behind the end", "another picture"])
def test_a_jpeg_with_anything_else_in_it_is_encoded_anew(tmp_path, kind):
    path = tmp_path / "a.jpg"
    with_something(noise(64), path, kind)
    sent = encode_picture(str(path), 64)
    assert sent != path.read_bytes()
    assert not any(word in sent for word in (b"my name is", b"profile", b"hidden"))
    assert Image.open(io.BytesIO(sent)).mode == "RGB"


def test_a_cut_off_jpeg_is_not_sent(tmp_path):
    noise(64).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"a\.jpg"):
        encode_picture(str(tmp_path / "a.jpg"), 64)


def test_of_a_video_file_the_frames_are_sent(tmp_path):
    film = write_video(tmp_path / "film.mp4", grey_frames(40))

    def sent(**options):
        pictures = files(film, clip=ClipFrames(**options)).encode()
        return places_of([Image.open(io.BytesIO(picture)) for picture in pictures])

    assert sent(count=3) == pytest.approx([0, 19, 39], abs=1)
    assert sent(count=8, among=(4, 5, 33)) == pytest.approx([4, 5, 33], abs=1)
    short = write_video(tmp_path / "short.mp4", grey_frames(3))
    assert len(files(short, clip=ClipFrames(8)).encode()) == 3


def test_a_broken_video_is_a_failure_for_good(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(PermanentCallError, match=r"the picture cannot be used: .*a\.mp4"):
        asyncio.run(MediaEncoder().data_urls(files(tmp_path / "a.mp4", clip=ClipFrames(2))))


def test_a_size_out_of_range_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="image_side=8"):
        encode_picture("a.png", 8)
