"""The pipeline: concurrent calls within limits and budget, each stored as soon as it is answered.

A call is stored before its worker takes the next one, so that a process that is killed loses no more than the calls in
flight. Transient failures are retried with exponential backoff; a pause that the endpoint asks for holds every worker
back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from facekit.endpoints.budget import Budget
from facekit.endpoints.limits import RateLimiter
from facekit.endpoints.outcomes import (
    ACCEPTED,
    FAILED,
    GAVE_UP,
    REJECTED,
    Call,
    CallProgress,
    Ending,
    Outcome,
    OutcomeStore,
    ProgressListener,
)
from facekit.endpoints.prices import UNKNOWN_PRICE, Price, charged_tokens, prompt_tokens, reply_tokens
from facekit.endpoints.requests import (
    Answerer,
    DeniedRequestError,
    EndpointError,
    FlaggedRequestError,
    PermanentCallError,
    RejectedRequestError,
    Reply,
    Request,
    TemporaryCallError,
    UnreadableReplyError,
)
from facekit.endpoints.retry import RetryPolicy
from facekit.endpoints.settings import CallSettings

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=Call)

PROGRESS_SECONDS = 0.2
FAILURES_IN_A_ROW = 20
"""With twice the concurrency if that is more: so many failed calls without an answer between end the run."""
FIRST_DENIALS = 5
"""So many calls that are denied before any is answered mean that the key may not, and end the run."""


@dataclass
class _Spent:
    """What one call has used up so far."""

    attempts: int = 0
    read: int = 0
    written: int = 0
    cost: float = 0.0
    model: str = ""


class _StopError(Exception):
    """Raised inside a worker that waits when the run is to stop."""


@dataclass
class Pipeline(Generic[C]):
    """Calls to one model.

    Args:
        answerer: Answers.
        outcomes: Keeps.
        price: The model's price.
        budget: Bounds the cost.
        concurrency: Calls at a time.
        requests_per_minute: The endpoint's limit.
        tokens_per_minute: The endpoint's limit.
        policy: When to try again.
        second_tries: How often an unusable answer is asked for again.
        stop: Set from outside to end the run; calls in flight are waited for.
        on_progress: Called with the progress a few times a second.
    """

    answerer: Answerer
    outcomes: OutcomeStore[C]
    price: Price = UNKNOWN_PRICE
    budget: Budget = field(default_factory=Budget)
    concurrency: int = 16
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    second_tries: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    on_progress: ProgressListener | None = None

    @classmethod
    def of(cls, answerer: Answerer, outcomes: OutcomeStore[C], settings: CallSettings, **others: Any) -> Pipeline[C]:
        """A pipeline by settings; what they do not say is given by name."""
        return cls(
            answerer, outcomes, concurrency=settings.concurrency, requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute, policy=RetryPolicy(settings.attempts, settings.backoff),
            **others,
        )  # fmt: skip

    async def run(self, stage: str, calls: Iterator[C], *, total: int, done: int = 0) -> Ending:
        """Carry out calls until there are none left, the budget is used up, or the run is stopped.

        Args:
            stage: What progress calls it.
            calls: The calls; the next one is asked for only when there is room.
            total: Number of calls in all, for progress.
            done: How many of them earlier runs have finished.

        Raises:
            EndpointError: If no call can succeed.
        """
        self._stage, self._total, self._done_before = stage, total, done
        self._answered = self._unusable = self._failures_in_a_row = 0
        self._ending = Ending.FINISHED
        self._error: EndpointError | None = None
        self._started = self._last_progress = time.monotonic()
        self._halt = asyncio.Event()
        self._limiter: RateLimiter | None = None
        self._is_answering = False
        self._rejected: list[tuple[C, _Spent, RejectedRequestError]] = []
        queue: asyncio.Queue[C | None] = asyncio.Queue(self.concurrency)
        producer = asyncio.create_task(self._produce(calls, queue))
        watcher = asyncio.create_task(self._watch(producer, queue))
        try:
            await asyncio.gather(*(self._work(queue) for _ in range(self.concurrency)))
            await asyncio.wait([producer])
            if not producer.cancelled():
                producer.result()
            await self._settle_last_rejections()
        finally:
            watcher.cancel()
            producer.cancel()
            self.outcomes.flush()
        self._report(force=True)
        if self._error is not None:
            raise self._error
        if self._ending is Ending.FINISHED and self.stop.is_set():
            return Ending.STOPPED
        return self._ending

    async def _produce(self, calls: Iterator[C], queue: asyncio.Queue[C | None]) -> None:
        try:
            for call in calls:
                if call.request is not None:
                    self.answerer.prepare(call.request)
                await queue.put(call)
        finally:
            if not self._halt.is_set():
                for _ in range(self.concurrency):
                    await queue.put(None)

    async def _watch(self, producer: asyncio.Task[None], queue: asyncio.Queue[C | None]) -> None:
        """When the run is to end early, wake the workers that wait for a call."""
        waits = [asyncio.create_task(event.wait()) for event in (self.stop, self._halt)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._halt.set()
        producer.cancel()
        while not queue.empty():
            queue.get_nowait()
        for _ in range(self.concurrency):
            await queue.put(None)

    async def _work(self, queue: asyncio.Queue[C | None]) -> None:
        while not self._halt.is_set():
            call = await queue.get()
            if call is None or self._halt.is_set():
                return
            if call.request is None:
                await self._store(call, _Spent(), FAILED, reason=call.problem)
                continue
            try:
                await self._carry_out(call, call.request)
            except EndpointError as error:
                self._end(error=error)

    async def _carry_out(self, call: C, request: Request) -> None:
        spent, failures, tries = _Spent(), 0, 0
        while True:
            try:
                reply = await self._ask(request, spent)
            except _StopError:
                if spent.attempts:
                    await self._store(call, spent, GAVE_UP, reason="the run was stopped before another try")
                return
            except TemporaryCallError as failure:
                failures += 1
                delay = self.policy.delay(failures, failure.retry_after)
                is_unreadable = isinstance(failure, UnreadableReplyError)
                if delay is None:
                    state = REJECTED if is_unreadable else GAVE_UP
                    await self._store(call, spent, state, reason=f"{failure} (after {_tries(spent.attempts)})")
                    self._count_failure(str(failure))
                    return
                logger.debug("call %s: %s; trying again in %.2f s", request.key, failure, delay)
                try:
                    await self._sleep(0.0 if is_unreadable else delay)
                except _StopError:
                    await self._store(call, spent, GAVE_UP, reason=f"stopped after: {failure}")
                    return
            except PermanentCallError as failure:
                await self._fail(call, spent, failure)
                return
            except EndpointError as error:
                await self._store(call, spent, GAVE_UP, reason=str(error))
                raise
            else:
                self._failures_in_a_row = 0
                await self._note_answer()
                review = call.review(reply)
                if review.reason is None or tries >= self.second_tries or self._halt.is_set():
                    state = ACCEPTED if review.reason is None else REJECTED
                    await self._store(call, spent, state, answer=review.answer, reason=review.reason)
                    return
                tries += 1

    async def _fail(self, call: C, spent: _Spent, failure: PermanentCallError) -> None:
        """Keep a call that would fail again; what the endpoint rejects waits until it answers another call."""
        if isinstance(failure, FlaggedRequestError):
            await self._note_answer()
        if not isinstance(failure, RejectedRequestError):
            await self._store(call, spent, FAILED, reason=str(failure))
            return
        self._rejected.append((call, spent, failure))
        if isinstance(failure, DeniedRequestError) and not self._is_answering:
            if sum(isinstance(each, DeniedRequestError) for _, _, each in self._rejected) >= FIRST_DENIALS:
                self._end(error=_denial(failure))
        else:
            self._count_failure(str(failure))

    async def _note_answer(self) -> None:
        """The endpoint answers, so that what it rejected before is rejected for its own sake."""
        self._is_answering = True
        await self._settle_rejections(FAILED)

    async def _settle_last_rejections(self) -> None:
        """Condemn no call where the endpoint may be at fault: it rejected one after another, or nobody knows better."""
        denied = next((each for _, _, each in self._rejected if isinstance(each, DeniedRequestError)), None)
        if denied is not None and not self._is_answering and not self._halt.is_set():
            self._end(error=_denial(denied))
        is_certain = self._error is None and (self._is_answering or not self._halt.is_set())
        await self._settle_rejections(FAILED if is_certain else GAVE_UP)

    async def _settle_rejections(self, state: str) -> None:
        rejected, self._rejected = self._rejected, []
        for call, spent, failure in rejected:
            await self._store(call, spent, state, reason=str(failure))

    async def _ask(self, request: Request, spent: _Spent) -> Reply:
        """Make one call within limits and budget, and add what it used to ``spent``."""
        read = prompt_tokens(request, self.price)
        most = self.price.cost(read, request.max_tokens)
        reserved = float(read + request.max_tokens)
        if not await self.budget.put_aside(most):
            self._end(Ending.BUDGET)
            raise _StopError
        cost, used = 0.0, 0.0
        try:
            await self._limits(reserved).acquire(reserved)
            if self._halt.is_set():
                raise _StopError
            spent.attempts += 1
            reply = await self.answerer.answer(request)
            tokens = reply_tokens(request, reply, self.price)
            used = float(sum(tokens))
            spent.read, spent.written, spent.model = spent.read + tokens[0], spent.written + tokens[1], reply.model
            cost = self.price.cost(*tokens)
            return reply
        except TemporaryCallError as failure:
            if failure.answered:
                tokens = charged_tokens(request, failure.usage, self.price)
                cost, used = self.price.cost(*tokens), float(sum(tokens))
                spent.read, spent.written = spent.read + tokens[0], spent.written + tokens[1]
            if failure.retry_after is not None:
                self._limits(reserved).pause(min(failure.retry_after, self.policy.longest_pause))
            raise
        finally:
            spent.cost += cost
            self.budget.settle(most, cost)
            self._limits(reserved).settle(reserved, used)

    def _limits(self, largest: float) -> RateLimiter:
        """The limiter, made when the size of a call is first known."""
        if self._limiter is None:
            self._limiter = RateLimiter(
                self.requests_per_minute, self.tokens_per_minute, largest_call=largest, sleep=self._sleep
            )
        return self._limiter

    async def _sleep(self, seconds: float) -> None:
        """Wait; raises ``_StopError`` as soon as the run is to end."""
        try:
            await asyncio.wait_for(self._halt.wait(), seconds)
        except TimeoutError:
            return
        raise _StopError

    async def _store(self, call: C, spent: _Spent, state: str, *, answer: str = "", reason: str | None = None) -> None:
        """Return when the outcome is kept."""
        model = spent.model or self.answerer.model
        await self.outcomes.store(
            call, Outcome(state, answer, reason, model, spent.read, spent.written, spent.cost, spent.attempts)
        )
        if state == ACCEPTED:
            self._answered += 1
        else:
            self._unusable += 1
        self._report()

    def _count_failure(self, reason: str) -> None:
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= max(FAILURES_IN_A_ROW, 2 * self.concurrency):
            self._end(
                error=EndpointError(
                    f"{self._failures_in_a_row} calls in a row failed, the last with: {reason}; see to the endpoint "
                    "and run the same command again"
                )
            )

    def _end(self, ending: Ending = Ending.STOPPED, error: EndpointError | None = None) -> None:
        if not self._halt.is_set():
            self._ending, self._error = ending, error
        self._halt.set()

    def _report(self, force: bool = False) -> None:
        at = time.monotonic()
        if self.on_progress is None or not (force or at - self._last_progress >= PROGRESS_SECONDS):
            return
        self._last_progress = at
        finished = self._answered + self._unusable
        speed = finished / max(at - self._started, 1e-9)
        progress = CallProgress(
            self._stage, self._done_before + finished, self._total, self._answered, self._unusable, speed, None,
            self.budget.spent,
        )  # fmt: skip
        if finished:
            left = max(0, self._total - progress.done) / max(speed, 1e-9)
            progress = replace(progress, seconds_left=left)
        self.on_progress(progress)


def _denial(failure: DeniedRequestError) -> EndpointError:
    return EndpointError(f"the key may not do this; check the key, base_url and model ({failure})")


def _tries(count: int) -> str:
    return "1 try" if count == 1 else f"{count} tries"
