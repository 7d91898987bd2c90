"""Graceful interruption: on SIGTERM or SIGINT a run saves after the current step, then ends.

Slurm and Kubernetes send SIGTERM some seconds before they kill a job; a signal that was only noted and then forgotten
would leave a process that its scheduler believes to be gone. Ctrl-C is SIGINT: the first one saves, the second one does
not wait.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from facekit.training.loop.distributed import gather_lists

logger = logging.getLogger(__name__)


_REPEATED = 1.0
"""Seconds within which a second SIGINT is the same one, sent by a launcher too."""


class SaveOnSignal(TrainerCallback):
    """Saves a checkpoint and ends the training when a signal comes; all processes of a run stop at the same step.

    Before the first step and after the last, where there is nothing to wait for, SIGINT interrupts at once.

    Attributes:
        received: The number of the signal that came, to any process; 0 for none.
        has_stopped: Whether the training was ended for it.
    """

    def __init__(self) -> None:
        self.received = 0
        self.has_stopped = False
        self._is_training = False
        self._noted_at = 0.0
        self._process = os.getpid()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note signals inside the ``with`` block; outside the main thread, where none comes, do nothing.

        SIGINT is left alone where the program handles or ignores it itself.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [signal.SIGTERM]
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            numbers.append(signal.SIGINT)
        before = {number: signal.signal(number, self._note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def agree(self) -> None:
        """Let all processes of the run know of a signal that came after the last step; each has to come here."""
        self.received = max(gather_lists([self.received]))

    def let_through(self) -> None:
        """Send the noted signal again, outside of ``listening``: it does what it would have done."""
        if self.received and self.received != signal.SIGINT:
            signal.raise_signal(self.received)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From now on there are steps to wait for."""
        self._is_training = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """There are no more."""
        self._is_training = False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask the trainer to save and to stop, where the signal came to any process."""
        self.received = self._received_by_anyone(args)
        if self.received:
            self.has_stopped = True
            control.should_save = True
            control.should_training_stop = True

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a process that loads data, which ends when this one does
        now = time.monotonic()
        if number == signal.SIGINT and not self._is_training:
            raise KeyboardInterrupt
        if number == signal.SIGINT and self.received == signal.SIGINT:
            if now - self._noted_at > _REPEATED:
                raise KeyboardInterrupt
            return
        again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
        logger.warning("signal %d: saving after this step, then stopping%s", number, again)
        self.received, self._noted_at = number, now

    def _received_by_anyone(self, args: TrainingArguments) -> int:
        if args.world_size == 1:
            return self.received
        number = torch.tensor(float(self.received), device=args.device)
        torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX)
        return int(number.item())
