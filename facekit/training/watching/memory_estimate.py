"""How much memory a run needs, estimated before it starts, and what to change where the device has less.

The sum is over weights, gradients, AdamW's moments, activations and logits of one device that holds the whole model.
It leaves out what the allocator wastes and what the driver takes (about 1 GB), and counts what is not known beforehand
as its upper bound: every sequence as long as ``max_tokens``, every token of text labelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from facekit.models.interoperability.inspection import activation_memory
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.trainable.parts import part_of

_FLOAT32 = 4
_ADAM_MOMENTS = 2
_LOGITS = 8  # bytes per entry: float32, with its gradient
_TEXT_TOKENS = 512  # assumed where max_tokens is not set
_GIGABYTE = 1e9


@dataclass(frozen=True)
class ModelShape:
    """What an estimate needs to know of a model.

    Args:
        frozen_bytes: Of the weights that do not learn, as they are kept.
        trained: Number of parameters that learn.
        trained_bytes: Of one of these, as loaded.
        width: Of the language model.
        layers: Of the language model.
        vocabulary: Of the language model.
        visual_tokens: Of an image, in the language model.
        encoder_width: Of the vision encoder.
        encoder_layers: Of the vision encoder where it learns, else 0: a frozen one keeps no activations.
        encoder_tokens: Of an image, in the encoder.
    """

    frozen_bytes: int
    trained: int
    trained_bytes: int
    width: int
    layers: int
    vocabulary: int
    visual_tokens: int
    encoder_width: int = 0
    encoder_layers: int = 0
    encoder_tokens: int = 0

    @classmethod
    def of(cls, model: FaceKitForConditionalGeneration) -> ModelShape:
        """Measure a model; what asks for gradients is what learns."""
        learning = [value for value in model.parameters() if value.requires_grad]
        frozen = [value for value in model.parameters() if not value.requires_grad]
        text, encoder = model.config.get_text_config(), model.encoder
        learns = any(value.requires_grad for name, value in model.named_parameters() if part_of(name) == "encoder")
        return cls(
            frozen_bytes=sum(value.nbytes for value in frozen),
            trained=sum(value.numel() for value in learning),
            trained_bytes=max((value.itemsize for value in learning), default=_FLOAT32),
            width=text.hidden_size,
            layers=text.num_hidden_layers,
            vocabulary=text.vocab_size,
            visual_tokens=model.tokens_per_frame,
            encoder_width=encoder.hidden_size,
            encoder_layers=_depth(encoder) if learns else 0,
            encoder_tokens=encoder.tokens_per_frame,
        )


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by what they are for.

    Args:
        batch_size: Sequences at a time.
        tokens: Length of each.
        weights: All weights; under mixed precision with the copies in bfloat16 of those that learn.
        gradients: Of what learns.
        moments: Of AdamW.
        activations: Of the language model, and of an encoder that learns.
        logits: With their gradients.
    """

    batch_size: int
    tokens: int
    weights: int
    gradients: int
    moments: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.moments + self.activations + self.logits

    def __str__(self) -> str:
        names = ("weights", "gradients", "moments", "activations", "logits")
        items = ", ".join(f"{name} {format_bytes(getattr(self, name))}" for name in names)
        return f"{format_bytes(self.total)} for {self.batch_size} x {self.tokens} tokens ({items})"


def estimate_memory(shape: ModelShape, settings: TrainingSettings) -> MemoryEstimate:
    """Estimate what a run needs on a device that holds the whole model.

    With ``n`` parameters that learn: weights ``frozen + n · w`` where ``w`` is 4 bytes under mixed precision (and 2
    more for autocast's copies) and as loaded otherwise; gradients ``n · w``; moments ``2 · n · w``; activations as in
    ``activation_memory``; logits ``8`` bytes per text token and entry of the vocabulary, none with ``fused_loss``.

    Args:
        shape: Of the model.
        settings: Of the run; where ``max_tokens`` is not set, an image and 512 tokens of text are assumed.
    """
    is_mixed = settings.precision == "bfloat16"
    each = _FLOAT32 if is_mixed else shape.trained_bytes
    size = 2 if is_mixed else shape.trained_bytes
    tokens = settings.max_tokens or shape.visual_tokens + _TEXT_TOKENS
    batch = settings.batch_size
    activations = activation_memory(
        batch * tokens, shape.width, shape.layers, size, gradient_checkpointing=settings.gradient_checkpointing
    )
    if shape.encoder_layers:
        activations += activation_memory(
            batch * shape.encoder_tokens,
            shape.encoder_width,
            shape.encoder_layers,
            size,
            gradient_checkpointing=settings.gradient_checkpointing,
        )
    labelled = tokens if settings.logits == "all" else max(1, tokens - shape.visual_tokens)
    return MemoryEstimate(
        batch_size=batch,
        tokens=tokens,
        weights=shape.frozen_bytes + shape.trained * (each + (2 if is_mixed else 0)),
        gradients=shape.trained * each,
        moments=shape.trained * each * _ADAM_MOMENTS,
        activations=activations,
        logits=0 if settings.fused_loss else _LOGITS * batch * labelled * shape.vocabulary,
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


def format_bytes(size: int) -> str:
    """A size in words, in decimal units."""
    if size >= 10 * _GIGABYTE:
        return f"{size / _GIGABYTE:.0f} GB"
    return f"{size / _GIGABYTE:.1f} GB" if size >= 0.1 * _GIGABYTE else f"{size / 1e6:.1f} MB"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _depth(module: nn.Module) -> int:
    """The number of a network's blocks: the length of its longest list of modules."""
    lists = (each for each in module.modules() if isinstance(each, (nn.ModuleList, nn.Sequential)))
    return max((len(each) for each in lists), default=1)
