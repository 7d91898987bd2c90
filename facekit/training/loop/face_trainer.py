"""The trainer of ``train``: the Hugging Face trainer, extended for composed models and long runs.

Its loop, schedules, mixed precision and distribution are used as they are; here are the optimiser's groups, the loss
of packed batches, kept encoder tokens, and saving that a full disk cannot turn into a loss.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from facekit.compat.deepspeed import ending_saves_together
from facekit.compat.transformers_trainer import HookedTrainer
from facekit.counted import counted
from facekit.data.dataset import RecordSet
from facekit.errors import CheckpointError, ConfigurationError, TrainingError, first_line
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.native.modeling import is_native
from facekit.training.loop.batching import EpochNotifier, GroupedBatchSampler, group_records, load_groups
from facekit.training.loop.checkpoints import find_checkpoint, prune_checkpoints, seal_checkpoint
from facekit.training.loop.distributed import (
    autocast_of_shards,
    check_lockstep,
    first_problem,
    prepare_sharding,
    wait_for_everyone,
)
from facekit.training.loop.loading import choose_workers, leave_interrupts_alone
from facekit.training.loop.losses import average_samples, count_items, find_targets, supervised_loss, token_losses
from facekit.training.loop.optimizers import build_optimizer
from facekit.training.loop.prefix_attention import packed_inputs
from facekit.training.loop.saving import FailedWrites, find_not_finite
from facekit.training.loop.text_alone import LeaveUnseenParts
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.records.features import KeptFeatures
from facekit.training.records.held_out import HeldOutRecords
from facekit.training.records.streamed import MixedStreams, StreamedDataset, load_stream
from facekit.training.trainable.parts import set_evaluation_of_frozen
from facekit.training.trainable.trained_weights import (
    hash_base,
    holds_trained_only,
    load_trained,
    save_trained,
    saves_trained_only,
)
from facekit.training.watching.run_watcher import LossGuard
from facekit.training.watching.source_losses import SourceLosses
from facekit.training.watching.validation import PeriodicValidation, undisturbed
from facekit.training.watching.validation_loss import LossValidation

logger = logging.getLogger(__name__)

_MOST_FAILED_SAVES = 3


class FaceTrainer(HookedTrainer):
    """The Hugging Face trainer with rates by part, packed batches, kept tokens and sealed checkpoints.

    Args:
        settings: The run's settings.
        record_ids: Ids of the records by index, for messages.
        features: Instead of pixels in the batches.
        **options: See ``transformers.Trainer``.

    Attributes:
        late_failure: The first callback that failed after the last step, and its error.
    """

    def __init__(
        self,
        *,
        settings: TrainingSettings,
        record_ids: Sequence[str],
        features: KeptFeatures | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._seeing = LeaveUnseenParts(lambda: self.accelerator.unwrap_model(self.model_wrapped))
        self.add_callback(self._seeing)
        self.loss_validation: LossValidation | None = None
        self._held_out: HeldOutRecords | None = None
        for callback in options.get("callbacks") or ():
            if isinstance(callback, PeriodicValidation):
                callback.attach(self.report)
            elif isinstance(callback, LossValidation):
                callback.attach(self.measure_loss, self.report)
                self.loss_validation = callback
        self.settings = settings
        self.features = features
        self.source_losses = _split_by_source(self.train_dataset, settings)
        self.guard = LossGuard(record_ids)
        self.failed_saves = 0
        self.late_failure: tuple[str, Exception] | None = None
        self._failed_writes: FailedWrites | None = None
        self.base: str | None = None

    # What the base class takes of several kinds; ``train`` gives it those of facekit.
    model: Any
    train_dataset: Any
    data_collator: Any
    processing_class: Any
    optimizer: torch.optim.Optimizer | None
    is_sharded = False

    def adapt_accelerator(self) -> None:
        """Fit accelerate's sharding to composed models; see ``prepare_sharding``."""
        self.is_fsdp_enabled = prepare_sharding(self.accelerator)
        plugin = self.accelerator.state.deepspeed_plugin
        self.is_sharded = self.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3)

    def set_modes(self) -> None:
        """Put what is frozen into evaluation mode; see ``set_evaluation_of_frozen``."""
        set_evaluation_of_frozen(self.accelerator.unwrap_model(self.model_wrapped))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Load batches as they come, or grouped by modality and length, or from shards."""
        workers = self.settings.workers
        workers = choose_workers(self.train_dataset, self.args.device) if workers is None else workers
        self.args.dataloader_num_workers = workers
        loader = self._make_loader(workers)
        if workers:
            leave_interrupts_alone(loader)
        return loader

    def _make_loader(self, workers: int) -> DataLoader[Any]:
        if isinstance(self.train_dataset, StreamedDataset):
            batch_size = self.args.per_device_train_batch_size
            return load_stream(self.train_dataset, self.data_collator, batch_size, self.args.device, workers)
        arguments, records = self.args, self.train_dataset.records
        has_weights = records.mixture is not None and records.mixture.weights is not None
        if not self.settings.group_batches and not has_weights:
            return super().get_train_dataloader()
        batch_size = arguments.per_device_train_batch_size
        dealt: dict[str, Any] = {
            "seed": self.settings.seed, "rank": arguments.process_index, "processes": arguments.world_size,
            "mixture": records.mixture,
        }  # fmt: skip
        if self.settings.group_batches:
            sampler = group_records(records.records, self.processing_class, batch_size, **dealt)
        else:
            sampler = GroupedBatchSampler([0] * len(records), [0] * len(records), batch_size, **dealt)
        self.add_callback(EpochNotifier(sampler))
        return load_groups(self.train_dataset, sampler, self.data_collator, arguments.device, workers)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Make the optimizer that the settings name; see ``build_optimizer``."""
        if self.optimizer is None:
            self.optimizer = build_optimizer(self.model if model is None else model, self.settings, self.args)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """Make the schedule that the settings name; only here it is known how many steps there are.

        Raises:
            ConfigurationError: Its options do not fit.
        """
        self.args.warmup_steps = int(self.settings.warmup * num_training_steps)
        try:
            return super().create_scheduler(num_training_steps, optimizer)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"schedule '{self.settings.schedule}' does not take schedule_options={self.settings.schedule_options}: "
                f"{first_line(error)}"
            ) from error

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Compute the loss of a batch; kept tokens enter at the connector, segments become a mask.

        Raises:
            TrainingError: It is not finite.
        """
        if self.is_sharded:
            check_lockstep(inputs)
        composed = self.accelerator.unwrap_model(model)
        set_evaluation_of_frozen(composed)
        indices = inputs.pop("example_indices")
        counts = inputs.pop("media_counts", None)
        if self.features is not None and "landmarks" in inputs:
            inputs["image_features"] = self.features.project(composed, indices, inputs.pop("landmarks"), counts)
        segments = self._complete(inputs, composed)
        with autocast_of_shards(self.accelerator):
            if self.settings.logits == "all":
                inputs["use_cache"] = False
                loss: Any = super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
            else:
                loss = self._labelled_loss(model, composed, inputs, segments, num_items_in_batch, indices)
        self.guard.watch(loss, indices, self.state.global_step)
        return (loss, None) if return_outputs else loss

    def _complete(self, inputs: dict[str, Any], composed: FaceKitForConditionalGeneration) -> Tensor | None:
        """Make the model's arguments of a batch; returns its segments, where it is packed."""
        if "landmarks" not in inputs and "image_features" not in inputs and self._needs_all_parts():
            side = self.processing_class.image_processor.image_size
            inputs["spare_pixels"] = torch.zeros(1, 1, 3, side, side, device=inputs["input_ids"].device)
        segments: Tensor | None = inputs.pop("segments", None)
        if segments is not None:
            text_config = composed.config.get_text_config()
            blocks = composed.image_blocks(inputs["input_ids"])
            packed = packed_inputs(segments, inputs["position_ids"], text_config, dtype=composed.dtype, blocks=blocks)
            inputs.update(packed)
        return segments

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log numbers; with a training loss, those of the sources of its records."""
        if "loss" in logs and self.source_losses is not None:
            logs = {**logs, **self.source_losses.take(self.accelerator.gather)}
        super().log(logs, start_time)

    def report(self, numbers: dict[str, float]) -> None:
        """Send numbers of a step to all reporters; what else is to be logged of it still is."""
        is_due = self.control.should_log
        self.log(numbers)
        self.control.should_log = is_due

    def hold_out(self, records: RecordSet) -> HeldOutRecords:
        """Make held-out records ready, once; raises ``RecordError`` where none of them can be used."""
        if self._held_out is None:
            self._held_out = HeldOutRecords(records, self.processing_class, self.train_dataset.options)
        return self._held_out

    def measure_loss(self, records: RecordSet) -> float:
        """Return the mean loss of held-out records, over all processes; the model's mode and random state stay.

        Raises:
            RecordError: None of them can be used.
        """
        wrapped: nn.Module = getattr(self, "model_wrapped", self.model)
        composed = self.accelerator.unwrap_model(wrapped)
        collator = replace(self.data_collator, with_indices=False)
        total = torch.zeros(2, dtype=torch.float64)
        place = (self.args.process_index, self.args.world_size)
        with undisturbed(composed), torch.no_grad(), autocast_of_shards(self.accelerator):
            for examples in self.hold_out(records).batches(self.args.per_device_train_batch_size, *place):
                inputs = {name: value.to(self.args.device) for name, value in collator(examples).items()}
                targets = find_targets(inputs.pop("labels"), inputs.get("segments"))
                self._complete(inputs, composed)
                losses = token_losses(wrapped, composed.get_output_embeddings(), inputs, targets)
                if self.settings.loss_average == "sample":
                    losses = average_samples(losses, targets)
                total += torch.tensor([float(losses.double().sum()), float(len(losses))], dtype=torch.float64)
        if place[1] > 1:
            gathered = self.accelerator.gather(total.to(self.args.device, torch.float32)[None])
            total = gathered.double().sum(dim=0).cpu()
        return float(total[0] / total[1])

    def _needs_all_parts(self) -> bool:
        """Whether a batch of text alone must reach the connector: other processes wait for it, or nothing else learns.

        Otherwise its weights have no gradient in that step, and stay as they are.
        """
        learns = any(part.startswith("language_model") for part in self.settings.parts)
        return self.args.world_size > 1 or not learns

    def _labelled_loss(
        self,
        model: nn.Module,
        composed: FaceKitForConditionalGeneration,
        inputs: dict[str, Any],
        segments: Tensor | None,
        items: Tensor | int | None,
        indices: Tensor,
    ) -> Tensor:
        targets, by_source = find_targets(inputs.pop("labels"), segments), self.source_losses
        loss = supervised_loss(
            model,
            composed.get_output_embeddings(),
            inputs,
            targets,
            average=self.settings.loss_average,
            items=items,
            fused=self.settings.fused_loss,
            observe=None if by_source is None else partial(by_source.add, targets=targets, indices=indices),
        )
        # Items are counted over all processes, and their gradients are averaged, not added.
        return loss * self.accelerator.num_processes if items is not None else loss

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """Collect the batches of a step, and count what their losses are divided by."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._seeing.sees_media = self._is_true_anywhere(any("landmarks" in batch for batch in batches))
        if self.settings.logits == "all" or not batches:
            return batches, items
        counts = [count_items(batch["labels"], batch.get("segments"), self.settings.loss_average) for batch in batches]
        total = torch.tensor(sum(counts), device=device)
        return batches, self.accelerator.gather(total).sum() if self.args.world_size > 1 else total

    def _is_true_anywhere(self, value: bool) -> bool:
        """Whether something is so in any process."""
        if self.args.world_size == 1:
            return value
        return bool(self.accelerator.gather(torch.tensor([value], device=self.args.device)).any())

    def save_model(self, output_dir: str | None = None, *arguments: Any, **options: Any) -> None:
        """Save all weights, or the trainable ones where the language model is frozen."""
        in_parts = saves_trained_only(self.settings) or is_native(self.accelerator.unwrap_model(self.model))
        if self.is_sharded or self.is_deepspeed_enabled or not in_parts:
            super().save_model(output_dir, *arguments, **options)
        elif self.args.should_save:
            composed = self.accelerator.unwrap_model(self.model)
            self.base = self.base or hash_base(composed)
            save_trained(composed, Path(str(output_dir or self.args.output_dir)), self.base)

    def read_weights(self, folder: Path, model: nn.Module, read: Callable[[], None]) -> None:
        """Load all weights of a checkpoint, or what learned."""
        if self.is_sharded or not holds_trained_only(folder):
            read()
            return
        composed = self.accelerator.unwrap_model(model)
        self.base = hash_base(composed)
        load_trained(composed, folder, self.base)

    def notify(self, callback: TrainerCallback, call: Callable[[], Any]) -> Any:
        """Call a callback; one that fails after the last step does not keep the state from being saved."""
        try:
            return call()
        except Exception as error:
            if not (self.control.should_training_stop or 0 < self.state.max_steps <= self.state.global_step):
                raise
            name = type(callback).__name__
            logger.error("%s failed after the last step (%s)", name, first_line(error))
            self.late_failure = self.late_failure or (name, error)

    def write_weights(self, write: Callable[[], None]) -> None:
        """Write the file of weights; in a checkpoint, what fails is looked at when all processes are done."""
        if self._failed_writes is None:
            write()
            return
        with self._failed_writes.keeping():
            write()

    def write_checkpoint(self, write: Callable[[], None]) -> None:
        """Save and seal a checkpoint; where that fails, delete what was written and go on, if there is more to do.

        All processes do the same: a write that fails in one of them has failed in all.

        Raises:
            CheckpointError: It was the third in a row to fail, or that of a run that is stopped. After the last step
                none is raised: the model itself needs less room, and is still to be saved.
            TrainingError: The loss or a weight is not finite, so the weights are not worth saving.
        """
        self.guard.check()
        self._require_finite()
        run_folder = Path(str(self.args.output_dir))
        folder = run_folder / f"checkpoint-{self.state.global_step}"
        if self.features is not None:
            self.features.flush()
        failed = self._failed_writes = FailedWrites()
        together = ending_saves_together(self.model_wrapped, failed.keeping)
        with failed.keeping(), together if self.is_deepspeed_enabled else nullcontext():
            write()
        self._failed_writes = None
        problem = first_problem(failed.problem)
        if problem is None:
            with failed.keeping():
                if self.args.should_save:
                    seal_checkpoint(folder)
            problem = first_problem(failed.problem)
        if problem is not None:
            self._clean_up(run_folder, folder, problem, failed.error)
            return
        self.failed_saves = 0
        if self.args.should_save:
            watched = self.loss_validation
            best = watched.best if watched is not None and watched.keep_best else None
            prune_checkpoints(run_folder, self.settings.keep_checkpoints, None if best is None else best.step)

    def _require_finite(self) -> None:
        """Raise ``TrainingError`` in all processes where numbers were lost in any of them."""
        problem = first_problem(self._find_lost_numbers())
        if problem is not None:
            raise TrainingError(
                f"{problem}, so nothing is saved; lower learning_rate or set gradient_clipping, and resume from the "
                "last checkpoint"
            )

    def _find_lost_numbers(self) -> str | None:
        step = self.state.global_step
        skipped: Any = self.model_wrapped.skipped_steps if self.is_deepspeed_enabled else 0
        if skipped:
            steps = counted(skipped, "step")
            return f"the gradients of {steps} up to step {step} were NaN or infinite, and DeepSpeed skipped them"
        name = find_not_finite(self.accelerator.unwrap_model(self.model_wrapped))
        return None if name is None else f"the weights '{name}' are NaN or infinite after step {step}"

    def _clean_up(self, run_folder: Path, folder: Path, problem: str, error: BaseException | None) -> None:
        if self.args.should_save:
            shutil.rmtree(folder, ignore_errors=True)
        wait_for_everyone()
        self.failed_saves += 1
        kept = find_checkpoint(run_folder)
        story = (
            f"{folder} could not be saved ({problem}); "
            + (f"{kept} is whole" if kept else "there is no earlier one")
            + "; make room on the disk"
        )
        is_at_end = self.state.global_step >= self.state.max_steps
        is_given_up = self.control.should_training_stop or self.failed_saves >= _MOST_FAILED_SAVES
        if is_given_up and not is_at_end:
            raise CheckpointError(f"{story} and resume") from error
        if self.args.should_save:
            logger.error("%s; %s", story, "the model is saved next" if is_at_end else "the training goes on")


def _split_by_source(dataset: Any, settings: TrainingSettings) -> SourceLosses | None:
    """What tells the losses of several sources apart, where the loss of every token is at hand."""
    if settings.logits == "all" or settings.fused_loss or settings.is_preference:
        return None
    if isinstance(dataset, MixedStreams):
        return SourceLosses(dataset.sources.names, dataset.find_sources, settings.loss_average)
    mixture = None if isinstance(dataset, StreamedDataset) else dataset.records.mixture
    if mixture is None:
        return None
    sources = torch.tensor(mixture.sources)
    return SourceLosses(mixture.names, lambda indices: sources.to(indices.device)[indices], settings.loss_average)
