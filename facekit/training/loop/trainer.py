"""``train``: training of a composed model on records, in one call.

``TrainingRun`` in ``run.py`` holds the parts of a run; here it gets callbacks, adapters, and a result.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import TrainerCallback
from transformers.utils import logging as transformers_logging

from facekit.compat.torch import worker_errors_as_raised
from facekit.cores import count_usable_cores
from facekit.data.atomic import explained_writes, require_writable
from facekit.data.dataset import RecordSet
from facekit.data.mixing import DataSource, ShardSources, join_sources
from facekit.data.shortened import ShortenedRecord
from facekit.data.skipping import SkippedRecord
from facekit.errors import ConfigurationError, MissingExtraError, TrainingError, TrainingInterrupted, first_line
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.reports import ProgressListener
from facekit.training.loop.checkpoints import find_checkpoint
from facekit.training.loop.distributed import (
    count_processes_here,
    is_main_process,
    lost_process_explained,
    wait_for_everyone,
)
from facekit.training.loop.identity import refuse_foreign_model
from facekit.training.loop.interruption import SaveOnSignal
from facekit.training.loop.run import RUN_FOLDER, TrainingRun
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.trainable.adapters import adapters_in_place
from facekit.training.trainable.parts import TrainedPart, list_trained_parts, trainable_parts
from facekit.training.watching.history import LossHistory, draw_loss
from facekit.training.watching.measuring import CostMeter
from facekit.training.watching.run_watcher import RunWatcher
from facekit.training.watching.validation_loss import LossValidation

__all__ = ["RUN_FOLDER", "TrainingResult", "train"]


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training run.

    Args:
        model_folder: Where the trained model and its processor are; ``facekit.load`` reads it.
        history: The losses.
        history_path: The same as JSON.
        plot_path: The same as a picture.
        steps: Optimiser steps of the whole run.
        resumed_from: The step that this call went on from; 0 for a fresh start.
        seconds: Time that this call spent in training steps; encoding pictures beforehand is not among it.
        samples_per_second: Examples per second of those steps.
        skipped: Why each record that could not be used was skipped, by index among the entries of its file.
        skipped_records: The same with their ids, and samples without an index among them.
        shortened_records: Records of which some questions are left out, and why.
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
    skipped_records: tuple[SkippedRecord, ...] = ()
    shortened_records: tuple[ShortenedRecord, ...] = ()


@lost_process_explained()
@worker_errors_as_raised()
def train(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    records: RecordSet | str | Path | ShardSources | Sequence[DataSource],
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
    On Ctrl-C a checkpoint is saved after that step, too; a second Ctrl-C does not wait for it.

    Args:
        model: The model; it is in evaluation mode afterwards.
        processor: Its processor.
        records: Records with conversations, the path of a records file, or that of a folder of WebDataset shards,
            which are read as the run goes on; or several as ``DataSource``, each with its weight: all files, or all
            shards.
        output_dir: The model is saved here; checkpoints, ``losses.json`` and ``loss.png`` go to its folder
            ``training``, adapters to its folder ``adapter``.
        settings: What to do.
        resume: Go on from the newest whole checkpoint, if there is one.
        on_progress: Called with a ``TrainingProgress`` after every step; and before the first, where checking the
            records takes more than a second, with a ``Progress`` of the stage ``check records``.
        on_parts: Called with the table of trainable parts, before the first step.
        callbacks: Further callbacks for the trainer.

    Returns:
        Paths, losses and speed.

    Raises:
        ConfigurationError: Settings that do not fit the model, the data or the run to be resumed; or the output folder
            holds a model that was not trained there.
        RecordError: Records that cannot be trained on, or more of them than ``settings.skip_limit`` allows.
        TrainingError: The loss is NaN or infinite, the memory does not suffice, a signal ended the run, or another
            process of it has ended; or a callback failed after the last step, and the model is saved.
        CheckpointError: Checkpoints or the model cannot be saved, or the run to be resumed cannot be read.
        OutputError: The folder cannot be written to.
        TrainingInterrupted: Ctrl-C ended the run; the message says what is saved. It is a ``KeyboardInterrupt``.
        MissingExtraError: accelerate or matplotlib is not installed.
    """
    _require_extra()
    require_writable(output_dir)
    refuse_foreign_model(Path(output_dir), Path(output_dir) / RUN_FOLDER)
    _require_loss(settings, callbacks)
    run = TrainingRun.open(model, processor, join_sources(records), Path(output_dir), settings)
    _use_threads(settings.threads)
    meter, interruption = CostMeter(), SaveOnSignal()
    watcher = RunWatcher(run.dataset, run.folder / "losses.json", on_progress, meter)
    with (
        _interruption_explained(run),
        closing(meter),
        interruption.listening(),
        _without_progress_bars(),
        adapters_in_place(model, settings) as adapters,
    ):
        run.find_start(resume=resume)
        wait_for_everyone()
        run.check_records(on_progress)
        with trainable_parts(model, settings.parts), _memory_explained(settings):
            if on_parts is not None:
                on_parts(list_trained_parts(model, settings))
            state = run.train([meter, watcher, *callbacks, interruption])
        is_cut = interruption.has_stopped and state.global_step < state.max_steps
        if not is_cut:
            run.save(adapters)
        elif interruption.received == signal.SIGINT:
            raise KeyboardInterrupt
    interruption.agree()
    interruption.let_through()
    if is_cut:
        raise TrainingError(f"a signal ended the run after step {state.global_step}, which is saved; resume it")
    model.eval()
    history = LossHistory.from_log(state.log_history)
    history_path, plot_path = run.folder / "losses.json", run.folder / "loss.png"
    if is_main_process():
        saved = f"the model is saved in {run.output_dir}, but its losses cannot be written"
        with explained_writes(saved, "make room on the disk and resume"):
            history.write(history_path)
            draw_loss(history, plot_path)
    wait_for_everyone()
    if interruption.received == signal.SIGINT:
        saved = f"interrupted after the last step; the model is saved in {run.output_dir}"
        raise TrainingInterrupted(saved, "nothing is left to train of it")
    if run.late_failure is not None:
        name, error = run.late_failure
        raise TrainingError(
            f"the model is saved in {run.output_dir}, but {name} failed after the last step ({first_line(error)})"
        ) from error
    return TrainingResult(
        model_folder=run.output_dir,
        history=history,
        history_path=history_path,
        plot_path=plot_path,
        steps=state.global_step,
        resumed_from=state.global_step if watcher.first_step is None else watcher.first_step,
        seconds=watcher.seconds,
        samples_per_second=watcher.samples_per_second(state),
        skipped=run.dataset.skipped.reasons(),
        skipped_records=tuple(run.dataset.skipped.entries()),
        shortened_records=run.shortened_records,
    )


