"""DFEW: film clips with seven expressions, in five folds.

Source: Jiang et al., ACM Multimedia 2020. Codes begin at 1 with happiness; the fold files are
``EmoLabel_DataSplit/train(single-labeled)/set_1.csv`` and so on.
"""

from __future__ import annotations

from collections.abc import Iterator

from facekit.data.labels import Expression
from facekit.data.records import FaceRecord
from facekit.data.sources.clips import FoldedClips
from facekit.data.sources.tables import read_table

__all__ = ["Dfew"]

EXPRESSIONS: dict[str, Expression] = {
    "1": "happiness", "2": "sadness", "3": "neutral", "4": "anger", "5": "surprise", "6": "disgust", "7": "fear",
}  # fmt: skip
CLIP_FORMS = ("clip_224x224", "clip_224x224_16f", "clip_224x224_avi", "original")
_LARGEST_NAME = 99_999


class Dfew(FoldedClips):
    """DFEW, single-labelled clips of one fold.

    Args:
        root: The folder that holds ``Clip`` and ``EmoLabel_DataSplit``.
        fold: 1 to 5.
        clips: One of ``CLIP_FORMS``; None for the first that is there.
        **common: ``split`` and ``check_images``.
    """

    name = "dfew"
    layout = (
        "EmoLabel_DataSplit/train(single-labeled)/set_1.csv, EmoLabel_DataSplit/test(single-labeled)/set_1.csv and "
        "Clip/clip_224x224 (or clip_224x224_16f, clip_224x224_avi, original)"
    )
    splits = ("train", "test")

    def locate(self) -> None:
        """Find the fold's files and the clips."""
        self.tables = self.find_split_files(
            {split: [f"EmoLabel_DataSplit/{split}(single-labeled)/set_{self.fold}.csv"] for split in self.splits}
        )
        self.folder = self.need_folder(*(f"Clip/{form}" for form in ([self.form] if self.form else CLIP_FORMS)))

    def read(self) -> Iterator[FaceRecord]:
        """Yield the clips in the order of the fold's files."""
        for split, path in self.tables.items():
            for row in read_table(path, required=("video_name", "label")):
                number = row.integer("video_name", 1, _LARGEST_NAME)
                expression = row.choose("label", EXPRESSIONS)
                record = self.clip_record((f"{number:05d}", str(number)), expression, split)
                if record is not None:
                    yield record
