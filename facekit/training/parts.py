"""Which parameters learn, and at which rate."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from facekit.errors import ConfigurationError
from facekit.training.settings import PARTS, TrainingSettings


@contextmanager
def trainable_parts(model: nn.Module, parts: Sequence[str]) -> Iterator[None]:
    """Freeze all of a model but the named parts, and restore afterwards what asked for gradients before.

    Args:
        model: Has a module per name in ``PARTS``.
        parts: Names of what shall learn.

    Raises:
        ConfigurationError: A name is unknown, or a named part has no parameters.
    """
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    for part in parts:
        if part not in PARTS:
            raise ConfigurationError(f"there is no part '{part}' to train; the parts are {', '.join(PARTS)}")
        if not any(True for _ in getattr(model, part).parameters()):
            raise ConfigurationError(f"the model's {part} has no parameters, so it cannot be trained")
    try:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(part_of(name) in parts)
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(before[name])


def part_of(name: str) -> str:
    """The part that a parameter belongs to by its name; an encoder for clips goes with that for images."""
    part = name.partition(".")[0]
    return "encoder" if part == "video_encoder" else part


def set_evaluation_of_frozen(model: nn.Module, parts: Sequence[str]) -> None:
    """Keep the dropout and the running statistics of a frozen encoder still while the rest is trained."""
    for part in ("encoder", "video_encoder"):
        module = getattr(model, part, None)
        if module is not None and "encoder" not in parts:
            module.eval()


@contextmanager
def gradient_checkpointing(model: nn.Module, parts: Sequence[str]) -> Iterator[None]:
    """Compute activations again in the backward pass, of the language model and of an encoder that learns.

    Checkpoints are not reentrant: they need no input that asks for gradients, so any part may be frozen.

    Args:
        model: The composed model.
        parts: Names of what learns.
    """
    encoders = (getattr(model, name, None) for name in ("encoder", "video_encoder")) if "encoder" in parts else ()
    roots = [model.language_model, *(encoder for encoder in encoders if encoder is not None)]
    modules = [module for root in roots for module in root.modules() if hasattr(module, "gradient_checkpointing")]
    before = [(module, module.gradient_checkpointing) for module in modules]
    function = functools.partial(checkpoint, use_reentrant=False)
    try:
        for module in modules:
            module.gradient_checkpointing = True
            module._gradient_checkpointing_func = function
        yield
    finally:
        for module, was_on in before:
            module.gradient_checkpointing = was_on


def parameter_groups(model: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Sort what learns into AdamW's groups: by rate, and matrices (decayed) apart from vectors (not decayed).

    Returns:
        Groups with ``params``, ``lr`` and ``weight_decay``; empty groups are left out, the encoder's come last.
    """
    encoder_rate = settings.encoder_learning_rate or settings.learning_rate
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((part_of(name) == "encoder", decay), []).append(parameter)
    return [
        {"params": params, "lr": encoder_rate if of_encoder else settings.learning_rate, "weight_decay": decay}
        for (of_encoder, decay), params in sorted(groups.items(), key=lambda item: item[0])
    ]


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Number of parameters of each part, and of the whole under ``total``."""
    counts = {part: sum(parameter.numel() for parameter in getattr(model, part).parameters()) for part in PARTS}
    return {**counts, "total": sum(parameter.numel() for parameter in model.parameters())}
