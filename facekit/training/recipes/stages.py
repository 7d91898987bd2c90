"""Running a recipe: its stages in order, each starting from the previous checkpoint.

A stage is one call of ``train`` with its starting model, its validation, and the page, model card and report that it
leaves.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback, is_tensorboard_available

from facekit.data.atomic import require_writable
from facekit.data.counting import RecordCounts
from facekit.data.dataset import RecordSet
from facekit.data.identity import RunIdentity, describe_records
from facekit.data.mixing import DataSource, ShardSources, join_sources
from facekit.data.mixture import SourceShare
from facekit.errors import ConfigurationError, RecordError, TrainingError
from facekit.models.create import create
from facekit.models.memory import MemoryEstimate, ModelShape
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.native.processing import NativeProcessor
from facekit.models.processing import FaceKitProcessor
from facekit.models.source import ModelSource
from facekit.models.starting import start_from_checkpoint
from facekit.reports import ProgressListener
from facekit.training.loop.arguments import check_landmarks
from facekit.training.loop.distributed import is_main_process
from facekit.training.loop.identity import IDENTITY_NAME, refuse_foreign_model
from facekit.training.loop.trainer import RUN_FOLDER, TrainingResult, train
from facekit.training.recipes.recipe import OPENING, ModelChoice, Recipe, Stage
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.records.streamed import iterate_source, open_source
from facekit.training.trainable.adapters import adapters_in_place
from facekit.training.trainable.parts import TrainedPart, list_trained_parts, trainable_parts
from facekit.training.watching.measuring import CostMeter
from facekit.training.watching.memory_estimate import (
    device_capacity,
    estimate_memory,
    explain_memory,
    is_out_of_memory,
)
from facekit.training.watching.model_card import write_model_card
from facekit.training.watching.progress import TrainingProgress
from facekit.training.watching.run_report import StageReport, differences_to_ended, find_base_models, find_origins
from facekit.training.watching.summary import write_summary
from facekit.training.watching.validation import VALIDATION_NAME, MetricFunction, PeriodicValidation, ValidationPoint
from facekit.training.watching.validation_loss import LOSS_NAME, LossValidation

logger = logging.getLogger(__name__)

RECIPE_NAME = "recipe.yaml"

Composed = tuple[FaceKitForConditionalGeneration, FaceKitProcessor]


@dataclass(frozen=True)
class StagePlan:
    """The plan of a stage.

    Args:
        stage: The stage.
        folder: Where its model goes.
        start: What it starts from, in words.
        parts: The table of trainable parts.
        estimate: The memory that it is estimated to need.
    """

    stage: Stage
    folder: Path
    start: str
    parts: tuple[TrainedPart, ...]
    estimate: MemoryEstimate


@dataclass(frozen=True)
class StageResult:
    """The result of a stage.

    Args:
        stage: Its name.
        training: Model folder, losses and speed.
        report: What it was and did.
        summary: The page.
        card: The model card; None where there was another ``README.md``.
    """

    stage: str
    training: TrainingResult
    report: StageReport
    summary: Path
    card: Path | None


@dataclass(frozen=True)
class Listeners:
    """Callbacks of a recipe run.

    Args:
        on_plan: Called before every stage.
        on_progress: Deprecated: given a stage's name, returns what is called after each of its steps. Pass
            ``run_recipe`` an ``on_progress`` of its own.
        on_point: Called after every validation.
        metrics: Computes the metrics that ``validation.tasks`` asks for; training itself knows none.
        check_tasks: Called before anything is loaded with the records of each stage that metrics are computed on, and
            its tasks; raises where ``metrics`` would.
        callbacks: Further callbacks for the trainer.
    """

    on_plan: Callable[[StagePlan], None] = lambda plan: None
    on_progress: Callable[[str], ProgressListener | None] | None = None
    on_point: Callable[[ValidationPoint], None] = lambda point: None
    metrics: MetricFunction | None = None
    check_tasks: Callable[[RecordSet, Sequence[str]], None] = lambda records, tasks: None
    callbacks: Sequence[TrainerCallback] = field(default=())


def run_recipe(
    recipe: Recipe,
    *,
    resume: bool = False,
    on_progress: ProgressListener | None = None,
    listeners: Listeners | None = None,
) -> list[StageResult]:
    """Train a recipe's chosen stages one after the other.

    A stage starts from what the one before left under ``output``, in this run or an earlier one.

    Args:
        recipe: What to do.
        resume: Go on with a stage that was begun, and pass over those that have ended.
        on_progress: Called with a ``TrainingProgress`` after every step; its ``stage`` is the recipe's.
        listeners: Further callbacks.

    Returns:
        What each stage that ran leaves behind.

    Raises:
        ConfigurationError: The stage before the first chosen one has left no model, an output folder holds a model
            that was not trained there, or see ``train``.
        RecordError: A records file cannot be read, or see ``train``.
        TrainingError: The memory does not suffice, with an estimate of what is needed; or see ``train``.
        CheckpointError: What a stage starts from cannot be loaded, or see ``train``.
        OutputError: A folder cannot be written to.
        TrainingInterrupted: See ``train``.
    """
    listeners = _with_progress(listeners or Listeners(), on_progress)
    stages = recipe.chosen_stages()
    if resume:
        stages = tuple(stage for stage in stages if not _has_ended(recipe, stage))
    for stage in stages:
        _check_metrics(stage, listeners)
        _open_records(stage)
        if stage.validation is not None:
            held_out = RecordSet.read(stage.validation.records)
            measured = held_out.select(range(min(stage.validation.metric_faces, len(held_out))))
            listeners.check_tasks(measured, stage.validation.tasks)
    if stages:
        _check_start(recipe, stages[0])
    require_writable(recipe.output)
    for stage in stages:
        folder = recipe.folder_of(stage.name)
        refuse_foreign_model(folder, folder / RUN_FOLDER)
    if is_main_process():
        recipe.write(recipe.output / RECIPE_NAME)
    return [_run_stage(recipe, stage, resume, listeners) for stage in stages]


def _with_progress(listeners: Listeners, on_progress: ProgressListener | None) -> Listeners:
    """Listeners that hear of every stage's steps by way of one callback."""
    if listeners.on_progress is not None:
        warnings.warn(
            "Listeners.on_progress is deprecated; pass run_recipe(on_progress=...) a callback of one "
            "facekit.reports.Progress, whose stage is the recipe's",
            DeprecationWarning,
            stacklevel=3,
        )
        return listeners
    return replace(listeners, on_progress=lambda stage: _of_stage(on_progress, stage))


