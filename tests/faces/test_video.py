"""Frames out of video files: the right ones, upright, from every container, and one sentence for what is no video."""

from __future__ import annotations

import sys

import av
import numpy as np
import pytest
from PIL import Image
from video_files import grey_frames, places_of, write_sound, write_video

from facekit.errors import ConfigurationError, ImageError, MissingExtraError, VideoError
from facekit.faces import Clip, choose_frames, is_video, read_clip


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Forty frames with a key frame every ten."""
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", grey_frames(40))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {}),
        ("a.mov", "mpeg4", {}),
        ("a.mkv", "libx264", {}),
        ("a.webm", "libvpx", {}),
        ("a.avi", "mpeg4", {}),
        ("b-frames.avi", "mpeg4", {"bf": "2"}),
        ("a.ts", "libx264", {}),
        ("a.mpg", "mpeg1video", {}),
        ("a.gif", "gif", {}),
    ],
)
def test_every_container_gives_the_chosen_frames(tmp_path, name, codec, options):
    path = write_video(tmp_path / name, grey_frames(40), codec=codec, **options)
    clip = read_clip(path, 8)
    assert clip.total == 40
    assert list(clip.indices) == choose_frames(40, 8)
    with av.open(str(path)) as container:
        decoded = [frame.to_image() for frame in container.decode(video=0)]
    for place, frame in zip(clip.indices, clip.frames, strict=True):
        assert np.array_equal(frame, decoded[place])
    tolerance = 3 if codec == "gif" else 1  # eight colours a channel; coarse quantisation
    np.testing.assert_allclose(places_of(clip.frames), clip.indices, atol=tolerance)


def test_a_shorter_choice_and_frames_among_others(film):
    assert places_of(read_clip(film, 3).frames) == [0, 19, 39]
    assert places_of(read_clip(film, 8, among=[4, 5, 33]).frames) == [4, 5, 33]
    assert places_of(read_clip(film, 2, among=[4, 5, 33]).frames) == [4, 33]
    assert places_of(read_clip(film, 1).frames) == [0]


def test_a_short_file_repeats_frames(tmp_path):
    clip = read_clip(write_video(tmp_path / "short.mp4", grey_frames(3)), 8)
    assert places_of(clip.frames) == [0, 0, 0, 0, 1, 1, 1, 2]
    assert clip.total == 3


def test_frames_at_uneven_times_are_counted_not_timed(tmp_path):
    times = [0, 1, 2, 30, 31, 80]
    clip = read_clip(write_video(tmp_path / "uneven.mkv", grey_frames(6), times=times), 6)
    assert places_of(clip.frames) == [0, 1, 2, 3, 4, 5]


def test_what_lies_between_the_chosen_frames_is_not_decoded(film, tmp_path):
    with av.open(str(film)) as container:
        packets = [(packet.pts, packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    _, position, size = sorted(packets)[15]
    data = bytearray(film.read_bytes())
    data[position : position + size] = b"\xff" * size
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    assert places_of(read_clip(damaged, 8, among=[2, 31]).frames) == [2, 31]
    with pytest.raises(VideoError, match=r"damaged\.mp4' is .*damaged"):
        read_clip(damaged, 8, among=[2, 15])


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_the_rotation_that_a_camera_notes_is_applied(tmp_path, rotation):
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32] = 255  # upper left
    path = write_video(tmp_path / "turned.mp4", [pixels] * 3, rotation=rotation)
    image = read_clip(path, 1).frames[0]
    expected = Image.fromarray(pixels).rotate(rotation, expand=True)
    assert image.size == expected.size
    assert np.abs(np.asarray(image, int) - np.asarray(expected, int)).mean() < 4


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    path = write_video(tmp_path / "wide.mp4", grey_frames(3), aspect="2/1")
    assert read_clip(path, 1).frames[0].size == (128, 48)


def test_frames_that_are_given_are_taken_as_they_are_or_thinned_out():
    frames = grey_frames(12)
    assert places_of(read_clip(np.stack(frames), 4).frames) == [0, 3, 7, 11]
    assert places_of(read_clip([Image.fromarray(frame) for frame in frames[:3]], 8).frames) == [0, 1, 2]
    clip = Clip((Image.fromarray(frames[0]),), (0,), 1)
    assert read_clip(clip, 8) is clip


def test_pictures_of_a_list_may_be_files(tmp_path):
    paths = []
    for place, frame in enumerate(grey_frames(2)):
        paths.append(tmp_path / f"{place}.png")
        Image.fromarray(frame).save(paths[-1])
    assert places_of(read_clip(paths).frames) == [0, 1]
    with pytest.raises(ImageError, match="there is no file"):
        read_clip([*paths, tmp_path / "2.png"])


def test_clips_are_told_from_pictures_by_file_type_and_shape(tmp_path, film):
    still, moving = tmp_path / "still.gif", write_video(tmp_path / "moving.gif", grey_frames(3), codec="gif")
    Image.new("P", (8, 8)).save(still)
    clips = [film, str(film), "x.MOV", "https://a.b/c.webm?d=e.png", moving, np.zeros((2, 8, 8, 3)), ["a.png"]]
    pictures = [
        still,
        "x.png",
        tmp_path / "missing.gif",
        "https://a.b/c.png",
        np.zeros((8, 8, 3)),
        Image.new("L", (8, 8)),
    ]
    assert [is_video(source) for source in clips] == [True] * len(clips)
    assert [is_video(source) for source in pictures] == [False] * len(pictures)


def bad_video(kind, folder, film):
    path = folder / f"{kind}.mp4"
    data = film.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "letter":
        path.write_text("a letter, not a video\n" * 50)
    elif kind == "without-index":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "sound":
        write_sound(path)
    elif kind == "playlist":
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{film}\n#EXT-X-ENDLIST\n")
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "there is no file"),
        ("folder", "is not a file"),
        ("empty", "is empty"),
        ("letter", "no video of a known format"),
        ("without-index", "no video of a known format, or is damaged or cut off"),
        ("sound", "has no video, only audio"),
        ("playlist", "no video of a known format"),
    ],
)
def test_what_is_no_video_is_refused_in_one_sentence(tmp_path, film, kind, words):
    path = bad_video(kind, tmp_path, film)
    with pytest.raises(VideoError, match=words) as caught:
        read_clip(path)
    assert f"{kind}.mp4" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_was_cut_off_is_refused(tmp_path, share):
    whole = write_video(tmp_path / "whole.mp4", grey_frames(40), movflags="faststart", crf="10")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    assert read_clip(whole).total == 40
    with pytest.raises(VideoError, match=r"cut\.mp4' .*(cut off|damaged)"):
        read_clip(cut)


@pytest.mark.parametrize("name", ["late.mkv", "late.webm", "late.mp4", "late.ts"])
def test_a_video_that_begins_late_is_not_called_cut_off(tmp_path, name):
    codec = "libvpx" if name.endswith("webm") else "libx264"
    path = write_video(tmp_path / name, grey_frames(40), codec=codec, times=range(20, 60))
    assert places_of(read_clip(path, 4).frames) == [0, 13, 26, 39]


def test_a_title_in_another_encoding_is_no_fault_of_the_video(tmp_path):
    path = tmp_path / "titled.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Zoe at the lake"
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for pixels in grey_frames(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"Zoe at", b"Zo\xeb at"))
    assert places_of(read_clip(path, 4).frames) == [0, 1, 2, 3]


def test_a_video_without_a_frame_is_refused(tmp_path):
    path = tmp_path / "none.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(VideoError, match=r"none\.mkv' .*(without a single frame|damaged)"):
        read_clip(path)


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ({"max_pixels": 64 * 48 - 1}, "64 x 48 = 3,072 pixels, above the bound of 3,071"),
        ({"max_frames": 39}, "more than 39 frames"),
        ({"max_seconds": 1.5}, "lasts 2 s, above the bound of 2"),
    ],
)
def test_videos_beyond_a_bound_are_refused(film, bound, words):
    with pytest.raises(VideoError, match=words):
        read_clip(film, **bound)
    read_clip(film, **{name: value + 1 for name, value in bound.items()})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_frames": 0}, "num_frames is from 1 to 256"),
        ({"num_frames": 257}, "num_frames is from 1 to 256"),
        ({"among": []}, "at least one, ascending"),
        ({"among": [3, 2]}, "at least one, ascending"),
        ({"among": [-1, 2]}, "at least one, ascending"),
    ],
)
def test_choices_that_make_no_sense_are_refused(film, options, words):
    with pytest.raises(ConfigurationError, match=words):
        read_clip(film, **options)


def test_a_place_behind_the_last_frame_is_refused(film):
    with pytest.raises(VideoError, match="has 40 frames, so none at index 40"):
        read_clip(film, among=[3, 40])


@pytest.mark.parametrize("source", [[], np.zeros((8, 8, 3), np.uint8)])
def test_something_that_is_no_clip_is_refused(source):
    with pytest.raises(VideoError, match="a clip is the path of a video file"):
        read_clip(source)


def test_without_pyav_the_install_command_is_named(film, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'facekit-mllm\[video\]'"):
        read_clip(film)
