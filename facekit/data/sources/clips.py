"""Where the clips of a video dataset are, whether they are kept as video files or as folders of frames.

It is apart because DFEW, MAFW and FERV39k each give out several forms of the same clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facekit.data.sources.base import VIDEO_SUFFIXES, list_pictures

__all__ = ["find_clip"]


def find_clip(folder: Path, names: Sequence[str]) -> Path | list[Path] | None:
    """Find one clip.

    Args:
        folder: Where the clips are.
        names: The names that it may have, without a suffix.

    Returns:
        The video file, or the frames of a folder in order, or None where there is neither.
    """
    for name in names:
        for suffix in VIDEO_SUFFIXES:
            path = folder / f"{name}{suffix}"
            if path.is_file():
                return path
        frames = list_pictures(folder / name)
        if frames:
            return frames
    return None
