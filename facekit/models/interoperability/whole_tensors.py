"""Whole tensors of a PEFT adapter's file: trained copies of modules, rows of embeddings, what was saved beside them.

A copy (``modules_to_save``) is a module of its own in PEFT, also where the original shares its weight with another, as
an output head does with the embeddings. So the sharing ends where a copy is loaded; a shared weight is never written by
one of its names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from facekit.compat.transformers_model import forget_tied_weights
from facekit.errors import CheckpointError

TOKEN_ROWS = ".token_adapter.trainable_tokens_delta"
"""What ends the name of trained rows of an embedding (PEFT's ``trainable_token_indices``)."""


def is_copy(name: str, config: Any) -> bool:
    """Whether a tensor, by its name in the base model, is of a trained copy of a module.

    Args:
        name: The tensor's name.
        config: PEFT's of the adapter.
    """
    if getattr(config, "ensure_weight_tying", False):
        return False
    parts = name.split(".")
    modules = [".".join(parts[:count]) for count in range(1, len(parts))]
    return any(module.endswith(str(wanted)) for module in modules for wanted in config.modules_to_save or ())


def spread_rows(name: str, rows: Tensor, embeddings: Tensor, config: Any) -> Tensor:
    """Return embeddings with an adapter's trained rows.

    Args:
        name: The embedding module's name in the base model.
        rows: ``(K, D)``.
        embeddings: ``(V, D)``, before.
        config: PEFT's of the adapter, which has the indices of the rows.

    Raises:
        CheckpointError: The rows are not as many as the indices, or lie outside the vocabulary.
    """
    chosen = config.trainable_token_indices or ()
    if isinstance(chosen, Mapping):
        chosen = next((indices for module, indices in chosen.items() if name.endswith(module)), ())
    indices = torch.tensor(list(chosen), dtype=torch.long)
    fits = rows.shape == (len(indices), embeddings.shape[1])
    if not fits or (len(indices) and int(indices.max()) >= len(embeddings)):
        raise CheckpointError(
            f"an adapter has {len(rows)} trained rows for {len(indices)} tokens of '{name}', which has "
            f"{len(embeddings)} rows of {embeddings.shape[1]}"
        )
    whole = embeddings.detach().clone()
    whole[indices.to(whole.device)] = rows.to(whole)
    return whole


def write_whole_tensors(model: nn.Module, values: Mapping[str, Tensor], copies: Sequence[str]) -> list[str]:
    """Write tensors into a model, in place; one that was trained by itself is untied first.

    Args:
        model: The model, without adapters on the modules in question.
        values: Tensors by their names in it.
        copies: Which of them PEFT keeps in modules of their own.

    Returns:
        Names of the tensors that share their weight with no other from now on.
    """
    state: dict[str, Any] = model.state_dict(keep_vars=True)
    names: dict[int, list[str]] = {}
    for name, value in state.items():
        names.setdefault(id(value), []).append(name)
    untied = []
    with torch.no_grad():
        for name, value in values.items():
            others = [other for other in names[id(state[name])] if other != name]
            differs = any(other in values and not torch.equal(values[other], value) for other in others)
            if others and (name in copies or differs):
                module, _, leaf = name.rpartition(".")
                own = nn.Parameter(value.to(state[name]).clone(), requires_grad=state[name].requires_grad)
                setattr(model.get_submodule(module), leaf, own)
                untied.append(name)
            else:
                state[name].copy_(value)
    if untied:
        forget_tied_weights(model)
    return untied
