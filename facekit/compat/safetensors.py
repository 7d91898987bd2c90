"""Weights files that others may read as the user's umask says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import torch as safetensors_torch
from torch import Tensor

from facekit.file_modes import new_file_mode


def save_file(tensors: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors with the mode that a new file has; arguments as in safetensors.

    Seen: safetensors 0.8.
    Why: it writes into a private temporary file first, whose mode 0600 the weights keep.
    Until: the mode is that of a new file.
    """
    safetensors_torch.save_file(dict(tensors), path, None if metadata is None else dict(metadata))
    Path(path).chmod(new_file_mode())


def share_weights(folder: str | Path) -> None:
    """Give the weights files in a folder, which another library wrote, the mode that a new file has.

    Seen: transformers 5.24 and peft 0.21 with safetensors 0.8.
    Why: see ``save_file``, which they call themselves.
    Until: the mode is that of a new file.
    """
    for path in Path(folder).glob("*.safetensors"):
        path.chmod(new_file_mode())
