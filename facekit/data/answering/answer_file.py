"""``AnswerFile``: answers as JSON lines that a killed run goes on with; it remembers sixteen bytes of each."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from facekit.data.atomic import explained_writes, open_atomically, require_writable
from facekit.data.closing import Closing
from facekit.data.identity import RunIdentity
from facekit.data.locking import hold_file
from facekit.errors import ConfigurationError

__all__ = ["AnswerFile", "key_of"]

RUN_SUFFIX = ".run.json"
"""Of the file beside the answers that says which run they are of."""


def key_of(*facts: Any) -> str:
    """What an entry is recognised by: a digest of all that its answer depends on."""
    return hashlib.blake2b(json.dumps(facts, ensure_ascii=False).encode("utf-8", "replace"), digest_size=8).hexdigest()


class _Line(NamedTuple):
    """What is to be known of a line.

    Attributes:
        key: Of the entry.
        files: Hash of what its files held; 0 where the line has none.
        kind: The kind of error that it failed with; None for an answer.
        may_pass: Whether it may be answered another time.
    """

    key: int
    files: int
    kind: str | None
    may_pass: bool


class AnswerFile(Closing):
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
            self._changed: dict[int, int] = {}
            self._keys, self._files = self._read(retry_failed=retry_failed)
            with self._explained():
                self._file = self.path.open("a", encoding="utf-8")
        except BaseException:
            self._lock.close()
            raise

    def knows(self, key: str, files: str = "") -> bool:
        """Whether an entry is in the file with what its files hold now; notes one that is there with other contents.

        Args:
            key: Of the entry.
            files: Hash of its files; without one, as in lines of earlier versions, nothing is compared.
        """
        value, held = np.uint64(int(key, 16)), np.uint64(int(files or "0", 16))
        start, stop = np.searchsorted(self._keys, value, "left"), np.searchsorted(self._keys, value, "right")
        others = self._files[start:stop]
        is_other = (others != held) & (others != 0) & (held != 0)
        if is_other.any():
            self._changed[int(value)] = int(held)
        return not is_other.all()

    def failure(self, key: str) -> str | None:
        """The kind of error that an entry failed with in an earlier run; None for an answer."""
        return self._failed.get(int(key, 16))

    def append(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Keep entries, each with its ``key``; they are in the file when this returns."""
        with self._explained():
            self._file.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
            self._file.flush()

    def close(self) -> None:
        """Close the file; of entries that were asked again, the old lines are taken out."""
        try:
            with self._explained():
                self._file.close()
            if self._changed:
                self._keep(lambda line: self._changed.get(line.key, line.files) == line.files)
        finally:
            self._lock.close()

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
            hold_file(lock, self.path)
        except BaseException:
            lock.close()
            raise
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

    def _read(self, *, retry_failed: bool) -> tuple[np.ndarray, np.ndarray]:
        """The keys of what stands and the hashes of its files, by ascending key.

        A line that was cut off and failures that are tried again are taken out.
        """
        keys, files = array("Q"), array("Q")

        def stands(line: _Line) -> bool:
            return line.kind is None or not (retry_failed or line.may_pass)

        is_whole = True
        for line in self._lines() if self.path.is_file() else ():
            if line is None or not stands(line):
                is_whole = False
                continue
            keys.append(line.key)
            files.append(line.files)
            self._failed.pop(line.key, None)
            if line.kind is not None:
                self._failed[line.key] = line.kind
        if not is_whole:
            self._keep(stands)
        order = np.argsort(np.frombuffer(keys, np.uint64), kind="stable")
        return np.frombuffer(keys, np.uint64)[order], np.frombuffer(files, np.uint64)[order]

    def _keep(self, stands: Callable[[_Line], bool]) -> None:
        """Take lines out, those that were cut off among them."""
        with self._explained(), self.path.open("rb") as lines, open_atomically(self.path) as kept:
            for text, line in zip(lines, self._lines(), strict=True):
                if line is not None and stands(line):
                    kept.write(text.decode("utf-8", "replace"))

    def _lines(self) -> Iterator[_Line | None]:
        """What is to be known of each line; None for one that was cut off."""
        with self.path.open("rb") as lines:
            for number, text in enumerate(lines, 1):
                if not text.endswith(b"\n"):
                    yield None
                    continue
                try:
                    entry = json.loads(text)
                    key, files = (np.uint64(int(each, 16)) for each in (entry["key"], entry.get("files") or "0"))
                    kind = entry.get("kind")
                except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
                    raise ConfigurationError(
                        f"{self.path}, line {number}: not a file of answers; choose another --output"
                    ) from error
                yield _Line(int(key), int(files), None if kind is None else str(kind), bool(entry.get("may_pass")))
