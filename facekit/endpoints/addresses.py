"""Addresses of endpoints, and the spec strings that name them without ever holding a key."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from facekit.catalog import current_registry
from facekit.endpoints.requests import Answerer
from facekit.errors import InvalidSpecError, UnknownPartError
from facekit.spec import PartSpec

OPENAI = "https://api.openai.com/v1"
OPTIONS = ("base_url", "key_env", "timeout", "structured", "transport")
"""Options of a spec string ``openai:MODEL?…``."""

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def load_answerer(spec: str | Answerer, *, ask_key: Callable[[str], str] | None = None) -> Answerer:
    """The answerer of requests, by its spec string such as ``openai:MODEL?base_url=…``, or as it is.

    Args:
        spec: The spec string of a registered annotator; never holds a key.
        ask_key: Asks for a key where the environment has none.

    Raises:
        UnknownPartError: If there is no such annotator.
        InvalidSpecError: If the spec is wrong, or carries a key.
        ConfigurationError: If there is no key.
    """
    if not isinstance(spec, str):
        return spec
    parsed = parse_endpoint_spec(spec)
    try:
        answerer: Answerer = current_registry().build("annotator", parsed, ask_key=ask_key)
    except UnknownPartError as error:
        hint = "" if parsed.argument else f"; a model behind an endpoint is named 'openai:{parsed.name}'"
        raise UnknownPartError(f"{error}{hint}") from error
    return answerer


def is_local(base_url: str | None) -> bool:
    """Whether an address is on this machine, where no key is needed."""
    return base_url is not None and _split(base_url).hostname in _LOCAL_HOSTS


def check_address(base_url: str | None) -> None:
    """Raise ``InvalidSpecError`` where an address is none, or carries a password that would be written down."""
    if base_url is None:
        return
    parts = _split(base_url)
    if parts.username or parts.password or parts.query:
        raise InvalidSpecError(f"base_url of {parts.hostname} must not carry a key or password; use key_env=NAME")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidSpecError(f"base_url={base_url!r} is no address such as http://localhost:8000/v1")


def _split(base_url: str) -> SplitResult:
    try:
        return urlsplit(base_url)
    except ValueError as error:
        raise InvalidSpecError(f"base_url={base_url!r} is no address such as http://localhost:8000/v1") from error


def refuse_key_option(name: str) -> None:
    """Raise ``InvalidSpecError``, without the value, where an option would carry a key."""
    if "key" in name.lower() or "token" in name.lower() or "secret" in name.lower():
        raise InvalidSpecError(
            f"keys are never given as arguments ('{name}'): put the key into an environment variable and name it "
            "with key_env=NAME"
        )


def parse_endpoint_spec(text: str) -> PartSpec:
    """Parse a spec string; an option that would carry a key is refused without repeating it."""
    _, _, query = text.partition("?")
    for option in query.split("&"):
        name = option.partition("=")[0]
        if name and name not in OPTIONS:
            refuse_key_option(name)
    return PartSpec.parse(text)
