"""Finding the checkpoint that a run can go on from, and refusing one that another run left.

A run that was killed while it saved leaves a folder that looks like a checkpoint; this is what tells the two apart.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from safetensors import SafetensorError, safe_open

from facekit.errors import CheckpointError, ConfigurationError
from facekit.training.settings import TrainingSettings

logger = logging.getLogger(__name__)

SETTINGS_NAME = "settings.json"
_NEEDED = ("model.safetensors", "optimizer.pt", "scheduler.pt")


def find_checkpoint(folder: str | Path) -> Path | None:
    """Return the newest whole checkpoint ``checkpoint-<step>`` of a run, or None.

    The trainer writes ``trainer_state.json`` last, so a checkpoint is whole where that can be read, names the same
    step, and the weights have a readable header.
    """
    steps = [(step, path) for path in Path(folder).glob("checkpoint-*") if (step := _step_of(path)) is not None]
    for step, path in sorted(steps, reverse=True):
        if _is_whole(path, step):
            return path
        logger.warning("%s is incomplete and is passed over", path)
    return None


def is_finished(checkpoint: Path) -> bool:
    """Whether a whole checkpoint is the last one of its run."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return bool(state["global_step"] >= state["max_steps"])


def prepare_run(folder: str | Path, settings: TrainingSettings, *, resume: bool) -> Path | None:
    """Make a run's folder ready and say where to go on from.

    Args:
        folder: Where checkpoints go.
        settings: The settings of this run.
        resume: Whether to go on from the newest whole checkpoint, if there is one.

    Returns:
        The checkpoint, or None for a fresh start.

    Raises:
        ConfigurationError: The run to be resumed had other settings, or the folder holds checkpoints of a run that
            is not to be resumed: nothing here deletes them.
        CheckpointError: Its settings file cannot be read.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings_path = folder / SETTINGS_NAME
    checkpoint = find_checkpoint(folder) if resume else None
    if checkpoint is not None:
        differences = settings.differences(_read_settings(settings_path))
        if differences:
            raise ConfigurationError(
                f"the run in {folder} cannot be resumed with other settings: {'; '.join(differences)}; "
                "use another folder or start anew"
            )
    elif not resume and any(_step_of(path) is not None for path in folder.glob("checkpoint-*")):
        raise ConfigurationError(f"{folder} holds checkpoints of an earlier run; resume it, or choose another folder")
    settings_path.write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return checkpoint


def _step_of(path: Path) -> int | None:
    number = path.name.removeprefix("checkpoint-")
    return int(number) if number.isdecimal() and path.is_dir() else None


def _is_whole(path: Path, step: int) -> bool:
    if any(not (path / name).is_file() for name in _NEEDED):
        return False
    try:
        state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        with safe_open(path / "model.safetensors", framework="pt"):
            return bool(state["global_step"] == step)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return False


def _read_settings(path: Path) -> dict[str, object]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} of the run to be resumed cannot be read ({error}); start anew") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path} of the run to be resumed is not a JSON object; start anew")
    return settings
