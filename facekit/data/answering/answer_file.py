"""``AnswerFile``: answers as JSON lines that a killed run goes on with; what it remembers of each takes eight bytes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import numpy as np

from facekit.data.atomic import explained_writes, open_atomically, require_writable
from facekit.data.identity import RunIdentity
from facekit.errors import ConfigurationError

__all__ = ["AnswerFile", "key_of"]

logger = logging.getLogger(__name__)

RUN_SUFFIX = ".run.json"
"""Of the file beside the answers that says which run they are of."""


def key_of(*facts: Any) -> str:
    """What an entry is recognised by: a digest of all that its answer depends on."""
    return hashlib.blake2b(json.dumps(facts, ensure_ascii=False).encode("utf-8", "replace"), digest_size=8).hexdigest()


class AnswerFile:
    """The answers of one batch.

    Args:
        path: The file; it is made, with its folder.
        run: What the run is: model and settings. Answers of another run are not gone on with.
        retry_failed: Whether to forget every failure of earlier runs; otherwise those alone that may pass.

    Raises:
        ConfigurationError: The file is of another run, is no file of answers, or another process writes it.
        OutputError: It cannot be written to.
    """

    def __init__(self, path: str | Path, run: RunIdentity, *, retry_failed: bool = False) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise ConfigurationError(f"{self.path} is a folder; name the file of answers, such as {path}/answers.jsonl")
        require_writable(self.path.parent)
        self._lock = self._take()
        try:
            self._check(run)
            self._failed: dict[int, str] = {}
            self._keys = np.sort(np.frombuffer(self._read(retry_failed=retry_failed), np.uint64))
        except BaseException:
            self._lock.close()
            raise
        self._file = self.path.open("a", encoding="utf-8")

    def __contains__(self, key: str) -> bool:
        value = np.uint64(int(key, 16))
        position = int(np.searchsorted(self._keys, value))
        return position < len(self._keys) and self._keys[position] == value

    def failure(self, key: str) -> str | None:
        """The kind of error that an entry failed with in an earlier run; None for an answer."""
        return self._failed.get(int(key, 16))

    def append(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Keep entries, each with its ``key``; they are in the file when this returns."""
        with self._explained():
            self._file.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with self._explained():
            self._file.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _run_path(self) -> Path:
        return self.path.with_name(self.path.name + RUN_SUFFIX)

    def _explained(self) -> Any:
        return explained_writes(
            f"{self.path} cannot be written", "make room on the disk and start the same command again"
        )

    def _take(self) -> TextIO:
        with self._explained():
            lock = self._run_path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise ConfigurationError(
                f"another process is writing {self.path}; wait for it to end, or stop it"
            ) from error
        except OSError as error:
            logger.warning("%s cannot be locked (%s); start no second run on it", self.path, error.strerror)
        return lock

    def _check(self, run: RunIdentity) -> None:
        """Compare the run with that of the answers; note it where there are none."""
        if not self.path.is_file() or self.path.stat().st_size == 0:
            with self._explained():
                self._lock.truncate(0)
                self._lock.write(json.dumps(dict(run.facts), indent=2) + "\n")
                self._lock.flush()
            return
        self._lock.seek(0)
        try:
            before = RunIdentity(dict(json.load(self._lock)))
        except (ValueError, TypeError) as error:
            raise ConfigurationError(
                f"{self.path} is there, and {self._run_path.name} does not say of which run; choose another --output"
            ) from error
        differences = run.differences(before, defaults={"engine": {}})
        if differences:
            raise ConfigurationError(
                f"{self.path} has the answers of another run ({'; '.join(differences)}); choose another --output, or "
                "remove it"
            )

    def _read(self, *, retry_failed: bool) -> array[int]:
        """The keys of what stands; a line that was cut off and failures that are tried again are taken out."""
        keys: array[int] = array("Q")
        again: set[int] = set()
        if not self.path.is_file():
            return keys
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines):
                if not line.endswith(b"\n"):
                    again.add(number)
                    continue
                try:
                    entry = json.loads(line)
                    key, kind = int(entry["key"], 16), entry.get("kind")
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise ConfigurationError(
                        f"{self.path}, line {number + 1}: not a file of answers; choose another --output"
                    ) from error
                if kind is not None and (retry_failed or entry.get("may_pass")):
                    again.add(number)
                    continue
                keys.append(key)
                if kind is not None:
                    self._failed[key] = str(kind)
        if again:
            with (
                self.path.open(encoding="utf-8", errors="replace", newline="\n") as lines,
                open_atomically(self.path) as kept,
            ):
                kept.writelines(line for number, line in enumerate(lines) if number not in again)
        return keys
