"""Callbacks of a run: epoch and speed, history on disk, and the stop at a NaN loss."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from facekit.data.dataset import FaceDataset
from facekit.data.streaming import ShardStream
from facekit.errors import TrainingError, first_line
from facekit.reports import ProgressListener
from facekit.training.watching.history import LossHistory
from facekit.training.watching.measuring import CostMeter, examples_of_a_step
from facekit.training.watching.progress import TrainingProgress

logger = logging.getLogger(__name__)

_NAMED_RECORDS = 16


class RunWatcher(TrainerCallback):
    """Sets the data set's epoch, reports progress, and writes the history as the run goes on.

    Args:
        dataset: The data set.
        history_path: Where the history is written.
        listener: Called after every step.
        meter: Counts tokens and memory; it must come before the watcher among the callbacks.
    """

    def __init__(
        self,
        dataset: FaceDataset | ShardStream,
        history_path: Path,
        listener: ProgressListener | None,
        meter: CostMeter,
    ) -> None:
        self.dataset = dataset
        self.history_path = history_path
        self.listener = listener
        self.meter = meter
        self.first_step: int | None = None
        self.seconds = 0.0
        self._started = 0.0
        self._examples_per_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self.first_step = state.global_step
        self._started = time.perf_counter()
        self._examples_per_step = examples_of_a_step(args, kwargs.get("train_dataloader"))

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the data set's epoch."""
        self.dataset.set_epoch(int(state.epoch or 0))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Report how far the run is."""
        self.seconds = time.perf_counter() - self._started
        if self.listener is None or not state.is_world_process_zero:
            return
        done = state.global_step - (self.first_step or 0)
        losses = [entry["loss"] for entry in state.log_history[-1:] if "loss" in entry]
        left = self.seconds / done * (state.max_steps - state.global_step) if done else None
        loss = losses[-1] if losses else None
        cost = self.meter.cost()
        self.listener(
            TrainingProgress(
                step=state.global_step,
                steps=state.max_steps,
                loss=loss,
                samples_per_second=self.samples_per_second(state),
                seconds_left=left,
                tokens_per_second=cost.tokens_per_second,
                peak_memory=cost.peak_memory,
            )
        )

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write the history, so that it can be read while the run goes on; a full disk does not end the run."""
        if state.is_world_process_zero:
            try:
                LossHistory.from_log(state.log_history).write(self.history_path)
            except OSError as error:
                logger.warning("%s cannot be written (%s); the training goes on", self.history_path, first_line(error))

    def samples_per_second(self, state: TrainerState) -> float:
        """Examples per second since the run began or went on."""
        done = (state.global_step - (self.first_step or 0)) * self._examples_per_step
        return done / self.seconds if self.seconds else 0.0


class LossGuard:
    """Stops a run at a NaN or infinite loss, naming the records of the batch.

    On an accelerator a loss is looked at when the next one comes, so that the device need not be waited for; whoever
    saves must call ``check`` before, because the weights may have gone with the loss.

    Args:
        record_ids: Ids of the records by index.
    """

    def __init__(self, record_ids: Sequence[str]) -> None:
        self.record_ids = record_ids
        self._pending: tuple[Tensor, Tensor, int] | None = None

    def watch(self, loss: Tensor, indices: Tensor, step: int) -> None:
        """Look at the loss of a batch.

        Args:
            loss: A scalar.
            indices: ``(B,)``, which records the batch holds.
            step: The optimiser steps done so far.

        Raises:
            TrainingError: This loss, or the one before, is not finite.
        """
        self.check()
        self._pending = (loss.detach(), indices, step + 1)
        if not loss.is_cuda:
            self.check()

    def check(self) -> None:
        """Look at the last loss now; raises ``TrainingError`` where it is not finite."""
        if self._pending is None:
            return
        loss, indices, step = self._pending
        self._pending = None
        value = float(loss)
        if not math.isfinite(value):
            names = ", ".join(repr(self.record_ids[index]) for index in indices[:_NAMED_RECORDS].tolist())
            more = f" and {len(indices) - _NAMED_RECORDS} more" if len(indices) > _NAMED_RECORDS else ""
            raise TrainingError(
                f"the loss is {value} in step {step}, in a batch of the records {names}{more}; look at these records, "
                "lower learning_rate or set gradient_clipping, and resume from the last checkpoint"
            )
