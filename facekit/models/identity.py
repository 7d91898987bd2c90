"""A model's identity, compared when a run is resumed: class, part configurations, shapes, a sample of its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from torch import nn

from facekit.encoders.fingerprint import hash_tensors

PARTS = ("encoder", "connector", "language_model")
_SAMPLED = 256


def describe_parts(model: nn.Module, parts: Sequence[str] = PARTS) -> dict[str, str]:
    """Describe parts of a composed model, by name: class, number of parameters, hash of configuration and shapes."""
    return {part: _describe_part(model, part) for part in parts}


def sample_weights(model: nn.Module) -> str:
    """Hash evenly spaced values of every parameter, which a training step changes, however large the model is.

    Args:
        model: Any module, on any device; in another floating type it is another model.

    Returns:
        Hexadecimal digits.
    """
    return hash_tensors(
        (name, parameter.detach().reshape(-1)[:: max(1, parameter.numel() // _SAMPLED)])
        for name, parameter in model.named_parameters()
        if not parameter.is_meta  # where weights are kept on disk and read when they are needed
    )


def _describe_part(model: nn.Module, part: str) -> str:
    module = getattr(model, part)
    shapes = sorted((name, list(parameter.shape)) for name, parameter in module.named_parameters())
    configuration = getattr(model.config, part, None)
    digest = hashlib.sha256(json.dumps([configuration, shapes], sort_keys=True, default=str).encode()).hexdigest()
    count = sum(parameter.numel() for parameter in module.parameters())
    return f"{type(module).__name__} with {count} parameters and the hash {digest[:16]}"
