"""The end of Python's own process."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import Any

_atexit: Any = atexit  # the type checker does not know of its private function


def end_process(status: int) -> None:
    """End the process without taking the interpreter apart, once all that was to happen at its end has.

    Output is flushed and the functions of ``atexit`` run, in this order, so that a reader who has gone is told of as
    ever. Returns, for an end by the interpreter, where a thread runs that the interpreter would wait for.

    Args:
        status: The exit status.

    Raises:
        OSError: The output cannot be written.

    Seen: Python 3.11 to 3.14, torch 2.11 to 2.14.
    Why: the interpreter frees the million objects of torch and transformers one by one, in a quarter of a second.
    Until: the interpreter can be told to leave them to the operating system.
    """
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    if others or threading.current_thread() is not threading.main_thread():
        return
    sys.stdout.flush()
    sys.stderr.flush()
    _atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
