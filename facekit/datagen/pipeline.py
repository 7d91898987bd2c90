"""Carrying out calls: so many at a time, within limits and budget, each stored the moment it is answered.

A call is stored in the ledger before its worker takes the next one, so that a process that is killed loses no more
than the calls in flight. A failure that passes is tried again with growing waits; a pause that the endpoint asks for
holds every worker back.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from facekit.datagen.calls import (
    Annotator,
    Call,
    EndpointError,
    PermanentCallError,
    RejectedRequestError,
    Reply,
    Request,
    TemporaryCallError,
)
from facekit.datagen.ledger import ACCEPTED, FAILED, GAVE_UP, REJECTED, Entry, Ledger, now
from facekit.datagen.limits import RateLimiter
from facekit.datagen.prices import Budget, Price, prompt_tokens, reply_tokens
from facekit.datagen.retry import RetryPolicy

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.2
FAILURES_IN_A_ROW = 20
"""With twice the concurrency if that is more: so many failed calls without an answer between end the run."""


class Ending(Enum):
    """Why a run ended."""

    FINISHED = "finished"
    BUDGET = "the budget is used up"
    STOPPED = "stopped"


@dataclass(frozen=True)
class GenerationProgress:
    """Where a stage stands.

    Args:
        stage: ``"annotate"`` or ``"rate"``.
        done: Calls with an outcome, earlier runs included.
        total: Calls in all.
        answered: Usable answers of this run.
        unusable: Calls of this run that ended without one.
        per_second: Calls per second in this run.
        seconds_left: Estimate; None before the first answer.
        cost: Dollars, earlier runs included.
    """

    stage: str
    done: int
    total: int
    answered: int
    unusable: int
    per_second: float
    seconds_left: float | None
    cost: float

    @property
    def detail(self) -> str:
        """Speed, cost and failures in a few words."""
        failed = f", {self.unusable} unusable" if self.unusable else ""
        return f"{self.per_second:.1f}/s, ${self.cost:.2f}{failed}"


ProgressListener = Callable[[GenerationProgress], None]


@dataclass
class Spent:
    """What one call has used up so far."""

    attempts: int = 0
    read: int = 0
    written: int = 0
    cost: float = 0.0
    model: str = ""


@dataclass
class _Batch:
    entries: list[Entry] = field(default_factory=list)
    is_stored: bool = False
    problem: sqlite3.Error | None = None


class _LedgerWriter:
    """Stores what arrives in one turn of the event loop in one transaction; nobody waits longer for that."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._batch = _Batch()

    async def store(self, entry: Entry) -> None:
        """Return when an entry is on disk; whoever has its next turn first stores the entries of all."""
        batch = self._batch
        batch.entries.append(entry)
        await asyncio.sleep(0)
        if not batch.is_stored:
            self.flush()
        if batch.problem is not None:
            raise batch.problem

    def flush(self) -> None:
        """Store what has arrived."""
        batch, self._batch = self._batch, _Batch()
        if not batch.entries:
            return
        batch.is_stored = True
        try:
            self._ledger.store(*batch.entries)
        except sqlite3.Error as error:
            batch.problem = error


class _StopError(Exception):
    """Raised inside a worker that waits when the run is told to stop."""


