"""Graceful interruption of calls: the first Ctrl-C or SIGTERM waits for the calls in flight, the second does not."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_signals(stop: asyncio.Event) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the run after the calls in flight; the second ends it at once."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def on_signal() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
        stop.set()

    handled = []
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, on_signal)
        except (ValueError, RuntimeError, NotImplementedError):
            continue
        handled.append(number)
    try:
        yield
    except asyncio.CancelledError as error:
        if stop.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
