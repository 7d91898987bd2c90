"""One call that trains a composed model on records, on the Hugging Face trainer.

Here a run is put together: data set, trainer, what watches it, and where it goes on from; each of these has a file of
its own beside this one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback, TrainerState, TrainingArguments
from transformers.utils import logging as transformers_logging

from facekit.data.attention import check_attention
from facekit.data.collation import FaceCollator
from facekit.data.dataset import DatasetOptions, FaceDataset, RecordSet
from facekit.errors import ConfigurationError, MissingExtraError, TrainingError
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.reports import ProgressListener
from facekit.training.loop.checkpoints import STATE_NAME, is_finished
from facekit.training.loop.distributed import (
    count_processes,
    count_processes_here,
    is_main_process,
    load_whole_weights,
    shards_weights,
    wait_for_everyone,
    whole_again,
)
from facekit.training.loop.face_trainer import FaceTrainer
from facekit.training.loop.identity import prepare_run
from facekit.training.loop.interruption import SaveOnSignal
from facekit.training.loop.prefix_attention import split_attention
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.records.corrupt import SKIPPED_NAME, SkippingDataset
from facekit.training.records.features import FeaturesOnDisk, encode_dataset
from facekit.training.records.streamed import StreamedDataset, open_dataset
from facekit.training.trainable.adapters import ADAPTER_FOLDER, Adapters, adapters_in_place
from facekit.training.trainable.float_types import trained_in_float32
from facekit.training.trainable.parts import TrainedPart, gradient_checkpointing, list_trained_parts, trainable_parts
from facekit.training.trainable.quantized import is_quantized, unpack
from facekit.training.trainable.trained_weights import holds_trained_only, load_trained
from facekit.training.watching.history import LossHistory, draw_loss
from facekit.training.watching.measuring import CostMeter
from facekit.training.watching.run_watcher import RunWatcher

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
        skipped: Why each record that could not be used was skipped, by index.
    """

    model_folder: Path
    history: LossHistory
    history_path: Path
    plot_path: Path
    steps: int
    resumed_from: int
    seconds: float
    samples_per_second: float
    skipped: dict[int, str]


