"""Animated WebP, PNG, AVIF and GIF are clips, wherever they come from."""

from __future__ import annotations

import base64
import os
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, features

from facekit.errors import VideoError
from facekit.faces import is_video, open_image, read_clip

FORMATS = {
    "GIF": ("gif", {}),
    "WEBP": ("webp", {"lossless": True}),
    "PNG": ("png", {}),
    "AVIF": ("avif", {"quality": 100}),
}
LEVELS = (0, 50, 100, 150, 200, 250)


def animated(name, frames=LEVELS, size=(32, 24), **options):
    """An animation whose frame has one level of grey with a red square, so that no two are alike."""
    if name == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    pictures = []
    for level in frames:
        pixels = np.full((size[1], size[0], 3), level, np.uint8)
        pixels[:8, :8] = (255, 0, 0)
        pictures.append(Image.fromarray(pixels))
    file = BytesIO()
    settings = {**FORMATS[name][1], **options}
    pictures[0].save(file, name, save_all=True, append_images=pictures[1:], duration=100, **settings)
    return file.getvalue()


def levels(clip):
    return [int(round(float(np.asarray(frame, dtype=float)[12:, 12:].mean()), 0)) for frame in clip.frames]


@pytest.fixture(params=FORMATS)
def animation(request):
    return request.param, animated(request.param)


def test_an_animation_is_a_clip_of_its_frames_in_order(animation, tmp_path):
    name, content = animation
    path = tmp_path / f"a.{FORMATS[name][0]}"
    path.write_bytes(content)
    url = f"data:image/{FORMATS[name][0]};base64,{base64.b64encode(content).decode()}"
    for source in (path, str(path), content, url):
        assert is_video(source)
        clip = read_clip(source, 3)
        assert clip.total == len(LEVELS)
        assert len(clip.indices) == 3
        assert levels(clip) == pytest.approx([LEVELS[index] for index in clip.indices], abs=4)
        assert all(frame.mode == "RGB" and frame.size == (32, 24) for frame in clip.frames)
        assert np.asarray(clip.frames[0], dtype=int)[3, 3] == pytest.approx((255, 0, 0), abs=12)


def test_a_still_picture_of_such_a_format_is_a_picture(tmp_path):
    for name, (suffix, _) in FORMATS.items():
        if name == "AVIF" and not features.check("avif"):
            continue
        path = tmp_path / f"still.{suffix}"
        Image.new("RGB", (16, 16), (9, 9, 9)).save(path)
        content = path.read_bytes()
        url = f"data:image/{suffix};base64,{base64.b64encode(content).decode()}"
        assert not any(is_video(source) for source in (path, str(path), content, url))
    assert not is_video(tmp_path / "missing.webp")
    assert not is_video("data:image/webp;base64,@@@")
    assert not is_video(b"nothing")


def test_the_first_frame_of_an_animation_is_its_picture(animation):
    opened = open_image(animation[1])
    assert np.asarray(opened, dtype=int)[20, 20] == pytest.approx((0, 0, 0), abs=4)


def test_chosen_frames_and_repeats_are_as_of_a_film(tmp_path):
    path = tmp_path / "a.webp"
    path.write_bytes(animated("WEBP"))
    assert levels(read_clip(path, 2, among=[1, 4])) == [50, 200]
    assert len(read_clip(path, 9).frames) == 9
    with pytest.raises(VideoError, match="has 6 frames, so none at index 6"):
        read_clip(path, 1, among=[6])


def test_transparent_frames_stand_on_the_neutral_colour(tmp_path):
    frames = [Image.new("RGBA", (8, 8), (200, 0, 0, 255)), Image.new("RGBA", (8, 8), (0, 0, 0, 0))]
    path = tmp_path / "a.png"
    frames[0].save(path, save_all=True, append_images=frames[1:], disposal=1, blend=0)
    clip = read_clip(path, 2)
    assert [frame.getpixel((4, 4)) for frame in clip.frames] == [(200, 0, 0), (122, 116, 104)]


def test_bounds_hold_for_animations_and_damage_is_told(tmp_path):
    for name in ("WEBP", "PNG"):
        path = tmp_path / f"a.{FORMATS[name][0]}"
        content = animated(name, size=(64, 64))
        path.write_bytes(content)
        with pytest.raises(VideoError, match="more than 5 frames"):
            read_clip(path, 2, max_frames=5)
        with pytest.raises(VideoError, match="above the bound of 1,000"):
            read_clip(path, 2, max_pixels=1000)
        path.write_bytes(content[: len(content) * 2 // 3])
        with pytest.raises(VideoError, match=r"'.*/a\.\w+' (is|has)"):
            read_clip(path, 6)


def test_a_film_may_be_bytes_or_a_data_url(tmp_path):
    from video_files import write_video

    frames = [np.full((48, 64, 3), level, np.uint8) for level in LEVELS]
    content = write_video(tmp_path / "a.mp4", frames).read_bytes()
    expected = read_clip(tmp_path / "a.mp4", 3)
    for source in (content, f"data:video/mp4;base64,{base64.b64encode(content).decode()}"):
        assert is_video(source)
        clip = read_clip(source, 3)
        assert clip.indices == expected.indices
        for frame, other in zip(clip.frames, expected.frames, strict=True):
            assert np.array_equal(np.asarray(frame), np.asarray(other))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert not is_video(tmp_path / "pipe.png")
