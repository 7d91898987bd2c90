"""Single frames of a video: the same as of a clip, in one pass where they are asked for in order."""

import av
import numpy as np
import pytest
from video_files import grey_frames, write_video

from facekit.errors import VideoError
from facekit.faces import read_clip, video
from facekit.faces.video_frames import VideoFrames


@pytest.fixture
def opened(monkeypatch):
    """The files that PyAV opened, and the frames that were decoded and kept."""
    files, images = [], []
    real_open, real_image = av.open, video._to_image
    monkeypatch.setattr(
        av, "open", lambda path, *rest, **options: files.append(path) or real_open(path, *rest, **options)
    )
    monkeypatch.setattr(video, "_to_image", lambda *given: images.append(1) or real_image(*given))
    return files, images


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mpg"])
def test_each_frame_is_that_of_a_clip_in_whatever_order(tmp_path, name):
    codec = {"a.mp4": "libx264", "a.avi": "mpeg4", "a.mpg": "mpeg1video"}[name]
    path = write_video(tmp_path / name, grey_frames(24), codec=codec)
    frames = VideoFrames(path)
    assert len(frames) == 24
    for number in (0, 1, 2, 2, 13, 23, 5, 4, 6):
        (expected,) = read_clip(path, 1, among=[number]).frames
        np.testing.assert_array_equal(np.asarray(frames.read(number)), np.asarray(expected))


def test_frames_in_order_cost_one_pass(tmp_path, opened):
    frames = VideoFrames(write_video(tmp_path / "a.mp4", grey_frames(24)))
    for number in range(24):
        frames.read(number)
        frames.read(number)
    files, images = opened
    assert (len(files), len(images)) == (2 + 1, 24)  # written, indexed, decoded


def test_a_frame_that_is_not_there_is_named_and_the_others_are_still_read(tmp_path):
    frames = VideoFrames(write_video(tmp_path / "a.mp4", grey_frames(3)))
    first = np.asarray(frames.read(0))
    with pytest.raises(VideoError, match="has 3 frames, so none at index 3"):
        frames.read(3)
    frames.close()
    np.testing.assert_array_equal(np.asarray(frames.read(0)), first)
    with pytest.raises(VideoError, match="there is no file"):
        VideoFrames(tmp_path / "b.mp4")