@dataclass
class Pipeline:
    """One stage of a run.

    Args:
        annotator: Answers.
        ledger: Keeps.
        price: The annotator's price.
        budget: Bounds the cost.
        concurrency: Calls at a time.
        requests_per_minute: The endpoint's limit.
        tokens_per_minute: The endpoint's limit.
        policy: When to try again.
        second_tries: How often an unusable answer is asked for again.
        stop: Set from outside to end the run; calls in flight are waited for.
        on_progress: Told about progress a few times a second.
    """

    annotator: Annotator
    ledger: Ledger
    price: Price
    budget: Budget
    concurrency: int = 16
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    second_tries: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    on_progress: ProgressListener | None = None

    async def run(self, stage: str, calls: Iterator[Call], *, total: int, done: int = 0) -> Ending:
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
        self._writer = _LedgerWriter(self.ledger)
        self._limiter: RateLimiter | None = None
        queue: asyncio.Queue[Call | None] = asyncio.Queue(self.concurrency)
        producer = asyncio.create_task(self._produce(calls, queue))
        watcher = asyncio.create_task(self._watch(producer, queue))
        try:
            await asyncio.gather(*(self._work(queue) for _ in range(self.concurrency)))
            await asyncio.wait([producer])
            if not producer.cancelled():
                producer.result()
        finally:
            watcher.cancel()
            producer.cancel()
            self._writer.flush()
        self._report(force=True)
        if self._error is not None:
            raise self._error
        if self._ending is Ending.FINISHED and self.stop.is_set():
            return Ending.STOPPED
        return self._ending

    async def _produce(self, calls: Iterator[Call], queue: asyncio.Queue[Call | None]) -> None:
        try:
            for call in calls:
                if call.request is not None:
                    self.annotator.prepare(call.request)
                await queue.put(call)
        finally:
            if not self._halt.is_set():
                for _ in range(self.concurrency):
                    await queue.put(None)

    async def _watch(self, producer: asyncio.Task[None], queue: asyncio.Queue[Call | None]) -> None:
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

    async def _work(self, queue: asyncio.Queue[Call | None]) -> None:
        while not self._halt.is_set():
            call = await queue.get()
            if call is None or self._halt.is_set():
                return
            if call.request is None:
                await self._store(call, Spent(), FAILED, reason=call.problem)
                continue
            try:
                await self._carry_out(call, call.request)
            except EndpointError as error:
                self._end(error=error)

    async def _carry_out(self, call: Call, request: Request) -> None:
        spent, failures, tries = Spent(), 0, 0
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
                if delay is None:
                    await self._store(call, spent, GAVE_UP, reason=f"after {spent.attempts} tries: {failure}")
                    self._count_failure(str(failure))
                    return
                logger.debug("call %s: %s; trying again in %.2f s", request.key, failure, delay)
                try:
                    await self._sleep(delay)
                except _StopError:
                    await self._store(call, spent, GAVE_UP, reason=f"stopped after: {failure}")
                    return
            except PermanentCallError as failure:
                await self._store(call, spent, FAILED, reason=str(failure))
                if isinstance(failure, RejectedRequestError):
                    self._count_failure(str(failure))
                return
            except EndpointError as error:
                await self._store(call, spent, GAVE_UP, reason=str(error))
                raise
            else:
                self._failures_in_a_row = 0
                review = call.review(reply)
                if review.reason is None or tries >= self.second_tries or self._halt.is_set():
                    state = ACCEPTED if review.reason is None else REJECTED
                    await self._store(call, spent, state, answer=review.answer, reason=review.reason)
                    return
                tries += 1

    async def _ask(self, request: Request, spent: Spent) -> Reply:
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
            reply = await self.annotator.answer(request)
            tokens = reply_tokens(request, reply, self.price)
            used = float(sum(tokens))
            spent.read, spent.written, spent.model = spent.read + tokens[0], spent.written + tokens[1], reply.model
            cost = self.price.cost(*tokens)
            return reply
        except TemporaryCallError as failure:
            if failure.answered:
                cost, used = most, reserved
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

    async def _store(
        self, call: Call, spent: Spent, state: str, *, answer: str = "", reason: str | None = None
    ) -> None:
        """Return when the outcome is on disk; outcomes of one turn of the event loop share a transaction."""
        await self._writer.store(
            Entry(
                call.stage, call.record, call.aspect, call.version, state, answer,
                model=spent.model or self.annotator.model, time=now(), prompt_tokens=spent.read,
                completion_tokens=spent.written, cost=spent.cost, attempts=spent.attempts, reason=reason,
            )
        )  # fmt: skip
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
        progress = GenerationProgress(
            self._stage, self._done_before + finished, self._total, self._answered, self._unusable, speed, None,
            self.budget.spent,
        )  # fmt: skip
        if finished:
            left = max(0, self._total - progress.done) / max(speed, 1e-9)
            progress = replace(progress, seconds_left=left)
        self.on_progress(progress)
