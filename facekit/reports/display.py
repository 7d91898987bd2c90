"""Progress display: bars in a terminal, periodic lines in a pipe or log file."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from facekit.counted import singular
from facekit.reports.progress import ProgressState
from facekit.reports.words import format_duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

SECONDS_BETWEEN_LINES = 5.0
_ROOM_FOR_BAR, _ROOM_FOR_DETAIL = 72, 56


class ProgressDisplay:
    """Shows one bar per stage, or lines where nobody watches a terminal; pass it as ``on_progress``.

    A line says the stage, the amount, what else is known (loss, rate, cost) and the time left. The first and the last
    of a stage are always written, the others every few seconds. It may be called from several threads.

    Args:
        console: Where to draw; standard error by default, so that standard output holds results alone.
        quiet: Show nothing.
        seconds: Time between two lines of a stage.
        clock: Seconds, for tests.

    Examples:
        >>> from facekit.reports import ProgressDisplay, ProgressMeter
        >>> with ProgressDisplay(quiet=True) as progress:  # evaluate_model(..., on_progress=progress) and the like
        ...     ProgressMeter(progress, "count", total=3, unit="faces").report(3)
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        quiet: bool = False,
        seconds: float = SECONDS_BETWEEN_LINES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from rich.console import Console

        # FORCE_COLOR, as CI sets it, makes a log no terminal: bars there are a screenful each.
        self._console = console or Console(stderr=True, force_terminal=None if sys.stderr.isatty() else False)
        self._bars: _Bars | None = None
        self._lines: _Lines | None = None
        if quiet:
            return
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._bars = _Bars(self._console)
        else:
            self._lines = _Lines(self._console, seconds, clock)

    def __call__(self, state: ProgressState) -> None:
        """Show where a stage stands."""
        if self._bars is not None:
            self._bars.show(state)
        elif self._lines is not None:
            self._lines.show(state)

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
        elif self._lines is not None:
            self._lines.flush()


class _Bars:
    """Bars of rich; in a narrow terminal the bar, and then the detail, makes room for the numbers."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
        from rich.table import Column

        def text(field: str, style: str = "none", **layout: Any) -> TextColumn:
            column = Column(no_wrap=True, overflow="ellipsis", **layout)
            return TextColumn(f"{{task.{field}}}", style=style, markup=False, table_column=column)

        columns: list[ProgressColumn] = [text("description", max_width=console.width // 4)]
        if console.width >= _ROOM_FOR_BAR:
            columns.append(BarColumn(bar_width=min(28, (console.width - 56) // 2)))
        columns.append(MofNCompleteColumn(table_column=Column(no_wrap=True)))
        if console.width >= _ROOM_FOR_DETAIL:
            columns.append(text("fields[detail]", "cyan", ratio=1))
        columns.append(text("fields[left]", justify="right"))
        self._progress: Progress = Progress(*columns, console=console, expand=True)
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()
        self.start, self.stop = self._progress.start, self._progress.stop

    def show(self, state: ProgressState) -> None:
        fields: dict[str, Any] = {"detail": state.detail, "left": _time_left(state)}
        with self._lock:
            if state.stage not in self._tasks:
                self._tasks[state.stage] = self._progress.add_task(state.stage, total=state.total, **fields)
        self._progress.update(self._tasks[state.stage], completed=state.done, total=state.total, **fields)


@dataclass
class _Line:
    """What was written of one stage, and the newest state that was not."""

    printed_at: float
    printed_done: int
    held: ProgressState | None = None


class _Lines:
    """Plain lines; the newest state of each stage is kept back until its time has come."""

    def __init__(self, console: Console, seconds: float, clock: Callable[[], float]) -> None:
        self._console, self._seconds, self._clock = console, seconds, clock
        self._stages: dict[str, _Line] = {}
        self._lock = threading.Lock()

    def show(self, state: ProgressState) -> None:
        now = self._clock()
        with self._lock:
            line = self._stages.get(state.stage)
            if line is not None:
                if state.done == line.printed_done:
                    return
                if state.done < state.total and now - line.printed_at < self._seconds:
                    line.held = state
                    return
            self._stages[state.stage] = _Line(now, state.done)
            self._print(state)

    def flush(self) -> None:
        """Write what was kept back: the last that is known of a stage that was broken off."""
        with self._lock:
            for line in self._stages.values():
                if line.held is not None:
                    self._print(line.held)
                    line.held = None

    def _print(self, state: ProgressState) -> None:
        self._console.file.write(describe_progress(state) + "\n")
        self._console.file.flush()


def describe_progress(state: ProgressState) -> str:
    """A stage's progress on one line: "train: 40 of 200 steps (20 %), loss 0.512, 81 samples/s, 1 min 5 s left"."""
    share = f" ({100 * state.done // state.total} %)" if state.total else ""
    unit = singular(state.unit) if state.total == 1 else state.unit
    amount = f"{state.done:,} of {state.total:,} {unit}".rstrip()
    words = [f"{state.stage}: {amount}{share}", state.detail, _time_left(state)]
    return ", ".join(" ".join(word.split()) for word in words if word)


def _time_left(state: ProgressState) -> str:
    if state.seconds_left is None or state.done >= state.total:
        return ""
    return f"{format_duration(state.seconds_left)} left"
