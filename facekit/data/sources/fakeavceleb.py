"""FakeAVCeleb: celebrities' videos of which the picture, the voice or both were forged.

Source: Khalid et al., NeurIPS Datasets and Benchmarks 2021. The label here is about the picture: a genuine video with
a forged voice is genuine. The table's last column, the folder, has no name, and some files are listed twice.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator

from facekit.data.labels import FaceLabels
from facekit.data.records import FaceRecord
from facekit.data.sources.base import Source
from facekit.data.sources.tables import read_lines, read_table
from facekit.errors import RecordError

__all__ = ["FakeAvCeleb"]

_KINDS = {
    "RealVideo-RealAudio": False, "RealVideo-FakeAudio": False, "FakeVideo-RealAudio": True, "FakeVideo-FakeAudio": True
}  # fmt: skip
_GENDERS = {"men": "man", "women": "woman"}
_FACTS = ("source", "target1", "target2", "method", "category", "type", "race", "gender", "path")


class FakeAvCeleb(Source):
    """FakeAVCeleb with ``meta_data.csv``; it has no official split."""

    name = "fakeavceleb"
    layout = "meta_data.csv and the folders RealVideo-RealAudio, FakeVideo-RealAudio and so on, or a folder FakeAVCeleb"

    def locate(self) -> None:
        """Find the table and the videos."""
        self.table = self.need_file("meta_data.csv", "FakeAVCeleb/meta_data.csv")
        self.videos = self.need_folder("FakeAVCeleb/RealVideo-RealAudio", "RealVideo-RealAudio").parent

    def read(self) -> Iterator[FaceRecord]:
        """Yield the videos in the order of the table."""
        header = [name.strip() for name in next(csv.reader([next(read_lines(self.table), (1, ""))[1]]), [])]
        if tuple(header[: len(_FACTS)]) != _FACTS or len(header) != len(_FACTS) + 1:
            raise RecordError(f"{self.table}, line 1: the columns {', '.join(_FACTS)} and the folder are expected")
        seen: set[str] = set()
        for index, row in enumerate(read_table(self.table, columns=(*_FACTS, "folder"))):
            if index == 0:
                continue
            folder = row.text("folder").strip("/").removeprefix("FakeAVCeleb/")
            name = f"{folder}/{row.text('path')}"
            if ".." in name.split("/"):
                raise RecordError(f"{row.where}: the path {name!r} leaves the dataset's folder")
            manipulated = row.choose("type", _KINDS)
            groups = {"gender": row.choose("gender", _GENDERS), "race": row.text("race")}
            if name in seen:
                self.summary.repeated.add(name)
                continue
            seen.add(name)
            yield self.record(
                self.videos / name,
                labels=FaceLabels(manipulated=manipulated),
                groups=groups,
                origin={"method": row.text("method"), "kind": row.text("type"), "person": row.text("source")},
            )
