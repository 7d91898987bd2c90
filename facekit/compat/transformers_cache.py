"""The cache of keys and values under whatever name transformers gives it.

It is an argument of ``forward`` and ``generate`` and a field of what ``forward`` returns. Up to 5.23 its name is
``past_key_values``; 5.24 calls it ``cache`` and warns of the old name; models with code of their own keep the old one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from transformers import Cache, GenerationMixin

# Every name that the cache has had, the newest first.
_NAMES = ("cache", "past_key_values", "cache_params")


def _cache_parameter(function: Callable[..., Any], preferred: str | None = None) -> str | None:
    """Name of the argument that takes the cache: by its name where that is known, else by its annotation."""
    parameters = inspect.signature(function).parameters
    for name in (preferred, *_NAMES):
        if name in parameters:
            return name
    return next((name for name, each in parameters.items() if "Cache" in str(each.annotation)), None)


GENERATION_CACHE = _cache_parameter(GenerationMixin.prepare_inputs_for_generation) or _NAMES[0]
"""The name under which this version's ``generate`` takes a cache and hands it to a model.

Seen: ``past_key_values`` in transformers 5.17, ``cache`` in 5.24.
Why: the old name warns in 5.24, the new one is unknown before; the signature says which one it is.
Until: the oldest supported transformers takes ``cache``.
"""

_forward_names: dict[type, str] = {}


def cache_argument(model: nn.Module, cache: Cache | None) -> dict[str, Cache]:
    """A cache as the keyword argument that a model's ``forward`` takes; nothing where there is no cache.

    Seen: transformers 5.17 and 5.24; models of a checkpoint's own code, written for either.
    Why: the library's own models take one name, which changed; those of a checkpoint's own code take the name of their
        time. A wrapper that takes anything gets the library's name.
    Until: the oldest supported transformers takes ``cache``, and checkpoints with older code are given up.
    """
    if cache is None:
        return {}
    kind = type(model)
    if kind not in _forward_names:
        _forward_names[kind] = _cache_parameter(kind.forward, GENERATION_CACHE) or GENERATION_CACHE
    return {_forward_names[kind]: cache}


def generation_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``generate`` with the cache under the name that this version takes, whichever they use.

    Seen: transformers 5.17 and 5.24.
    Why: callers of a model should not have to know the version.
    Until: the oldest supported transformers takes ``cache``.
    """
    return {GENERATION_CACHE if name in _NAMES else name: value for name, value in arguments.items()}


def cache_of(outputs: Mapping[str, Any]) -> Any:
    """The cache in what a model returned, found by its type; None where there is none.

    Args:
        outputs: Of a causal language model of transformers.

    Seen: the fields ``past_key_values`` (transformers 5.17), ``cache`` (5.24) and ``cache_params`` (Mamba).
    Why: the field's old name warns in 5.24, the new one is unknown before.
    Until: the oldest supported transformers returns ``cache``.
    """
    found = next((value for value in outputs.values() if isinstance(value, Cache)), None)
    if found is None:
        found = next((value for name, value in outputs.items() if name in _NAMES), None)
    return found
