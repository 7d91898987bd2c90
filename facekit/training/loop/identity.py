"""What makes a run the same run: its settings, its records and the parts of its model, kept beside its checkpoints.

A run that goes on with other records or another connector would finish without an error, as neither run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from torch import nn

from facekit.data.atomic import write_text_atomically
from facekit.data.dataset import RecordSet
from facekit.errors import CheckpointError, ConfigurationError
from facekit.training.loop.checkpoints import find_checkpoint, list_checkpoints
from facekit.training.loop.distributed import count_processes, is_main_process
from facekit.training.recipes.settings import PARTS, TrainingSettings

IDENTITY_NAME = "run.json"


class Described(Protocol):
    """Records that a run does not hold, which say themselves what they are."""

    def describe(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class RunIdentity:
    """What a run is made of.

    Args:
        settings: ``TrainingSettings.model_dump(mode="json")``.
        records: Number and hash of the records; the pictures that they name are not read for it.
        parts: Per part its class, number of parameters and a hash of its configuration and shapes.
        processes: How many processes share a batch.
    """

    settings: dict[str, Any]
    records: str
    parts: dict[str, str]
    processes: int = 1

    @classmethod
    def of(cls, settings: TrainingSettings, records: RecordSet | Described, model: nn.Module) -> Self:
        """Describe a run that is about to begin or to go on."""
        parts = {part: _describe_part(model, part) for part in PARTS}
        return cls(settings.model_dump(mode="json"), _describe_records(records), parts, count_processes())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` wrote.

        Raises:
            CheckpointError: It is missing or damaged.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path} of the run to be resumed cannot be read ({error}); start anew") from error

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_text_atomically(path, json.dumps(asdict(self), indent=2) + "\n")

    def differences(self, before: Self, settings: TrainingSettings) -> list[str]:
        """Sentences that say what was otherwise in the run to be resumed."""
        told = settings.differences(before.settings)
        if self.records != before.records:
            told.append(f"the records were {before.records} and are {self.records}")
        if self.processes != before.processes:
            told.append(f"the processes were {before.processes} and are {self.processes}")
        for part, described in self.parts.items():
            if described != before.parts.get(part):
                told.append(f"the {part} was {before.parts.get(part)} and is {described}")
        return told


def prepare_run(
    folder: str | Path, settings: TrainingSettings, records: RecordSet | Described, model: nn.Module, *, resume: bool
) -> Path | None:
    """Make a run's folder ready and say where to go on from.

    Args:
        folder: Where checkpoints go.
        settings: The settings of this run.
        records: Its records.
        model: Its model.
        resume: Whether to go on from the newest whole checkpoint, if there is one.

    Returns:
        The checkpoint, or None for a fresh start.

    Raises:
        ConfigurationError: The run to be resumed had other settings, records or parts, or the folder holds
            checkpoints of a run that is not to be resumed: nothing here deletes them.
        CheckpointError: The description of the run to be resumed cannot be read.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path, identity = folder / IDENTITY_NAME, RunIdentity.of(settings, records, model)
    checkpoint = find_checkpoint(folder) if resume else None
    if checkpoint is not None:
        differences = identity.differences(RunIdentity.read(path), settings)
        if differences:
            raise ConfigurationError(
                f"the run in {folder} cannot be resumed as another: {'; '.join(differences)}; "
                "use another folder or start anew"
            )
    elif not resume and list_checkpoints(folder):
        raise ConfigurationError(f"{folder} holds checkpoints of an earlier run; resume it, or choose another folder")
    if is_main_process():
        identity.write(path)
    return checkpoint


def _describe_records(records: RecordSet | Described) -> str:
    if not isinstance(records, RecordSet):
        return records.describe()
    digest = hashlib.sha256()
    for record in records.records:
        digest.update(record.model_dump_json().encode() + b"\n")
    return f"{len(records)} with the hash {digest.hexdigest()[:16]}"


def _describe_part(model: nn.Module, part: str) -> str:
    module = getattr(model, part)
    shapes = sorted((name, list(parameter.shape)) for name, parameter in module.named_parameters())
    configuration = getattr(model.config, part, None)
    digest = hashlib.sha256(json.dumps([configuration, shapes], sort_keys=True, default=str).encode()).hexdigest()
    count = sum(parameter.numel() for parameter in module.parameters())
    return f"{type(module).__name__} with {count} parameters and the hash {digest[:16]}"
