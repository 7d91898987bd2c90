"""Chat completions posted by aiohttp alone, for endpoints that answer faster than the ``openai`` client can ask.

Address, key and headers are those of the ``openai`` client, which makes all other requests. What it does for each call
(copies of options, parsing of addresses, headers by rule) takes most of the processor time of a call; here it is
prepared once.
"""

from __future__ import annotations

import importlib.util
import json
import os
import ssl
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic_core import to_json

from facekit.errors import MissingExtraError

if TYPE_CHECKING:
    import aiohttp
    import openai

TRANSPORTS = ("openai", "aiohttp")
"""The ``openai`` client's own, and the one that is here."""


def require_aiohttp() -> Any:
    """The module ``aiohttp``.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import aiohttp
    except ImportError as error:
        raise MissingExtraError("transport=aiohttp needs aiohttp; pip install 'facekit-mllm[datagen]'") from error
    return aiohttp


class StatusError(Exception):
    """The endpoint answered with an error.

    Args:
        status: The HTTP status.
        headers: The response's headers.
        body: The error as the endpoint describes it: an object, or text.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: Any) -> None:
        super().__init__(f"status {status}")
        self.status, self.headers, self.body = status, headers, body


class DirectTransport:
    """Posts chat completions to the address of an ``openai`` client.

    Args:
        client: The client.

    Raises:
        MissingExtraError: If aiohttp is not installed.
    """

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._aiohttp = require_aiohttp()
        self._url = f"{str(client.base_url).rstrip('/')}/chat/completions"
        headers = {**client.default_headers, **client.auth_headers}
        self._headers = {name: value for name, value in headers.items() if isinstance(value, str)}
        self._proxy = _find_proxy(self._url)
        self._certificates: Any = _certificates() if self._url.startswith("https:") else True
        self._session: aiohttp.ClientSession | None = None

    @property
    def connection_errors(self) -> tuple[type[Exception], ...]:
        """What is raised where a connection fails."""
        return (self._aiohttp.ClientError, OSError)

    async def post(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> str:
        """Post one request.

        Args:
            body: The request.
            headers: Further headers.

        Returns:
            The response's body.

        Raises:
            StatusError: If the status is 400 or above.
            UnicodeDecodeError: If the body is no text.
        """
        if self._session is None:
            self._session = self._aiohttp.ClientSession(
                connector=self._aiohttp.TCPConnector(limit=0, ssl=self._certificates),
                cookie_jar=self._aiohttp.DummyCookieJar(),
                timeout=self._aiohttp.ClientTimeout(total=None),
            )
        sent = {**self._headers, **headers}
        async with self._session.post(self._url, data=to_json(body), headers=sent, proxy=self._proxy) as response:
            text = (await response.read()).decode()
            if response.status >= 400:
                raise StatusError(response.status, response.headers, _described(text))
            return text

    async def close(self) -> None:
        """Release connections."""
        if self._session is not None:
            await self._session.close()


def _certificates() -> ssl.SSLContext:
    """The system's certificate authorities, and certifi's where it is installed, as for the ``openai`` client."""
    context = ssl.create_default_context()
    if importlib.util.find_spec("certifi") is not None and not os.environ.get("SSL_CERT_FILE"):
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def _find_proxy(url: str) -> str | None:
    """The proxy that the environment names for an address; looked up once, for it does not change."""
    parts = urlsplit(url)
    if not parts.hostname or urllib.request.proxy_bypass(parts.hostname):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _described(text: str) -> Any:
    """The object under ``error``, the object, the list of such, or the text."""
    try:
        values = json.loads(text)
    except ValueError:
        return text
    if isinstance(values, dict):
        return values.get("error", values)
    return values if isinstance(values, list) else text
