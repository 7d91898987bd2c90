"""LiteRT: making an interpreter without its notice on standard error."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_logger = logging.getLogger(__name__)

_redirecting = threading.Lock()


@contextmanager
def without_notice() -> Iterator[None]:
    """Keep "INFO: Created TensorFlow Lite XNNPACK delegate for CPU." off standard error, but where INFO is logged.

    Seen: ai-edge-litert 2.1 to 2.3.
    Why: native code writes it to the file descriptor, and Python has no say in its log level.
    Until: the level can be set from Python.
    """
    if _logger.isEnabledFor(logging.INFO):
        yield
        return
    with _redirecting:
        try:
            kept = os.dup(2)
        except OSError:  # standard error is closed
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
