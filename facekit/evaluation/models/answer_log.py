"""The answer log: answers on disk as they come, so that a killed run can be resumed.

One JSON line per answer, appended and flushed at once; the first line says which run it is. A line that a kill cut off
is dropped when the log is opened again, and its question is asked again.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ParamSpec, TextIO, TypeVar

from facekit.data.atomic import explained_writes, require_writable
from facekit.data.closing import Closing
from facekit.data.identity import RunIdentity
from facekit.data.locking import hold_file
from facekit.deprecations import changed_default
from facekit.errors import ConfigurationError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

ANSWERS_NAME = "answers.jsonl"
"""The log's file in a run's folder."""

ASIDE = ".before"
"""Before the suffix of a copy of the answers of a run that was begun anew."""

logger = logging.getLogger(__name__)

_LATER = ("chat_template", "crop", "num_frames")
"""Facts of a run that logs of earlier versions do not have; there they are taken for the same."""


@dataclass(frozen=True)
class LoggedAnswer:
    """One answer as it is kept.

    Args:
        text: The answer; empty where there is none.
        fingerprint: What the question was known by; a question of another is asked again.
        scores: Log-probability of each option, where they were scored.
        problem: Why there is no answer.
        is_final: Whether it would be so again; otherwise it is asked again.
    """

    text: str
    fingerprint: str = ""
    scores: Mapping[str, float] | None = None
    problem: str | None = None
    is_final: bool = True


class AnswerLog(Closing):
    """The answers of one run.

    Args:
        path: The file; it is made, with its folder.
        run: What the run is: model and settings. A log of another run is not gone on with.
        resume: Whether to keep the answers that are there; otherwise they are dropped.

    Attributes:
        answers: Answer by question, as far as they are in the file.
        appended: How many were appended since it was opened.

    Raises:
        ConfigurationError: The file is the log of another run, or no log, or another process writes it.
        OutputError: The folder cannot be written to.
    """

    def __init__(self, path: str | Path, run: RunIdentity, *, resume: bool = True) -> None:
        self.path = Path(path)
        self.answers: dict[str, LoggedAnswer] = {}
        self.appended = 0
        require_writable(self.path.parent)
        with self._explained():
            self._file: TextIO = self.path.open("a", encoding="utf-8")
        try:
            hold_file(self._file, self.path)
            kept = self._read(run) if resume else self._set_aside()
            with self._explained():
                self._file.truncate(kept)
            if not kept:
                self._write({"run": dict(run.facts)})
        except BaseException:
            self._file.close()
            raise

    def _set_aside(self) -> int:
        """Copy the answers of an earlier run, which may have cost much, beside their file; never few for many."""
        with self.path.open("rb") as lines:
            has_answers = len(list(islice(lines, 2))) > 1
        aside = self.path.with_suffix(f"{ASIDE}{self.path.suffix}")
        is_larger = not aside.exists() or aside.stat().st_size <= self.path.stat().st_size
        if has_answers and is_larger:
            with self._explained():
                shutil.copyfile(self.path, aside)
            logger.warning(
                "%s begins anew, because it is not resumed; the answers that it had are in %s", self.path, aside.name
            )
        return 0

    def append(self, question: str, answer: LoggedAnswer) -> None:
        """Keep an answer; it is in the file when this returns. A later one to the same question replaces it."""
        self.answers[question] = answer
        self.appended += 1
        entry: dict[str, Any] = {"question": question, "answer": answer.text, "fingerprint": answer.fingerprint}
        if answer.scores is not None:
            entry["scores"] = dict(answer.scores)
        if answer.problem is not None:
            entry |= {"problem": answer.problem, "is_final": answer.is_final}
        self._write(entry)

    def close(self) -> None:
        """Close the file."""
        with self._explained():
            self._file.close()

    def _explained(self) -> AbstractContextManager[None]:
        return explained_writes(f"{self.path} cannot be written", "make room on the disk and resume")

    def _write(self, entry: dict[str, Any]) -> None:
        with self._explained():
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
                        before = RunIdentity(dict(entry["run"]))
                    else:
                        self.answers[entry["question"]] = LoggedAnswer(
                            entry["answer"], entry.get("fingerprint", ""), entry.get("scores"), entry.get("problem"),
                            entry.get("is_final", True),
                        )  # fmt: skip
                except (ValueError, KeyError, TypeError) as error:
                    raise ConfigurationError(
                        f"{self.path}, line {number}: not a log of answers ({error}); choose another folder"
                    ) from error
                if number == 1:
                    self._check(before, run)
                kept += len(line)
        return kept

    def _check(self, before: RunIdentity, run: RunIdentity) -> None:
        defaults = {name: run.facts.get(name) for name in _LATER} | {"engine_options": ""}
        differences = run.differences(before, defaults=defaults)
        if differences:
            raise ConfigurationError(
                f"{self.path} has the answers of another run ({'; '.join(differences)}); choose another folder, or do "
                "not resume"
            )


def resumed_by_default(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a function of ``output_dir`` and ``resume`` that once went on with what is there unless told not to."""
    return changed_default("resume", True, matters=_has_answers)(function)


def _has_answers(given: Mapping[str, Any]) -> bool:
    folder = given["output_dir"]
    return folder is not None and (Path(folder) / ANSWERS_NAME).is_file()
