"""Data of a finished stage, from which its page, model card and JSON are made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facekit import __version__
from facekit.catalog import current_registry
from facekit.data.atomic import write_text_atomically
from facekit.data.counting import RecordCounts
from facekit.data.mixture import SourceShare
from facekit.data.shortened import ShortenedRecord
from facekit.data.skipping import SkippedRecord
from facekit.errors import CheckpointError, UnknownPartError
from facekit.hub import is_hub_id
from facekit.models.interoperability.recognition import NATIVE_PREFIX
from facekit.models.memory import MemoryEstimate
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.native.modeling import is_native
from facekit.models.native.region import REGION
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.trainable.parts import TrainedPart
from facekit.training.watching.history import LossHistory
from facekit.training.watching.measuring import RunCost
from facekit.training.watching.validation import ValidationPoint
from facekit.training.watching.validation_loss import ValidationLoss

REPORT_NAME = "report.json"


@dataclass(frozen=True)
class PartOrigin:
    """Where a part of a model comes from.

    Args:
        kind: ``encoder``, ``video encoder``, ``connector`` or ``language model``.
        name: Its registered name, or the language model's type and source.
        source: The paper, package or hub behind it.
        licence: Its licence.
    """

    kind: str
    name: str
    source: str
    licence: str


@dataclass(frozen=True)
class StageReport:
    """The data of a finished stage.

    Args:
        recipe: Name of the recipe.
        summary: The recipe's, one line.
        stage: Name of the stage.
        start: What it started from, in words.
        settings: What was done.
        origins: The model's parts.
        parts: The table of what learned.
        records: Name of the records file, or of several.
        counts: Counts over the records.
        skipped: How many records could not be used.
        skipped_records: Which, and why.
        shortened_records: Records of which some questions were left out, and why.
        history: The losses.
        steps: Optimiser steps of the whole run.
        resumed_from: The step that the last call went on from.
        cost: What the last call cost.
        estimate: The memory that was estimated for it.
        points: What validation saw.
        base_models: Hub ids that it was made from.
        sources: What each of several records files gives an epoch.
        validation_losses: The losses of held-out records.
    """

    recipe: str
    summary: str
    stage: str
    start: str
    settings: TrainingSettings
    origins: tuple[PartOrigin, ...]
    parts: tuple[TrainedPart, ...]
    records: str
    counts: RecordCounts
    skipped: int
    history: LossHistory
    steps: int
    resumed_from: int
    cost: RunCost
    estimate: MemoryEstimate
    points: tuple[ValidationPoint, ...]
    base_models: tuple[str, ...] = ()
    sources: tuple[SourceShare, ...] = ()
    validation_losses: tuple[ValidationLoss, ...] = ()
    skipped_records: tuple[SkippedRecord, ...] = ()
    shortened_records: tuple[ShortenedRecord, ...] = ()

    def final_loss_of(self, source: str) -> float | None:
        """The smoothed loss at the end of one of several records files; None where it is not known."""
        own = self.history.by_source().get(source)
        return None if own is None else own.final_loss

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the last look."""
        return self.points[-1].metrics if self.points else {}

    @property
    def chosen_settings(self) -> dict[str, Any]:
        """The settings that were given, the others being defaults."""
        return self.settings.model_dump(mode="json", exclude_unset=True)

    def write(self, folder: Path) -> Path:
        """Write ``report.json``, whose presence says that the stage has ended."""
        entry = {
            "version": __version__,
            "recipe": self.recipe,
            "stage": self.stage,
            "start": self.start,
            "settings": self.settings.model_dump(mode="json"),
            "parts": [asdict(part) for part in self.parts],
            "sources": [{**asdict(source), "final_loss": self.final_loss_of(source.name)} for source in self.sources],
            "records": {
                "file": self.records,
                "count": self.counts.records,
                "skipped": self.skipped,
                "skipped_records": [asdict(entry) for entry in self.skipped_records],
                "shortened_records": [asdict(entry) for entry in self.shortened_records],
            },
            "steps": self.steps,
            "final_loss": self.history.final_loss,
            "validation_losses": [asdict(point) for point in self.validation_losses],
            "cost": {
                **asdict(self.cost),
                "samples_per_second": self.cost.samples_per_second,
                "tokens_per_second": self.cost.tokens_per_second,
            },
            "estimated_memory": {**asdict(self.estimate), "total": self.estimate.total},
            "metrics": self.metrics,
        }
        return write_text_atomically(folder / REPORT_NAME, json.dumps(entry, indent=1) + "\n")


def differences_to_ended(folder: Path, settings: TrainingSettings) -> list[str] | None:
    """What was otherwise in the stage that ended in a folder; None where none did.

    Raises:
        CheckpointError: Its ``report.json`` is damaged.
    """
    path = folder / REPORT_NAME
    if not path.is_file():
        return None
    try:
        return settings.differences(dict(json.loads(path.read_text(encoding="utf-8"))["settings"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); remove it to run the stage again") from error


def find_origins(model: FaceKitForConditionalGeneration) -> tuple[PartOrigin, ...]:
    """The parts of a model with source and licence, as the catalog knows them."""
    if is_native(model):
        named = model.config.name_or_path or ""
        is_local = not _is_hub_id(named)
        licence = "as of what it was made from" if is_local else "see its model card"
        base = PartOrigin("base", type(model.native).__name__, "local" if is_local else named, licence)
        return (
            (base,) if model.region is None else (base, PartOrigin("connector", REGION, *_look_up("connector", REGION)))
        )
    origins = []
    for kind, settings in (
        ("encoder", model.config.encoder),
        ("video encoder", model.config.video_encoder),
        ("connector", model.config.connector),
    ):
        if settings is not None:
            name = str(settings["name"])
            source, licence = _look_up("connector" if kind == "connector" else "encoder", name)
            origins.append(PartOrigin(kind, name, source, licence))
    text = model.config.get_text_config()
    source = text.name_or_path or ""
    is_ours = not _is_hub_id(source)
    origins.append(
        PartOrigin(
            "language model",
            text.model_type,
            "local" if is_ours else source,
            "as of what it was made from" if is_ours else "see its model card",
        )
    )
    return tuple(origins)


def find_base_models(model: FaceKitForConditionalGeneration, *named: str | None) -> tuple[str, ...]:
    """Hub ids among names of checkpoints, and that of the language model."""
    text = model.config.get_text_config()
    named = tuple(name and name.removeprefix(NATIVE_PREFIX) for name in named)
    candidates = [*named, text.name_or_path]
    return tuple(dict.fromkeys(name for name in candidates if name and _is_hub_id(name)))


def _is_hub_id(name: str) -> bool:
    return "/" in name and is_hub_id(name)


def _look_up(kind: str, name: str) -> tuple[str, str]:
    try:
        part = current_registry().part(kind, name)
    except UnknownPartError:
        return "unknown", "unknown"
    return part.source, part.licence
