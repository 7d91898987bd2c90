"""Deadlines of exchanges with web servers: they end then, however slowly the other end drips.

A socket's own time limit is for each piece that it waits for, and a server may send a byte a second for ever.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from urllib.request import HTTPHandler, HTTPSHandler, Request

__all__ = ["cut_at", "noting_context", "noting_handlers", "seconds_left"]


def seconds_left(deadline: float) -> float:
    """Seconds until a time of ``time.monotonic``.

    Raises:
        TimeoutError: It is over.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time for it is over")
    return left


@contextmanager
def cut_at(deadline: float) -> Iterator[list[socket.socket]]:
    """Give a list, whose sockets are cut at the deadline; whoever opens one within the block adds it.

    What reads from a cut socket finds its end: look at ``seconds_left`` before taking it for that of the content.

    Raises:
        TimeoutError: The deadline is over already.
    """
    sockets: list[socket.socket] = []

    def cut() -> None:
        for each in list(sockets):
            with suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)  # that of TLS changes what a waiting thread reads by

    timer = threading.Timer(seconds_left(deadline), cut)
    timer.daemon = True
    timer.start()
    try:
        yield sockets
    finally:
        timer.cancel()


def noting_context(sockets: list[socket.socket]) -> ssl.SSLContext:
    """A context for TLS whose sockets are added to a list of ``cut_at`` before they shake hands."""

    class Noted(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            sockets.append(self)
            super().do_handshake(block)

    context = ssl.create_default_context()
    context.sslsocket_class = Noted
    return context


def noting_handlers(sockets: list[socket.socket]) -> tuple[HTTPHandler, HTTPSHandler]:
    """Handlers for ``urllib.request.build_opener`` whose sockets are added to a list of ``cut_at``."""

    class Noted(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            sockets.append(self.sock)

    class Handler(HTTPHandler):
        def http_open(self, req: Request) -> HTTPResponse:
            return self.do_open(Noted, req)

    return Handler(), HTTPSHandler(context=noting_context(sockets))
