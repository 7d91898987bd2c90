"""Finished corpora, whose faces come with conversations: FairFaceGPT, FaceInstruct-1M, any LLaVA or ShareGPT JSON.

They are read by ``facekit.data.formats``; here are the paths of their files, and the counting of what is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from facekit.data.formats.chat import DATASET_INFO, read_chat
from facekit.data.records import FaceRecord
from facekit.data.sources.base import Source, boolean_option

__all__ = ["ChatCorpus", "FaceInstruct", "FairFaceGpt"]


class ChatCorpus(Source):
    """Any LLaVA or ShareGPT JSON, with names of fields from ``dataset_info.json`` where one lies beside it.

    Samples that a record cannot hold, such as those with pictures and clips together, are left out and counted under
    ``unmapped``.

    Args:
        root: The JSON file, or a folder whose JSON files are all read.
        media: The folder, relative to that of the file, that paths inside are relative to.
        independent_questions: Whether each question of a sample can be asked by itself; by default a conversation is
            a dialogue.
        **common: ``check_images``; there is no split.
    """

    name = "chat-json"
    layout = "one or more .json or .jsonl files of samples with 'image' or 'video' and 'conversations'"
    files: ClassVar[tuple[str, ...]] = ()
    file_folders: ClassVar[tuple[str, ...]] = ()
    media_candidates: ClassVar[tuple[str, ...]] = ()
    questions_stand_alone: ClassVar[bool] = False

    def __init__(
        self,
        root: str | Path,
        *,
        media: str | None = None,
        independent_questions: bool | str | None = None,
        split: str | None = None,
        check_images: bool | str = False,
    ) -> None:
        path = Path(root).expanduser()
        self.only = path if path.is_file() else None
        self.media = media
        marks = self.questions_stand_alone if independent_questions is None else independent_questions
        self.independent_questions = boolean_option("independent_questions", marks)
        super().__init__(path.parent if self.only else path, split=split, check_images=check_images)

    def locate(self) -> None:
        """Find the JSON files and the folder of the media."""
        if self.only is not None:
            self.paths = [self.only]
        elif self.files:
            self.paths = [self.need_file(*self.files)]
        else:
            folders = [self.root, *(self.root / name for name in self.file_folders)]
            found = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
            self.paths = [path for path in found if path.suffix in (".json", ".jsonl") and path.name != DATASET_INFO]
            if not self.paths:
                self.need_file("*.json", *(f"{name}/*.json" for name in self.file_folders))
        if self.media is not None:
            self.folder = self.need_folder(self.media)
        else:
            folders = [self.root / name for name in self.media_candidates if (self.root / name).is_dir()]
            self.folder = folders[0] if folders else self.root

    def other_folders(self) -> Sequence[Path]:
        """The folder that the option ``media`` names."""
        return [self.folder] if self.media is not None else []

    def read(self) -> Iterator[FaceRecord]:
        """Yield the samples, file by file."""
        for path in self.paths:
            for record in read_chat(path, media_folder=self.folder, skip=self._skip, lacking=self._lack):
                moved = record.rebased(self.folder, self.root)
                origin = record.source or {"dataset": self.name, "file": path.name}
                identity = record.id if len(self.paths) == 1 else f"{path.stem}/{record.id}"
                marks = record.independent_questions or self.independent_questions
                changes = {"source": origin, "id": identity, "independent_questions": marks}
                yield moved.model_copy(update=changes | {"split": record.split or self._split_of(record)})

    def _split_of(self, record: FaceRecord) -> str | None:
        """The split that the pictures of a sample, named as in the file, belong to in their own dataset."""
        return None

    def _lack(self, path: Path) -> None:
        (self.summary.broken if path.is_file() else self.summary.missing).add(path)

    def _skip(self, reason: str) -> None:
        self.summary.unmapped[reason] += 1


class FairFaceGpt(ChatCorpus):
    """FairFaceGPT: ``dataset.json`` over the pictures of FairFace, cut with a margin of 0.25.

    Its pictures are of FairFace's validation split (repository idiap/facellm), which whoever evaluates on FairFace has
    to leave out of training; so a record keeps the split of its picture.
    """

    name = "fairfacegpt"
    layout = "dataset.json, and FairFace's pictures in fairface_img_margin025 (folders train and val)"
    files = ("dataset.json",)
    questions_stand_alone = True
    media_candidates = ("fairface_img_margin025", "fairface-img-margin025-trainval")

    def _split_of(self, record: FaceRecord) -> str | None:
        folders = {name.split("/")[-2] for name in record.file_names() if "/" in name}
        return {"train": "train", "val": "validation"}.get(folders.pop()) if len(folders) == 1 else None


class FaceInstruct(ChatCorpus):
    """FaceInstruct-1M: JSON files with ``landmarks_2d``, over the media of the datasets that it annotates.

    The card of ``chaubeyG/FaceInstruct1M`` on the Hugging Face hub puts all JSON files into ``json_files``; media and
    landmarks lie beside that folder, or where the option ``media`` says.
    """

    name = "faceinstruct"
    layout = (
        "the JSON files of FaceInstruct-1M, or json_files with them, beside it the media and landmarks that they name"
    )
    file_folders = ("json_files",)
    questions_stand_alone = True
