"""What a run of TRL's trainers needs beyond a checkpoint of transformers to go on to the bit."""

from __future__ import annotations

import logging
from collections import defaultdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from facekit.errors import CheckpointError, first_line

_logger = logging.getLogger(__name__)

_NAME = "trl_{rank}.pt"


def save_progress(trainer: Any, folder: Path) -> None:
    """Write what a trainer holds of a run beside its checkpoint: one file a process.

    That is the number of batches so far, the answers that further steps are taken on, and what is gathered for the
    next entry of the log. Of answers that no step needs any more nothing is written.

    Args:
        trainer: TRL's ``GRPOTrainer`` or ``DPOTrainer``, after a step.
        folder: The checkpoint.

    Raises:
        OSError: The disk is full, or fails.

    Seen: TRL 1.16, transformers 5.24.
    Why: they are attributes of the trainers, in no checkpoint: a run that goes on counts batches from zero, answers the
        questions anew in the middle of a round, and logs means of what came after the checkpoint.
    Until: TRL saves them.
    """
    arguments, batches = trainer.args, getattr(trainer, "_step", 0)
    state: dict[str, Any] = {
        "batches": batches, "metrics": dict(trainer._metrics["train"]), "tokens": trainer._total_train_tokens,
    }  # fmt: skip
    if hasattr(trainer, "_buffered_inputs") and batches % (arguments.steps_per_generation * trainer.num_iterations):
        state["answers"] = trainer._buffered_inputs
    if hasattr(trainer, "_tr_loss"):
        state |= {"loss": trainer._tr_loss.detach(), "logged": trainer._globalstep_last_logged}
    torch.save(state, folder / _NAME.format(rank=arguments.process_index))


def restore_progress(trainer: Any, folder: Path) -> None:
    """Read what ``save_progress`` wrote, once the trainer has read the rest of a checkpoint and before its first step.

    The order of questions is brought to where the run was, too. Where the checkpoint has no such file, that is logged,
    and the run goes on without.

    Args:
        trainer: TRL's trainer.
        folder: The checkpoint.

    Raises:
        CheckpointError: The file is damaged.

    Seen: TRL 1.16, transformers 5.24, accelerate 1.15.
    Why: see ``save_progress``; and GRPO's sampler draws the order of an epoch from a generator that begins anew.
    Until: TRL restores them, and its sampler knows its epoch.
    """
    path = folder / _NAME.format(rank=trainer.args.process_index)
    if not path.is_file():
        _logger.warning("%s has no %s, so the run goes on, but not to the bit", folder, path.name)
        return
    try:
        device: torch.device = trainer.args.device
        place = device if device.type != "cpu" else "cpu"  # torch knows no CPU with a number, as of several processes
        state = torch.load(path, map_location=place, weights_only=True)
        trainer._metrics["train"] = defaultdict(list, state["metrics"])
        trainer._total_train_tokens = state["tokens"]
        if hasattr(trainer, "_buffered_inputs"):
            trainer._step, trainer._buffered_inputs = state["batches"], state.get("answers")
        if hasattr(trainer, "_tr_loss") and "loss" in state:
            trainer._tr_loss += state["loss"]
            trainer._globalstep_last_logged = state["logged"]
    except (OSError, RuntimeError, EOFError, UnpicklingError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({first_line(error)}); delete {folder} to resume from the one before"
        ) from error
    _advance_order(trainer)


def _advance_order(trainer: Any) -> None:
    """Draw the orders of the epochs that are over, so that the sampler's next one is that of the epoch at hand."""
    loader: Any = trainer.callback_handler.train_dataloader
    sampler = loader.batch_sampler
    while hasattr(sampler, "batch_sampler"):  # as accelerate wraps it
        sampler = sampler.batch_sampler
    order = sampler.sampler
    if type(order).__name__ == "RepeatSampler" and order.shuffle:
        for _ in range(int(trainer.state.epoch or 0)):
            torch.randperm(order.num_samples, generator=order.generator)
