"""Fetching from the web for a stranger: allowed hosts only, never a private address, little and not for long.

The host's address is looked up once, checked, and connected to by number, so that a second look-up cannot lead
elsewhere; every redirect goes through the same checks.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Collection
from urllib.parse import SplitResult, urljoin, urlsplit

from facekit.serving.request_error import RequestError

_SECONDS, _REDIRECTS, _CHUNK = 10.0, 3, 65536
_PORTS = {"http": 80, "https": 443}


def fetch(url: str, allow_hosts: Collection[str], *, max_bytes: int) -> bytes:
    """Return what is behind an address.

    Args:
        url: An http or https address.
        allow_hosts: Names of the hosts that may be asked.
        max_bytes: The most that is read.

    Raises:
        RequestError: The scheme or host is not allowed, the host has a private address, or it answers too much, too
            slowly or not with status 200. The message names the host alone, for an address may hold a secret.
    """
    deadline = time.monotonic() + _SECONDS
    for _ in range(_REDIRECTS + 1):
        parts = _check(url, allow_hosts)
        status, location, body = _get(parts, deadline, max_bytes)
        if location is None:
            if status != 200:
                raise _refuse(f"{parts.hostname} answered with status {status}; send the picture as a data URL")
            return body
        url = urljoin(url, location)
    raise _refuse(f"{parts.hostname} redirects more than {_REDIRECTS} times; send the picture as a data URL")


def _check(url: str, allow_hosts: Collection[str]) -> SplitResult:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise _refuse("the address of a picture cannot be read; send the picture as a data URL") from error
    if parts.scheme not in _PORTS or not host:
        raise _refuse("a picture is a data URL (data:image/png;base64,…); paths and other addresses are not read")
    if host.lower() not in {allowed.lower() for allowed in allow_hosts}:
        raise _refuse(f"pictures of the host {host[:100]} are not fetched here; send the picture as a data URL")
    if parts.username or parts.password:
        raise _refuse("an address with a user name in it is not fetched; send the picture as a data URL")
    return parts


def _get(parts: SplitResult, deadline: float, max_bytes: int) -> tuple[int, str | None, bytes]:
    host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
    try:
        with socket.create_connection((_public_address(host, port), port), timeout=_left(deadline)) as plain:
            channel = plain
            if parts.scheme == "https":
                channel = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
            connection = http.client.HTTPConnection(host, port)
            connection.sock = channel
            path = parts.path or "/"
            connection.request(
                "GET", f"{path}?{parts.query}" if parts.query else path, headers={"Accept": "image/*,video/*"}
            )
            reply = connection.getresponse()
            location = reply.getheader("Location") if 300 <= reply.status < 400 else None
            body = b"" if location or reply.status != 200 else _read(reply, channel, deadline, max_bytes, host)
            return reply.status, location, body
    except (OSError, http.client.HTTPException) as error:
        raise _refuse(f"{host} cannot be reached for the picture; send it as a data URL") from error


def _read(reply: http.client.HTTPResponse, channel: socket.socket, deadline: float, max_bytes: int, host: str) -> bytes:
    body = bytearray()
    while True:
        channel.settimeout(_left(deadline))
        piece = reply.read1(_CHUNK)
        if not piece:
            return bytes(body)
        body += piece
        if len(body) > max_bytes:
            raise _refuse(f"the picture of {host} has more than {max_bytes:,} bytes; send a smaller one")


def _public_address(host: str, port: int) -> str:
    found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    if not found or not all(is_public(address) for address in found):
        raise _refuse(f"{host} has an address in a private network, which is not asked; send the picture as a data URL")
    return sorted(found)[0]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet; an IPv4 address inside an IPv6 one counts as itself."""
    read = ipaddress.ip_address(address.split("%")[0])
    inner = getattr(read, "ipv4_mapped", None) or getattr(read, "sixtofour", None)
    return (inner or read).is_global and not read.is_multicast


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _refuse(message: str) -> RequestError:
    return RequestError(400, message, code="invalid_image_url")
