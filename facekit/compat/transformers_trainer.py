"""The Hugging Face trainer with public hooks where it has private methods only."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn
from transformers import Trainer


class HookedTrainer(Trainer):
    """``transformers.Trainer`` whose subclasses override the hooks below and no private method.

    Seen: transformers 5.17 and 5.24.
    Why: what is done about a failed save, what a checkpoint's weights are, and how accelerate is configured cannot be
        said by arguments, callbacks or documented methods.
    Until: the trainer documents such methods; ``on_save`` comes too late to catch what saving raised.
    """

    def adapt_accelerator(self) -> None:
        """Hook: ``self.accelerator`` has been made and has prepared nothing yet."""

    def write_checkpoint(self, write: Callable[[], None]) -> None:
        """Hook around a checkpoint of model, optimizer and state; ``write`` writes it."""
        write()

    def read_weights(self, folder: Path, model: nn.Module, read: Callable[[], None]) -> None:
        """Hook around the weights of a checkpoint that the run goes on from; ``read`` reads them into the model."""
        read()

    def create_accelerator_and_postprocess(self) -> None:
        """Make accelerate's accelerator."""
        super().create_accelerator_and_postprocess()
        self.adapt_accelerator()

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.write_checkpoint(partial(super()._save_checkpoint, model, trial))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        read = partial(super()._load_from_checkpoint, resume_from_checkpoint, model)
        self.read_weights(Path(resume_from_checkpoint), self.model if model is None else model, read)
