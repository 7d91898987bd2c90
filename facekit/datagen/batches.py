"""A stage run through the Batch API: open batches are collected, then requests submitted until none is left.

The ledger notes a batch before it is created, so that a run that was killed in between pays for nothing twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from facekit.counted import counted
from facekit.data.ledger import OUTDATED, SUBMITTED, Entry, Ledger, PlacedCall, call_key, now
from facekit.datagen.calls import ANNOTATE
from facekit.datagen.settings import GenerationSettings
from facekit.endpoints.batches import ENDED, Batches, BatchResult
from facekit.endpoints.budget import Budget
from facekit.endpoints.client import EndpointClient
from facekit.endpoints.outcomes import ACCEPTED, FAILED, GAVE_UP, REJECTED, CallProgress, Ending, ProgressListener
from facekit.endpoints.prices import Price, prompt_tokens
from facekit.endpoints.requests import (
    ANSWER_SCHEMA,
    AbsentError,
    EndpointError,
    PermanentCallError,
    Reply,
    Review,
    Usage,
)
from facekit.endpoints.retry import RetryPolicy

logger = logging.getLogger(__name__)


@dataclass
class _Draft:
    """A batch that is being filled."""

    lines: list[bytes] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    size: int = 0
    aside: float = 0.0


class _StopError(Exception):
    """Raised where a wait ends because the run is to end."""


@dataclass
class BatchRunner:
    """Carries out a stage through batches.

    Args:
        annotator: The endpoint.
        ledger: Keeps.
        price: The price in the Batch API.
        budget: Bounds the cost.
        settings: Sizes of batches, time between looks, tries.
        stop: Set from outside to end the run; batches go on and are collected by the next run.
        on_progress: Called with the progress.
    """

    annotator: EndpointClient
    ledger: Ledger
    price: Price
    budget: Budget
    settings: GenerationSettings
    stop: asyncio.Event
    on_progress: ProgressListener | None = None

    async def run(
        self,
        stage: str,
        plan: Callable[[], Iterator[PlacedCall]],
        review: Callable[[str, Reply], Review],
        *,
        total: int,
        done: int,
    ) -> Ending:
        """Collect open batches, then submit and collect until nothing is left.

        Args:
            stage: The stage.
            plan: The calls that are neither answered nor in a batch.
            review: Judges a reply about an aspect.
            total: Number of calls in all.
            done: How many of them have an outcome.

        Raises:
            EndpointError: If the endpoint accepts no call.
        """
        self._stage, self._review, self._total, self._done = stage, review, total, done
        self._answered = self._unusable = 0
        self._started = time.monotonic()
        self._aside: dict[int, float] = {}
        policy = RetryPolicy(self.settings.attempts, self.settings.backoff)
        self._batches = Batches(self.annotator, policy, self._wait)
        self._largest, self._queue_is_full = self.settings.batch_requests, False
        try:
            await self._adopt()
            await self._collect_all()
            return await self._rounds(plan)
        except _StopError:
            return Ending.STOPPED

    async def _rounds(self, plan: Callable[[], Iterator[PlacedCall]]) -> Ending:
        """Submit and collect, again for what failed; while the queue is full, only rounds without an answer count."""
        rounds = 0
        while rounds < self.settings.attempts:
            done = self._done
            submitted, affordable = await self._submit_all(plan())
            await self._collect_all()
            if not affordable:
                return Ending.BUDGET
            if not submitted:
                break
            if not self._queue_is_full or self._done == done:
                rounds += 1
            if self._queue_is_full:
                await self._wait(self.settings.poll_seconds * 2.0**rounds)
        return Ending.FINISHED

    async def _adopt(self) -> None:
        """Find the batches that a killed run created without noting their name; let go of those that do not exist."""
        nameless = {token: number for number, token, name in self.ledger.open_batches() if name is None}
        if not nameless:
            return
        names = await self._batches.names()
        for token, number in nameless.items():
            if token in names:
                self.ledger.name_batch(number, names[token])
            else:
                self.ledger.collect_batch(number, [])

    async def _submit_all(self, calls: Iterator[PlacedCall]) -> tuple[int, bool]:
        """Submit what can be afforded, one batch only where the queue is full.

        Returns:
            The number of calls, and whether the budget allowed all that were looked at.
        """
        draft, submitted = _Draft(), 0
        for call in calls:
            if self.stop.is_set():
                raise _StopError
            if call.request is None:
                self._store_failure(call, call.problem or "")
                continue
            most = self.price.cost(prompt_tokens(call.request, self.price), call.request.max_tokens)
            if not self.budget.try_put_aside(most):
                await self._submit(draft)
                return submitted + len(draft.lines), False
            try:
                line = await self._batches.line(call.request)
            except PermanentCallError as failure:
                self.budget.settle(most, 0.0)
                self._store_failure(call, str(failure))
                continue
            full = len(draft.lines) >= self._largest
            if draft.lines and (full or draft.size + len(line) > self.settings.batch_bytes):
                await self._submit(draft)
                submitted, draft = submitted + len(draft.lines), _Draft()
                if self._queue_is_full:
                    self.budget.settle(most, 0.0)
                    return submitted, True
            draft.lines.append(line)
            draft.size += len(line)
            draft.aside += most
            draft.entries.append(
                Entry(
                    call.stage,
                    call.record,
                    call.aspect,
                    call.version,
                    SUBMITTED,
                    model=self.annotator.model,
                    time=now(),
                    asked=call.asked,
                )
            )
        await self._submit(draft)
        return submitted + len(draft.lines), True

    async def _submit(self, draft: _Draft) -> None:
        if not draft.lines:
            return
        token = uuid.uuid4().hex
        number = self.ledger.begin_batch(token, draft.entries)
        self._aside[number] = draft.aside
        name = await self._batches.submit(b"".join(draft.lines), token)
        self.ledger.name_batch(number, name)
        logger.info("submitted batch %s with %s", name, counted(len(draft.lines), "call"))

    async def _collect_all(self) -> None:
        """Wait for every open batch and store its answers."""
        while open_batches := self.ledger.open_batches():
            for number, _, name in open_batches:
                assert name is not None
                batch = await self._retrieve(number, name)
                if batch is not None and batch.status in ENDED:
                    await self._collect(number, batch)
            self._report()
            if self.ledger.open_batches():
                await self._wait(self.settings.poll_seconds)

    async def _retrieve(self, number: int, name: str) -> Any:
        """The status of a batch; None, and its calls are to be made again, where it is to be given up."""
        try:
            return await self._batches.retrieve(name)
        except AbsentError as error:
            if not self.settings.retry_failed:
                count = counted(len(self.ledger.batch_entries(number)), "call")
                raise EndpointError(
                    f"the endpoint knows no batch {name}, which has {count}; use the key and base_url that it was sent "
                    "with, or make them again with --retry-failed"
                ) from error
        self._release(number)
        return None

    def _release(self, number: int) -> None:
        """Close a batch whose calls are to be made again."""
        self.ledger.collect_batch(number, [])
        self.budget.settle(self._aside.pop(number, 0.0), 0.0)

    async def _collect(self, number: int, batch: Any) -> None:
        expected = {
            call_key(entry.stage, entry.record, entry.aspect, entry.version): entry
            for entry in self.ledger.batch_entries(number)
        }
        collected: list[Entry] = []
        if self._batches.is_for_later(batch):
            self._queue_is_full, self._largest = True, max(1, len(expected) // 2)
            logger.info("the queue is full; %d calls are sent later, %d at a time", len(expected), self._largest)
        schema = ANSWER_SCHEMA if self._stage == ANNOTATE else None
        async for result in self._batches.results(batch, schema):
            entry = expected.pop(result.key, None)
            if entry is not None:
                collected.append(self._outcome(entry, result))
        if not collected and batch.status == "failed" and not self._batches.is_for_later(batch):
            self._release(number)
            raise EndpointError(f"{self._batches.refusal(batch)}; see to it and run the same command again")
        self.ledger.collect_batch(number, collected)
        self._done += sum(entry.state not in (GAVE_UP, OUTDATED) for entry in collected)
        self._answered += sum(entry.state == ACCEPTED for entry in collected)
        self._unusable += sum(entry.state != ACCEPTED for entry in collected)
        self.budget.settle(self._aside.pop(number, 0.0), sum(entry.cost for entry in collected))

    def _outcome(self, entry: Entry, result: BatchResult) -> Entry:
        reply = result.reply
        if reply is None:
            charged = result.usage or Usage()
            read, written = charged.prompt_tokens or 0, charged.completion_tokens or 0
            return self._changed(
                entry, result.state, reason=result.reason, prompt_tokens=read, completion_tokens=written,
                cost=self.price.cost(read, written),
            )  # fmt: skip
        review = self._review(entry.aspect, reply)
        read, written = reply.prompt_tokens or 0, reply.completion_tokens or 0
        return self._changed(
            entry, ACCEPTED if review.reason is None else REJECTED, answer=review.answer, reason=review.reason,
            model=reply.model, prompt_tokens=read, completion_tokens=written, cost=self.price.cost(read, written),
        )  # fmt: skip

    def _changed(self, entry: Entry, state: str, **changes: Any) -> Entry:
        if entry.reason == OUTDATED:  # what it was asked with has changed while it was in the batch
            state = OUTDATED
        fixed = {"state": state, "time": now(), "attempts": 1, "batch": None, "reason": None}
        return Entry(**{**entry.__dict__, **fixed, **changes})

    def _store_failure(self, call: PlacedCall, reason: str) -> None:
        place = (call.stage, call.record, call.aspect, call.version)
        self.ledger.store(Entry(*place, FAILED, time=now(), reason=reason, asked=call.asked))
        self._done += 1
        self._unusable += 1

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.stop.wait(), seconds)
        except TimeoutError:
            return
        raise _StopError

    def _report(self) -> None:
        if self.on_progress is None:
            return
        finished = self._answered + self._unusable
        speed = finished / max(time.monotonic() - self._started, 1e-9)
        self.on_progress(
            CallProgress(
                self._stage, self._done, self._total, self._answered, self._unusable, speed, None, self.budget.spent
            )
        )
