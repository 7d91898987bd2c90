"""Run identity: what is compared before a training run is resumed, and the folder it is resumed from."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from facekit.data.dataset import RecordSet
from facekit.data.identity import Described, RunIdentity, describe_records
from facekit.errors import ConfigurationError
from facekit.models.identity import describe_parts
from facekit.training.loop.checkpoints import find_checkpoint, list_checkpoints
from facekit.training.loop.distributed import count_processes, is_main_process
from facekit.training.preferences.pairs import describe_pairs
from facekit.training.recipes.settings import TrainingSettings

IDENTITY_NAME = "run.json"


def identify_run(settings: TrainingSettings, records: RecordSet | Described, model: nn.Module) -> RunIdentity:
    """Describe a run that is about to begin or to go on.

    Args:
        settings: Of them, those that decide what is learned.
        records: Its records.
        model: Its model; not its weights, which a checkpoint brings.

    Raises:
        ConfigurationError, RecordError: Its pairs cannot be read; see ``find_pairs``.
    """
    pairs = {} if settings.dpo is None else {"pairs": describe_pairs(settings.dpo)}
    return RunIdentity(
        {
            **settings.decisive(),
            **pairs,
            "records": describe_records(records),
            "processes": count_processes(),
            **describe_parts(model),
        }
    )


def refuse_foreign_model(output_dir: Path, run_folder: Path) -> None:
    """Refuse an output folder with a model that no run here left, such as the one that training starts from.

    Args:
        output_dir: Where the trained model would replace it.
        run_folder: Where a run would have its description.

    Raises:
        ConfigurationError: It holds one.
    """
    names = ("config.json", "adapter_config.json")
    if any((output_dir / name).is_file() for name in names) and not (run_folder / IDENTITY_NAME).is_file():
        raise ConfigurationError(
            f"{output_dir} holds a model that was not trained there, which the trained one would replace; choose "
            "another output folder"
        )


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
    path, identity = folder / IDENTITY_NAME, identify_run(settings, records, model)
    checkpoint = find_checkpoint(folder) if resume else None
    if checkpoint is not None:
        differences = identity.differences(RunIdentity.read(path), TrainingSettings.defaults())
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
