"""Progress reporting: the signature of every ``on_progress``, and its senders.

Whatever works for long calls its ``on_progress`` with one object that has a stage, an amount and some words
(``ProgressState``). ``ProgressDisplay`` draws such objects; a callback of a user's own reads what it needs of them.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from facekit.deprecations import warn_deprecated


@runtime_checkable
class ProgressState(Protocol):
    """The state of a running stage."""

    @property
    def stage(self) -> str:
        """The stage, such as ``"train"``; a bar or a line of its own."""

    @property
    def done(self) -> int:
        """How much of it is done, earlier runs included."""

    @property
    def total(self) -> int:
        """How much there is."""

    @property
    def unit(self) -> str:
        """What is counted, such as ``"steps"``."""

    @property
    def detail(self) -> str:
        """Rate, loss, cost and the like, in a few words."""

    @property
    def seconds_left(self) -> float | None:
        """Estimate; None where there is none."""


ProgressListener = Callable[[ProgressState], None]
"""What every ``on_progress`` is."""


@dataclass(frozen=True)
class Progress:
    """The plain kind of progress; stages with more to report have classes of their own.

    Args:
        stage: What goes on.
        done: How much of it is done, earlier runs included.
        total: How much there is.
        unit: What is counted, such as ``"questions"``.
        per_second: Units per second in this run; None before the first.
        seconds_left: Estimate; None before the first.
    """

    stage: str
    done: int
    total: int
    unit: str = ""
    per_second: float | None = None
    seconds_left: float | None = None

    @property
    def detail(self) -> str:
        """The rate in words."""
        if self.per_second is None:
            return ""
        digits = 1 if self.per_second < 100 else 0
        return f"{self.per_second:,.{digits}f} {self.unit}/s" if self.unit else f"{self.per_second:,.{digits}f}/s"


class ProgressMeter:
    """Reports how far a stage is, with its rate and the time left since the meter was made.

    Args:
        listener: Called with ``Progress``; None reports nothing.
        stage: What goes on.
        total: How much there is.
        unit: What is counted.
        done: How much of it an earlier run did; the rate does not count it.
        clock: Seconds, for tests.
    """

    def __init__(
        self,
        listener: ProgressListener | None,
        stage: str,
        total: int,
        unit: str = "",
        *,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listener, self._stage, self._total, self._unit = listener, stage, total, unit
        self._before, self._clock, self._started = done, clock, clock()

    def report(self, done: int) -> None:
        """Say that so much is done."""
        if self._listener is None:
            return
        fresh, seconds = done - self._before, self._clock() - self._started
        rate = fresh / seconds if fresh > 0 and seconds > 0 else None
        left = None if rate is None else max(0, self._total - done) / rate
        self._listener(Progress(self._stage, done, self._total, self._unit, rate, left))


def under_stage(listener: ProgressListener | None, stage: str) -> ProgressListener | None:
    """A listener that is given the same under another name of the stage.

    Args:
        listener: The callback that is called in the end, or None.
        stage: The name, such as that of a recipe's stage.
    """
    if listener is None:
        return None

    def call(state: Any) -> None:
        listener(replace(state, stage=stage))

    return call


def as_listener(callback: Callable[..., Any] | None, where: str) -> ProgressListener | None:
    """Take a callback of today's signature as it is, and one of an earlier signature with a warning.

    Args:
        callback: Called with one ``ProgressState``; or, as in earlier versions, with ``(done, total)`` or with
            ``(stage, done, total, detail)``.
        where: The function that was given it, for the warning.

    Returns:
        A callback of one ``ProgressState``.
    """
    if callback is None:
        return None
    arity = next((count for count in (1, 2, 4, 3) if _takes(callback, count)), 1)
    if arity == 1:
        return callback
    words = "(done, total)" if arity == 2 else "(stage, done, total, detail)"
    warn_deprecated(
        f"on_progress of {where} is called with one facekit.reports.Progress; a callback of {words} is deprecated"
    )

    def call(state: ProgressState) -> None:
        if arity == 2:
            callback(state.done, state.total)
        else:
            callback(*(state.stage, state.done, state.total, state.detail)[:arity])

    return call


def _takes(callback: Callable[..., Any], count: int) -> bool:
    """Whether a callable can be called with so many arguments; True for one where nobody knows."""
    try:
        inspect.signature(callback).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # some builtins have no signature
        return count == 1
    return True
