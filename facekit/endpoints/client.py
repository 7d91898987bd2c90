"""A client of any OpenAI-compatible endpoint: hosted, vLLM, Ollama. One request is one call; the pipeline retries.

What an endpoint says when it fails is sorted into what passes, what does not, and what makes every call vain. Keys
are struck out of all of it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Literal, Self, TypeVar

import openai
from pydantic import SecretStr

from facekit.endpoints.addresses import OPENAI, check_address, is_local
from facekit.endpoints.keys import DEFAULT_VARIABLE, KeyFilter, read_key
from facekit.endpoints.messages import request_body
from facekit.endpoints.pictures import MediaEncoder
from facekit.endpoints.replies import parse_completion
from facekit.endpoints.requests import EndpointError, RejectedRequestError, Reply, Request, TemporaryCallError
from facekit.endpoints.transports import TRANSPORTS, DirectTransport, StatusError, require_aiohttp
from facekit.errors import ConfigurationError, InvalidSpecError
from facekit.spec import Range

logger = logging.getLogger(__name__)

T = TypeVar("T")

TIMEOUT = 120.0
"""Seconds for one call."""
REQUEST_ID_HEADER = "X-Client-Request-Id"

_HAS_AIOHTTP = importlib.util.find_spec("aiohttp") is not None
"""With it, the client's own choice of transport costs half the processor time per call."""
_OTHER_LIMIT = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_TEMPORARY_STATUS = frozenset({408, 409, 425, 429})
_FATAL_STATUS = {401: "the key is not accepted", 403: "the key may not do this", 404: "no such model or address"}
_ABOUT_SCHEMA = ("response_format", "json_schema", "structured output", "guided")


