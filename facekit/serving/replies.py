"""Replies in the form of OpenAI's protocol: whole, and as the chunks of a stream."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from facekit.serving.choices import Ended, Piece


@dataclass(frozen=True)
class Reply:
    """What the parts of one reply have in common.

    Args:
        model: The model's name.
        faces: What was found in the pictures, for the field ``facekit``.
        prompt_tokens: Length of the prompt.
    """

    model: str
    faces: tuple[dict[str, Any], ...]
    prompt_tokens: int
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: list[Ended], tokens: int) -> dict[str, Any]:
        """The reply to a request that does not stream.

        Args:
            choices: The answers.
            tokens: That were written for all of them.
        """
        listed = [
            {
                "index": index,
                "message": {"role": "assistant", "content": ended.text, "refusal": None},
                "logprobs": _write_tokens(ended.tokens),
                "finish_reason": ended.reason,
            }
            for index, ended in enumerate(choices)
        ]
        return {
            **self._head("chat.completion"),
            "choices": listed,
            "usage": self.usage(tokens),
            "facekit": {"media": list(self.faces)},
        }

    def usage(self, tokens: int) -> dict[str, int]:
        """Tokens read and written."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": self.prompt_tokens + tokens,
        }

    def opening(self, index: int) -> bytes:
        """The first chunk of a choice; that of the first choice also says what was found in the pictures."""
        extra = {"facekit": {"media": list(self.faces)}} if index == 0 else {}
        return self._chunk(index, {"role": "assistant", "content": ""}, None, extra)

    def piece(self, index: int, piece: Piece) -> bytes:
        """A chunk with words."""
        return self._chunk(index, {"content": piece.text}, None, tokens=piece.tokens)

    def ending(self, index: int, reason: str) -> bytes:
        """The last chunk of a choice."""
        return self._chunk(index, {}, reason)

    def final_usage(self, tokens: int) -> bytes:
        """The chunk that ``stream_options.include_usage`` asks for."""
        return event({**self._head("chat.completion.chunk"), "choices": [], "usage": self.usage(tokens)})

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        reason: str | None,
        extra: dict[str, Any] | None = None,
        tokens: list[dict[str, Any]] | None = None,
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": _write_tokens(tokens), "finish_reason": reason}
        return event({**self._head("chat.completion.chunk"), "choices": [choice], **(extra or {})})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def _write_tokens(tokens: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    return None if tokens is None else {"content": tokens, "refusal": None}


DONE = b"data: [DONE]\n\n"


def event(content: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"
