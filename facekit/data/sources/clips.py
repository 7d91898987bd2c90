"""Finding clips as video files or folders of frames, and the base class of datasets in five folds.

DFEW, MAFW and FERV39k each distribute several forms of the same clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facekit.data.labels import Expression, FaceLabels
from facekit.data.records import FaceRecord
from facekit.data.sources.base import VIDEO_SUFFIXES, Source, integer_option, list_pictures

__all__ = ["FoldedClips", "find_clip"]


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


class FoldedClips(Source):
    """A dataset of clips with one expression each, of which one of five folds is read.

    Args:
        root: The dataset's folder.
        fold: 1 to 5.
        clips: One of the forms in which the dataset gives out its clips; None for the first that is there.
        **common: ``split`` and ``check_images``.

    Attributes:
        folder: Where the clips are; ``locate`` of a subclass finds it.
    """

    folder: Path

    def __init__(
        self,
        root: str | Path,
        *,
        fold: int | str = 1,
        clips: str | None = None,
        split: str | None = None,
        check_images: bool | str = False,
    ) -> None:
        self.fold = integer_option("fold", fold, 1, 5)
        self.form = clips
        super().__init__(root, split=split, check_images=check_images)

    def clip_record(self, names: Sequence[str], expression: Expression, split: str) -> FaceRecord | None:
        """The record of a clip, keyed by the first of its possible names; None, and counted, where it is missing."""
        clip = find_clip(self.folder, names)
        if clip is None:
            self.summary.missing.add(self.folder / names[0])
            return None
        labels = FaceLabels(expression=expression)
        return self.record(clip, labels=labels, split=split, key=names[0], origin={"fold": self.fold})
