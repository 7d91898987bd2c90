"""MAFW: clips with eleven single expressions, in five folds.

Source: Liu et al., ACM Multimedia 2022. Beside the seven basic expressions and contempt it has anxiety, helplessness
and disappointment. A line of a list is ``00001.mp4 anger``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from facekit.data.labels import ALL_EXPRESSIONS, Expression
from facekit.data.records import FaceRecord
from facekit.data.sources.clips import FoldedClips
from facekit.data.sources.tables import read_table

__all__ = ["Mafw"]

_EXPRESSIONS: dict[str, Expression] = {name: name for name in ALL_EXPRESSIONS}
_SPLIT_FOLDERS = ("Train & Test Set", "Train_Test_Set")


class Mafw(FoldedClips):
    """MAFW, single expressions of one fold.

    Args:
        root: The folder that holds ``Train & Test Set`` and ``data``.
        fold: 1 to 5.
        clips: ``frames`` or ``clips``; None for the first that is there.
        **common: ``split`` and ``check_images``.
    """

    name = "mafw"
    layout = "Train & Test Set/single/no_caption/set_1/train.txt and test.txt, and data/frames or data/clips"
    splits = ("train", "test")

    def locate(self) -> None:
        """Find the fold's lists and the clips."""
        self.tables = self.find_split_files(
            {
                split: [f"{folder}/single/no_caption/set_{self.fold}/{split}.txt" for folder in _SPLIT_FOLDERS]
                for split in self.splits
            }
        )
        self.folder = self.need_folder(
            *(f"data/{form}" for form in ([self.form] if self.form else ["frames", "clips"]))
        )

    def read(self) -> Iterator[FaceRecord]:
        """Yield the clips in the order of the fold's lists."""
        for split, path in self.tables.items():
            for row in read_table(path, columns=("clip", "label"), delimiter=None):
                name, expression = Path(row.text("clip")).stem, row.choose("label", _EXPRESSIONS)
                record = self.clip_record((name,), expression, split)
                if record is not None:
                    yield record
