"""How far a run is: the plain numbers, and a drawing of them for a terminal.

Libraries report through a callable; only what the command line passes in draws anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

ProgressListener = Callable[["TrainingProgress"], None]


@dataclass(frozen=True)
class TrainingProgress:
    """Where a training run stands.

    Args:
        step: Optimiser steps done.
        steps: Optimiser steps in all.
        loss: Mean loss of the last logged steps, or None before the first.
        samples_per_second: Examples per second since the run (or its resumption) began.
        seconds_left: Estimate, or None before the first step.
        tokens_per_second: Positions through the language model per second, likewise; 0 where nobody counts them.
        peak_memory: Most bytes that were in use: of this process's GPU, else of the process; 0 where unknown.
    """

    step: int
    steps: int
    loss: float | None
    samples_per_second: float
    seconds_left: float | None
    tokens_per_second: float = 0.0
    peak_memory: int = 0

    @property
    def detail(self) -> str:
        """Loss, speed and memory in a few words."""
        words = [] if self.loss is None else [f"loss {self.loss:.3f}"]
        words.append(f"{self.samples_per_second:.0f} samples/s")
        if self.tokens_per_second:
            words.append(f"{self.tokens_per_second:,.0f} tokens/s")
        if self.peak_memory:
            words.append(f"{self.peak_memory / 2**30:.1f} GiB")
        return ", ".join(words)


class RichProgress:
    """Draws one bar per stage of a run: amount done, detail, time gone and time left.

    Use it as a context manager; call it with ``(stage, done, total, detail)``, or pass ``for_stage(name)`` to what
    reports ``(done, total)``, or ``for_training(name)`` to ``train``.

    Args:
        console: Where to draw; standard error by default, so that output can be piped.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}", style="cyan"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console or Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """Show that ``done`` of ``total`` of a stage is done."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, detail=detail)
        self._progress.update(self._tasks[stage], completed=done, total=total, detail=detail)

    def for_stage(self, stage: str) -> Callable[[int, int], None]:
        """A callback of ``(done, total)``."""
        return lambda done, total: self(stage, done, total)

    def for_training(self, stage: str = "train") -> ProgressListener:
        """A callback of ``TrainingProgress``."""
        return lambda progress: self(stage, progress.step, progress.steps, progress.detail)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