@contextmanager
def _interruption_explained(run: TrainingRun) -> Iterator[None]:
    """Say what is kept of a run that Ctrl-C ended, and how it goes on."""
    try:
        yield
    except KeyboardInterrupt as error:
        last = find_checkpoint(run.folder)
        if last is None:
            raise TrainingInterrupted("interrupted before anything was saved", "start again") from error
        raise TrainingInterrupted(f"interrupted; {last} is saved", "resume=True goes on from there") from error


@contextmanager
def _memory_explained(settings: TrainingSettings) -> Iterator[None]:
    """Say what to change where the accelerator's memory does not suffice."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        remedies = []
        if settings.batch_size > 1:
            half = settings.batch_size // 2
            times = -(-settings.batch_size // half)
            remedies.append(f"set batch_size to {half} and accumulation to {times * settings.accumulation}")
        if not settings.gradient_checkpointing:
            remedies.append("set gradient_checkpointing to true")
        if settings.precision == "float32":
            remedies.append("set precision to bfloat16")
        remedies.append(
            "set max_tokens" if settings.max_tokens is None else f"lower max_tokens ({settings.max_tokens})"
        )
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


def _require_loss(settings: TrainingSettings, callbacks: Sequence[TrainerCallback]) -> None:
    """Refuse to watch a loss that is not learned from."""
    if settings.is_preference and any(isinstance(each, LossValidation) for each in callbacks):
        raise ConfigurationError(
            "LossValidation computes the loss of the records' own answers, which grpo and dpo do not learn; leave it "
            "out, and measure tasks by PeriodicValidation"
        )


def _use_threads(threads: int | None) -> None:
    if threads is None and os.environ.get("OMP_NUM_THREADS"):
        return
    torch.set_num_threads(threads or max(1, count_usable_cores() // count_processes_here()))


def _require_extra() -> None:
    for package in ("accelerate", "matplotlib"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(f"training needs {package}; pip install 'facekit-mllm[train]'") from error
