"""The OpenAI Batch API: half the price for answers within a day.

Requests are written into a file, submitted, and collected when the batch is done. A batch carries a token as metadata,
so that a run that was killed before it noted the batch's name finds it again instead of paying for it twice.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from facekit.endpoints.client import EndpointClient
from facekit.endpoints.dialect import Dialect
from facekit.endpoints.failures import is_for_later, sort_failure
from facekit.endpoints.messages import request_body
from facekit.endpoints.outcomes import FAILED, GAVE_UP
from facekit.endpoints.requests import (
    AbsentError,
    AnswerSchema,
    EndpointError,
    PermanentCallError,
    RejectedRequestError,
    Reply,
    Request,
    TemporaryCallError,
    Usage,
)
from facekit.endpoints.retry import RetryPolicy

logger = logging.getLogger(__name__)

T = TypeVar("T")

PATH: Literal["/v1/chat/completions"] = "/v1/chat/completions"
WINDOW: Literal["24h"] = "24h"
TOKEN_NAME = "facekit"
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass(frozen=True)
class BatchResult:
    """The result of one call in a batch.

    Args:
        key: The request's key.
        reply: The reply; None where there is none.
        state: Without a reply, whether the call is refused for good or may be made again: ``FAILED`` or ``GAVE_UP``.
        reason: Why there is no reply.
        usage: What was charged without a usable reply; None for nothing.
    """

    key: str
    reply: Reply | None
    state: str = ""
    reason: str = ""
    usage: Usage | None = None


class Batches:
    """The batches of one client.

    Args:
        client: The endpoint.
        policy: When a call that fails for a reason that passes is made again.
        wait: Waits so many seconds; may raise to end the run.
    """

    def __init__(self, client: EndpointClient, policy: RetryPolicy, wait: Callable[[float], Awaitable[None]]) -> None:
        self._client, self._policy, self._wait = client, policy, wait

    async def line(self, request: Request) -> bytes:
        """One line of a batch's file; raises ``PermanentCallError`` where a picture cannot be read."""
        client = self._client
        pictures = await client.data_urls(request)
        body = request_body(request, client.model, pictures, client.dialect)
        values = {"custom_id": request.key, "method": "POST", "url": PATH, "body": body}
        return json.dumps(values).encode() + b"\n"

    async def submit(self, content: bytes, token: str) -> str:
        """Create a batch of lines under a token; returns its name."""
        api = self._client.api
        file = await self._retrying(lambda: api.files.create(file=("facekit.jsonl", content), purpose="batch"))
        tries = 0

        async def create() -> str:
            nonlocal tries
            tries += 1
            # The try before may have created it, though no answer came.
            name = None if tries == 1 else (await self._list_names()).get(token)
            if name is not None:
                return name
            batch = await api.batches.create(
                input_file_id=file.id, endpoint=PATH, completion_window=WINDOW, metadata={TOKEN_NAME: token}
            )
            return str(batch.id)

        return await self._retrying(create)

    async def names(self) -> dict[str, str]:
        """Names of the endpoint's batches by their token."""
        return await self._retrying(self._list_names)

    async def _list_names(self) -> dict[str, str]:
        batches: list[Any] = [batch async for batch in self._client.api.batches.list(limit=100)]
        return {batch.metadata[TOKEN_NAME]: batch.id for batch in batches if TOKEN_NAME in (batch.metadata or {})}

    async def retrieve(self, name: str) -> Any:
        """The status of a batch: an object with ``status`` and ``errors``; raises ``AbsentError`` for one not known."""
        return await self._retrying(partial(self._client.api.batches.retrieve, name))

    async def results(self, batch: Any, schema: AnswerSchema | None) -> AsyncIterator[BatchResult]:
        """The results of a finished batch.

        Args:
            batch: What ``retrieve`` returned.
            schema: The form of the answers where they are structured.
        """
        dialect = self._client.dialect
        for file in (batch.output_file_id, batch.error_file_id):
            if not file:
                continue
            try:
                response = await self._retrying(partial(self._client.api.files.content, file))
            except AbsentError:
                logger.warning(
                    "the endpoint has the file %s no longer; the calls that it answered are made again", file
                )
                continue
            for line in response.text.split("\n"):
                values = _read_line(line)
                if values is not None:
                    yield self._result(values, schema, dialect)
                elif line.strip():
                    logger.warning(
                        "a line of the file %s is no result and is passed over; its call is made again", file
                    )

    def is_for_later(self, batch: Any) -> bool:
        """Whether a batch was refused because the queue is full."""
        return batch.status == "failed" and is_for_later(batch.errors)

    def refusal(self, batch: Any) -> str:
        """Why a batch was refused as a whole, in one line."""
        return f"the batch was rejected: {self._client.strike(str(batch.errors))[:300]}"

    def _result(self, values: Mapping[str, Any], schema: AnswerSchema | None, dialect: Dialect) -> BatchResult:
        key, response = str(values.get("custom_id", "")), values.get("response") or {}
        client, status, body = self._client, response.get("status_code"), response.get("body") or {}
        try:
            if status == 200:
                return BatchResult(key, client.read(body, schema))
            described = values.get("error") or body
            described = described.get("error", described) if isinstance(described, Mapping) else described
            raise sort_failure(status or 500, described, {}, client.strike)
        except RejectedRequestError as rejection:
            state = GAVE_UP if client.learn(rejection.said, dialect) else FAILED
            return BatchResult(key, None, state, str(rejection))
        except PermanentCallError as failure:
            return BatchResult(key, None, FAILED, str(failure))
        except TemporaryCallError as failure:
            return BatchResult(key, None, GAVE_UP, str(failure), failure.usage if failure.answered else None)
        except EndpointError as failure:
            return BatchResult(key, None, GAVE_UP, str(failure))

    async def _retrying(self, call: Callable[[], Awaitable[T]]) -> T:
        failures = 0
        while True:
            try:
                return await self._client.guarded(call)
            except TemporaryCallError as failure:
                failures += 1
                delay = self._policy.delay(failures, failure.retry_after)
                if delay is None:
                    raise
                await self._wait(delay)


def _read_line(line: str) -> Mapping[str, Any] | None:
    """The object on a line; None where there is none, as on one that was cut off."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, Mapping) else None
