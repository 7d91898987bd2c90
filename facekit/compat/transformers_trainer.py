"""The Hugging Face trainer with public hooks in place of its private methods."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from packaging.version import Version
from torch import nn
from torch.serialization import STORAGE
from transformers import Trainer, TrainerCallback, TrainerControl, TrainingArguments
from transformers.trainer_callback import CallbackHandler


def restore_to_numbered_cpu(storage: STORAGE, location: str) -> STORAGE | None:
    """Return a storage as it is where it is to be restored to a CPU with a number, such as ``cpu:0``; else None.

    Seen: needed with transformers 5.17, not with 5.18 to 5.24; torch 2.11 and 2.14 do not know the location.
    Why: 5.17 asks torch to load the optimizer to the trainer's device, which has a number in a run of several
        processes on the CPU, so that such a run could not be resumed.
    Until: the oldest supported transformers is 5.18.
    """
    return storage if location.startswith("cpu:") else None


def _tag_nothing(_: STORAGE) -> None:
    """No storage is saved under such a location."""


if Version(transformers.__version__) < Version("5.18"):
    torch.serialization.register_package(15, _tag_nothing, restore_to_numbered_cpu)


class _HookedCallbacks(CallbackHandler):
    """A trainer's callbacks, each of which is called through a hook."""

    def __init__(self, handler: CallbackHandler, notify: Callable[[TrainerCallback, Callable[[], Any]], Any]) -> None:
        vars(self).update(vars(handler))
        self._notify = notify

    def call_event(self, event: str, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> TrainerControl:
        """Call all callbacks."""
        given = {
            "model": self.model, "processing_class": self.processing_class, "optimizer": self.optimizer,
            "lr_scheduler": self.lr_scheduler, "train_dataloader": self.train_dataloader,
            "eval_dataloader": self.eval_dataloader, **kwargs,
        }  # fmt: skip
        for callback in self.callbacks:
            result = self._notify(callback, partial(getattr(callback, event), args, state, control, **given))
            control = control if result is None else result
        return control


def place_arguments(arguments: TrainingArguments, device: torch.device) -> None:
    """Let a run of one process use this device, and no other that is there.

    Args:
        arguments: The trainer's arguments.
        device: An accelerator.

    Seen: transformers 5.17 and 5.24, accelerate 1.13 to 1.15.
    Why: arguments say the CPU or not, and otherwise the first accelerator is taken; with several GPUs the model is put
        on all of them in one process.
    Until: ``TrainingArguments`` takes a device.
    """
    _ = arguments.device
    placed: Any = arguments
    placed.__dict__["_setup_devices"] = device
    placed._n_gpu = 1
    placed.distributed_state.device = device
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is not None and accelerator.type == device.type:
        torch.accelerator.set_device_index(device.index or 0)


class HookedTrainer(Trainer):
    """``transformers.Trainer`` whose subclasses override the hooks below and no private method.

    Seen: transformers 5.17 and 5.24.
    Why: what is done about a failed save or a failed callback, what a checkpoint's weights are, and how accelerate is
        configured cannot be said by arguments, callbacks or documented methods; and with DeepSpeed, floating tensors
        of a batch are rounded to the type of the weights, landmarks too.
    Until: the trainer documents such methods; ``on_save`` comes too late to catch what saving raised.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.callback_handler = _HookedCallbacks(self.callback_handler, self.notify)

    def notify(self, callback: TrainerCallback, call: Callable[[], Any]) -> Any:
        """Hook around every call of a callback; ``call`` calls it and returns what it returned."""
        return call()

    def adapt_accelerator(self) -> None:
        """Hook: ``self.accelerator`` has been made and has prepared nothing yet."""

    def set_modes(self) -> None:
        """Hook: the model is in training mode, and a pass through it begins; called by what ``trainer_class`` makes."""

    def write_checkpoint(self, write: Callable[[], None]) -> None:
        """Hook around a checkpoint of model, optimizer and state; ``write`` writes it."""
        write()

    def read_weights(self, folder: Path, model: nn.Module, read: Callable[[], None]) -> None:
        """Hook around the weights of a checkpoint that the run goes on from; ``read`` reads them into the model."""
        read()

    def write_weights(self, write: Callable[[], None]) -> None:
        """Hook around the main process's file of weights, in a checkpoint that all processes write."""
        write()

    def create_accelerator_and_postprocess(self) -> None:
        """Make accelerate's accelerator."""
        super().create_accelerator_and_postprocess()
        self.adapt_accelerator()

    def _prepare_input(self, data: Any) -> Any:
        if isinstance(data, torch.Tensor) and self.is_deepspeed_enabled:
            return data.to(self.args.device)
        return super()._prepare_input(data)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self.write_weights(partial(super()._save, output_dir, state_dict))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.write_checkpoint(partial(super()._save_checkpoint, model, trial))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        loaded: Any = self.model if model is None else model
        read = partial(super()._load_from_checkpoint, resume_from_checkpoint, model)
        self.read_weights(Path(resume_from_checkpoint), loaded, read)
