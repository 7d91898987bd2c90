"""A client of any OpenAI-compatible endpoint: hosted, vLLM, Ollama. One request is one call; the pipeline retries.

Replies are read by ``replies``. Errors are classified by ``failures`` and teach the ``dialect`` of the endpoint; keys
are redacted in all of them.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

import openai
from pydantic import SecretStr

from facekit.endpoints.addresses import OPENAI, check_address, is_local
from facekit.endpoints.dialect import Dialect
from facekit.endpoints.failures import sort_failure
from facekit.endpoints.keys import DEFAULT_VARIABLE, KeyFilter, read_key
from facekit.endpoints.messages import request_body
from facekit.endpoints.pictures import MediaEncoder
from facekit.endpoints.replies import ErrorReplyError, parse_completion
from facekit.endpoints.requests import AnswerSchema, RejectedRequestError, Reply, Request, TemporaryCallError
from facekit.endpoints.transports import TRANSPORTS, DirectTransport, StatusError, require_aiohttp
from facekit.errors import ConfigurationError, InvalidSpecError
from facekit.spec import Range

logger = logging.getLogger(__name__)

T = TypeVar("T")

TIMEOUT = 120.0
"""Seconds for one call."""
REQUEST_ID_HEADER = "X-Client-Request-Id"

_HAS_AIOHTTP = importlib.util.find_spec("aiohttp") is not None
DEFAULT_TRANSPORT = "aiohttp" if _HAS_AIOHTTP else "openai"
"""With aiohttp even the ``openai`` client's own way costs half the processor time per call."""


class EndpointClient:
    """A model behind an OpenAI-compatible endpoint.

    Args:
        model: The model's name there.
        key: The API key; None where the endpoint needs none.
        base_url: Where it is, ending in ``/v1``; None for OpenAI.
        timeout: Seconds for one call.
        structured: Whether to ask for JSON; given up for good when the endpoint says that it cannot.
        transport: Who posts the calls: ``aiohttp``, the default where it is installed, or the ``openai`` client, which
            takes more processor time.
    """

    def __init__(
        self,
        model: str,
        *,
        key: SecretStr | None = None,
        base_url: str | None = None,
        timeout: float = TIMEOUT,
        structured: bool = True,
        transport: str | None = None,
    ) -> None:
        check_address(base_url)
        transport = transport or DEFAULT_TRANSPORT
        if transport not in TRANSPORTS:
            raise InvalidSpecError(f"transport={transport!r} must be {' or '.join(TRANSPORTS)}")
        self.model, self.structured = model, structured
        self.key, self.base_url, self.timeout, self.transport = key, base_url, timeout, transport
        self.strike = KeyFilter(*([key] if key else []))
        self.dialect = Dialect("max_completion_tokens" if base_url is None else "max_tokens", structured)
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
        transport: Literal["openai", "aiohttp"] | None = None,
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
            raise InvalidSpecError("an endpoint needs the name of a model, such as openai:gpt-4o?base_url=URL")
        check_address(base_url)
        key: SecretStr | None = None
        local = is_local(base_url)
        try:
            key = read_key(key_env or DEFAULT_VARIABLE, None if local and key_env is None else ask_key)
        except ConfigurationError:
            if not local or key_env is not None:
                raise
        return cls(argument, key=key, base_url=base_url, timeout=timeout, structured=structured, transport=transport)

    async def answer(self, request: Request) -> Reply:
        """Answer one request; see ``facekit.endpoints.requests.Answerer``."""
        pictures = await self.data_urls(request)
        dialect = self.dialect
        body = request_body(request, self.model, pictures, dialect)
        try:
            text = await self.guarded(lambda: self._post(body, request.key))
        except RejectedRequestError as rejection:
            if self.learn(rejection.said, dialect):
                return await self.answer(request)
            raise
        return self.read(text, request.schema)

    def read(self, body: str | Mapping[str, Any], schema: AnswerSchema | None) -> Reply:
        """Read a chat completion; see ``facekit.endpoints.replies.parse_completion`` and ``Answerer.answer``."""
        text = body if isinstance(body, str) else json.dumps(body)
        try:
            return parse_completion(self.strike.strike_exact(text), schema, self.model)
        except ErrorReplyError as error:
            raise sort_failure(error.status, error.body, {}, self.strike, error.usage) from error

    def learn(self, said: str, dialect: Dialect) -> bool:
        """Whether a request that was rejected can be made in another way, which is kept for all further ones.

        Args:
            said: What the endpoint said.
            dialect: How it was asked.
        """
        better = dialect.without(said)
        if better == dialect:
            return self.dialect != dialect
        if self.dialect.combined(better) != self.dialect:
            self.dialect = self.dialect.combined(better)
            logger.info("%s is asked from now on as %s", self.model, self.dialect)
        return True

    @property
    def connection(self) -> _Connection:
        """The open HTTP connection; it belongs to the event loop in which it was first used."""
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
            body = error.body or error.message
            raise sort_failure(error.status_code, body, error.response.headers, self.strike) from error
        except StatusError as error:
            raise sort_failure(error.status, error.body, error.headers, self.strike) from error
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


class _Connection:
    """Connections, and pictures that were encoded for them."""

    def __init__(self, owner: EndpointClient) -> None:
        self.media = MediaEncoder()
        self.client = openai.AsyncOpenAI(
            api_key="none" if owner.key is None else owner.key.get_secret_value(),
            base_url=owner.base_url or OPENAI,
            timeout=owner.timeout,
            max_retries=0,
            http_client=_http_client(),
        )
        self.direct = DirectTransport(self.client) if owner.transport == "aiohttp" else None

    async def close(self) -> None:
        await self.client.close()
        if self.direct is not None:
            await self.direct.close()


def _http_client() -> Any:
    """The ``openai`` client's transport over aiohttp; None for its own."""
    if not _HAS_AIOHTTP:
        return None
    try:
        return openai.DefaultAioHttpClient()
    except RuntimeError:  # aiohttp came with another package, without what this client needs beside it
        return None


def _innermost(error: BaseException) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