def train(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    records: RecordSet | str | Path,
    output_dir: str | Path,
    settings: TrainingSettings,
    *,
    resume: bool = False,
    on_progress: ProgressListener | None = None,
    on_parts: Callable[[list[TrainedPart]], None] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingResult:
    """Train a model in place and save it.

    On SIGTERM a checkpoint is saved after the step that is going on, and then the signal does what it would have done.

    Args:
        model: The model; it is in evaluation mode afterwards.
        processor: Its processor.
        records: Records with conversations, the path of a records file, or that of a folder of WebDataset shards,
            which are read as the run goes on.
        output_dir: The model is saved here; checkpoints, ``losses.json`` and ``loss.png`` go to its folder
            ``training``, adapters to its folder ``adapter``.
        settings: What to do.
        resume: Go on from the newest whole checkpoint, if there is one.
        on_progress: Called with a ``TrainingProgress`` after every step.
        on_parts: Called with the table of what learns, before the first step.
        callbacks: Further callbacks for the trainer.

    Returns:
        Paths, losses and speed.

    Raises:
        ConfigurationError: Settings that do not fit the model, the data or the run to be resumed.
        RecordError: Records that cannot be trained on, or more of them than ``settings.skip_limit`` allows.
        TrainingError: The loss is no number, the memory does not suffice, or a signal ended the run.
        CheckpointError: Checkpoints cannot be saved, or the run to be resumed cannot be read.
        MissingExtraError: accelerate or matplotlib is not installed.
    """
    _require_extra()
    run_folder = Path(output_dir) / RUN_FOLDER
    dataset = open_dataset(records, processor, _dataset_options(settings), settings, run_folder / SKIPPED_NAME)
    source = dataset.records if isinstance(dataset, SkippingDataset) else dataset
    arguments = _trainer_arguments(run_folder, settings, len(source) if isinstance(source, RecordSet) else source.total)
    _check_settings(model, settings, arguments)
    _use_threads(settings.threads)
    meter, interruption = CostMeter(), SaveOnSignal()
    watcher = RunWatcher(dataset, run_folder / "losses.json", on_progress, meter)
    with (
        closing(meter),
        interruption.listening(),
        _without_progress_bars(),
        adapters_in_place(model, settings) as adapters,
    ):
        checkpoint = prepare_run(run_folder, settings, source, model, resume=resume)
        if checkpoint is None:
            dataset.skipped.forget()
        wait_for_everyone()
        listeners = [meter, watcher, *callbacks, interruption]
        with trainable_parts(model, settings.parts), _memory_explained(settings):
            if on_parts is not None:
                on_parts(list_trained_parts(model, settings))
            state = _run_trainer(model, processor, dataset, arguments, settings, checkpoint, listeners)
        is_cut = interruption.received and state.global_step < state.max_steps
        if not is_cut:
            _save(model, processor, Path(output_dir), adapters, is_writer=state.is_world_process_zero)
    wait_for_everyone()
    interruption.let_through()
    if is_cut:
        raise TrainingError(f"a signal ended the run after step {state.global_step}, which is saved; resume it")
    model.eval()
    history = LossHistory.from_log(state.log_history)
    history_path, plot_path = run_folder / "losses.json", run_folder / "loss.png"
    if is_main_process():
        history.write(history_path)
        draw_loss(history, plot_path)
    wait_for_everyone()
    return TrainingResult(
        model_folder=Path(output_dir),
        history=history,
        history_path=history_path,
        plot_path=plot_path,
        steps=state.global_step,
        resumed_from=state.global_step if watcher.first_step is None else watcher.first_step,
        seconds=watcher.seconds,
        samples_per_second=watcher.samples_per_second(state),
        skipped=dataset.skipped.reasons(),
    )


def _run_trainer(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    dataset: SkippingDataset | StreamedDataset,
    arguments: TrainingArguments,
    settings: TrainingSettings,
    checkpoint: Path | None,
    callbacks: list[TrainerCallback],
) -> TrainerState:
    if checkpoint is not None and is_finished(checkpoint):
        logger.info("%s is the end of its run; nothing is left to train", checkpoint)
        (load_trained if holds_trained_only(checkpoint) else load_whole_weights)(model, checkpoint)
        return TrainerState.load_from_json(str(checkpoint / STATE_NAME))
    tokens: Tensor | FeaturesOnDisk | None = None
    if isinstance(dataset, StreamedDataset):
        logger.info("%d samples in shards", dataset.total)
    elif settings.cache_features:
        tokens = _keep_tokens(model, dataset, arguments)
    elif settings.feature_cache is not None:
        tokens = FeaturesOnDisk(model, dataset, settings)
        dataset.drop_pixels()
    with whole_again(model) as trained:
        return _run_loop(trained, processor, dataset, arguments, settings, checkpoint, callbacks, tokens)


def _run_loop(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    dataset: SkippingDataset | StreamedDataset,
    arguments: TrainingArguments,
    settings: TrainingSettings,
    checkpoint: Path | None,
    callbacks: list[TrainerCallback],
    tokens: Tensor | FeaturesOnDisk | None,
) -> TrainerState:
    trainer = FaceTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=FaceCollator(
            processor.tokenizer.pad_token_id or 0, with_indices=True, row_tokens=settings.row_tokens
        ),
        processing_class=processor,
        callbacks=callbacks,
        settings=settings,
        record_ids=dataset.record_ids,
        encoder_tokens=tokens,
    )
    trainer.remove_callback(PrinterCallback)
    with ExitStack() as stack:
        if isinstance(tokens, FeaturesOnDisk):
            stack.callback(tokens.flush)
        stack.enter_context(trained_in_float32(model, settings))
        if settings.gradient_checkpointing:
            stack.enter_context(gradient_checkpointing(model, settings.parts))
        if settings.independent_turns or settings.row_tokens is not None:
            stack.enter_context(split_attention(model.language_model))
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.guard.check()
    return trainer.state


