"""Opening clips safely: sampled frames, upright and RGB, or one clear error.

Sources are video files, through PyAV, animated pictures, and frames in memory. Only the chosen frames are kept, and
video files are sought rather than decoded from end to end.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from numbers import Integral
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from facekit.counted import counted
from facekit.errors import ConfigurationError, ImageError, MissingExtraError, VideoError
from facekit.faces.animations import (
    ANIMATED_SUFFIXES,
    animation_format,
    count_animation_frames,
    read_animation_frames,
)
from facekit.faces.file_kinds import VIDEO_SUFFIXES, kind_of_contents
from facekit.faces.frames import FRAMES_PER_CLIP, choose_frames
from facekit.faces.images import MAX_PIXELS, ImageSource, open_image
from facekit.faces.sources import copy_content, describe_source, is_remote, media_type, stored, web_suffix

MAX_FRAMES = 500_000
MAX_SECONDS = 4 * 3600.0
LARGEST_CHOICE = 256
"""Frames of a clip that may be kept in memory at once."""

_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpegts,mpeg,mpegvideo,flv,asf,ogg"
# Playlists and other formats that make the reader open further files or addresses stay closed.
_READER_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
_WITHOUT_INDEX = ("mpeg", "mpegvideo")  # times are guessed after a seek, and may be those of the frame before
_TOLERATED_LOSS = 0.05
_HEAD = 512


@dataclass(frozen=True, eq=False)
class Clip:
    """The frames of a clip that are looked at.

    Args:
        frames: RGB images of one size, upright.
        indices: The index of each in the whole clip, from 0, ascending.
        total: Frames in the whole clip.
        name: What messages call the clip.
    """

    frames: tuple[Image.Image, ...]
    indices: tuple[int, ...]
    total: int
    name: str = "the given clip"


ClipSource: TypeAlias = str | Path | bytes | np.ndarray | Sequence[ImageSource] | Clip


@dataclass(frozen=True)
class FrameIndex:
    """Presentation times of all frames and of those that can be decoded by themselves; None where none are certain."""

    total: int
    times: list[int] | None
    keyframes: list[int]
    is_picture: bool = False


def is_video(source: object) -> bool:
    """Whether a source is a clip rather than a picture.

    Clips are paths and URLs with a suffix of ``VIDEO_SUFFIXES``; data URLs and bytes of a video; files, data URLs and
    bytes of an animated GIF, WebP, PNG or AVIF; arrays of four dimensions, lists or tuples, and ``Clip``. Of a web
    address only the suffix is looked at.
    """
    if isinstance(source, np.ndarray):
        return source.ndim == 4
    if isinstance(source, bytes):
        return kind_of_contents(source[:_HEAD]) == "video" or animation_format(source) is not None
    if not isinstance(source, (str, Path)):
        return isinstance(source, (Clip, list, tuple))
    if isinstance(source, str) and is_remote(source):
        return _is_remote_video(source)
    path = Path(source).expanduser()
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return True
    return suffix in ANIMATED_SUFFIXES and path.is_file() and animation_format(path) is not None


def _is_remote_video(source: str) -> bool:
    if source[:5].lower() != "data:":
        return web_suffix(source).lower() in VIDEO_SUFFIXES
    kind = media_type(source)
    if kind.startswith("video/") or f".{kind.removeprefix('image/')}" not in ANIMATED_SUFFIXES:
        return kind.startswith("video/")
    content = BytesIO()
    try:
        copy_content(source, content)
    except ImageError:
        return False  # opening it as a picture says what is wrong with it
    return animation_format(content.getvalue()) is not None


def read_clip(
    source: ClipSource,
    num_frames: int = FRAMES_PER_CLIP,
    *,
    among: Sequence[int] | None = None,
    max_pixels: int = MAX_PIXELS,
    max_frames: int = MAX_FRAMES,
    max_seconds: float = MAX_SECONDS,
) -> Clip:
    """Open a clip and return evenly spaced frames of it, as ``choose_frames`` places them.

    The rotation that a camera notes in the file is applied, and pixels that are not square are made so.

    Args:
        source: The path or address of a video file or an animation, a data URL, or the file's content as bytes; an
            array ``(frames, H, W, 3)``; a list of pictures; or a ``Clip``, which is returned as it is.
        num_frames: Frames to return. A file with fewer has some of them repeated, as in the released Face-LLaVA code;
            arrays and lists with fewer are taken whole, for somebody has chosen already.
        among: Indices of the frames of a file that are meant, ascending, from 0; if there are more than ``num_frames``,
            that many of them are taken, evenly spaced. By default the whole file is meant.
        max_pixels: The largest width times height of a frame.
        max_frames: The most frames that a file may have.
        max_seconds: The longest file.

    Raises:
        VideoError: The file is missing, cannot be fetched, is no video, damaged, cut off, has no frame, or is beyond a
            bound.
        ImageError: A picture of a list cannot be opened.
        ConfigurationError: ``num_frames`` is out of its range.
        MissingExtraError: A file is given and PyAV is not installed.

    Examples:
        >>> import numpy as np
        >>> from facekit.faces import read_clip
        >>> clip = read_clip(np.zeros((30, 64, 64, 3), np.uint8), num_frames=4)
        >>> clip.indices
        (0, 9, 19, 29)
    """
    if not isinstance(num_frames, Integral) or not 1 <= num_frames <= LARGEST_CHOICE:
        raise ConfigurationError(f"num_frames is from 1 to {LARGEST_CHOICE}, not {num_frames!r}")
    if isinstance(source, Clip):
        return source
    if isinstance(source, (str, Path, bytes)):
        with stored(source, VideoError) as path:
            name = describe_source(source if is_remote(source) else path)
            if animation_format(path) in (None, "GIF"):
                index = read_index(path, name, max_pixels, max_frames, max_seconds)
            else:
                index = FrameIndex(count_animation_frames(path, name), None, [], is_picture=True)
                _check_count(index.total, name, max_frames)
            chosen = choose_frames(index.total, num_frames) if among is None else _choose_among(among, num_frames)
            return _read_file(path, name, index, chosen, max_pixels)
    pictures = list(source)
    if not pictures or (isinstance(source, np.ndarray) and source.ndim != 4):
        raise VideoError(
            "a clip is the path of a video file, an array (frames, height, width, 3), or a list of at least one picture"
        )
    chosen = choose_frames(len(pictures), min(num_frames, len(pictures)))
    return Clip(tuple(open_image(pictures[i], max_pixels=max_pixels) for i in chosen), tuple(chosen), len(pictures))


def _choose_among(among: Sequence[int], num_frames: int) -> list[int]:
    if not among or min(among) < 0 or list(among) != sorted(among):
        raise ConfigurationError(f"the indices of frames are at least one, ascending, from 0, unlike {list(among)[:8]}")
    return [among[i] for i in choose_frames(len(among), min(num_frames, len(among)))]


def _read_file(path: Path, name: str, index: FrameIndex, chosen: Sequence[int], max_pixels: int) -> Clip:
    if chosen[-1] >= index.total:
        raise VideoError(f"{name} has {counted(index.total, 'frame')}, so none at index {chosen[-1]}, counted from 0")
    wanted = sorted(set(chosen))
    found = dict(zip(wanted, decode_frames(path, name, index, wanted, max_pixels), strict=True))
    return Clip(tuple(found[i] for i in chosen), tuple(chosen), index.total, name)


@contextmanager
def _open_stream(path: Path, name: str) -> Iterator[tuple[Any, Any]]:
    """Open a file and its first video stream, and turn PyAV's errors into sentences."""
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(f"reading {name} needs av; pip install 'facekit-mllm[video]'") from error
    try:
        # Titles and the like may be in any encoding; nobody reads them here.
        with av.open(path, options=_READER_OPTIONS, metadata_errors="replace") as container:
            cover = av.stream.Disposition.attached_pic
            streams = [each for each in container.streams.video if not each.disposition & cover]
            if not streams:
                kinds = ", ".join(sorted({each.type for each in container.streams}))
                if not kinds:
                    raise VideoError(f"{name} is cut off or damaged: nothing is in it; fetch or export it again")
                raise VideoError(f"{name} has no video, only {kinds}; give a file with pictures in it")
            if streams[0].codec_context is None:
                raise VideoError(f"{name} has a video that this PyAV has no decoder for; convert it to H.264")
            yield container, streams[0]
    except av.FFmpegError as error:
        raise VideoError(
            f"{name} is no video of a known format, or is damaged or cut off ({error.strerror or error}); "
            "fetch or export it again"
        ) from error


