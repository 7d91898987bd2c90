"""One call that trains a composed model on records, on the Hugging Face trainer.

What facekit adds to the trainer is here: parts by name, rates by part, kept encoder tokens, the loss history, and
resuming from the newest whole checkpoint.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import logging as transformers_logging

from facekit.data.collation import FaceCollator
from facekit.data.dataset import DatasetOptions, FaceDataset, RecordSet
from facekit.errors import ConfigurationError, MissingExtraError
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.training.checkpoints import is_finished, prepare_run
from facekit.training.features import encode_dataset
from facekit.training.history import LossHistory, draw_loss
from facekit.training.parts import parameter_groups, trainable_parts
from facekit.training.progress import ProgressListener, TrainingProgress
from facekit.training.settings import TrainingSettings

logger = logging.getLogger(__name__)

RUN_FOLDER = "training"
_CHECKPOINTS_PER_RUN = 10
_LOG_ENTRIES_PER_RUN = 200


@dataclass(frozen=True)
class TrainingResult:
    """What a run leaves behind.

    Args:
        model_folder: Where the trained model and its processor are; ``facekit.load`` reads it.
        history: The losses.
        history_path: The same as JSON.
        plot_path: The same as a picture.
        steps: Optimiser steps of the whole run.
        resumed_from: The step that this call went on from; 0 for a fresh start.
        seconds: Time that this call spent in training steps; encoding pictures beforehand is not among it.
        samples_per_second: Examples per second of those steps.
    """

    model_folder: Path
    history: LossHistory
    history_path: Path
    plot_path: Path
    steps: int
    resumed_from: int
    seconds: float
    samples_per_second: float


def train(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    records: RecordSet | str | Path,
    output_dir: str | Path,
    settings: TrainingSettings,
    *,
    resume: bool = False,
    on_progress: ProgressListener | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingResult:
    """Train a model in place and save it.

    Args:
        model: The model; it is in evaluation mode afterwards.
        processor: Its processor.
        records: Records with conversations, or the path of a records file.
        output_dir: The model is saved here; checkpoints, ``losses.json`` and ``loss.png`` go to its folder
            ``training``.
        settings: What to do.
        resume: Go on from the newest whole checkpoint, if there is one.
        on_progress: Called after every step.
        callbacks: Further callbacks for the trainer.

    Returns:
        Paths, losses and speed.

    Raises:
        ConfigurationError: Settings that do not fit the model, the data or the run to be resumed.
        RecordError: Records that cannot be trained on.
        MissingExtraError: accelerate or matplotlib is not installed.
    """
    _require_extra()
    record_set = RecordSet.of(records)
    run_folder = Path(output_dir) / RUN_FOLDER
    arguments = _trainer_arguments(run_folder, settings, len(record_set))
    if settings.cache_features and arguments.world_size > 1:
        raise ConfigurationError("cache_features works in one process only; set it to false for distributed training")
    _check_attention(model, settings)
    dataset = FaceDataset(record_set, processor, _dataset_options(settings))
    checkpoint = prepare_run(run_folder, settings, resume=resume)
    _use_threads(settings.threads)
    watcher = _Watcher(dataset, run_folder / "losses.json", on_progress)
    with trainable_parts(model, settings.parts), _without_progress_bars():
        if checkpoint is not None and is_finished(checkpoint):
            logger.info("%s is the end of its run; nothing is left to train", checkpoint)
            load_model(model, checkpoint / "model.safetensors")
            state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
            watcher.first_step = state.global_step
        else:
            state = _run_trainer(model, processor, dataset, arguments, settings, checkpoint, [watcher, *callbacks])
        if state.is_world_process_zero:
            model.save_pretrained(output_dir)
            processor.save_pretrained(output_dir)
    model.eval()
    history = LossHistory.from_log(state.log_history)
    return TrainingResult(
        model_folder=Path(output_dir),
        history=history,
        history_path=history.write(run_folder / "losses.json"),
        plot_path=draw_loss(history, run_folder / "loss.png"),
        steps=state.global_step,
        resumed_from=watcher.first_step,
        seconds=watcher.seconds,
        samples_per_second=watcher.samples_per_second(state),
    )


class FaceTrainer(Trainer):
    """The Hugging Face trainer with rates by part, a frozen encoder kept in evaluation mode, and kept tokens.

    Args:
        settings: The run's settings.
        encoder_tokens: ``(records, T, P + N, C)`` by record, in place of pixels in the batches.
        **options: See ``transformers.Trainer``.
    """

    def __init__(self, *, settings: TrainingSettings, encoder_tokens: Tensor | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.settings = settings
        self.encoder_tokens = encoder_tokens

    optimizer: torch.optim.Optimizer | None

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Make AdamW with one group per rate and decay."""
        if self.optimizer is None:
            groups = parameter_groups(self.model if model is None else model, self.settings)
            self.optimizer = torch.optim.AdamW(groups, betas=self.settings.betas, eps=1e-8, fused=True)
        return self.optimizer

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Compute the loss; kept tokens enter at the connector."""
        composed = self.accelerator.unwrap_model(model)
        if "encoder" not in self.settings.parts:
            composed.encoder.eval()
        indices = inputs.pop("example_indices", None)
        if self.encoder_tokens is not None and indices is not None:
            tokens = self.encoder_tokens[indices.cpu()].to(indices.device)
            inputs["image_features"] = composed.connector(tokens, composed.encoder.grid, inputs.pop("landmarks"))
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)


class _Watcher(TrainerCallback):
    """Tells the data set its epoch, reports progress, and writes the history as the run goes on."""

    def __init__(self, dataset: FaceDataset, history_path: Path, listener: ProgressListener | None) -> None:
        self.dataset = dataset
        self.history_path = history_path
        self.listener = listener
        self.first_step = 0
        self.seconds = 0.0
        self._started = 0.0
        self._examples_per_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.first_step = state.global_step
        self._started = time.perf_counter()
        self._examples_per_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.dataset.set_epoch(int(state.epoch or 0))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.seconds = time.perf_counter() - self._started
        if self.listener is None or not state.is_world_process_zero:
            return
        done = state.global_step - self.first_step
        losses = [entry["loss"] for entry in state.log_history[-1:] if "loss" in entry]
        left = self.seconds / done * (state.max_steps - state.global_step) if done else None
        loss = losses[-1] if losses else None
        self.listener(TrainingProgress(state.global_step, state.max_steps, loss, self.samples_per_second(state), left))

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            LossHistory.from_log(state.log_history).write(self.history_path)

    def samples_per_second(self, state: TrainerState) -> float:
        done = (state.global_step - self.first_step) * self._examples_per_step
        return done / self.seconds if self.seconds else 0.0


def _run_trainer(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    dataset: FaceDataset,
    arguments: TrainingArguments,
    settings: TrainingSettings,
    checkpoint: Path | None,
    callbacks: list[TrainerCallback],
) -> TrainerState:
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    tokens = _keep_tokens(model, dataset, arguments) if settings.cache_features else None
    trainer = FaceTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=FaceCollator(processor.tokenizer.pad_token_id or 0, with_indices=tokens is not None),
        processing_class=processor,
        callbacks=callbacks,
        settings=settings,
        encoder_tokens=tokens,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return trainer.state


def _trainer_arguments(folder: Path, settings: TrainingSettings, examples: int) -> TrainingArguments:
    examples_per_step = settings.batch_size * settings.accumulation
    steps = settings.steps or max(1, round((settings.epochs or 0) * examples / examples_per_step))
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=settings.steps or -1,
        num_train_epochs=settings.epochs or 1.0,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(settings.warmup * steps),
        max_grad_norm=settings.gradient_clipping,
        bf16=settings.precision == "bfloat16",
        logging_steps=settings.log_every or max(1, steps // _LOG_ENTRIES_PER_RUN),
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=settings.save_every or max(1, steps // _CHECKPOINTS_PER_RUN),
        save_total_limit=settings.keep_checkpoints,
        seed=settings.seed,
        data_seed=settings.seed,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
        report_to=[],
    )


def _check_attention(model: FaceKitForConditionalGeneration, settings: TrainingSettings) -> None:
    kind = model.language_model.config._attn_implementation
    if settings.independent_turns and kind != "sdpa":
        raise ConfigurationError(
            f"independent_turns needs attention of the kind 'sdpa', but the language model uses '{kind}'; "
            "load it with attn_implementation='sdpa', or set independent_turns to false"
        )


def _dataset_options(settings: TrainingSettings) -> DatasetOptions:
    return DatasetOptions(
        shuffle_turns=settings.shuffle_turns,
        independent_turns=settings.independent_turns,
        turns_per_example=settings.turns_per_example,
        landmark_noise=settings.landmark_noise,
        landmark_dropout=settings.landmark_dropout,
        max_tokens=settings.max_tokens,
        cache_pictures=settings.cache_pictures,
        seed=settings.seed,
    )


def _keep_tokens(model: FaceKitForConditionalGeneration, dataset: FaceDataset, arguments: TrainingArguments) -> Tensor:
    model.to(arguments.device)
    tokens = encode_dataset(model.encoder, dataset)
    dataset.drop_pixels()
    logger.info("kept the encoder's tokens of %d pictures, %.0f MiB", len(tokens), tokens.nbytes / 2**20)
    return tokens


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for every checkpoint that it writes."""
    were_shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if were_shown:
            transformers_logging.enable_progress_bar()


def _use_threads(threads: int | None) -> None:
    if threads is None and os.environ.get("OMP_NUM_THREADS"):
        return
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))


def _require_extra() -> None:
    for package in ("accelerate", "matplotlib"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(f"training needs {package}; pip install 'facekit-mllm[train]'") from error
