"""The records of a run that cannot be used: listed in a file with the reason, counted, and bounded by a limit.

One truncated picture among a million must not end a run of days, and a mistyped folder must not train on nothing. Data
sets and streams of shards keep the same list, so that whoever reads it after a run reads one format.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jinja2 import TemplateError

from facekit.data.atomic import explained_writes
from facekit.errors import FaceKitError, RecordError, first_line

logger = logging.getLogger(__name__)

RECORD_FAULTS = (FaceKitError, TemplateError, OSError, ValueError, TypeError, LookupError, AttributeError)
"""What a record can bring about in a picture's decoder, a chat template and a tokenizer. ``MissingExtraError`` is among
them, and no fault of a record."""

_NAMED = 5


@dataclass(frozen=True)
class SkippedRecord:
    """A record that cannot be used.

    Args:
        index: Its index in the data set; None for a sample of a shard whose name is no number.
        id: Its id, or a sample's shard and name.
        reason: Why not.
    """

    index: int | None
    id: str
    reason: str

    def __post_init__(self) -> None:
        """Write out what is no Unicode text, such as half a surrogate pair, so that every report can have it."""
        for name in ("id", "reason"):
            text = getattr(self, name)
            object.__setattr__(self, name, text.encode("utf-8", "backslashreplace").decode())


class SkippedRecords:
    """The skipped records of a run, shared by the processes that load them.

    A key is an index or an id; whoever looks records up by one of them asks ``key in skipped``.

    Args:
        path: A JSON-lines file with ``index``, ``id`` and ``reason``; None where nothing may be skipped.
        total: How many records there are.
        limit: Largest share of them that may be skipped; 0 for none.
        noun: What messages call them.

    Raises:
        RecordError: The file is there and damaged.
    """

    def __init__(self, path: Path | None, total: int, limit: float, *, noun: str = "records") -> None:
        self.path = path
        self.total = total
        self.limit = 0.0 if path is None else limit
        self.noun = noun
        self._records: dict[tuple[int | None, str], SkippedRecord] = {}
        self._keys: set[int | str | None] = set()
        self.update()

    def __contains__(self, key: int | str) -> bool:
        return key in self._keys

    def update(self) -> None:
        """Read what other processes, or an earlier run, have skipped.

        Raises:
            RecordError: The file is damaged.
        """
        if self.path is None or not self.path.is_file():
            return
        try:
            for line in filter(None, self.path.read_text(encoding="utf-8").split("\n")):
                entry = json.loads(line)
                index = entry["index"]
                self._keep(SkippedRecord(None if index is None else int(index), str(entry["id"]), str(entry["reason"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{self.path} is damaged ({error}); remove it to try all {self.noun} again") from error

    def entries(self) -> list[SkippedRecord]:
        """All of them, as far as any process has come."""
        self.update()
        return list(self._records.values())

    def reasons(self) -> dict[int, str]:
        """Why each was skipped, by index; those without one are left out."""
        return {entry.index: entry.reason for entry in self.entries() if entry.index is not None}

    def add(self, index: int | None, id: str, error: Exception) -> None:
        """List a record that cannot be used.

        Raises:
            RecordError: With it they are more than the limit allows.
            OutputError: The list cannot be written.
        """
        self.update()
        record = SkippedRecord(index, id, str(error))
        self._keep(record)
        if self.path is None or len(self._records) > self.limit * self.total:
            raise RecordError(
                f"{len(self._records)} of {self.total} {self.noun} cannot be used, more than skip_limit={self.limit:g} "
                f"allows; the last is {id!r}: {error}"
            ) from error
        logger.warning("%s %r is skipped: %s", self.noun.removesuffix("s"), id, first_line(error))
        self._write([record])

    def add_all(self, found: Sequence[SkippedRecord], *, write: bool = True) -> None:
        """List records that cannot be used, all at once; those that are listed already are left as they are.

        Args:
            found: The records.
            write: Whether this process writes the list, where others found the same.

        Raises:
            RecordError: They are more than the limit allows; the list is written all the same.
            OutputError: The list cannot be written.
        """
        fresh = [record for record in found if (record.index, record.id) not in self._records]
        for record in fresh:
            self._keep(record)
        if write:
            self._write(fresh)
        if not found:
            return
        named = "; ".join(f"{record.id!r}: {record.reason}" for record in found[:_NAMED])
        more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        listed = "" if self.path is None else f", all in {self.path}"
        count = f"{len(self._records)} of {self.total} {self.noun} cannot be used"
        if self.path is None or len(self._records) > self.limit * self.total:
            raise RecordError(f"{count}, more than skip_limit={self.limit:g} allows: {named}{more}{listed}")
        if fresh and write:
            logger.warning("%s and are skipped: %s%s%s", count, named, more, listed)

    def forget(self) -> None:
        """Begin a new list, where a run starts anew in the folder of an earlier one."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        self._records.clear()
        self._keys.clear()

    def _write(self, records: Sequence[SkippedRecord]) -> None:
        if self.path is None or not records:
            return
        with explained_writes(f"{self.path} cannot be written"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records)

    def _keep(self, record: SkippedRecord) -> None:
        self._records.setdefault((record.index, record.id), record)
        self._keys |= {record.index, record.id}
