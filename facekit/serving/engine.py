"""``Engine``: questions of many clients, answered together by one thread that owns the model.

Whatever waits when the model becomes free goes into the next batch, up to a bound, and so does what is about to come:
an answer that just misses a batch takes two of them. Questions about one picture share its encoding, which is kept for
later ones, and several of them in one batch also the reading of their common beginning. An answer is given as soon as
it ends, but no other begins before all of its batch have; an engine with continuous batching, such as vLLM, begins them
one by one.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.models.sessions import (
    AnswerEnd,
    EncodedMedia,
    MediumTensors,
    Request,
    Sampling,
    TokenScore,
    answer_together,
    encode_media,
)
from facekit.serving.json_format import JsonGrammar
from facekit.serving.request_error import RequestError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

QUIET_SHARE = 0.1
"""Of a batch's usual time: how long nothing comes until no more is expected of those who asked the last time."""
POLL_SECONDS = 0.002


@dataclass(frozen=True)
class Answer:
    """An answer, and how it ended."""

    text: str
    end: AnswerEnd


@dataclass(eq=False)
class Job:
    """One answer to be written.

    Args:
        prompt: The prompt, see ``Request``.
        media: Pictures and clips that it is about.
        key: Digest of these, by which their encoding is shared.
        max_new_tokens: Longest answer in tokens.
        sampling: How tokens are drawn; None for the most likely ones.
        on_text: Called in the engine's thread with each new piece of text; it must not raise.
        is_complete: Asked after each token whether what was written is enough.
        restart: Asked where writing failed midway whether it may begin anew; None where nothing was passed on.
        on_token: Called with each token before its text, see ``Request``.
        top_tokens: How many of the most likely tokens it gets with each.
        grammar: What the answer must be like; None for anything.
    """

    prompt: str
    media: tuple[MediumTensors, ...]
    key: bytes
    max_new_tokens: int
    sampling: Sampling | None = None
    on_text: Callable[[str], None] | None = None
    is_complete: Callable[[], bool] | None = None
    restart: Callable[[], bool] | None = None
    on_token: Callable[[TokenScore], None] | None = None
    top_tokens: int = 0
    grammar: JsonGrammar | None = None
    future: Future[Answer] = field(default_factory=Future)
    _is_cancelled: bool = False
    _is_claimed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def claim(self) -> bool:
        """Begin the answer; False where nobody waits for it any more."""
        with self._lock:
            self._is_claimed = not self._is_cancelled
            return self._is_claimed

    def cancel(self) -> None:
        """Give the answer up: it is not begun, or ends after the token that is being written."""
        with self._lock:
            self._is_cancelled = True
            if not self._is_claimed:  # it may wait in the queue for long yet
                self.prompt, self.media, self.on_text, self.on_token = "", (), None, None
        self.future.cancel()

    def should_stop(self) -> bool:
        """Whether the answer ends here."""
        return self._is_cancelled or (self.is_complete is not None and self.is_complete())