def _of_stage(listener: ProgressListener | None, stage: str) -> ProgressListener | None:
    """A listener that knows the steps of a stage by its name, and what comes before them by both names."""
    if listener is None:
        return None

    def call(state: Any) -> None:
        name = stage if isinstance(state, TrainingProgress) else f"{stage}: {state.stage}"
        listener(replace(state, stage=name))

    return call


def plan_recipe(recipe: Recipe) -> list[StagePlan]:
    """Say what a recipe's chosen stages would train and need, without training; the model is loaded for it."""
    stages = recipe.chosen_stages()
    _check_start(recipe, stages[0])
    model, _ = _open_start(recipe, stages[0])
    plans = []
    for stage in stages:
        check_landmarks(model, stage.settings)
        with adapters_in_place(model, stage.settings), trainable_parts(model, stage.settings.parts):
            plans.append(_plan(recipe, stage, ModelShape.of(model), list_trained_parts(model, stage.settings)))
    return plans


def open_model(choice: ModelChoice, seed: int = 0) -> Composed:
    """Load or compose the model that a recipe names.

    Args:
        choice: The recipe's ``model``.
        seed: Decides new weights where the choice has no seed.

    Raises:
        CheckpointError, ConfigurationError, UnknownPartError, InvalidSpecError: See ``facekit.load`` and
            ``facekit.create``.
    """
    seed = seed if choice.seed is None else choice.seed
    if choice.load is None:
        return create(**choice.model_dump(exclude={"load", "seed", *OPENING}), seed=seed)
    if choice.connector is None:
        model, processor = _source(choice).load()
        if choice.image_size is not None:
            _set_size(processor, choice)
        if choice.landmarker is not None:
            processor.image_processor.landmarker = choice.landmarker
        return model, processor
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # alone: torch.manual_seed would seed accelerators, too
        model, processor = start_from_checkpoint(_source(choice), choice.connector, choice.landmarker)
    if choice.image_size is not None:
        _set_size(processor, choice)
    return model, processor


def _set_size(processor: FaceKitProcessor, choice: ModelChoice) -> None:
    if not isinstance(processor, NativeProcessor):
        raise ConfigurationError(
            f"model.image_size is for a base in its own class (load=hf:…), but the encoder of '{choice.load}' takes "
            f"{processor.image_processor.image_size} px; leave it out"
        )
    assert choice.image_size is not None
    processor.image_processor.image_size = choice.image_size


