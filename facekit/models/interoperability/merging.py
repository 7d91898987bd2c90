"""A composed model's tensors with its PEFT adapters merged, one at a time, for export.

Importing it imports PEFT's classes, which takes a second.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from facekit.compat.peft import (
    active_copy,
    adapted_layers,
    has_trained_rows,
    is_adapted,
    is_copied,
    take_adapters_out,
)
from facekit.compat.transformers_model import forget_tied_weights
from facekit.errors import ConfigurationError, first_line
from facekit.models.interoperability.weights import PendingTensor


def has_adapters(model: nn.Module) -> bool:
    """Whether a model has adapters, or trained copies of modules beside the originals."""
    return any(is_adapted(module) or is_copied(module) for module in model.modules())


def pending_tensors(model: nn.Module) -> list[PendingTensor]:
    """List a model's tensors as they are with its adapters merged, each computed when it is read.

    The model itself stays as it is; one layer at a time is copied.

    Args:
        model: With or without adapters, those of PEFT's ``modules_to_save`` and ``trainable_token_indices`` included.

    Raises:
        ConfigurationError: An adapter is of a kind that cannot be merged; it is raised when the tensor is read.
    """
    owners = {name: module for name, module in model.named_modules() if _holds_another(module)}
    pending = []
    for name, value in model.state_dict(keep_vars=True).items():
        owner = next((each for each in owners if name.startswith(f"{each}.")), None)
        read: Callable[[], Tensor] = partial(_as_it_is, value)
        if owner is not None:
            kept, layer = _inside(owners[owner])
            inner = name.removeprefix(f"{owner}.")
            if not inner.startswith(kept):
                continue
            name = f"{owner}.{inner.removeprefix(kept)}"
            if layer is not None:
                read = partial(_merge_tensor, layer, inner.removeprefix(kept))
        pending.append(PendingTensor(name, value.numel() * value.element_size(), read))
    return pending


def is_untied(model: Any, tensors: Iterable[PendingTensor]) -> bool:
    """Whether adapters make an output head differ from the embedding that it shares its weight with.

    Args:
        model: A model of transformers, with or without adapters.
        tensors: Its ``pending_tensors``.
    """
    if not has_adapters(model):
        return False
    names = {module: name for name, module in model.named_modules()}
    by_name = {tensor.name: tensor for tensor in tensors}
    ends = model.get_output_embeddings(), model.get_input_embeddings()
    found = [by_name.get(f"{names.get(module)}.weight") for module in ends]
    head, embedding = found
    return head is not None and embedding is not None and not torch.equal(head.read(), embedding.read())


def merge_adapters(model: nn.Module) -> None:
    """Merge a model's adapters into its weights, in place.

    Args:
        model: The model.

    Raises:
        ConfigurationError: An adapter is of a kind that cannot be merged, or there are trained copies of modules.
    """
    if any(is_copied(module) or has_trained_rows(module) for module in model.modules()):
        raise ConfigurationError(
            "the model has trained copies of modules (modules_to_save) or of tokens, which are not merged in place; "
            "save its adapters, and load their folder"
        )
    untie_adapted(model)
    with _explained_merging():
        take_adapters_out(model, merge=True)


def untie_adapted(model: nn.Module) -> None:
    """Give adapted layers that share their weight with another one of their own, before adapters are added to it."""
    held = Counter(id(value) for module in model.modules() for value in module.parameters(recurse=False))
    are_untied = False
    for layer in adapted_layers(model).values():
        base = layer.get_base_layer()
        for leaf, value in list(base.named_parameters(recurse=False)):
            if held[id(value)] > 1:
                held[id(value)] -= 1
                setattr(base, leaf, nn.Parameter(value.detach().clone(), requires_grad=value.requires_grad))
                are_untied = True
    if are_untied:
        forget_tied_weights(model)


def active_part(module: nn.Module) -> Any:
    """Return the module in use where PEFT keeps a trained copy beside the original, or the module itself."""
    return active_copy(module)[1] if is_copied(module) else module


def _holds_another(module: nn.Module) -> bool:
    return is_adapted(module) or is_copied(module) or has_trained_rows(module)


def _inside(holder: Any) -> tuple[str, Any]:
    """What the names of the tensors to keep begin with inside such a module, and the layer that merges them if any."""
    if is_copied(holder):
        return f"modules_to_save.{active_copy(holder)[0]}.", None
    return ("token_adapter.base_layer.", holder.token_adapter) if has_trained_rows(holder) else ("base_layer.", holder)


def _as_it_is(value: Tensor) -> Tensor:
    return value


def _merge_tensor(layer: Any, leaf: str) -> Tensor:
    clone = copy.deepcopy(layer)
    with _explained_merging():
        if not clone.merged:
            clone.merge(safe_merge=True)
    merged: Tensor = clone.get_base_layer().state_dict()[leaf]
    return merged


@contextmanager
def _explained_merging() -> Iterator[None]:
    try:
        yield
    except (NotImplementedError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"an adapter cannot be merged: {first_line(error)}") from error
