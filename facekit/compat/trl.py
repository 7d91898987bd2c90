"""TRL's trainers with facekit's way of saving and resuming, and their reference models."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from torch import nn
from transformers import Trainer

from facekit.compat.trl_resuming import save_progress
from facekit.errors import MissingExtraError


def require_trl() -> None:
    """Raise ``MissingExtraError`` where TRL is not installed.

    Seen: TRL 1.16.
    Why: TRL is an extra, which most installations do not have.
    Until: TRL is required.
    """
    try:
        import trl  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("learning from rewards and pairs needs TRL; pip install 'facekit-mllm[rl]'") from error


def trainer_class(base: type[Any], kind: str) -> type[Any]:
    """Put a trainer's saving and resuming before one of TRL's, whose data, batches and loss stay.

    Nothing of a run is sent to anybody: TRL's telemetry is off.

    Args:
        base: A subclass of ``HookedTrainer``.
        kind: ``GRPOTrainer`` or ``DPOTrainer``.

    Seen: TRL 1.16.
    Why: TRL has the loop of GRPO and DPO in subclasses of the trainer, and no hook for what is done about failed saves,
        nor for what stays in evaluation mode while answers are drawn and learned from;
        its trainers tell the hub which kind of model is trained on what, unless an environment variable forbids it.
    Until: TRL takes such hooks as callbacks.
    """
    import trl

    of_trl = getattr(trl, kind)
    kept = ("get_train_dataloader", "get_batch_samples", "training_step")
    own: dict[str, Any] = {name: getattr(of_trl, name) for name in kept}

    def log(self: Any, logs: dict[str, float], start_time: float | None = None) -> None:
        # TRL adds what it has gathered of a step to whatever is logged next, which a validation is not.
        is_validation = any(name.startswith("eval_") for name in logs)
        (Trainer if is_validation else of_trl).log(self, logs, start_time)

    def prepare_inputs(self: Any, inputs: Any) -> Any:
        self.set_modes()
        return of_trl._prepare_inputs(self, inputs)

    def compute_loss(self: Any, *given: Any, **options: Any) -> Any:
        self.set_modes()  # again, because checkpoints of activations are off while answers are drawn
        return of_trl.compute_loss(self, *given, **options)

    def write_checkpoint(self: Any, write: Callable[[], None]) -> None:
        def write_all() -> None:
            write()
            save_progress(self, Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}")

        base.write_checkpoint(self, write_all)

    own["log"] = log
    own["_prepare_inputs"] = prepare_inputs
    own["compute_loss"] = compute_loss
    own["write_checkpoint"] = write_checkpoint
    own["_send_telemetry"] = lambda self: None
    own["create_model_card"] = lambda self, *given, **options: None  # a page of TRL's beside every checkpoint
    return type(f"FaceKit{kind}", (base, of_trl), own)


@contextmanager
def deprecations_ignored() -> Iterator[None]:
    """Keep TRL's use of old names of transformers from the user inside the ``with`` block, who cannot change it.

    Seen: TRL 1.16 with transformers 5.24.
    Why: it switches gradient checkpointing off and on around every round of answers by names that warn since 5.24.
    Until: TRL uses ``activation_checkpointing``.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*gradient_checkpointing(_enable|_disable)?` is deprecated", FutureWarning)
        yield


@contextmanager
def dropout_restored(model: nn.Module) -> Iterator[None]:
    """Give a model its dropout back after the ``with`` block.

    Seen: TRL 1.16.
    Why: DPO's trainer takes dropout off the modules of the model, which goes on to live after the run.
    Until: it gives it back.
    """
    before = [(module, module.p) for module in model.modules() if isinstance(module, nn.Dropout)]
    try:
        yield
    finally:
        for module, share in before:
            module.p = share


def arguments_class(kind: str) -> type[Any]:
    """TRL's ``GRPOConfig`` or ``DPOConfig``, subclasses of ``transformers.TrainingArguments``.

    Seen: TRL 1.16.
    Why: TRL is an extra, so that no name of it can be imported at the head of a file.
    Until: TRL is required.
    """
    import trl

    found: type[Any] = getattr(trl, kind)
    return found


def rows_to_dataset(rows: list[dict[str, Any]]) -> Any:
    """Rows as the data set that TRL takes; all have the same keys.

    Seen: TRL 1.16, datasets 4 to 5.
    Why: TRL's trainers take data sets of ``datasets`` and no sequence; ``datasets`` is an extra too.
    Until: they take any sequence.
    """
    from datasets import Dataset

    return Dataset.from_list(rows)


@contextmanager
def reference_given(reference: nn.Module | None) -> Iterator[None]:
    """Let GRPO's trainer take a reference model where it would open a folder for one, inside the ``with`` block.

    Args:
        reference: The model; None where none is needed.

    Seen: TRL 1.16.
    Why: ``GRPOTrainer`` has no argument for it, unlike ``DPOTrainer``.
    Until: it has.
    """
    if reference is None:
        yield
        return
    with mock.patch("trl.trainer.grpo_trainer.create_model_from_path", return_value=reference):
        yield


def restore_forward(model: nn.Module) -> None:
    """Take away the ``forward`` that TRL's trainers put over a model's own.

    Seen: TRL 1.16.
    Why: they set it on the model itself, which goes on to live after the run.
    Until: they undo it.
    """
    model.__dict__.pop("forward", None)