@dataclass(eq=False)
class Task:
    """Work with the model that writes no answer."""

    work: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)

    def run(self) -> None:
        """Do it, where somebody still waits for it."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.work())
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to whoever waits and not to the thread
            self.future.set_exception(error)


class Engine:
    """A model, and the thread that answers with it.

    Args:
        model: The model.
        processor: Its processor.
        max_batch: Answers that are written together.
        batch_seconds: How long a batch waits for company that nothing announces.
        cached_media: Encoded media that are kept for later questions.
        cached_bytes: The most memory that these take.
        on_batch: Called with the size and the seconds of each batch.
        count_coming: Tells how many questions are being prepared, which a batch waits for, but no longer than one
            usually takes.
    """

    def __init__(
        self,
        model: FaceKitForConditionalGeneration,
        processor: FaceKitProcessor,
        *,
        max_batch: int = 32,
        batch_seconds: float = 0.005,
        cached_media: int = 32,
        cached_bytes: int = 512 * 2**20,
        on_batch: Callable[[int, float], None] | None = None,
        count_coming: Callable[[], int] = lambda: 0,
    ) -> None:
        self.model, self.processor = model, processor
        self._max_batch, self._batch_seconds, self._cached_media = max_batch, batch_seconds, cached_media
        self._cached_bytes = cached_bytes
        self._on_batch, self._count_coming = on_batch, count_coming
        self._last_size = 0
        self._jobs: queue.SimpleQueue[Job | Task | None] = queue.SimpleQueue()
        self._encoded: OrderedDict[bytes, EncodedMedia] = OrderedDict()
        self._typical_seconds = 1.0
        self._thread = threading.Thread(target=self._work, name="facekit-engine", daemon=True)

    @property
    def identity(self) -> Mapping[str, str]:
        """What its answers depend on beside the model's parts and weights."""
        return {}

    @property
    def is_working(self) -> bool:
        """Whether it has been started and may still answer."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer what was submitted, then end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def submit(self, job: Job) -> None:
        """Queue a job; its future has the answer."""
        self._jobs.put(job)

    def run(self, work: Callable[[], Result]) -> Future[Result]:
        """Do other work with the model in the engine's thread, between two batches; the future has what it returns."""
        task = Task(work)
        self._jobs.put(task)
        return task.future

    def seconds_until_free(self, waiting: int) -> int:
        """Guess when so many waiting answers will have been written, in whole seconds from 1."""
        return max(1, math.ceil(self._typical_seconds * max(1, waiting) / self._max_batch))

    def _work(self) -> None:
        is_open = True
        while is_open:
            first = self._jobs.get()
            if first is None:
                return
            if isinstance(first, Task):
                first.run()
                continue
            batch, is_open = self._gather(first)
            began = time.monotonic()
            live = [job for job in batch if job.claim()]
            if live:
                self._last_size = len(live)
                self._answer_safely(live)
                seconds = time.monotonic() - began
                self._typical_seconds = 0.7 * self._typical_seconds + 0.3 * seconds
                if self._on_batch is not None:
                    self._on_batch(len(live), seconds)

    def _gather(self, first: Job) -> tuple[list[Job], bool]:
        """The jobs of the next batch, and whether more may come after it."""
        batch, began = [first], time.monotonic()
        heard = began
        while len(batch) < self._max_batch:
            now = time.monotonic()
            if self._count_coming() > 0:
                heard, ends = now, began + self._typical_seconds
            else:
                ends = self._gathering_ends(began, heard, len(batch))
            ends = max(ends, began + self._batch_seconds)
            try:
                job = self._jobs.get(timeout=min(POLL_SECONDS, max(0.0, ends - now)))
            except queue.Empty:
                if now >= ends:
                    break
                continue
            if job is None:
                return batch, False
            if isinstance(job, Task):
                job.run()
                continue
            batch.append(job)
            heard = time.monotonic()
        return batch, True

    def _gathering_ends(self, began: float, heard: float, size: int) -> float:
        """When a batch of so many jobs, gathered since ``began``, whose last came at ``heard``, expects no more."""
        quiet = QUIET_SHARE * self._typical_seconds if size < self._last_size else 0.0
        return min(heard + quiet, began + self._typical_seconds)

    def _answer_safely(self, jobs: Sequence[Job]) -> None:
        """Answer jobs; where a batch fails, each by itself, so that only what is at fault has no answer."""
        try:
            self._answer(jobs)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to these jobs and not to the thread
            failure = error
        if len(jobs) == 1:
            fail(jobs[0], failure)
            return
        where = "".join(traceback.format_exception(failure)).rstrip()
        logger.warning("a batch of %d failed; its questions are asked one by one\n%s", len(jobs), where)
        # The traceback holds the batch's tensors, and what failed may have been for want of the memory that they take.
        failure = failure.with_traceback(None)
        failure.__context__ = failure.__cause__ = None
        for job in jobs:
            if job.future.done():
                continue
            if job.restart is None or job.restart():
                self._answer_safely([job])
            else:
                fail(job, failure)

    def _answer(self, jobs: Sequence[Job]) -> None:
        encoded = self._encode(jobs)
        rows = [_Row(job) for job in jobs]
        texts = answer_together(self.model, self.processor, [row.request(encoded) for row in rows])
        for row, text in zip(rows, texts, strict=True):
            row.finish(text)

    def _encode(self, jobs: Sequence[Job]) -> dict[bytes, EncodedMedia]:
        """The encoded media of each job by its key; what is new goes through the encoder together."""
        found = {job.key: self._encoded[job.key] for job in jobs if job.key in self._encoded}
        new = {job.key: job.media for job in jobs if job.key not in found}
        found |= zip(new, map(_detach, encode_media(self.model, list(new.values()))), strict=True)
        for key, media in found.items():
            self._encoded[key] = media
            self._encoded.move_to_end(key)
        held = sum(map(_size, self._encoded.values()))
        while len(self._encoded) > self._cached_media or (self._encoded and held > self._cached_bytes):
            held -= _size(self._encoded.popitem(last=False)[1])
        return found


class _Row:
    """A job as one row of a batch."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._end: AnswerEnd | None = None
        self._constraint = None if job.grammar is None else job.grammar.start()

    def request(self, encoded: dict[bytes, EncodedMedia]) -> Request:
        job = self._job
        return Request(
            encoded[job.key], job.prompt, job.max_new_tokens, job.sampling, job.on_text, job.should_stop, self._note,
            job.on_token, job.top_tokens, self._constraint,
        )  # fmt: skip

    def finish(self, text: str) -> None:
        """Give the answer, where it has not been given yet."""
        if self._constraint is not None and self._constraint.failure is not None:
            fail(self._job, lost_schema(self._constraint.failure))
            return
        with suppress(InvalidStateError):  # its client has gone
            self._job.future.set_result(Answer(text, self._end or AnswerEnd(self._job.max_new_tokens, "length")))

    def _note(self, end: AnswerEnd) -> None:
        self._end = end
        self.finish(end.text)


def lost_schema(reason: str) -> RequestError:
    """The error of an answer that could not follow its JSON schema to the end."""
    story = f"the answer cannot follow the JSON schema any further ({reason}); simplify it"
    return RequestError(400, story, param="response_format", code="invalid_response_format")


def _detach(media: EncodedMedia) -> EncodedMedia:
    """Media by themselves: as they come from the encoder, they keep all that was encoded with them in memory."""
    return replace(media, features=tuple(each.clone() for each in media.features))


def _size(media: EncodedMedia) -> int:
    return sum(each.numel() * each.element_size() for each in media.features)


def fail(job: Job, error: BaseException) -> None:
    """Give a job's client an error in place of an answer."""
    with suppress(InvalidStateError):  # its client has gone
        job.future.set_exception(error)
