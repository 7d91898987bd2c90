"""The answer log: answers on disk as they come, so that a killed run can be resumed.

One JSON line per answer, appended and flushed at once; the first line says which run it is. A line that a kill cut off
is dropped when the log is opened again, and its question is asked again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from facekit.data.atomic import explained_writes, require_writable
from facekit.data.identity import RunIdentity
from facekit.errors import ConfigurationError


class AnswerLog:
    """The answers of one run.

    Args:
        path: The file; it is made, with its folder.
        run: What the run is: model, data, settings. A log of another run is not gone on with.
        resume: Whether to keep the answers that are there; otherwise they are dropped.

    Raises:
        ConfigurationError: The file is the log of another run, or no log.
        OutputError: The folder cannot be written to.
    """

    def __init__(self, path: str | Path, run: RunIdentity, *, resume: bool = True) -> None:
        self.path = Path(path)
        self.replies: dict[str, tuple[str, dict[str, float] | None]] = {}
        require_writable(self.path.parent)
        kept = self._read(run) if resume and self.path.is_file() else 0
        self._file: TextIO = self.path.open("a", encoding="utf-8")
        self._file.truncate(kept)
        if not kept:
            self._write({"run": dict(run.facts)})

    def append(self, question: str, answer: str, scores: Mapping[str, float] | None = None) -> None:
        """Keep an answer; it is in the file when this returns."""
        self.replies[question] = (answer, None if scores is None else dict(scores))
        self._write({"question": question, "answer": answer, **({} if scores is None else {"scores": dict(scores)})})

    def close(self) -> None:
        """Close the file."""
        with explained_writes(f"{self.path} cannot be written", "make room on the disk and resume"):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, entry: dict[str, Any]) -> None:
        with explained_writes(f"{self.path} cannot be written", "make room on the disk and resume"):
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._file.flush()

    def _read(self, run: RunIdentity) -> int:
        """Read whole lines and return how many bytes they take."""
        kept = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = json.loads(line)
                    if number == 1:
                        self._check(RunIdentity(dict(entry["run"])), run)
                    else:
                        self.replies[entry["question"]] = (entry["answer"], entry.get("scores"))
                except (ValueError, KeyError, TypeError) as error:
                    raise ConfigurationError(
                        f"{self.path}, line {number}: not a log of answers ({error}); choose another folder"
                    ) from error
                kept += len(line)
        return kept

    def _check(self, before: RunIdentity, run: RunIdentity) -> None:
        differences = run.differences(before)
        if differences:
            raise ConfigurationError(
                f"{self.path} has the answers of another run ({'; '.join(differences)}); choose another folder, or do "
                "not resume"
            )
