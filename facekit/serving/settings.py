"""``ServerSettings``: what a server answers to, how much it takes, and who may ask."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from facekit.errors import ConfigurationError


@dataclass(frozen=True)
class ServerSettings:
    """Limits and access of a server.

    Args:
        name: The model's name in ``/v1/models`` and in requests.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        api_key: What clients must send as a bearer token; None asks for none, on a loopback address only.
        allow_hosts: Host names whose pictures are fetched; without any, pictures come as data URLs only.
        max_batch: Answers that are written together.
        max_waiting: Answers that may wait beside these; beyond, a request is refused with status 429.
        batch_seconds: How long a batch waits for company that nothing announces.
        max_new_tokens: Longest answer in tokens where a request names no limit.
        max_body_bytes: Of a request, pictures included.
        body_seconds: How long a request may take to arrive.
        max_pixels: Of a picture.
        max_clip_pixels: Of a frame of a clip.
        max_clip_seconds: Of a clip.
        max_media: Pictures and clips of a request.
        max_choices: Largest ``n``.
        cached_media: Encoded pictures that are kept for further questions.
        cached_bytes: The most memory that these take.
        web: Whether the page is served, at ``/``.

    Raises:
        ConfigurationError: A number is out of its range, a host or the model has no name, or other machines could reach
            the server without a key.
    """

    name: str
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = field(default=None, repr=False)
    allow_hosts: tuple[str, ...] = ()
    max_batch: int = 32
    max_waiting: int = 64
    batch_seconds: float = 0.005
    max_new_tokens: int = 256
    max_body_bytes: int = 20_000_000
    body_seconds: float = 30.0
    max_pixels: int = 16_000_000
    max_clip_pixels: int = 2_500_000
    max_clip_seconds: float = 600.0
    max_media: int = 8
    max_choices: int = 8
    cached_media: int = 32
    cached_bytes: int = 512 * 2**20
    web: bool = False

    def __post_init__(self) -> None:
        for name in (
            "max_batch",
            "max_new_tokens",
            "max_body_bytes",
            "max_pixels",
            "max_clip_pixels",
            "max_media",
            "max_choices",
        ):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name}={getattr(self, name)} serves nothing; give at least 1")
        for name in ("max_waiting", "batch_seconds", "cached_media"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name}={getattr(self, name)} is below 0")
        wrong = next((each for each in self.allow_hosts if not _is_host(each)), None)
        if wrong is not None:
            raise ConfigurationError(
                f"'{wrong}' is no name of a host, such as pictures.example.org without scheme, port, path or wildcard"
            )
        if not self.name.strip():
            raise ConfigurationError("the model has no name for clients; give one")
        if not 0 <= self.port < 65536:
            raise ConfigurationError(f"port={self.port} is no port; they go from 0 to 65535")
        if self.api_key is not None and not self.api_key.strip():
            raise ConfigurationError("the API key is empty; give one, or leave it out on 127.0.0.1")
        if self.api_key is None and not is_loopback(self.host):
            raise ConfigurationError(
                f"on {self.host} other machines reach the server, so it needs a key: set FACEKIT_API_KEY, or listen on "
                "127.0.0.1"
            )


def _is_host(name: str) -> bool:
    try:
        return ipaddress.ip_address(name) is not None
    except ValueError:
        return re.fullmatch(r"[^\s/:*?#@\[\]]+", name) is not None


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
