"""``Admission``: who may ask, and how much is taken at a time; what is beyond is refused at once."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import anyio
from starlette.requests import Request

from facekit.cores import count_usable_cores
from facekit.serving.request_error import RequestError
from facekit.serving.settings import ServerSettings, is_loopback

Result = TypeVar("Result")


class Admission:
    """The bounds of one server.

    Args:
        settings: The server's.
        seconds_until_free: Guesses when so many waiting answers will have been written.

    Attributes:
        bound: The most answers that may be open.
        open: Answers that are prepared, wait or are written.
        coming: Requests that are prepared and not with the engine yet.
    """

    def __init__(self, settings: ServerSettings, seconds_until_free: Callable[[int], int]) -> None:
        self._settings, self._seconds_until_free = settings, seconds_until_free
        self.bound = settings.max_batch + settings.max_waiting
        self._arriving = self.open = self.coming = 0
        self._preparing = anyio.CapacityLimiter(max(2, count_usable_cores()))

    def check_host(self, request: Request) -> None:
        """Without a key, refuse what a page of another site sends through somebody's browser.

        Raises:
            RequestError: It does.
        """
        if self._settings.api_key is not None:
            return
        try:
            host = urlsplit(f"//{request.headers.get('host', '')}").hostname
        except ValueError:
            host = None
        if host is None or not is_loopback(host):
            raise RequestError(403, "without a key this server answers to its own machine's address only")

    def check_key(self, request: Request) -> None:
        """Refuse who has not the key, compared in constant time.

        Raises:
            RequestError: The key is missing or wrong.
        """
        key = self._settings.api_key
        if key is None:
            return
        sent = request.headers.get("authorization", "")
        if not hmac.compare_digest(sent.encode("latin-1"), f"Bearer {key}".encode()):
            raise RequestError(
                401, "the API key is missing or wrong; send it as a bearer token", code="invalid_api_key"
            )

    def reserve(self, count: int) -> None:
        """Take places for answers; whoever takes them gives them back with ``release``.

        Raises:
            RequestError: There are not so many; it says when to try again.
        """
        if count and self.open + count > self.bound:
            seconds = self._seconds_until_free(self.open)
            raise RequestError(
                429, f"{self.open} answers are waiting; try again later", code="busy", retry_after=seconds
            )
        self.open += count

    def release(self, count: int = 1) -> None:
        """Give places back."""
        self.open -= count

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place like that of an answer, for as long as the block lasts.

        Raises:
            RequestError: There is none.
        """
        self.reserve(1)
        try:
            yield
        finally:
            self.release()

    async def read_body(self, request: Request) -> bytes:
        """The body of a request.

        Raises:
            RequestError: It is no JSON by its type, too long, too slow, or one too many.
        """
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise RequestError(415, "the body is JSON; send it as Content-Type: application/json")
        if self._arriving >= self.bound:
            seconds = self._seconds_until_free(self._arriving)
            story = f"{self._arriving} requests are arriving; try again later"
            raise RequestError(429, story, code="busy", retry_after=seconds)
        self._arriving += 1
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                return await self._read_stream(request)
        except TimeoutError as error:
            raise RequestError(
                408, f"the request took more than {self._settings.body_seconds:g} s to arrive"
            ) from error
        finally:
            self._arriving -= 1

    async def _read_stream(self, request: Request) -> bytes:
        bound, body = self._settings.max_body_bytes, bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > bound:
                raise RequestError(413, f"the request has more than {bound:,} bytes; send smaller pictures")
        return bytes(body)

    async def prepare(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Do work in a thread, of which there are as many as cores."""
        return await anyio.to_thread.run_sync(work, *arguments, limiter=self._preparing)
