"""The records of a run of which some questions are left out, listed in a file with the reasons."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from facekit.counted import counted
from facekit.data.atomic import explained_writes, write_text_atomically
from facekit.data.usable import LeftOut
from facekit.errors import RecordError

logger = logging.getLogger(__name__)

SHORTENED_NAME = "shortened.jsonl"
_NAMED = 5


@dataclass(frozen=True)
class ShortenedRecord:
    """A record of which some questions are left out.

    Args:
        index: Its index among the entries of its file, or its number among the samples of shards.
        id: Its id.
        kept: Indices of the questions that are trained on.
        left_out: The others.
    """

    index: int
    id: str
    kept: tuple[int, ...]
    left_out: tuple[LeftOut, ...]

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Return what ``asdict`` made JSON of; raises ``KeyError`` or ``TypeError`` where it is something else."""
        left_out = tuple(LeftOut(**each) for each in values["left_out"])
        return cls(int(values["index"]), str(values["id"]), tuple(values["kept"]), left_out)


class ShortenedRecords:
    """The list of a run, shared by the processes that load its records.

    Args:
        path: A JSON-lines file; None to keep none.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._seen: set[int] = set()

    def add(self, record: ShortenedRecord) -> None:
        """List a record, unless this process has listed it before.

        Raises:
            OutputError: The list cannot be written.
        """
        if record.index in self._seen:
            return
        self._seen.add(record.index)
        first = record.left_out[0]
        logger.warning("of %r, question %d is left out: %s", record.id, first.question, first.reason)
        if self.path is None:
            return
        with explained_writes(f"{self.path} cannot be written"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(record))

    def replace(self, records: Sequence[ShortenedRecord]) -> None:
        """List records in place of those that are listed, and tell how many questions are left out of them.

        Raises:
            OutputError: The list cannot be written.
        """
        assert self.path is not None
        with explained_writes(f"{self.path} cannot be written"):
            write_text_atomically(self.path, "".join(map(_line, records)))
        if records:
            count = sum(len(each.left_out) for each in records)
            named = "; ".join(f"{each.id!r}, question {each.left_out[0].question}: {each.left_out[0].reason}"
                              for each in records[:_NAMED])  # fmt: skip
            story = "left out %s of %s: %s; all in %s"
            logger.warning(story, counted(count, "question"), counted(len(records), "record"), named, self.path)

    def entries(self) -> list[ShortenedRecord]:
        """Every record once, by its index.

        Raises:
            RecordError: The file is damaged.
        """
        if self.path is None or not self.path.is_file():
            return []
        try:
            lines = filter(None, self.path.read_text(encoding="utf-8").split("\n"))
            found = [ShortenedRecord.of(json.loads(line)) for line in lines]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{self.path} is damaged ({error}); remove it") from error
        return [found for _, found in sorted({each.index: each for each in found}.items())]

    def forget(self) -> None:
        """Begin a new list."""
        self._seen.clear()
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _line(record: ShortenedRecord) -> str:
    return json.dumps(asdict(record), ensure_ascii=False) + "\n"