def _source(choice: ModelChoice) -> ModelSource:
    """The checkpoint that a recipe names; the trainer moves the model to its device."""
    assert choice.load is not None
    return ModelSource(
        choice.load, device=choice.device or "cpu", dtype=choice.dtype, load_in=choice.load_in,
        tokenizer=choice.tokenizer, tower_root=choice.tower_root, revision=choice.revision,
    )  # fmt: skip


def _has_ended(recipe: Recipe, stage: Stage) -> bool:
    folder = recipe.folder_of(stage.name) / RUN_FOLDER
    if differences_to_ended(folder, stage.settings) != [] or _has_other_records(folder, stage):
        return False
    logger.info("stage '%s' has ended already", stage.name)
    return True


def _has_other_records(folder: Path, stage: Stage) -> bool:
    """Whether a stage that has ended learned from other records than those that are there now, if there are any."""
    if not (folder / IDENTITY_NAME).is_file():
        return False
    try:
        records = _open_records(stage)
    except RecordError:
        return False
    if not isinstance(records, RecordSet):
        return False
    return bool(RunIdentity.read(folder / IDENTITY_NAME).facts.get("records") != describe_records(records))


class _StageMeter(CostMeter):
    """Measures a stage without its validation. The run has a meter, too, and the trainer wants one callback a class."""


def _check_metrics(stage: Stage, listeners: Listeners) -> None:
    if stage.validation is not None and stage.validation.tasks and listeners.metrics is None:
        raise ConfigurationError(
            f"stage '{stage.name}' asks for metrics of {', '.join(stage.validation.tasks)}, but nothing was passed in "
            "that computes them (Listeners.metrics); set validation.tasks=[]"
        )


def _check_start(recipe: Recipe, stage: Stage) -> None:
    """Make sure that what a stage starts from is there, before anything is loaded."""
    before = recipe.stage_before(stage.name)
    if stage.start is not None or before is None:
        return
    folder = recipe.folder_of(before)
    if not (folder / "config.json").is_file():
        raise ConfigurationError(
            f"stage '{stage.name}' begins where '{before}' ended, but {folder} holds no model; train that stage first "
            f"(stage={before}), or name another model with start=FOLDER"
        )


def _start_of(recipe: Recipe, stage: Stage) -> str:
    before = recipe.stage_before(stage.name)
    if stage.start is not None:
        return str(stage.start)
    if before is not None:
        return str(recipe.folder_of(before))
    choice = recipe.model
    parts = {"encoder": choice.encoder, "connector": choice.connector, "backbone": choice.backbone}
    named = ", ".join(f"{kind} {spec}" for kind, spec in parts.items() if spec is not None)
    base = choice.load or (f"the preset {choice.preset}" if choice.preset else "")
    if choice.checkpoint:
        base += f" at {choice.checkpoint}"
    return " with ".join(words for words in (base, named) if words)


def _open_start(recipe: Recipe, stage: Stage) -> Composed:
    before = recipe.stage_before(stage.name)
    folder = recipe.folder_of(before) if stage.start is None and before is not None else stage.start
    if folder is not None:
        return ModelSource(folder, device="cpu", dtype=recipe.model.dtype, load_in=recipe.model.load_in).load()
    return open_model(recipe.model, recipe.stages[0].settings.seed)


def _plan(recipe: Recipe, stage: Stage, shape: ModelShape, parts: Sequence[TrainedPart]) -> StagePlan:
    estimate = estimate_memory(shape, stage.settings)
    return StagePlan(stage, recipe.folder_of(stage.name), _start_of(recipe, stage), tuple(parts), estimate)


