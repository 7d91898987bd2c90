"""Requests to a model elsewhere, their replies, the kinds of failures, and how a reply is judged.

Clients, the pipeline and the batch interface share these types without knowing one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from facekit.errors import FaceKitError


@dataclass(frozen=True)
class AnswerSchema:
    """The form of a structured answer.

    Args:
        name: A short name, which endpoints ask for.
        schema: A JSON schema of an object.
    """

    name: str
    schema: Mapping[str, Any]


ANSWER_SCHEMA = AnswerSchema(
    "answer",
    {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": False,
    },
)
"""One text, for endpoints that have structured answers; the reader of replies takes it out of its JSON."""


class Media(Protocol):
    """Pictures that go with a request; hashable, and equal where the pictures are."""

    @property
    def count(self) -> int:
        """How many pictures are sent, at most."""

    @property
    def image_side(self) -> int:
        """Longest side, in pixels, at which a picture is sent."""

    def encode(self) -> Sequence[bytes]:
        """The pictures as JPEG files.

        Raises:
            ImageError: If a picture or video cannot be read.
            RecordError: If a record has no such picture.
        """


@dataclass(frozen=True)
class Request:
    """One question to a model.

    Args:
        key: Names the call in logs of both sides; says nothing about whom it is about.
        system: The system prompt; empty for none.
        prompt: The question.
        media: The pictures; None for text alone.
        max_tokens: Longest answer.
        temperature: Of sampling; None for the endpoint's default.
        schema: The form of the answer where it is structured.
        pictures_first: Whether the pictures stand before the question.
    """

    key: str
    system: str
    prompt: str
    media: Media | None = None
    max_tokens: int = 512
    temperature: float | None = None
    schema: AnswerSchema | None = None
    pictures_first: bool = False


@dataclass(frozen=True)
class Reply:
    """A model's reply.

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
        answer: What is kept.
        reason: Why it cannot be used; None where it can.
    """

    answer: str
    reason: str | None = None


class Answerer(Protocol):
    """Anything that answers requests: a client, or an annotator of one's own."""

    model: str

    async def answer(self, request: Any) -> Reply:
        """Answer one request.

        Raises:
            TemporaryCallError: The same request may succeed later.
            PermanentCallError: It never will.
            EndpointError: No request will.
        """

    def prepare(self, request: Any) -> None:
        """Begin what an answer will need, such as encoding the picture; must return at once."""

    async def close(self) -> None:
        """Release connections."""


@dataclass(frozen=True)
class Usage:
    """Tokens that an endpoint says it read and wrote; None where it does not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class TemporaryCallError(FaceKitError):
    """A call failed for a reason that passes: a rate limit, a server error, a dropped connection, a broken body.

    Args:
        reason: One line.
        retry_after: Seconds that the endpoint asks to wait before any further call; None where it does not say.
        answered: Whether the endpoint may have produced, and charged for, an answer.
        usage: What it says it charged.
    """

    def __init__(
        self, reason: str, *, retry_after: float | None = None, answered: bool = False, usage: Usage | None = None
    ) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.answered = answered
        self.usage = usage or Usage()


class UnreadableReplyError(TemporaryCallError):
    """An answer that came, was charged for, and whose form is ambiguous; another try may give a better one.

    Args:
        reason: One line.
        usage: What the endpoint says it charged.
    """

    def __init__(self, reason: str, *, usage: Usage | None = None) -> None:
        super().__init__(f"unreadable: {reason}", answered=True, usage=usage)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle_unreadable, (str(self).removeprefix("unreadable: "), self.usage)


def _unpickle_unreadable(reason: str, usage: Usage) -> UnreadableReplyError:
    return UnreadableReplyError(reason, usage=usage)


class PermanentCallError(FaceKitError):
    """A call that would fail again: the endpoint rejects this request, or the picture cannot be read."""


class FlaggedRequestError(PermanentCallError):
    """A content filter refuses one input; says nothing about others."""


class RejectedRequestError(PermanentCallError):
    """The endpoint itself rejects a request; many of them in a row mean that something is wrong with all.

    Args:
        reason: One line.
        said: All that the endpoint said.
    """

    def __init__(self, reason: str, *, said: str = "") -> None:
        super().__init__(reason)
        self.said = said


class DeniedRequestError(RejectedRequestError):
    """Status 403: one input that may not be sent, or, where the first calls all fail so, a key that may not."""


class EndpointError(FaceKitError):
    """No call can succeed: a wrong key, address or model, or an endpoint that is down."""


class AbsentError(EndpointError):
    """Status 404: there is no such model or address, or no such file or batch, which endpoints keep for a while."""