def _save(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    folder: Path,
    adapters: Adapters | None,
    *,
    is_writer: bool,
) -> None:
    if adapters is not None and is_writer:
        adapters.save(folder / ADAPTER_FOLDER)
    if is_quantized(model):
        unpack(model.language_model)
    if adapters is not None:
        adapters.merge()
    if is_writer:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)


def _trainer_arguments(folder: Path, settings: TrainingSettings, examples: int) -> TrainingArguments:
    examples_per_step = settings.batch_size * settings.accumulation * count_processes()
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
        seed=settings.seed,
        data_seed=settings.seed,
        remove_unused_columns=False,
        use_cpu=not torch.accelerator.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
        report_to=[],
    )


def _check_settings(
    model: FaceKitForConditionalGeneration, settings: TrainingSettings, arguments: TrainingArguments
) -> None:
    if settings.cache_features and arguments.world_size > 1:
        raise ConfigurationError("cache_features works in one process only; set it to false for distributed training")
    if settings.feature_cache is not None and shards_weights():
        raise ConfigurationError("feature_cache needs a whole connector in every process; leave it out, or use DDP")
    if arguments.n_gpu > 1:
        raise ConfigurationError(
            f"there are {arguments.n_gpu} GPUs but one process; start one process a GPU with torchrun, or choose a "
            "GPU with CUDA_VISIBLE_DEVICES"
        )
    if settings.fused_loss and arguments.device.type != "cuda":
        raise ConfigurationError("fused_loss needs a GPU; set it to false, the loss is the same")
    if settings.fused_loss and shards_weights():
        raise ConfigurationError("fused_loss needs the whole head in every process; set it to false, or use DDP")
    if shards_weights() and model.video_encoder is not None and not settings.group_batches:
        raise ConfigurationError(
            "sharded weights need all processes in the same encoder at every step; set group_batches to true"
        )
    if settings.independent_turns or settings.row_tokens is not None:
        check_attention(model.config.get_text_config())


def _dataset_options(settings: TrainingSettings) -> DatasetOptions:
    pictures = settings.cache_pictures
    if pictures is None and settings.feature_cache is not None:
        pictures = False
    return DatasetOptions(
        shuffle_turns=settings.shuffle_turns,
        independent_turns=settings.independent_turns,
        turns_per_example=settings.turns_per_example,
        landmark_noise=settings.landmark_noise,
        landmark_dropout=settings.landmark_dropout,
        max_tokens=settings.max_tokens,
        cache_pictures=pictures,
        seed=settings.seed,
    )


def _keep_tokens(model: FaceKitForConditionalGeneration, dataset: FaceDataset, arguments: TrainingArguments) -> Tensor:
    model.to(arguments.device)
    tokens = encode_dataset(model.encoder, dataset)
    dataset.drop_pixels()
    logger.info("kept the encoder's tokens of %d pictures, %.0f MiB", len(tokens), tokens.nbytes / 2**20)
    return tokens


@contextmanager
def _memory_explained(settings: TrainingSettings) -> Iterator[None]:
    """Say what to change where the accelerator's memory does not suffice."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        remedies = []
        if settings.batch_size > 1:
            half = settings.batch_size // 2
            remedies.append(f"set batch_size to {half} and accumulation to {2 * settings.accumulation}")
        if not settings.gradient_checkpointing:
            remedies.append("set gradient_checkpointing to true")
        if settings.precision == "float32":
            remedies.append("set precision to bfloat16")
        remedies.append(f"lower max_tokens (now {settings.max_tokens})")
        used = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
        story = f"the memory of the device does not suffice ({used:.1f} GiB were in use at the peak)"
        raise TrainingError(f"{story}; {', or '.join(remedies)}") from error


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
    torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) // count_processes_here()))


def _require_extra() -> None:
    for package in ("accelerate", "matplotlib"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(f"training needs {package}; pip install 'facekit-mllm[train]'") from error
