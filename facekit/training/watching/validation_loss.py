"""Validation loss during a run: the best checkpoint is kept, and a run that no longer improves is ended.

The loss is computed by the trainer, in all processes and with sharded weights, too. Nothing is drawn from the random
state of the run, so a run with it learns what it learns without.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from facekit.data.atomic import write_text_atomically
from facekit.data.dataset import RecordSet
from facekit.errors import CheckpointError, ConfigurationError, first_line

logger = logging.getLogger(__name__)

LOSS_NAME = "validation-losses.json"
_LOOKS_PER_RUN = 5


@dataclass(frozen=True)
class ValidationLoss:
    """A validation loss.

    Args:
        step: The optimiser step after which it was computed.
        loss: Mean loss per supervised token, or per sample where the run averages so, in nats.
    """

    step: int
    loss: float


class LossValidation(TrainerCallback):
    """Computes the loss of held-out records every so many steps and at the end; pass it to ``train`` as a callback.

    Args:
        records: Validation records with conversations.
        path: Where the losses are written as JSON.
        every: Steps between two losses; None for a fifth of the run.
        keep_best: Save a checkpoint at every loss that is the lowest so far, and leave the model of the lowest.
        patience: End the run after so many losses in a row that are no improvement; None never.
        min_improvement: By how much a loss is to be lower than the lowest before it to be one.

    Attributes:
        points: The losses so far.
        seconds: Time that they took.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    def __init__(
        self,
        records: RecordSet,
        path: Path,
        *,
        every: int | None = None,
        keep_best: bool = False,
        patience: int | None = None,
        min_improvement: float = 0.0,
    ) -> None:
        if (every is not None and every < 1) or (patience is not None and patience < 1) or min_improvement < 0:
            raise ConfigurationError(
                f"every and patience are at least 1 and min_improvement at least 0, unlike {every}, {patience} and "
                f"{min_improvement}"
            )
        self.records, self.path, self.every = records, path, every
        self.keep_best, self.patience, self.min_improvement = keep_best, patience, min_improvement
        self.points: list[ValidationLoss] = []
        self.seconds = 0.0
        self._measure: Callable[[RecordSet], float] | None = None
        self._log: Callable[[dict[str, float]], None] | None = None

    def attach(self, measure: Callable[[RecordSet], float], log: Callable[[dict[str, float]], None]) -> None:
        """Use a trainer's computation and its reporters."""
        self._measure, self._log = measure, log

    @property
    def best(self) -> ValidationLoss | None:
        """The lowest loss, of equal ones the first; one that is NaN counts as the highest."""
        return min(self.points, key=lambda point: math.inf if math.isnan(point.loss) else point.loss, default=None)

    @property
    def is_exhausted(self) -> bool:
        """Whether ``patience`` losses in a row were no improvement."""
        lowest, waited = math.inf, 0
        for point in self.points:
            waited = 0 if point.loss < lowest - self.min_improvement else waited + 1
            lowest = min(lowest, point.loss)
        return self.patience is not None and waited >= self.patience

    def ended_at(self, step: int) -> bool:
        """Whether the run was ended at a step, of what was read."""
        return self.is_exhausted and self.points[-1].step == step

    def read(self, step: int) -> None:
        """Keep what an interrupted run computed up to a step.

        Raises:
            CheckpointError: The file is damaged.
        """
        if not self.path.is_file():
            self.points = []
            return
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))
            found = [ValidationLoss(int(entry["step"]), float(entry["loss"])) for entry in entries]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{self.path} is damaged ({error}); remove it, and the run goes on") from error
        self.points = [point for point in found if point.step <= step]

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Go on from the losses of an interrupted run."""
        self.read(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Compute the loss, where it is time, and ask the trainer to save or to stop."""
        every = self.every or max(1, math.ceil(state.max_steps / _LOOKS_PER_RUN))
        is_due = state.global_step % every == 0 or state.global_step >= state.max_steps
        if not is_due or self._measure is None:
            return
        started = time.perf_counter()
        point = ValidationLoss(state.global_step, self._measure(self.records))
        self.points.append(point)
        if state.is_world_process_zero:
            self._write()
        if self._log is not None:
            self._log({"eval_loss": point.loss})
        control.should_save = control.should_save or (self.keep_best and self.best == point)
        if self.is_exhausted and state.global_step < state.max_steps:
            assert self.best is not None
            logger.info(
                "step %d: the validation loss has been no lower than %.4f, of step %d, for %d looks; the run ends",
                state.global_step, self.best.loss, self.best.step, self.patience,
            )  # fmt: skip
            control.should_save = control.should_training_stop = True
        self.seconds += time.perf_counter() - started

    def _write(self) -> None:
        try:
            entries = [asdict(point) for point in self.points]
            write_text_atomically(self.path, json.dumps(entries, indent=1) + "\n")
        except OSError as error:
            logger.warning("%s cannot be written (%s); the training goes on", self.path, first_line(error))
