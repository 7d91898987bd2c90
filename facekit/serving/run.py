"""``serve``: a model's server on uvicorn, until it is told to stop."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping

import uvicorn

from facekit.errors import ConfigurationError
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.serving.app import create_app
from facekit.serving.engine import Engine
from facekit.serving.settings import ServerSettings

_LONGEST_FAREWELL = 300
"""Seconds after which a server that was told to end does so in the middle of what it does."""


def serve(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    settings: ServerSettings,
    *,
    others: Mapping[str, tuple[FaceKitForConditionalGeneration, FaceKitProcessor]] | None = None,
    make_engine: Callable[..., Engine] | Mapping[str, Callable[..., Engine]] = Engine,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Answer until SIGTERM or SIGINT; what has begun is finished first.

    Args:
        model: The model, where it is to run.
        processor: Its processor.
        settings: Address, limits and access.
        others: Further models with their processors, by the names that requests call them.
        make_engine: What answers, see ``create_app``.
        on_ready: Called with the server's address once it listens.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    listener = _listen(settings)
    app = create_app(model, processor, settings, others=others, make_engine=make_engine)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=_LONGEST_FAREWELL,
    )
    with listener:
        if on_ready is not None:
            host, port = listener.getsockname()[:2]
            on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/v1")
        uvicorn.Server(config).run(sockets=[listener])


def check_address(settings: ServerSettings) -> None:
    """Make sure, before models are loaded, that the server will be able to listen.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    _listen(settings).close()


def _listen(settings: ServerSettings) -> socket.socket:
    address = settings.host, settings.port
    try:
        return socket.create_server(address, family=_family(settings.host), backlog=512)
    except OSError as error:
        known = error.errno is not None and error.errno > 0  # those of name resolution are below
        reason = os.strerror(error.errno) if known and error.errno is not None else error.strerror or str(error)
        raise ConfigurationError(
            f"{settings.host}:{settings.port} cannot be listened on ({reason}); choose another --port"
        ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
