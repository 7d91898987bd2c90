"""Safe and strict loading of weights files, with errors that say what to do.

No function here runs code that comes with weights.
"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from facekit.errors import CheckpointError, first_line
from facekit.hub import WEIGHTS_FILES, fetch_file

_WRAPPERS = ("state_dict", "model", "model_state_dict")
_NAMES_IN_MESSAGES = 5

UNREADABLE_PICKLE = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, struct.error)
"""What PyTorch raises, beside ``pickle.UnpicklingError``, where a file is no weights file or is cut off."""


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a weights file to the CPU: safetensors, or a PyTorch file that holds tensors and plain values only.

    A dictionary that holds the tensors under ``state_dict`` or ``model``, and names that all begin with ``module.``
    (written from data-parallel training), are unwrapped.

    Raises:
        CheckpointError: The file is missing, is of another format, or holds pickled code.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no weights file {path}; check the path")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a PyTorch weights file, or holds pickled code, which is refused; "
            "save its state dict as safetensors"
        ) from error
    except UNREADABLE_PICKLE as error:
        raise CheckpointError(f"{path} is no PyTorch weights file, or is cut off; fetch it again") from error
    return _unwrap(content, path)


def read_checkpoint(source: str, revision: str = "main", prefixes: Sequence[str] = ("",)) -> dict[str, Tensor]:
    """Read a checkpoint in the Hugging Face layout to the CPU: one file or shards, safetensors before PyTorch files.

    Args:
        source: A folder or a hub id.
        revision: Revision on the hub.
        prefixes: Only tensors whose names begin with one of these are returned; of safetensors no others are read.

    Raises:
        CheckpointError: A file is missing, is of another format, or holds pickled code.
    """
    path = fetch_file(source, WEIGHTS_FILES, revision)
    if path.suffix != ".json":
        return _begin_with(read_weights(path), prefixes)
    try:
        files = dict(json.loads(path.read_text(encoding="utf-8"))["weight_map"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is no index of weights files: it has no 'weight_map'") from error
    shards = sorted({file for name, file in files.items() if name.startswith(tuple(prefixes))})
    weights: dict[str, Tensor] = {}
    for shard in shards:
        weights |= _begin_with(read_weights(fetch_file(source, (shard,), revision)), prefixes)
    return weights


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the ``config`` entry of a safetensors file's metadata, or an empty dictionary where it has none.

    Raises:
        CheckpointError: The file is missing, is not safetensors, or the entry is not a JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no weights file {path}; check the path")
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("config", "{}")
        config = json.loads(text)
    except (SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {first_line(error)}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"the metadata entry 'config' of {path} is not a JSON object")
    return config


def load_strictly(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Copy weights into a module, each name and shape accounted for.

    Args:
        module: The module; its dtype stays.
        weights: Tensors by name.
        source: Where they come from, for messages.

    Raises:
        CheckpointError: Weights are missing, left over or of another shape; the message names the first few of each.
    """
    expected = module.state_dict()
    missing = sorted(expected.keys() - weights.keys())
    unexpected = sorted(weights.keys() - expected.keys())
    unfit = sorted(name for name in expected.keys() & weights.keys() if expected[name].shape != weights[name].shape)
    faults = []
    if missing:
        faults.append(f"{len(missing)} missing, first {_listed(missing)}")
    if unexpected:
        faults.append(f"{len(unexpected)} left over, first {_listed(unexpected)}")
    if unfit:
        shapes = f"{tuple(weights[unfit[0]].shape)} for {tuple(expected[unfit[0]].shape)}"
        faults.append(f"{len(unfit)} of another shape, first '{unfit[0]}' ({shapes})")
    if faults:
        raise CheckpointError(f"the weights of {source} do not fit {type(module).__name__}: {'; '.join(faults)}")
    module.load_state_dict(weights)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:_NAMES_IN_MESSAGES])


def _begin_with(weights: dict[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name.startswith(tuple(prefixes))}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is not iterable
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {first_line(error)}") from error


def _unwrap(content: object, path: Path) -> dict[str, Tensor]:
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} holds no dictionary of tensors; save a state dict")
    if all(name.startswith("module.") for name in content):
        return {name.removeprefix("module."): value for name, value in content.items()}
    return dict(content)