class EndpointClient:
    """A model behind an OpenAI-compatible endpoint.

    Args:
        model: The model's name there.
        key: The API key; None where the endpoint needs none.
        base_url: Where it is, ending in ``/v1``; None for OpenAI.
        timeout: Seconds for one call.
        structured: Whether to ask for JSON; given up for good when the endpoint says that it cannot.
        transport: Who posts the calls: the ``openai`` client, or ``aiohttp`` for less processor time.
    """

    def __init__(
        self,
        model: str,
        *,
        key: SecretStr | None = None,
        base_url: str | None = None,
        timeout: float = TIMEOUT,
        structured: bool = True,
        transport: str = "openai",
    ) -> None:
        check_address(base_url)
        if transport not in TRANSPORTS:
            raise InvalidSpecError(f"transport={transport!r} must be {' or '.join(TRANSPORTS)}")
        self.model = model
        self.structured = structured
        self.key, self.base_url, self.timeout, self.transport = key, base_url, timeout, transport
        self.strike = KeyFilter(*([key] if key else []))
        self.token_limit = "max_completion_tokens" if base_url is None else "max_tokens"
        self._switched = False
        if transport == "aiohttp":
            require_aiohttp()
        self._connection: _Connection | None = None

    @classmethod
    def from_spec(
        cls,
        argument: str | None = None,
        *,
        base_url: str | None = None,
        key_env: str | None = None,
        timeout: Annotated[float, Range(above=0)] = TIMEOUT,
        structured: bool = True,
        transport: Literal["openai", "aiohttp"] = "openai",
        ask_key: Callable[[str], str] | None = None,
    ) -> Self:
        """Build from the spec string ``openai:MODEL?base_url=…&key_env=NAME&timeout=…&structured=…&transport=…``.

        Args:
            argument: The model.
            base_url: Where it is, ending in ``/v1``; None for OpenAI.
            key_env: The environment variable that has the key; the key itself is never an option.
            timeout: Seconds for one call.
            structured: Whether to ask for JSON.
            transport: Who posts the calls.
            ask_key: Asks the user for a key where the environment has none; no option of a spec.

        Raises:
            InvalidSpecError: If the model is missing or the address is none.
            ConfigurationError: If there is no key.
        """
        if argument is None:
            raise InvalidSpecError("the annotator needs a model: openai:MODEL")
        check_address(base_url)
        key: SecretStr | None = None
        local = is_local(base_url)
        try:
            key = read_key(key_env or DEFAULT_VARIABLE, None if local else ask_key)
        except ConfigurationError:
            if not local or key_env is not None:
                raise
        return cls(argument, key=key, base_url=base_url, timeout=timeout, structured=structured, transport=transport)

    async def answer(self, request: Request) -> Reply:
        """Answer one request; see ``facekit.endpoints.requests.Answerer``."""
        pictures = await self.data_urls(request)
        structured, token_limit = self.structured, self.token_limit
        body = request_body(request, self.model, pictures, token_limit=token_limit, structured=structured)
        try:
            text = await self.guarded(lambda: self._post(body, request.key))
        except RejectedRequestError as rejection:
            if self._can_say_otherwise(rejection, structured, token_limit):
                return await self.answer(request)
            raise
        return parse_completion(self.strike.strike_exact(text), request.schema, self.model)

    @property
    def connection(self) -> _Connection:
        """What is open at the moment; it belongs to the event loop in which it was first used."""
        if self._connection is None:
            self._connection = _Connection(self)
        return self._connection

    @property
    def api(self) -> openai.AsyncOpenAI:
        """The ``openai`` client, for files and batches."""
        return self.connection.client

    async def data_urls(self, request: Request) -> tuple[str, ...]:
        """The request's pictures, encoded; raises ``PermanentCallError`` where one cannot be read."""
        return await self.connection.media.data_urls(request.media)

    async def guarded(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call the endpoint once and sort what goes wrong; see ``facekit.endpoints.requests.Answerer.answer``."""
        try:
            async with asyncio.timeout(self.timeout):
                return await call()
        except TimeoutError as error:
            raise TemporaryCallError(f"no answer within {self.timeout:g} seconds") from error
        except openai.APIConnectionError as error:
            raise TemporaryCallError(self.strike(f"the connection failed ({_innermost(error)})")) from error
        except openai.APIStatusError as error:
            raise self._failure(error.status_code, error.body or error.message, error.response.headers) from error
        except StatusError as error:
            raise self._failure(error.status, error.body, error.headers) from error
        except (openai.APIError, ValueError) as error:
            raise TemporaryCallError(self.strike(f"the response cannot be read ({error})"), answered=True) from error

    async def _post(self, body: dict[str, Any], key: str) -> str:
        """Post a chat completion as it is; the typed method walks through every field of a body that is right."""
        headers = {REQUEST_ID_HEADER: key}
        client, direct = self.connection.client, self.connection.direct
        if direct is None:
            return await client.post("/chat/completions", cast_to=str, body=body, options={"headers": headers})
        try:
            return await direct.post(body, headers)
        except direct.connection_errors as error:
            raise TemporaryCallError(self.strike(f"the connection failed ({_innermost(error)})")) from error

    def prepare(self, request: Request) -> None:
        """Begin to encode the request's pictures."""
        if request.media is not None:
            self.connection.media.begin(request.media)

    async def close(self) -> None:
        """Release connections; the next call opens them again, in whatever event loop it runs."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _can_say_otherwise(self, rejection: RejectedRequestError, structured: bool, limit: str) -> bool:
        """Whether the endpoint rejects a parameter that it knows under another name, or that can be left out."""
        words = rejection.said.lower()
        if structured and any(word in words for word in _ABOUT_SCHEMA):
            if self.structured:
                logger.info("the endpoint has no structured answers; asking for plain text from now on")
            self.structured = False
            return True
        if limit not in words or (self.token_limit == limit and self._switched):
            return False
        if self.token_limit == limit:
            self.token_limit, self._switched = _OTHER_LIMIT[limit], True
        return True

    def _failure(self, status: int, body: Any, headers: Mapping[str, str]) -> Exception:
        described = body if isinstance(body, dict) else {}
        said = " ".join(str(described.get("message") or body).split())
        words = self.strike(f"status {status}: {said[:300]}")
        if status in _TEMPORARY_STATUS or status >= 500:
            if "insufficient_quota" in f"{described.get('code')} {described.get('type')}":
                return EndpointError(f"the account has no credit left ({words})")
            return TemporaryCallError(words, retry_after=retry_after(headers))
        if status in _FATAL_STATUS:
            return EndpointError(f"{_FATAL_STATUS[status]}; check the key, base_url and model ({words})")
        return RejectedRequestError(words, said=self.strike(f"{said} {json.dumps(body, default=str)}"))


class _Connection:
    """Connections, and pictures that were encoded for them."""

    def __init__(self, owner: EndpointClient) -> None:
        self.media = MediaEncoder()
        self.client = openai.AsyncOpenAI(
            api_key="none" if owner.key is None else owner.key.get_secret_value(),
            base_url=owner.base_url or OPENAI,
            timeout=owner.timeout,
            max_retries=0,
            http_client=openai.DefaultAioHttpClient() if _HAS_AIOHTTP else None,
        )
        self.direct = DirectTransport(self.client) if owner.transport == "aiohttp" else None

    async def close(self) -> None:
        await self.client.close()
        if self.direct is not None:
            await self.direct.close()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by the headers ``retry-after-ms`` or ``Retry-After`` (seconds or a date, RFC 9110, 10.2.3).

    Returns:
        None where there is no such header or it cannot be read.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) / unit
        except ValueError:
            try:
                date = parsedate_to_datetime(text)
            except ValueError:
                continue
            date = date if date.tzinfo else date.replace(tzinfo=UTC)
            seconds = (date - datetime.now(UTC)).total_seconds()
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _innermost(error: BaseException) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