def read_index(path: Path, name: str, max_pixels: int, max_frames: int, max_seconds: float) -> FrameIndex:
    """List the frames of a file without decoding any."""
    times: list[int | None] = []
    keyframes: list[int] = []
    end = 0
    is_cut_off = False
    with _open_stream(path, name) as (container, stream):
        _check_size(stream.codec_context.width, stream.codec_context.height, name, max_pixels)
        declared = _declared_seconds(container, stream)
        _check_duration(declared, name, max_seconds)
        for packet in container.demux(stream):
            if not packet.size or packet.is_discard:
                continue
            is_cut_off = packet.is_corrupt
            times.append(packet.pts)
            _check_count(len(times), name, max_frames)
            if packet.pts is not None:
                end = max(end, packet.pts + (packet.duration or 0))
                if packet.is_keyframe:
                    keyframes.append(packet.pts)
        unit = float(stream.time_base)
        can_seek = container.format.name not in _WITHOUT_INDEX
    if not times:
        raise VideoError(f"{name} has a video without a single frame; export it again")
    known = sorted(time for time in times if time is not None)
    if len(known) < len(times) or len(set(known)) < len(known) or not keyframes:
        return FrameIndex(len(times), None, [])
    seconds = (end - known[0]) * unit
    _check_duration(seconds, name, max_seconds)
    if is_cut_off or _is_short(seconds, declared, len(times)):
        raise VideoError(f"{name} is cut off after {counted(len(times), 'frame')}; fetch or export it again")
    return FrameIndex(len(times), known if can_seek else None, sorted(keyframes))


