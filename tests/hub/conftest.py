"""A local hub for each test, a cache of its own, and no way out: a connection to anything but 127.0.0.1 fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from local_hub import LocalHub, serve

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_is_closed = False


def _refuse_the_way_out(event: str, arguments: tuple[Any, ...]) -> None:
    if not _is_closed or event not in ("socket.connect", "socket.getaddrinfo"):
        return
    place = arguments[1] if event == "socket.connect" else arguments
    if isinstance(place, tuple) and place[0] not in _LOOPBACK:
        raise ConnectionRefusedError(f"a test wanted to reach {place[0]!r}")


sys.addaudithook(_refuse_the_way_out)  # sees every connection that Python code opens; it cannot be taken away again


@pytest.fixture(autouse=True)
def no_way_out() -> Iterator[None]:
    """Refuse connections that leave this machine."""
    global _is_closed
    _is_closed = True
    yield
    _is_closed = False


@pytest.fixture(autouse=True)
def hub_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of downloads, without a token, with the hub allowed."""
    home = tmp_path / "hf_home"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return home / "hub"


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    """An empty hub, at the address that huggingface_hub was imported with."""
    with serve(os.environ["HF_ENDPOINT"]) as served:
        yield served
