"""The OpenAI Batch API: half the price for answers within a day.

Calls are written into files, submitted, and collected when the batch is done. The ledger notes a batch before it is
created, under a token that the batch carries as metadata, so that a run that was killed in between finds it again
instead of paying for it twice.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

from facekit.datagen.annotators.endpoint import EndpointAnnotator
from facekit.datagen.annotators.messages import ANSWER_SCHEMA, parse_completion, request_body
from facekit.datagen.calls import ANNOTATE, Call, PermanentCallError, Reply, Review, TemporaryCallError, call_key
from facekit.datagen.ledger import ACCEPTED, FAILED, GAVE_UP, REJECTED, SUBMITTED, Entry, Ledger, now
from facekit.datagen.pipeline import Ending, GenerationProgress, ProgressListener
from facekit.datagen.prices import Budget, Price, prompt_tokens
from facekit.datagen.retry import RetryPolicy
from facekit.datagen.settings import GenerationSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
WINDOW: Literal["24h"] = "24h"
TOKEN_NAME = "facekit"
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


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
        on_progress: Told about progress.
    """

    annotator: EndpointAnnotator
    ledger: Ledger
    price: Price
    budget: Budget
    settings: GenerationSettings
    stop: asyncio.Event
    on_progress: ProgressListener | None = None

    async def run(
        self, stage: str, plan: Callable[[], Iterator[Call]], review: Callable[[str, Reply], Review], *, total: int,
        done: int,
    ) -> Ending:  # fmt: skip
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
        self._policy = RetryPolicy(self.settings.attempts, self.settings.backoff)
        ending = Ending.FINISHED
        try:
            await self._adopt()
            await self._collect_all()
            for _ in range(self.settings.attempts):
                submitted, affordable = await self._submit_all(plan())
                await self._collect_all()
                if not affordable:
                    ending = Ending.BUDGET
                    break
                if not submitted:
                    break
        except _StopError:
            ending = Ending.STOPPED
        return ending

    async def _adopt(self) -> None:
        """Find the batches that a killed run created without noting their name; let go of those that do not exist."""
        nameless = {token: number for number, token, name in self.ledger.open_batches() if name is None}
        if not nameless:
            return
        for batch in await self._retrying(self._list_batches):
            number = nameless.pop((batch.metadata or {}).get(TOKEN_NAME, ""), None)
            if number is not None:
                self.ledger.name_batch(number, batch.id)
        for number in nameless.values():
            self.ledger.collect_batch(number, [])

    async def _list_batches(self) -> list[Any]:
        return [batch async for batch in self.annotator.client.batches.list(limit=100)]

    async def _submit_all(self, calls: Iterator[Call]) -> tuple[int, bool]:
        """Submit what can be afforded. Returns the number of calls, and whether that was all of them."""
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
                line = await self._line(call)
            except PermanentCallError as failure:
                self.budget.settle(most, 0.0)
                self._store_failure(call, str(failure))
                continue
            full = len(draft.lines) >= self.settings.batch_requests
            if draft.lines and (full or draft.size + len(line) > self.settings.batch_bytes):
                await self._submit(draft)
                submitted, draft = submitted + len(draft.lines), _Draft()
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
                )
            )
        await self._submit(draft)
        return submitted + len(draft.lines), True

    async def _line(self, call: Call) -> bytes:
        assert call.request is not None
        pictures = await self.annotator.data_urls(call.request)
        body = request_body(
            call.request, self.annotator.model, pictures, token_limit=self.annotator.token_limit,
            structured=self.annotator.structured,
        )  # fmt: skip
        request = {"custom_id": call.request.key, "method": "POST", "url": ENDPOINT, "body": body}
        return json.dumps(request).encode() + b"\n"

    async def _submit(self, draft: _Draft) -> None:
        if not draft.lines:
            return
        token, client = uuid.uuid4().hex, self.annotator.client
        number = self.ledger.begin_batch(token, draft.entries)
        self._aside[number] = draft.aside
        content = b"".join(draft.lines)
        file = await self._retrying(lambda: client.files.create(file=("facekit.jsonl", content), purpose="batch"))
        batch = await self._retrying(
            lambda: client.batches.create(
                input_file_id=file.id, endpoint=ENDPOINT, completion_window=WINDOW, metadata={TOKEN_NAME: token}
            )
        )
        self.ledger.name_batch(number, batch.id)
        logger.info("submitted batch %s with %d calls", batch.id, len(draft.lines))

    async def _collect_all(self) -> None:
        """Wait for every open batch and store its answers."""
        while open_batches := self.ledger.open_batches():
            for number, _, name in open_batches:
                assert name is not None
                batch = await self._retrying(partial(self.annotator.client.batches.retrieve, name))
                if batch.status in ENDED:
                    await self._collect(number, batch)
            self._report()
            if self.ledger.open_batches():
                await self._wait(self.settings.poll_seconds)

    async def _collect(self, number: int, batch: Any) -> None:
        expected = {
            call_key(entry.stage, entry.record, entry.aspect, entry.version): entry
            for entry in self.ledger.batch_entries(number)
        }
        collected: list[Entry] = []
        for file in (batch.output_file_id, batch.error_file_id):
            if not file:
                continue
            response = await self._retrying(partial(self.annotator.client.files.content, file))
            for line in response.text.splitlines():
                result = json.loads(line)
                entry = expected.pop(result.get("custom_id", ""), None)
                if entry is not None:
                    collected.append(self._outcome(entry, result))
        if not collected and batch.status == "failed":
            words = self.annotator.strike(str(batch.errors))[:300]
            collected = [
                self._changed(entry, FAILED, reason=f"the batch was rejected: {words}") for entry in expected.values()
            ]
        self.ledger.collect_batch(number, collected)
        self._done += sum(entry.state != GAVE_UP for entry in collected)
        self._answered += sum(entry.state == ACCEPTED for entry in collected)
        self._unusable += sum(entry.state != ACCEPTED for entry in collected)
        self.budget.settle(self._aside.pop(number, 0.0), sum(entry.cost for entry in collected))

    def _outcome(self, entry: Entry, result: dict[str, Any]) -> Entry:
        response = result.get("response") or {}
        status = response.get("status_code")
        if status != 200:
            problem = self.annotator.strike(json.dumps(result.get("error") or response.get("body")))[:300]
            passing = status is None or status == 429 or status >= 500
            return self._changed(entry, GAVE_UP if passing else FAILED, reason=f"status {status}: {problem}")
        schema = ANSWER_SCHEMA if self._stage == ANNOTATE else None
        body = json.loads(self.annotator.strike.strike_exact(json.dumps(response.get("body"))))
        try:
            reply = parse_completion(body, schema, self.annotator.model)
        except TemporaryCallError as failure:
            return self._changed(entry, GAVE_UP, reason=str(failure))
        review = self._review(entry.aspect, reply)
        read, written = reply.prompt_tokens or 0, reply.completion_tokens or 0
        return self._changed(
            entry, ACCEPTED if review.reason is None else REJECTED, answer=review.answer, reason=review.reason,
            model=reply.model, prompt_tokens=read, completion_tokens=written, cost=self.price.cost(read, written),
        )  # fmt: skip

    def _changed(self, entry: Entry, state: str, **changes: Any) -> Entry:
        fixed = {"state": state, "time": now(), "attempts": 1, "batch": None}
        return Entry(**{**entry.__dict__, **fixed, **changes})

    def _store_failure(self, call: Call, reason: str) -> None:
        self.ledger.store(Entry(call.stage, call.record, call.aspect, call.version, FAILED, time=now(), reason=reason))
        self._done += 1
        self._unusable += 1

    async def _retrying(self, call: Callable[[], Awaitable[T]]) -> T:
        failures = 0
        while True:
            try:
                return await self.annotator.guarded(call)
            except TemporaryCallError as failure:
                failures += 1
                delay = self._policy.delay(failures, failure.retry_after)
                if delay is None:
                    raise
                await self._wait(delay)

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
            GenerationProgress(
                self._stage, self._done, self._total, self._answered, self._unusable, speed, None, self.budget.spent
            )
        )