def decode_frames(
    path: Path, name: str, index: FrameIndex, wanted: Iterable[int], max_pixels: int
) -> Iterator[Image.Image]:
    """Yield the frames at ascending indices ``wanted``, which are asked for one by one where the index has times."""
    if index.is_picture:
        yield from read_animation_frames(path, name, list(wanted), max_pixels)
        return
    if index.times is None:
        yield from _decode_in_order(path, name, wanted, max_pixels)
        return
    with _open_stream(path, name) as (container, stream):
        frames = container.decode(stream)
        position: int | None = None
        for number in wanted:
            target = index.times[number]
            keyframe = index.keyframes[max(0, bisect.bisect_right(index.keyframes, target) - 1)]
            frame = None
            if (position is None and keyframe > index.times[0]) or (position is not None and keyframe > position):
                container.seek(keyframe, stream=stream)
                frames = container.decode(stream)
                frame = next(frames, None)
                if frame is None or frame.pts is None or frame.pts > target:  # some formats land behind the keyframe
                    container.seek(index.times[0], stream=stream)
                    frames = container.decode(stream)
                    frame = None
            while frame is None or frame.pts is None or frame.pts < target:
                frame = next(frames, None)
                if frame is None:
                    raise VideoError(f"{name} is damaged: frame {number} of {index.total} cannot be decoded")
            position = frame.pts
            yield _to_image(frame, stream, name, max_pixels)


def _decode_in_order(path: Path, name: str, wanted: Iterable[int], max_pixels: int) -> Iterator[Image.Image]:
    """Yield frames of a file without times by counting; indices beyond its last frame give that one."""
    remaining = list(wanted)
    with _open_stream(path, name) as (container, stream):
        frame = None
        for number, frame in enumerate(container.decode(stream)):
            while remaining and number == remaining[0]:
                remaining.pop(0)
                yield _to_image(frame, stream, name, max_pixels)
        if frame is None:
            raise VideoError(f"{name} has a video without a single frame that can be decoded; export it again")
        for _ in remaining:  # decoders may merge packets, so that there are a few frames fewer than packets
            yield _to_image(frame, stream, name, max_pixels)


def _to_image(frame: Any, stream: Any, name: str, max_pixels: int) -> Image.Image:
    if frame.is_corrupt:
        raise VideoError(f"{name} is damaged: a frame decodes only in part; fetch or export it again")
    _check_size(frame.width, frame.height, name, max_pixels)
    if any(component.is_alpha for component in frame.format.components):
        image = Image.fromarray(frame.to_ndarray(format="rgba"))
    else:
        image = frame.to_image()
    ratio = float(stream.sample_aspect_ratio or 1)
    if ratio != 1 and 0.25 <= ratio <= 4:
        image = image.resize((max(1, round(image.width * ratio)), image.height), Image.Resampling.BICUBIC)
    if frame.rotation:
        image = image.rotate(frame.rotation, expand=True)  # both count anticlockwise
    return open_image(image, max_pixels=4 * max_pixels)


def _declared_seconds(container: Any, stream: Any) -> float | None:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return (container.duration - max(0, container.start_time or 0)) / 1e6  # Matroska's counts from zero
    return None


def _is_short(seconds: float, declared: float | None, frames: int) -> bool:
    """Whether a file ends more than a twentieth, and more than two frames, before it says that it does."""
    return declared is not None and declared - seconds > max(_TOLERATED_LOSS, 2.5 / frames) * declared


def _check_duration(seconds: float | None, name: str, max_seconds: float) -> None:
    if seconds is not None and seconds > max_seconds:
        raise VideoError(f"{name} lasts {seconds:,.0f} s, above the bound of {max_seconds:,.0f}; cut it")


def _check_count(frames: int, name: str, max_frames: int) -> None:
    if frames > max_frames:
        raise VideoError(f"{name} has more than {max_frames:,} frames; cut it, or raise max_frames")


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise VideoError(
            f"{name} has frames of {width} x {height} = {width * height:,} pixels, above the bound of {max_pixels:,}; "
            "shrink them, or raise max_pixels if you trust it"
        )
