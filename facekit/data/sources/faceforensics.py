"""FaceForensics++: genuine videos and their manipulations, with the official split by pairs.

Source: Rössler et al., ICCV 2019. A split file is a list of pairs such as ``["071", "054"]``; it stands for the
originals 071 and 054 and the manipulations 071_054 and 054_071. Of a manipulation the first number is that of the video
that was changed, and so of the person who is filmed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from facekit.data.labels import FaceLabels
from facekit.data.records import FaceRecord
from facekit.data.sources.base import Source
from facekit.errors import ConfigurationError, RecordError

__all__ = ["METHODS", "FaceForensics"]

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
_BENCHMARK = METHODS[:4]
_COMPRESSIONS = ("raw", "c23", "c40")
_FILES = {"train": "train.json", "validation": "val.json", "test": "test.json"}


class FaceForensics(Source):
    """FaceForensics++ as its download script lays it out.

    Args:
        root: The folder that holds ``original_sequences`` and ``manipulated_sequences``.
        compression: ``raw``, ``c23`` or ``c40``.
        methods: Names of ``METHODS`` with commas between them; by default the four of the benchmark.
        **common: ``split`` and ``check_images``.
    """

    name = "faceforensics"
    layout = (
        "splits/train.json, val.json and test.json, original_sequences/youtube/c23/videos and "
        "manipulated_sequences/Deepfakes/c23/videos and so on"
    )
    splits = ("train", "validation", "test")

    def __init__(
        self,
        root: str | Path,
        *,
        compression: str = "c23",
        methods: str = ",".join(_BENCHMARK),
        split: str | None = None,
        check_images: bool | str = False,
    ) -> None:
        if compression not in _COMPRESSIONS:
            raise ConfigurationError(
                f"the option 'compression' of faceforensics is one of {', '.join(_COMPRESSIONS)}, not {compression!r}"
            )
        self.compression = compression
        self.methods = [method.strip() for method in methods.split(",") if method.strip()]
        unknown = [method for method in self.methods if method not in METHODS]
        if unknown:
            raise ConfigurationError(f"faceforensics has the methods {', '.join(METHODS)}, not {unknown[0]!r}")
        super().__init__(root, split=split, check_images=check_images)

    def locate(self) -> None:
        """Find the split files and the folders of the videos."""
        self.lists = self.find_split_files(
            {split: [f"{home}{name}" for home in ("splits/", "", "dataset/splits/")] for split, name in _FILES.items()}
        )
        videos = f"{self.compression}/videos"
        self.originals = self.need_folder(f"original_sequences/youtube/{videos}")
        self.manipulated = {
            method: self.need_folder(f"manipulated_sequences/{method}/{videos}") for method in self.methods
        }

    def read(self) -> Iterator[FaceRecord]:
        """Yield, pair by pair, the two originals and their manipulations."""
        for split, path in self.lists.items():
            for first, second in _read_pairs(path):
                for name in (first, second):
                    yield self._clip(self.originals / f"{name}.mp4", split, None)
                for method, folder in self.manipulated.items():
                    for name in (f"{first}_{second}", f"{second}_{first}"):
                        yield self._clip(folder / f"{name}.mp4", split, method)

    def _clip(self, path: Path, split: str, method: str | None) -> FaceRecord:
        origin = {"compression": self.compression, "person": path.stem.partition("_")[0]}
        origin |= {"method": method} if method else {}
        return self.record(path, labels=FaceLabels(manipulated=method is not None), split=split, origin=origin)


def _read_pairs(path: Path) -> Iterator[tuple[str, str]]:
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"the split file {path} cannot be read as JSON ({error}); fetch it again") from error
    if not isinstance(pairs, list):
        raise RecordError(f"the split file {path} must be a list of pairs, not {type(pairs).__name__}")
    for number, pair in enumerate(pairs, 1):
        fits = isinstance(pair, list) and len(pair) == 2
        if not fits or not all(isinstance(name, str) and re.fullmatch(r"\d{3}", name) for name in pair):
            raise RecordError(f'{path}, entry {number}: a pair such as ["071", "054"] is expected, not {pair!r}')
        yield pair[0], pair[1]