def _run_stage(recipe: Recipe, stage: Stage, resume: bool, listeners: Listeners) -> StageResult:
    folder, settings = recipe.folder_of(stage.name), stage.settings
    model, processor = _open_start(recipe, stage)
    base_models = find_base_models(model, recipe.model.load, recipe.model.checkpoint)
    plans: list[StagePlan] = []
    shapes: list[ModelShape] = []

    def plan(parts: list[TrainedPart]) -> None:
        shapes.append(ModelShape.of(model))
        plans.append(_plan(recipe, stage, shapes[0], parts))
        if is_main_process():
            listeners.on_plan(plans[0])

    validation = _validate(stage, processor, folder, listeners)
    losses = _watch_loss(stage, folder)
    watching = [each for each in (validation, losses) if each is not None]
    meter = _StageMeter(pauses=lambda: sum(each.seconds for each in watching))
    records = _open_records(stage)
    try:
        with _memory_explained(shapes, settings):
            result = train(
                model,
                processor,
                records,
                folder,
                settings,
                resume=resume,
                on_progress=None if listeners.on_progress is None else listeners.on_progress(stage.name),
                on_parts=plan,
                callbacks=[*watching, meter, *_reporters(settings), *listeners.callbacks],
            )
    finally:
        meter.close()
    counts = RecordCounts()
    for record in iterate_source(records):
        counts.add(record)
    counts.records += len(records.broken) if isinstance(records, RecordSet) else 0
    report = StageReport(
        recipe=recipe.name,
        summary=recipe.summary,
        stage=stage.name if len(recipe.stages) > 1 else recipe.name,
        start=_start_of(recipe, stage),
        settings=settings,
        origins=find_origins(model),
        parts=plans[0].parts,
        records=stage.data_name,
        sources=_find_shares(records, result),
        counts=counts,
        skipped=len(result.skipped_records),
        skipped_records=result.skipped_records,
        shortened_records=result.shortened_records,
        history=result.history,
        steps=result.steps,
        resumed_from=result.resumed_from,
        cost=meter.cost(),
        estimate=plans[0].estimate,
        points=() if validation is None else tuple(validation.points),
        base_models=base_models,
        validation_losses=() if losses is None else tuple(losses.points),
    )
    return _leave(stage, folder, result, report, validation)


def _open_records(stage: Stage) -> RecordSet | Path | ShardSources:
    if stage.records is not None:
        return open_source(stage.records)
    return join_sources([DataSource(each.records, each.weight, each.name) for each in stage.data])


def _find_shares(records: RecordSet | Path | ShardSources, result: TrainingResult) -> tuple[SourceShare, ...]:
    """What each of several files, of the records that could be used, or sets of shards gives an epoch."""
    if isinstance(records, ShardSources):
        return tuple(records.shares())
    if isinstance(records, Path) or records.mixture is None:
        return ()
    usable = [index for index, entry in enumerate(records.entry_indices) if entry not in result.skipped]
    return tuple(records.mixture.select(usable).shares())


def _leave(
    stage: Stage, folder: Path, result: TrainingResult, report: StageReport, validation: PeriodicValidation | None
) -> StageResult:
    run_folder = folder / RUN_FOLDER
    summary, card = run_folder / "summary.html", None
    if is_main_process():
        shown = None if validation is None else validation.shown
        summary = write_summary(run_folder, report, shown)
        card = write_model_card(folder, report)
        report.write(run_folder)
    return StageResult(stage.name, result, report, summary, card)


def _validate(
    stage: Stage, processor: FaceKitProcessor, folder: Path, listeners: Listeners
) -> PeriodicValidation | None:
    choice = stage.validation
    if choice is None:
        return None
    return PeriodicValidation(
        processor,
        RecordSet.read(choice.records),
        folder / RUN_FOLDER / VALIDATION_NAME,
        every=choice.every,
        faces=choice.faces,
        metrics=listeners.metrics,
        tasks=choice.tasks,
        metric_faces=choice.metric_faces,
        autocast=torch.bfloat16 if stage.settings.precision == "bfloat16" else None,
        on_point=listeners.on_point,
        first=stage.settings.is_preference,
        stop_on_fall=choice.stop_on_fall,
    )


def _watch_loss(stage: Stage, folder: Path) -> LossValidation | None:
    choice = stage.validation
    if choice is None or not choice.loss_records or stage.settings.is_preference:
        return None
    read = RecordSet.read(choice.records)
    records = read.select(range(min(choice.loss_records, len(read))))
    is_needed = choice.keep_best or choice.patience is not None
    if not is_needed and not any(record.conversations for record in records.records):
        logger.warning("%s has no conversations, so there is no validation loss", choice.records)
        return None
    return LossValidation(
        records,
        folder / RUN_FOLDER / LOSS_NAME,
        every=choice.every,
        keep_best=choice.keep_best,
        patience=choice.patience,
        min_improvement=choice.min_improvement,
    )


def _reporters(settings: TrainingSettings) -> list[TrainerCallback]:
    """TensorBoard's callback, where it is installed and the settings say nothing else."""
    return [TensorBoardCallback()] if settings.report_to is None and is_tensorboard_available() else []


@contextmanager
def _memory_explained(shapes: Sequence[ModelShape], settings: TrainingSettings) -> Iterator[None]:
    """Say what a run that did not fit is estimated to need, and what to change."""
    try:
        yield
    except RuntimeError as error:
        cause = error.__cause__ if isinstance(error, TrainingError) else error
        if cause is None or not is_out_of_memory(cause) or not shapes:
            raise
        story = explain_memory(shapes[0], settings, device_capacity())
        raise TrainingError(f"the memory of the device does not suffice: {story}") from cause
