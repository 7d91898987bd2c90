"""Progress of a training run, in numbers; ``facekit.reports.ProgressDisplay`` draws it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from facekit.reports import Progress, ProgressDisplay, ProgressListener, ProgressState

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class TrainingProgress:
    """Progress of a training run.

    Args:
        step: Optimiser steps done.
        steps: Optimiser steps in all.
        loss: Mean loss of the last logged steps, or None before the first.
        samples_per_second: Examples per second since the run (or its resumption) began.
        seconds_left: Estimate, or None before the first step.
        tokens_per_second: Positions through the language model per second, likewise; 0 where nobody counts them.
        peak_memory: Most bytes that were in use: of this process's GPU, else of the process; 0 where unknown.
        stage: What is trained: a recipe's stage, or ``train``.
    """

    step: int
    steps: int
    loss: float | None
    samples_per_second: float
    seconds_left: float | None
    tokens_per_second: float = 0.0
    peak_memory: int = 0
    stage: str = "train"

    @property
    def done(self) -> int:
        """The steps done."""
        return self.step

    @property
    def total(self) -> int:
        """The steps in all."""
        return self.steps

    @property
    def unit(self) -> str:
        """What is counted."""
        return "steps"

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


class RichProgress(ProgressDisplay):
    """The earlier name of ``facekit.reports.ProgressDisplay``, with the earlier ways to call it.

    Args:
        console: Where to draw; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        warnings.warn(
            "facekit.training.RichProgress is deprecated; use facekit.reports.ProgressDisplay, which is passed as "
            "on_progress itself",
            DeprecationWarning,
            stacklevel=2,
        )
        super().__init__(console)

    def __call__(self, state: ProgressState | str, done: int = 0, total: int = 0, detail: str = "") -> None:
        """Show where a stage stands: a state, or stage, amount, amount in all and words."""
        super().__call__(_WithDetail(state, done, total, words=detail) if isinstance(state, str) else state)

    def for_stage(self, stage: str) -> Callable[[int, int], None]:
        """A callback of ``(done, total)``."""
        return lambda done, total: self(stage, done, total)

    def for_training(self, stage: str = "train") -> ProgressListener:
        """A callback of ``TrainingProgress``."""
        return lambda state: self(stage, state.done, state.total, state.detail)


@dataclass(frozen=True)
class _WithDetail(Progress):
    words: str = ""

    @property
    def detail(self) -> str:
        return self.words
