"""A composed model's tensors with its PEFT adapters merged, one at a time, for export.

Importing it imports PEFT's classes, which takes a second.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from facekit.compat.peft import active_copy, is_adapted, is_copied
from facekit.errors import ConfigurationError, first_line
from facekit.models.interoperability.weights import PendingTensor


def has_adapters(model: nn.Module) -> bool:
    """Whether a model has adapters, or trained copies of modules beside the originals."""
    return any(is_adapted(module) or is_copied(module) for module in model.modules())


def pending_tensors(model: nn.Module) -> list[PendingTensor]:
    """List a model's tensors as they are with its adapters merged, each computed when it is read.

    The model itself stays as it is; one layer at a time is copied.

    Args:
        model: With or without adapters, those of PEFT's ``modules_to_save`` included.

    Raises:
        ConfigurationError: An adapter is of a kind that cannot be merged; it is raised when the tensor is read.
    """
    owners = {name: module for name, module in model.named_modules() if is_adapted(module) or is_copied(module)}
    pending = []
    for name, value in model.state_dict(keep_vars=True).items():
        owner = next((each for each in owners if name.startswith(f"{each}.")), None)
        read: Callable[[], Tensor] = partial(_as_it_is, value)
        if owner is not None:
            module, inner = owners[owner], name.removeprefix(f"{owner}.")
            kept = "base_layer." if is_adapted(module) else f"modules_to_save.{active_copy(module)[0]}."
            if not inner.startswith(kept):
                continue
            name = f"{owner}.{inner.removeprefix(kept)}"
            if is_adapted(module):
                read = partial(_merge_tensor, module, inner.removeprefix(kept))
        pending.append(PendingTensor(name, value.numel() * value.element_size(), read))
    return pending


def active_part(module: nn.Module) -> Any:
    """Return the module in use where PEFT keeps a trained copy beside the original, or the module itself."""
    return active_copy(module)[1] if is_copied(module) else module


def _as_it_is(value: Tensor) -> Tensor:
    return value


def _merge_tensor(layer: Any, leaf: str) -> Tensor:
    clone = copy.deepcopy(layer)
    try:
        if not clone.merged:
            clone.merge(safe_merge=True)
    except (NotImplementedError, ValueError) as error:
        raise ConfigurationError(f"an adapter cannot be merged: {first_line(error)}") from error
    merged: Tensor = clone.get_base_layer().state_dict()[leaf]
    return merged
