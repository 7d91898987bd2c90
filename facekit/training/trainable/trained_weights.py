"""Checkpoints of trainable weights only, for runs with a frozen language model.

Adapters and a connector are some hundred megabytes, the model round them many gigabytes, and packed weights (4 or 8
bits) are no checkpoint at all. Such a checkpoint goes on from the same base only, so it holds a hash of the base.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from facekit.compat.safetensors import save_file
from facekit.encoders.fingerprint import hash_tensors
from facekit.errors import CheckpointError
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.training.recipes.settings import TrainingSettings

WEIGHTS_NAME = "model.safetensors"
_BASE = "facekit_frozen_base"


def saves_trained_only(settings: TrainingSettings) -> bool:
    """Whether a run's checkpoints hold trainable weights only: wherever the language model is frozen."""
    return "language_model" not in settings.parts


def holds_trained_only(checkpoint: Path) -> bool:
    """Whether a checkpoint was written by ``save_trained``."""
    return _read_base(checkpoint) is not None


def hash_base(model: FaceKitForConditionalGeneration) -> str:
    """Hash the frozen parameters of a model; packed ones are left out, because devices pack them differently."""
    frozen = {name: value for name, value in model.named_parameters() if not value.requires_grad}
    return hash_tensors((name, value) for name, value in frozen.items() if value.is_floating_point())


def save_trained(model: FaceKitForConditionalGeneration, folder: Path, base: str | None = None) -> None:
    """Write the trainable weights, and the buffers of its parts, as ``model.safetensors``.

    Args:
        model: The model; trainable weights require gradients.
        folder: Where to; it is made.
        base: Of ``hash_base``, where it was computed before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().contiguous().cpu().clone() for name, value in _select_trained(model).items()}
    save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt", _BASE: base or hash_base(model)})


def load_trained(model: FaceKitForConditionalGeneration, folder: Path, base: str | None = None) -> None:
    """Load what ``save_trained`` wrote, into a model with the same base.

    Args:
        model: The model, whose trained parameters require gradients.
        folder: The checkpoint.
        base: Of ``hash_base``, where it was computed before.

    Raises:
        CheckpointError: It goes on from another base, or holds other parameters than the trainable ones.
    """
    if _read_base(folder) != (base or hash_base(model)):
        raise CheckpointError(
            f"{folder} holds what a run learned on top of other weights than those that the model has now; start from "
            "the same model (the same checkpoint, or the same seed), or use another folder"
        )
    weights, chosen = load_file(folder / WEIGHTS_NAME), _select_trained(model)
    unfit = [name for name, value in chosen.items() if name not in weights or weights[name].shape != value.shape]
    unfit += [name for name in weights if name not in chosen]
    if unfit:
        raise CheckpointError(
            f"{folder} does not hold the trainable weights of this run, such as {unfit[0]}; train the same parts, or "
            "use another folder"
        )
    with torch.no_grad():
        for name, value in chosen.items():
            value.copy_(weights[name])


def _select_trained(model: FaceKitForConditionalGeneration) -> dict[str, Tensor]:
    """Trainable parameters, and the buffers of encoders and connectors that hold one."""
    trainable: dict[str, Tensor] = {name: value for name, value in model.named_parameters() if value.requires_grad}
    parts = {name.partition(".")[0] for name in trainable} - {"language_model"}
    computed = {name for name, _ in model.named_non_persistent_buffers()}
    kept = {name: value for name, value in model.named_buffers() if name.partition(".")[0] in parts}
    return trainable | {name: value for name, value in kept.items() if name not in computed}


def _read_base(checkpoint: Path) -> str | None:
    path = checkpoint / WEIGHTS_NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get(_BASE)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); resume from an earlier checkpoint") from error
