"""Graceful interruption: on SIGTERM or SIGINT a run saves after the current step, then ends.

Slurm and Kubernetes send SIGTERM some seconds before they kill a job; a signal that was only noted and then forgotten
would leave a process that its scheduler believes to be gone.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)


class SaveOnSignal(TrainerCallback):
    """Saves a checkpoint and ends the training when a signal comes; all processes of a run stop at the same step.

    Args:
        number: The signal.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        self.number = number
        self.received = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note the signal inside the ``with`` block; outside the main thread, where none comes, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(self.number, self._note)
        try:
            yield
        finally:
            signal.signal(self.number, before)

    def let_through(self) -> None:
        """Send the noted signal again, outside of ``listening``: it does what it would have done."""
        if self.received:
            signal.raise_signal(self.number)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask the trainer to save and to stop, where the signal came to any process."""
        if self._anyone_received(args):
            self.received = True
            control.should_save = True
            control.should_training_stop = True

    def _note(self, number: int, frame: FrameType | None) -> None:
        logger.warning("signal %d: saving after this step, then stopping", number)
        self.received = True

    def _anyone_received(self, args: TrainingArguments) -> bool:
        if args.world_size == 1:
            return self.received
        flag = torch.tensor(float(self.received), device=args.device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag.item())
