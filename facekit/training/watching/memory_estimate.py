"""The memory estimate before a run, with remedies where the device has less.

The estimate itself is ``facekit.models.memory``'s, which ``facekit inspect`` uses too; here a run's settings are read.
"""

from __future__ import annotations

from typing import Any

import torch

from facekit.models.memory import MemoryEstimate, ModelShape, estimate_training, format_bytes
from facekit.training.recipes.settings import TrainingSettings

_TEXT_TOKENS = 512  # assumed where max_tokens is not set


def estimate_memory(shape: ModelShape, settings: TrainingSettings) -> MemoryEstimate:
    """Estimate what a run needs on a device that holds the whole model.

    Args:
        shape: Of the model.
        settings: Of the run; where ``max_tokens`` is not set, an image and 512 tokens of text are assumed.
    """
    return estimate_training(
        shape,
        batch_size=settings.batch_size * (2 if settings.dpo is not None else 1),  # both answers of a pair
        tokens=settings.max_tokens or shape.visual_tokens + _TEXT_TOKENS,
        precision=settings.precision,
        gradient_checkpointing=settings.gradient_checkpointing,
        all_logits=settings.logits == "all",
        fused_loss=settings.fused_loss,
    )


def suggest_changes(shape: ModelShape, settings: TrainingSettings) -> list[tuple[str, MemoryEstimate]]:
    """Settings that need less memory for the same steps, as overrides, each with what it is estimated to need."""
    changes: list[dict[str, Any]] = []
    if settings.batch_size > 1:
        half = settings.batch_size // 2
        changes.append({"batch_size": half, "accumulation": settings.accumulation * -(-settings.batch_size // half)})
    if not settings.gradient_checkpointing:
        changes.append({"gradient_checkpointing": True})
    if settings.batch_size > 2:
        changes.append({"batch_size": 1, "accumulation": settings.accumulation * settings.batch_size,
                        "gradient_checkpointing": True})  # fmt: skip
    if settings.precision == "float32":
        changes.append({"precision": "bfloat16"})
    suggested = []
    for change in changes:
        words = " ".join(f"{key}={str(value).lower()}" for key, value in change.items())
        suggested.append((words, estimate_memory(shape, settings.model_copy(update=change))))
    return suggested


def explain_memory(shape: ModelShape, settings: TrainingSettings, capacity: int | None = None) -> str:
    """Say in words what a run is estimated to need, and what to change.

    Args:
        shape: Of the model.
        settings: Of the run that did not fit.
        capacity: Bytes of the device, where they are known.
    """
    estimate = estimate_memory(shape, settings)
    has = "" if capacity is None else f", the device has {format_bytes(capacity)}"
    better = [(words, each) for words, each in suggest_changes(shape, settings) if each.total < estimate.total]
    remedies = [f"{words} (about {format_bytes(each.total)})" for words, each in better]
    if shape.trained * shape.trained_bytes > shape.frozen_bytes:
        remedies.append("train=[connector,llm.lora] in place of whole weights")
    remedies.append(f"a smaller max_tokens (now {estimate.tokens})")
    return f"the run is estimated to need {estimate}{has}; set {', or '.join(remedies)}"


def device_capacity() -> int | None:
    """Bytes of the GPU that this process computes on, or None without one."""
    if not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
