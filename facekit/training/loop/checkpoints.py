"""Verified checkpoints: sealed when complete, refused when incomplete, pruned when superseded.

A run that was killed while it saved leaves a folder that looks like a checkpoint. So the last thing that is written
into one is a list of its files with their sizes, after they have reached the disk; a folder without that list, or
with files that differ from it, is passed over.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open

from facekit.data.atomic import write_text_atomically

logger = logging.getLogger(__name__)

SEAL_NAME = "files.json"
STATE_NAME = "trainer_state.json"
_PREFIX = "checkpoint-"


def find_checkpoint(folder: str | Path) -> Path | None:
    """Return the newest whole checkpoint ``checkpoint-<step>`` of a run, or None; those passed over are logged."""
    listed = list_checkpoints(folder)
    for step, path in reversed(listed):
        damage = find_damage(path, step)
        if damage is None:
            return path
        logger.warning("%s is passed over: %s", path, damage)
    if listed:
        logger.warning("no checkpoint in %s is whole, so the run starts from its beginning", folder)
    return None


def list_checkpoints(folder: str | Path) -> list[tuple[int, Path]]:
    """Return steps and folders of a run's checkpoints, whole or not, oldest first."""
    paths = [path for path in Path(folder).glob(f"{_PREFIX}*") if path.is_dir()]
    return sorted((int(number), path) for path in paths if (number := path.name.removeprefix(_PREFIX)).isdecimal())


def seal_checkpoint(path: Path) -> None:
    """Wait until a checkpoint's files are on the disk, then list them in it, which makes it whole.

    Raises:
        OSError: The disk is full, or fails.
    """
    sizes = {}
    for file in sorted(file for file in path.rglob("*") if file.is_file() and file.name != SEAL_NAME):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sizes[file.relative_to(path).as_posix()] = file.stat().st_size
    write_text_atomically(path / SEAL_NAME, json.dumps(sizes, indent=1) + "\n")


def find_damage(path: Path, step: int) -> str | None:
    """Say what is wrong with a checkpoint of a step, or return None."""
    try:
        sizes = json.loads((path / SEAL_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"it was not saved to its end (there is no {SEAL_NAME})"
    except (OSError, ValueError) as error:
        return f"{SEAL_NAME} cannot be read ({error})"
    if not isinstance(sizes, dict) or STATE_NAME not in sizes:
        return f"{SEAL_NAME} does not list {STATE_NAME}"
    for name, size in sizes.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes, not {size}"
    return _find_unreadable(path, step, sizes)


def prune_checkpoints(folder: str | Path, keep: int, best: int | None = None) -> None:
    """Delete what lies before the newest ``keep`` whole checkpoints; what cannot be deleted stays, and is logged.

    Args:
        folder: The run's folder.
        keep: How many stay.
        best: The step of one more that stays.
    """
    listed = list_checkpoints(folder)
    whole = [step for step, path in listed if find_damage(path, step) is None]
    for step, path in listed:
        if len(whole) >= keep and step < whole[-keep] and step != best:
            try:
                shutil.rmtree(path)
            except OSError as error:
                logger.warning("%s cannot be deleted (%s)", path, error)


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint, by its name."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def is_finished(checkpoint: Path) -> bool:
    """Whether a whole checkpoint is the last one of its run."""
    state = json.loads((checkpoint / STATE_NAME).read_text(encoding="utf-8"))
    return bool(state["global_step"] >= state["max_steps"])


def _find_unreadable(path: Path, step: int, names: dict[str, int]) -> str | None:
    try:
        state = json.loads((path / STATE_NAME).read_text(encoding="utf-8"))
        if state["global_step"] != step:
            return f"{STATE_NAME} is of step {state['global_step']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{STATE_NAME} cannot be read ({error})"
    for name in names:
        if name.endswith(".safetensors"):
            try:
                with safe_open(path / name, framework="pt"):
                    pass
            except (OSError, SafetensorError) as error:
                return f"{name} cannot be read ({error})"
    return None
