"""FERV39k: clips from 22 scenes with seven expressions.

Source: Wang et al., CVPR 2022. A line of a list is ``Action/Happy/0267 Happy``: the clip's folder and its label.
"""

from __future__ import annotations

from collections.abc import Iterator

from facekit.data.labels import Expression, FaceLabels
from facekit.data.records import FaceRecord
from facekit.data.sources.base import Source
from facekit.data.sources.clips import find_clip
from facekit.data.sources.tables import read_table
from facekit.errors import RecordError

__all__ = ["Ferv39k"]

EXPRESSIONS: dict[str, Expression] = {
    "Angry": "anger", "Disgust": "disgust", "Fear": "fear", "Happy": "happiness", "Neutral": "neutral",
    "Sad": "sadness", "Surprise": "surprise",
}  # fmt: skip


class Ferv39k(Source):
    """FERV39k with its lists over all scenes."""

    name = "ferv39k"
    layout = "4_setups/All_scenes/train_All.csv, 4_setups/All_scenes/test_All.csv and 2_ClipsforFaceCrop"
    splits = ("train", "test")

    def locate(self) -> None:
        """Find the lists and the clips, in the root or in a folder FERV39k of it."""
        homes = ("", "FERV39k/")
        self.tables = self.find_split_files(
            {split: [f"{home}4_setups/All_scenes/{split}_All.csv" for home in homes] for split in self.splits}
        )
        self.folder = self.need_folder(*(f"{home}2_ClipsforFaceCrop" for home in homes))

    def read(self) -> Iterator[FaceRecord]:
        """Yield the clips in the order of the lists."""
        for split, path in self.tables.items():
            for row in read_table(path, columns=("clip", "label"), delimiter=None):
                name, expression = row.text("clip"), row.choose("label", EXPRESSIONS)
                if ".." in name.split("/"):
                    raise RecordError(f"{row.where}: the clip {name!r} leaves the dataset's folder")
                clip = find_clip(self.folder, (name,))
                if clip is None:
                    self.summary.missing.add(self.folder / name)
                    continue
                labels = FaceLabels(expression=expression)
                yield self.record(clip, labels=labels, split=split, key=name, origin={"scene": name.split("/")[0]})
