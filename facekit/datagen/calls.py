"""What a call to an annotator is made of: the request, the reply, how it can fail, and how the reply is judged.

These are apart so that annotators, the pipeline and the batch interface agree on them without knowing one another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from facekit.errors import FaceKitError

ANNOTATE, RATE = "annotate", "rate"
"""The two stages that ask a model."""


@dataclass(frozen=True)
class AnswerSchema:
    """The form of a structured answer.

    Args:
        name: A short name, which endpoints ask for.
        schema: A JSON schema of an object.
    """

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class ClipFrames:
    """Which frames of a video file are sent.

    Args:
        count: How many, evenly spaced.
        among: Places of those that are meant, from 0; None for the whole file.
    """

    count: int
    among: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Request:
    """One question to an annotator about one face.

    Args:
        key: Names the call in logs of both sides; says nothing about the record.
        system: The system prompt.
        prompt: The question, which may hold the known labels.
        media: Paths of the picture, or of frames in order; or the path of one video file.
        image_side: Longest side, in pixels, at which a picture is sent.
        max_tokens: Longest answer.
        temperature: Of sampling; None for the endpoint's default.
        schema: The form of the answer where it is structured.
        template: What the template annotator fills in; None where it has no answer.
        facts: What is known of the face, by name, for the template.
        landmarks: Of the picture, (68, 2) or (T, 68, 2) as nested lists, for the template; None where there are none.
        clip: The frames of the video file that are sent; None for pictures.
    """

    key: str
    system: str
    prompt: str
    media: tuple[str, ...]
    image_side: int = 512
    max_tokens: int = 512
    temperature: float | None = None
    schema: AnswerSchema | None = None
    template: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    landmarks: Sequence[Any] | None = None
    clip: ClipFrames | None = None

    @property
    def pictures(self) -> int:
        """How many pictures are sent, at most."""
        return len(self.media) if self.clip is None else self.clip.count


@dataclass(frozen=True)
class Reply:
    """What an annotator said.

    Args:
        text: The answer; empty where there is none.
        model: The model that answered, as it names itself.
        finish_reason: ``"stop"``, ``"length"`` for an answer that was cut off, or ``"content_filter"``.
        prompt_tokens: Tokens read; None where the endpoint does not say.
        completion_tokens: Tokens written; None where the endpoint does not say.
        refusal: The endpoint's own words where it marks an answer as a refusal.
    """

    text: str
    model: str
    finish_reason: str = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    refusal: str | None = None


@dataclass(frozen=True)
class Review:
    """Whether a reply can be used.

    Args:
        answer: What is stored.
        reason: Why it cannot be used; None where it can.
    """

    answer: str
    reason: str | None = None


@dataclass(frozen=True)
class Call:
    """A request with its place in the ledger.

    Args:
        stage: ``ANNOTATE`` or ``RATE``.
        record: The record's id.
        aspect: The recipe's aspect.
        version: The prompt version.
        request: What is asked; None where the record cannot be asked about, for the reason in ``problem``.
        review: Judges the reply.
        problem: Why there is no request.
    """

    stage: str
    record: str
    aspect: str
    version: str
    request: Request | None
    review: Callable[[Reply], Review]
    problem: str | None = None


class Annotator(Protocol):
    """What answers requests."""

    model: str

    async def answer(self, request: Request) -> Reply:
        """Answer one request.

        Raises:
            TemporaryCallError: The same request may succeed later.
            PermanentCallError: It never will.
            EndpointError: No request will.
        """

    def prepare(self, request: Request) -> None:
        """Begin what an answer will need, such as encoding the picture; must return at once."""

    async def close(self) -> None:
        """Release connections."""


class TemporaryCallError(FaceKitError):
    """A call failed for a reason that passes: a rate limit, a server error, a dropped connection, a broken body.

    Args:
        reason: One line.
        retry_after: Seconds that the endpoint asks to wait before any further call; None where it does not say.
        answered: Whether the endpoint may have produced, and charged for, an answer.
    """

    def __init__(self, reason: str, *, retry_after: float | None = None, answered: bool = False) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.answered = answered


class PermanentCallError(FaceKitError):
    """A call that would fail again: the endpoint rejects this request, or the picture cannot be read."""


class RejectedRequestError(PermanentCallError):
    """The endpoint itself rejects a request; many of them in a row mean that something is wrong with all.

    Args:
        reason: One line.
        said: All that the endpoint said.
    """

    def __init__(self, reason: str, *, said: str = "") -> None:
        super().__init__(reason)
        self.said = said


class EndpointError(FaceKitError):
    """No call can succeed: a wrong key, address or model, or an endpoint that is down."""


def call_key(stage: str, record: str, aspect: str, version: str) -> str:
    """A short name of a call that does not show the record."""
    return hashlib.sha256("\0".join((stage, record, aspect, version)).encode()).hexdigest()[:32]
