"""Fetching from the web for a stranger: allowed hosts only, never a private address, little and not for long.

The host's address is looked up once, checked, and connected to by number, so that a second look-up cannot lead
elsewhere; every redirect goes through the same checks.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import SplitResult, urljoin, urlsplit

from facekit.remote.deadlines import cut_at, noting_context, seconds_left
from facekit.serving.request_error import RequestError

_SECONDS, _REDIRECTS, _CHUNK = 10.0, 3, 65536
_PORTS = {"http": 80, "https": 443}
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


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
        try:
            url = urljoin(url, location)
        except ValueError as error:
            raise _refuse(
                f"{parts.hostname} redirects to what is no address; send the picture as a data URL"
            ) from error
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
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    try:
        with cut_at(deadline) as sockets, _connect(host, port, deadline) as channel:
            sockets.append(channel)
            connection = http.client.HTTPConnection(host, port)
            connection.sock = channel
            if parts.scheme == "https":
                connection.sock = noting_context(sockets).wrap_socket(channel, server_hostname=host)
            with connection.sock:
                connection.request("GET", path, headers={"Accept": "image/*,video/*"})
                reply = connection.getresponse()
                location = reply.getheader("Location") if 300 <= reply.status < 400 else None
                body = b"" if location or reply.status != 200 else _read(reply, max_bytes, host)
                seconds_left(deadline)  # a connection that was cut ends like one that is through
                return reply.status, location, body
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _refuse(f"{host} cannot be reached for the picture; send it as a data URL") from error


@contextmanager
def _connect(host: str, port: int, deadline: float) -> Iterator[socket.socket]:
    """A connection to the first public address of a host that takes one."""
    failure: OSError | None = None
    for address in _public_addresses(host, port, deadline):
        try:
            channel = socket.create_connection((address, port), timeout=seconds_left(deadline))
        except OSError as error:
            failure = error
            continue
        try:
            yield channel
        finally:
            channel.close()
        return
    raise failure or OSError("no address")


def _read(reply: http.client.HTTPResponse, max_bytes: int, host: str) -> bytes:
    body = bytearray()
    while piece := reply.read1(_CHUNK):
        body += piece
        if len(body) > max_bytes:
            raise _refuse(f"the picture of {host} has more than {max_bytes:,} bytes; send a smaller one")
    if reply.length:
        raise _refuse(f"the picture of {host} broke off; send it as a data URL")
    return bytes(body)


def _public_addresses(host: str, port: int, deadline: float) -> list[str]:
    """The addresses of a host, those of IPv4 first."""
    pool = ThreadPoolExecutor(1)  # a look-up has no time limit of its own
    try:
        looked_up = pool.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM).result(seconds_left(deadline))
    finally:
        pool.shutdown(wait=False)
    found = {str(entry[4][0]) for entry in looked_up}
    if not found or not all(is_public(address) for address in found):
        raise _refuse(f"{host} has an address in a private network, which is not asked; send the picture as a data URL")
    return sorted(found, key=lambda address: (":" in address, address))


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet; an IPv4 address inside an IPv6 one counts as itself."""
    read = ipaddress.ip_address(address.split("%")[0])
    inner = getattr(read, "ipv4_mapped", None) or getattr(read, "sixtofour", None)
    if inner is None and read.version == 6 and read not in _GLOBAL_UNICAST:
        return False
    return (inner or read).is_global and not read.is_multicast


def _refuse(message: str) -> RequestError:
    return RequestError(400, message, code="invalid_image_url")
