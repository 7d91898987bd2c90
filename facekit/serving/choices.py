"""``Choice``: one answer while it is written, cut at the texts that end it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from facekit.models.sessions import TokenScore
from facekit.serving.engine import Answer, Job
from facekit.serving.protocol import ChatRequest
from facekit.serving.questions import Question, read_sampling
from facekit.serving.token_scores import TokenWriter


@dataclass(frozen=True)
class Piece:
    """A part of an answer.

    Args:
        text: The words; they may be empty where tokens are still to be told.
        tokens: The tokens whose words end in it, as the protocol writes them; None where they are not asked for.
    """

    text: str
    tokens: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Ended:
    """An answer at its end.

    Args:
        text: The answer.
        rest: Its end that ``on_piece`` was not called with.
        reason: ``stop`` or ``length``.
        tokens: All its tokens, as the protocol writes them; None where they are not asked for.
    """

    text: str
    rest: Piece
    reason: str
    tokens: list[dict[str, Any]] | None = None


@dataclass
class _Token:
    """A written token: where its words begin in the answer and, once they have come, where they end."""

    entry: dict[str, Any]
    start: int
    end: int | None = None


class Choice:
    """One of the ``n`` answers to a request.

    Args:
        index: Its number, from 0.
        stops: Texts that end it; they are not part of it.
        on_piece: Called with each piece of text that is certain to be part of the answer.
    """

    def __init__(self, index: int, stops: Sequence[str], on_piece: Callable[[Piece], None] | None = None) -> None:
        self.index = index
        self._stops, self._on_piece = tuple(stops), on_piece
        self._held = max(map(len, stops), default=1) - 1
        self._writer: TokenWriter | None = None
        self._text, self._sent, self._is_complete = "", 0, False
        self._tokens: list[_Token] = []
        self._told = 0

    def job(self, question: Question, request: ChatRequest) -> Job:
        """What the engine is to write."""
        self._writer = question.tokens
        listens = self._on_piece is not None or self._stops or self._writer is not None
        return Job(
            question.prompt,
            question.media,
            question.key,
            question.max_new_tokens,
            read_sampling(request, self.index),
            self.push if listens else None,
            (lambda: self._is_complete) if self._stops else None,
            self.restart if listens else None,
            None if self._writer is None else self.take_token,
            request.top_logprobs or 0,
            question.grammar,
        )

    def restart(self) -> bool:
        """Forget what was written, to begin anew; False where a part of it has been passed on."""
        if self._sent:
            return False
        self._text, self._is_complete = "", False
        self._tokens.clear()
        return True

    def take_token(self, score: TokenScore) -> None:
        """Take a token whose words come next."""
        if self._writer is not None and not self._is_complete:
            self._tokens.append(_Token(self._writer.write(score), len(self._text)))

    def push(self, piece: str) -> None:
        """Take a piece of text; what may be the beginning of a stop text is held back."""
        if self._is_complete:
            return
        self._text += piece
        for token in reversed(self._tokens):
            if token.end is not None:
                break
            token.end = len(self._text)
        end = self._find_stop()
        if end is not None:
            self._text, self._is_complete = self._text[:end], True
        self._send(len(self._text) if self._is_complete else len(self._text) - self._held)

    def finish(self, answer: Answer) -> Ended:
        """Take the whole answer."""
        if not self._is_complete:
            self._text = answer.text
            end = self._find_stop()
            if end is not None:
                self._text, self._is_complete = self._text[:end], True
        reason = "length" if answer.end.reason == "length" and not self._is_complete else "stop"
        if self._writer is None:
            return Ended(self._text, Piece(self._text[self._sent :]), reason)
        kept = [each.entry for each in self._tokens if not self._is_complete or each.start < len(self._text)]
        return Ended(self._text, Piece(self._text[self._sent :], kept[self._told :]), reason, kept)

    def _find_stop(self) -> int | None:
        return min((at for at in map(self._text.find, self._stops) if at >= 0), default=None)

    def _send(self, end: int) -> None:
        if end <= self._sent or self._on_piece is None:
            return
        tokens = None
        if self._writer is not None:
            whole = (each.end is not None and each.end <= end for each in self._tokens[self._told :])
            count = sum(1 for _ in takewhile(bool, whole))
            tokens = [each.entry for each in self._tokens[self._told : self._told + count]]
            self._told += count
        self._on_piece(Piece(self._text[self._sent : end], tokens))
        self._sent = end


async def wait_for(job: Job) -> Answer:
    """The answer of a job; cancelling this cancels the job."""
    try:
        return await asyncio.wrap_future(job.future)
    except asyncio.CancelledError:
        job.cancel()
        raise
