"""Small video files for tests, whose frames can be told apart by their grey."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

FIRST_GREY, STEP = 20, 5


def grey_frames(count, size=(64, 48)):
    """Frames that are lighter one by one."""
    return [np.full((size[1], size[0], 3), FIRST_GREY + STEP * place, np.uint8) for place in range(count)]


def places_of(images):
    """The place of each frame of ``grey_frames`` after it was encoded and decoded."""
    return [round((float(np.asarray(image).mean()) - FIRST_GREY) / STEP) for image in images]


def write_video(path, frames, *, codec="libx264", rate=25, rotation=None, aspect=None, times=None, **options):
    """Write frames as a video file; ``times`` are in units of the rate."""
    frames = [np.asarray(frame) for frame in frames]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"g": "10", **options})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        if aspect is not None:
            stream.sample_aspect_ratio = Fraction(aspect)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for place, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = place if times is None else times[place]
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path, seconds=0.5):
    """Write a file with sound and nothing else."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        samples = np.sin(np.arange(int(16000 * seconds)) / 20).astype(np.float32)[None]
        for start in range(0, samples.shape[1] - 1023, 1024):
            frame = av.AudioFrame.from_ndarray(samples[:, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
