"""DISFA: twelve action units, coded from 0 to 5 in every frame of 27 videos.

Source: Mavadati et al., IEEE TAC 2013. Each unit of each person has a text file of ``frame,intensity`` lines. The
release has videos and no pictures, so a record is one frame of a video unless frames were extracted. Labels count
frames from 1. Pictures circulate counted from 1 (FFmpeg's ``LeftVideoSN001_comp_00001.jpg``) and from 0
(``img/SN001/0.png``, as ``tool/DISFA_image_label_process.py`` of CVI-SZU/ME-GraphAU lists them, picture 0 with the
first line of the labels).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from facekit.data.labels import ACTION_UNITS, FaceLabels
from facekit.data.records import FaceRecord
from facekit.data.sources.base import VIDEO_SUFFIXES, Source, integer_option, list_pictures
from facekit.data.sources.tables import read_table
from facekit.errors import ConfigurationError, RecordError

__all__ = ["Disfa"]

_CAMERAS = {"left": ("Videos_LeftCamera", "Video_LeftCamera"), "right": ("Video_RightCamera", "Videos_RightCamera")}
_MOST_FRAMES = 1_000_000


class Disfa(Source):
    """DISFA with its videos, or with frames that were extracted from them.

    Args:
        root: The folder that holds ``ActionUnit_Labels``.
        camera: ``left`` or ``right``.
        frames: A folder under the root with one folder of pictures per person, named by person or video; the last
            number in a picture's name is that of the frame. None to give frames of the videos.
        first: The number of a person's first frame in the names of pictures, 0 or 1. None to find out: 0 where any
            person has a picture numbered 0, because pictures are counted alike in a whole set.
        every: Take only every n-th frame.
        **common: ``check_images``; there is no official split.
    """

    name = "disfa"
    layout = "ActionUnit_Labels/SN001/SN001_au1.txt and so on, and Videos_LeftCamera/LeftVideoSN001_comp.avi and so on"

    def __init__(
        self,
        root: str | Path,
        *,
        camera: str = "left",
        frames: str | None = None,
        first: int | str | None = None,
        every: int | str = 1,
        split: str | None = None,
        check_images: bool | str = False,
    ) -> None:
        if camera not in _CAMERAS:
            raise ConfigurationError(f"the option 'camera' of disfa is left or right, not {camera!r}")
        self.camera = camera
        self.frames = frames
        self.first = None if first is None else integer_option("first", first, 0, 1)
        self.every = integer_option("every", every, 1)
        super().__init__(root, split=split, check_images=check_images)

    def locate(self) -> None:
        """Find the labels of at least one person, and the videos or frames."""
        labels = self.need_folder("ActionUnit_Labels")
        self.people = sorted(path for path in labels.iterdir() if re.fullmatch(r"SN\d{3}", path.name))
        if not self.people:
            self.need_folder("ActionUnit_Labels/SN001")
        self.media = self.need_folder(self.frames) if self.frames else self.need_folder(*_CAMERAS[self.camera])

    def read(self) -> Iterator[FaceRecord]:
        """Yield the frames, person by person."""
        found = {folder.name: self._pictures(folder.name) for folder in self.people} if self.frames else {}
        first = self.first if self.first is not None else int(not any(0 in pictures for pictures in found.values()))
        for folder in self.people:
            person = folder.name
            pictures = found.get(person, {})
            if first == 1 and 0 in pictures:
                raise RecordError(f"disfa: {pictures[0]} is numbered 0, so first=1 cannot be right; leave it out")
            video = self._video(person)
            for frame, units in self._intensities(folder):
                if (frame - 1) % self.every:
                    continue
                labels = FaceLabels(action_units=units)
                origin: dict[str, str | int] = {"person": person, "frame": frame}
                if self.frames:
                    picture = pictures.get(frame - 1 + first)
                    if picture is None:
                        self.summary.missing.add(self.media / person / str(frame - 1 + first))
                    else:
                        yield self.record(picture, labels=labels, origin=origin)
                else:
                    yield self.record(video, labels=labels, key=f"{person}/{frame}", frames=[frame - 1], origin=origin)

    def _intensities(self, folder: Path) -> Iterator[tuple[int, dict[str, float]]]:
        paths = {code: folder / f"{folder.name}_{code.lower()}.txt" for code in ACTION_UNITS}
        columns = [read_table(path, columns=("frame", "intensity")) for path in paths.values()]
        for rows in zip_longest(*columns):
            if any(row is None for row in rows):
                raise RecordError(f"{folder}: its files have different numbers of lines; fetch them again")
            frame = rows[0].integer("frame", 1, _MOST_FRAMES)
            units: dict[str, float] = {}
            for code, row in zip(paths, rows, strict=True):
                if row.integer("frame", 1, _MOST_FRAMES) != frame:
                    raise RecordError(f"{row.where}: frame {row.text('frame')} where {rows[0].path.name} has {frame}")
                units[code] = float(row.integer("intensity", 0, 5))
            yield frame, units

    def _video(self, person: str) -> Path:
        side = self.camera.capitalize()
        if self.media.is_dir():
            for path in sorted(self.media.iterdir()):
                if person in path.name and path.suffix.lower() in VIDEO_SUFFIXES:
                    return path
        return self.media / f"{side}Video{person}_comp.avi"

    def _pictures(self, person: str) -> dict[int, Path]:
        folders = [path for path in sorted(self.media.iterdir()) if path.is_dir() and person in path.name]
        by_camera = [path for path in folders if path.name.lower().startswith(self.camera)]
        found: dict[int, Path] = {}
        for path in (picture for folder in by_camera or folders for picture in list_pictures(folder)):
            numbers = re.findall(r"\d+", path.stem)
            if not numbers:
                continue
            other = found.setdefault(int(numbers[-1]), path)
            if other != path:
                raise RecordError(
                    f"disfa: {other} and {path} have the same frame number; keep one of them under the root"
                )
        return found
