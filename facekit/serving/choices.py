"""``Choice``: one answer while it is written, cut at the texts that end it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from facekit.serving.engine import Answer, Job
from facekit.serving.protocol import ChatRequest
from facekit.serving.questions import Question, read_sampling


@dataclass(frozen=True)
class Ended:
    """An answer at its end.

    Args:
        text: The answer.
        rest: Its end that ``on_piece`` was not called with.
        reason: ``stop`` or ``length``.
    """

    text: str
    rest: str
    reason: str


class Choice:
    """One of the ``n`` answers to a request.

    Args:
        index: Its number, from 0.
        stops: Texts that end it; they are not part of it.
        on_piece: Called with each piece of text that is certain to be part of the answer.
    """

    def __init__(self, index: int, stops: Sequence[str], on_piece: Callable[[str], None] | None = None) -> None:
        self.index = index
        self._stops, self._on_piece = tuple(stops), on_piece
        self._held = max(map(len, stops), default=1) - 1
        self._text, self._sent, self._is_complete = "", 0, False

    def job(self, question: Question, request: ChatRequest) -> Job:
        """What the engine is to write."""
        listens = self._on_piece is not None or self._stops
        return Job(
            question.prompt,
            question.media,
            question.key,
            question.max_new_tokens,
            read_sampling(request, self.index),
            self.push if listens else None,
            (lambda: self._is_complete) if self._stops else None,
            self.restart if listens else None,
        )

    def restart(self) -> bool:
        """Forget what was written, to begin anew; False where a part of it has been passed on."""
        if self._sent:
            return False
        self._text, self._is_complete = "", False
        return True

    def push(self, piece: str) -> None:
        """Take a piece of text; what may be the beginning of a stop text is held back."""
        if self._is_complete:
            return
        self._text += piece
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
        return Ended(self._text, self._text[self._sent :], reason)

    def _find_stop(self) -> int | None:
        return min((at for at in map(self._text.find, self._stops) if at >= 0), default=None)

    def _send(self, end: int) -> None:
        if end > self._sent and self._on_piece is not None:
            self._on_piece(self._text[self._sent : end])
            self._sent = end


async def wait_for(job: Job) -> Answer:
    """The answer of a job; cancelling this cancels the job."""
    try:
        return await asyncio.wrap_future(job.future)
    except asyncio.CancelledError:
        job.cancel()
        raise
