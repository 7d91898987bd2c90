"""Fingerprints of questions, by which a resumed run recognises them: text, limits, and contents of the pictures."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from facekit.data.records import FaceRecord
from facekit.errors import RecordError
from facekit.evaluation.tasks.questions import Question
from facekit.remote.addresses import place_of
from facekit.remote.mirror import require_here

ABSENT = "absent"
"""Stands for the contents of a file that is not there."""
_DIGEST_BYTES = 12
_SEEN = {"frames", "landmarks"}  # what of a record a model sees beside its pictures
_BLOCK = 1 << 20


class Fingerprints:
    """Fingerprints of questions; every file is read once."""

    def __init__(self) -> None:
        self._contents: dict[Path, str] = {}

    def of(self, question: Question) -> str:
        """A digest that changes with everything that a model is shown of a question."""
        record = question.record
        files = list(question.pictures) if record is None else _files(record, question.folder)
        seen = "" if record is None else record.model_dump_json(include=_SEEN)
        shown = [question.text, question.max_new_tokens, *question.options, seen, *map(self._content, files)]
        return hashlib.blake2b(json.dumps(shown).encode(), digest_size=_DIGEST_BYTES).hexdigest()

    def _content(self, path: Path) -> str:
        if path not in self._contents:
            digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
            try:
                require_here(path)
                with path.expanduser().open("rb") as file:
                    while block := file.read(_BLOCK):
                        digest.update(block)
                self._contents[path] = digest.hexdigest()
            except OSError:
                self._contents[path] = ABSENT
        return self._contents[path]


def _files(record: FaceRecord, folder: Path) -> list[Path]:
    try:
        files = [Path(path) for path in record.media_paths(folder)]
    except RecordError:
        files = []
    return [*files, place_of(folder, record.landmarks)] if isinstance(record.landmarks, str) else files
