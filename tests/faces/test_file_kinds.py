"""What a file is: its name decides where it can, its first bytes where it cannot."""

import io

import pytest
from PIL import Image

from facekit.faces.file_kinds import PICTURE_SUFFIXES, VIDEO_SUFFIXES, file_kind, kind_of_contents, kind_of_name


@pytest.mark.parametrize("suffix", [".avif", ".jfif", ".jpe", ".jp2", ".pnm", ".tga", ".JPG", ".heic"])
def test_every_suffix_of_a_picture_is_known_in_any_case(suffix):
    assert kind_of_name(f"face{suffix}") == "picture"


@pytest.mark.parametrize("suffix", [".wmv", ".3gp", ".MP4", ".m2ts", ".mpeg"])
def test_every_suffix_of_a_video_is_known_in_any_case(suffix):
    assert kind_of_name(f"clip{suffix}") == "video"


@pytest.mark.parametrize("name", ["a.txt", "a", "a.ts", "._a.jpg", ".jpg", "a.jpg.part"])
def test_names_that_say_nothing_certain_leave_it_to_the_contents(name):
    assert kind_of_name(name) is None


def test_no_suffix_is_in_both_lists():
    assert not set(PICTURE_SUFFIXES) & set(VIDEO_SUFFIXES)
    assert len(set(PICTURE_SUFFIXES + VIDEO_SUFFIXES)) == len(PICTURE_SUFFIXES + VIDEO_SUFFIXES)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000"])
def test_what_pillow_writes_is_recognised_by_its_contents(format):
    file = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(file, format)
    assert kind_of_contents(file.getvalue()[:512]) == "picture"


@pytest.mark.parametrize("format", ["mp4", "avi", "matroska", "mpegts", "flv", "mov"])
def test_what_ffmpeg_writes_is_recognised_by_its_contents(tmp_path, format):
    av = pytest.importorskip("av")
    path = tmp_path / "clip"
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream("mpeg4" if format != "flv" else "flv1", rate=10)
        stream.width = stream.height = 64
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 64), "blue"))))
        container.mux(stream.encode())
    assert file_kind(path) == "video"
    assert file_kind(path.rename(tmp_path / "clip.ts")) == "video"


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("module.ts", b"Generate = 1\n" * 40),
        ("notes", b"BM is how a bitmap begins"),
        ("song.m4a", b"\0\0\0\x20ftypM4A \0\0\0\0"),
        ("._face.jpg", b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X"),
        ("sound.ogg", b"OggS" + bytes(24) + b"\x01vorbis"),
        ("empty", b""),
    ],
)
def test_what_is_neither_is_neither(tmp_path, name, contents):
    (tmp_path / name).write_bytes(contents)
    assert file_kind(tmp_path / name) is None
