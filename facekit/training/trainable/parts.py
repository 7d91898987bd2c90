"""Trainable parts of a model and their learning rates, by name, coarse or fine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from facekit.compat.transformers_model import activation_checkpointing, set_evaluation_mode
from facekit.errors import ConfigurationError
from facekit.models.identity import PARTS
from facekit.training.recipes.settings import TRAINABLE, TrainingSettings

_NAMES = {
    "encoder": r"(video_)?encoder\.",
    "connector": r"connector\.|native\.(?!lm_head\.)",
    "connector.projector": r"connector\.(vision_projector|layers)\.",
    "connector.region": r"connector\.(region|landmark_projector|cross_attention)\.",
    "language_model": r"(language_model|native\.lm_head)\.",
    "language_model.lora": r"language_model\..*\.lora_",
}

_FINEST_FIRST = sorted(_NAMES, key=lambda part: "." not in part)


@dataclass(frozen=True)
class TrainedPart:
    """A part in the table of trainable parts.

    Args:
        name: Of ``TRAINABLE``, or one of ``PARTS`` that stays as it is.
        parameters: How many it has.
        trainable: How many of them learn.
        learning_rate: Their peak rate, or None where nothing is trainable or finer parts have rates of their own.
    """

    name: str
    parameters: int
    trainable: int
    learning_rate: float | None


def list_trained_parts(model: nn.Module, settings: TrainingSettings) -> list[TrainedPart]:
    """Return one entry per part of a model, and one for every finer part that is trained.

    Args:
        model: The composed model, inside ``trainable_parts``.
        settings: The run's settings.
    """
    finer = dict.fromkeys(part for part in (*settings.parts, *settings.learning_rates) if part not in PARTS)
    table = []
    for part in (*PARTS, *finer):
        chosen = {name: value for name, value in model.named_parameters() if is_of(name, part)}
        learning = {name: value for name, value in chosen.items() if value.requires_grad}
        rates = {_rate_of_parameter(name, settings) for name in learning}
        counts = [sum(value.numel() for value in values.values()) for values in (chosen, learning)]
        table.append(TrainedPart(part, counts[0], counts[1], rates.pop() if len(rates) == 1 else None))
    return table


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
        if part not in _NAMES:
            raise ConfigurationError(f"there is no part '{part}' to train; the parts are {', '.join(TRAINABLE)}")
        if not any(re.match(_NAMES[part], name) for name, _ in model.named_parameters()):
            raise ConfigurationError(f"the model's {part} has no parameters, so it cannot be trained")
    try:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(any(re.match(_NAMES[part], name) for part in parts))
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(before[name])


def is_of(name: str, part: str) -> bool:
    """Whether a parameter, by its name, belongs to one of ``TRAINABLE``."""
    return re.match(_NAMES[part], name) is not None


def part_of(name: str) -> str:
    """The part that a parameter belongs to by its name; an encoder for clips goes with that for images.

    Of a model in its own class (``facekit.models.native``) the head is the language model's, and what else stands
    beside the parts is the connector's.
    """
    part = name.partition(".")[0]
    if part == "native":
        return "language_model" if is_of(name, "language_model") else "connector"
    return "encoder" if part == "video_encoder" else part


def set_evaluation_of_frozen(model: nn.Module) -> None:
    """Switch dropout and running statistics off in everything that is frozen, while the rest is trained.

    Frozen is a part without a trainable parameter, or such a module of a part that is trained in part, as the projector
    beside a trained ``connector.region``. A language model with adapters is trained: its own dropout stays on, as under
    PEFT.

    Args:
        model: The composed model, inside ``trainable_parts`` and in training mode.
    """
    for name in ("encoder", "video_encoder", "connector", "language_model"):
        part = getattr(model, name, None)
        if part is None:
            continue
        for module in (part, *part.children()):
            if _is_frozen(module):
                set_evaluation_mode(module)


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


@contextmanager
def gradient_checkpointing(model: nn.Module, parts: Sequence[str]) -> Iterator[None]:
    """Compute activations again in the backward pass, of the language model and of a trainable encoder.

    Any part may be frozen.

    Args:
        model: The composed model, inside ``trainable_parts``.
        parts: Names of the trainable parts.
    """
    encoders = (getattr(model, name, None) for name in ("encoder", "video_encoder")) if "encoder" in parts else ()
    roots = [model.language_model, *(encoder for encoder in encoders if encoder is not None)]
    with activation_checkpointing(roots):
        yield


def parameter_groups(model: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Sort trainable parameters into AdamW's groups: by rate, and matrices (decayed) apart from vectors (not decayed).

    Returns:
        Groups with ``params``, ``lr`` and ``weight_decay``; empty groups are left out, the encoder's come last.
    """
    groups: dict[tuple[bool, float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            key = (part_of(name) == "encoder", _rate_of_parameter(name, settings), decay)
            groups.setdefault(key, []).append(parameter)
    return [
        {"params": params, "lr": rate, "weight_decay": decay}
        for (_, rate, decay), params in sorted(groups.items(), key=lambda item: item[0])
    ]


def _rate_of_parameter(name: str, settings: TrainingSettings) -> float:
    own = next((part for part in _FINEST_FIRST if part in settings.learning_rates and is_of(name, part)), None)
    return settings.rate_of(own or part_of(name))


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Number of parameters of each part, and of the whole under ``total``."""
    counts = {part: sum(parameter.numel() for parameter in getattr(model, part).parameters()) for part in PARTS}
    return {**counts, "total": sum(parameter.numel() for parameter in model.parameters())}
