"""Questions to models under test, the protocol of such models, and what they may say.

The protocol is small so that anything can be evaluated: a model in memory, a server, or a file of answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL import Image

from facekit.data.record_media import open_frames
from facekit.data.records import FaceRecord
from facekit.faces import open_image

_SURROGATE = re.compile("[\ud800-\udfff]")


def well_formed(text: str) -> str:
    """A text without halves of characters (lone surrogates), which no file can hold; U+FFFD stands in their place.

    Servers send them where an answer was cut off in the middle of an emoji; names of files have them for bytes that are
    no UTF-8.
    """
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


@dataclass(frozen=True, eq=False)
class Question:
    """One question about one or several pictures.

    Args:
        id: Unique in its run.
        text: What is asked.
        pictures: Where the pictures are, in order; unused where there is a record.
        record: The face that is asked about, where the pictures come from a records file.
        folder: Folder of the record's paths.
        max_new_tokens: Longest answer in tokens.
        options: The answers to choose from where likelihoods are compared.
    """

    id: str
    text: str
    pictures: tuple[Path, ...] = ()
    record: FaceRecord | None = None
    folder: Path = Path()
    max_new_tokens: int = 96
    options: tuple[str, ...] = ()

    @property
    def subject(self) -> object:
        """What the pictures are of: questions with equal subjects are about the same pictures."""
        return self.pictures if self.record is None else (str(self.folder), self.record.id)

    @property
    def has_pictures(self) -> bool:
        """Whether it is about pictures; otherwise it is text alone."""
        return self.record is not None or bool(self.pictures)

    def open_pictures(self) -> list[Image.Image]:
        """Open the pictures, or the frames of the record's clip; raises ``ImageError`` or ``RecordError``."""
        if self.record is None:
            return [open_image(path) for path in self.pictures]
        return [frame.image for frame in open_frames(self.record, self.folder)]


@dataclass(frozen=True)
class Unanswered:
    """The marker of a missing answer; it is scored as an answer that cannot be read.

    Args:
        reason: Why, in one line.
        is_final: Whether it would be so again; otherwise a resumed run asks again.
    """

    reason: str
    is_final: bool = True


@runtime_checkable
class ModelUnderTest(Protocol):
    """Anything that answers questions about pictures.

    A model may also say by ``prompt_style`` how tasks are put to it by default (see
    ``facekit.evaluation.tasks.prompts``), and by a mapping ``identity`` what it is beyond its name.

    Attributes:
        name: Its name in reports, and what a resumed run is compared by.
    """

    name: str

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, str | Unanswered]]:
        """Answer questions.

        Args:
            questions: The questions; those about the same pictures follow each other.

        Yields:
            Index of a question and its answer, as soon as it is known and in any order; each index once.
        """
        ...


@runtime_checkable
class ScoresOptions(Protocol):
    """A model that can say how likely each of several answers is."""

    def score_options(self, questions: Sequence[Question]) -> Iterator[tuple[int, dict[str, float]]]:
        """Score the options of questions.

        Args:
            questions: Questions with ``options``.

        Yields:
            Index of a question, and log-probability of each option given pictures and question.
        """
        ...


@dataclass(frozen=True)
class Reply:
    """A model's reply.

    Args:
        text: Its answer; where options were scored, the most likely one; empty where there is none.
        scores: Log-probability of each option, where they were scored.
        problem: Why there is no answer; None where there is one.
    """

    text: str
    scores: Mapping[str, float] | None = None
    problem: str | None = None
