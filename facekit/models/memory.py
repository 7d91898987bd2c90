"""Memory estimates of a composed model for generation and training, from its shapes.

The sums are over weights, gradients, AdamW's moments, activations and logits of one device that holds the whole model.
They leave out what the allocator wastes and what the driver takes (about 1 GB), and count what is not known beforehand
as its upper bound: every sequence as long as the longest, every token of text labelled.

The bytes per token of a decoder layer were measured on the Llama of transformers with fused attention, by the peak of
allocations of a training step over depth, MLP width and key-value width; ``tests/models/test_memory.py`` measures whole
steps against the estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from transformers import PreTrainedConfig

from facekit.encoders.base import VisionEncoder
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.native.modeling import NativeModel, is_native

Precision = Literal["float32", "bfloat16"]
"""Of training: as loaded, or automatic mixed precision, in which what is trained is kept in float32."""

_FLOAT32 = 4
_ADAM_MOMENTS = 2
_LOGITS = 12  # bytes per entry: logits, their log-softmax and its gradient in float32
_ENCODER_LAYER = 34  # bytes per token and channel at 16 bits (Korthikanti et al. 2022, arXiv 2205.05198, section 4)
_GIGABYTE = 1e9


@dataclass(frozen=True)
class _LayerBytes:
    """Bytes that a decoder layer keeps for its backward pass, per token and channel of each width."""

    hidden: int
    key_value: int
    mlp: int
    input: int

    def count(self, shape: ModelShape) -> int:
        """Bytes per token."""
        return self.hidden * shape.width + self.key_value * shape.kv_width + self.mlp * shape.mlp_width


_PURE_16_BIT = _LayerBytes(hidden=20, key_value=4, mlp=8, input=2)
_MIXED = _LayerBytes(hidden=30, key_value=4, mlp=8, input=4)
_PURE_32_BIT = _LayerBytes(hidden=32, key_value=8, mlp=16, input=4)


@dataclass(frozen=True)
class EncoderShape:
    """Size of a vision encoder.

    Args:
        width: Of a token.
        layers: Their number.
        tokens: Of an image.
    """

    width: int
    layers: int
    tokens: int

    @classmethod
    def of(cls, encoder: VisionEncoder) -> EncoderShape:
        """Measure an encoder; its depth is the length of its longest list of modules."""
        return cls(encoder.hidden_size, _depth(encoder), encoder.tokens_per_frame)

    @classmethod
    def of_native(cls, model: NativeModel) -> EncoderShape:
        """Measure the encoder of a model in its own class, over all tiles of a picture."""
        vision: Any = model.config.vision_config
        width = getattr(vision, "embed_dim", None) or vision.hidden_size
        return cls(width, _depth(model.encoder), model.encoder_tokens)


@dataclass(frozen=True)
class ModelShape:
    """Shapes of a model, for memory estimates.

    Args:
        frozen_bytes: Of the weights that are not trained, as they are kept.
        trained: Number of parameters that are trained.
        trained_bytes: Of one of these, as loaded.
        width: Of the language model.
        layers: Of the language model.
        mlp_width: Of the language model.
        kv_width: Of a layer's keys: key-value heads times their width.
        vocabulary: Of the language model.
        visual_tokens: Of an image, in the language model.
        text_bytes: Of an entry of the language model's embedding, as loaded.
        trains_text: Whether that embedding is trained, so that mixed precision keeps it in float32.
        encoder: Of the vision encoder where it is trained; a frozen one keeps no activations.
    """

    frozen_bytes: int
    trained: int
    trained_bytes: int
    width: int
    layers: int
    mlp_width: int
    kv_width: int
    vocabulary: int
    visual_tokens: int
    text_bytes: int = _FLOAT32
    trains_text: bool = False
    encoder: EncoderShape | None = None

    @classmethod
    def of(cls, model: FaceKitForConditionalGeneration) -> ModelShape:
        """Measure a model; parameters that ask for gradients are the trained ones."""
        trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        embedding: Any = model.get_input_embeddings().weight
        trains_encoder = any(name.startswith(("encoder.", "video_encoder.")) for name in trained)
        return cls(
            frozen_bytes=sum(value.nbytes for value in model.parameters() if not value.requires_grad),
            trained=sum(value.numel() for value in trained.values()),
            trained_bytes=max((value.itemsize for value in trained.values()), default=_FLOAT32),
            **text_shape(model.config.get_text_config()),
            visual_tokens=model.tokens_per_frame,
            text_bytes=embedding.itemsize,
            trains_text=embedding.requires_grad,
            encoder=_encoder_shape(model) if trains_encoder else None,
        )


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by what they are for.

    Args:
        batch_size: Sequences at a time.
        tokens: Length of each.
        weights: All weights; under mixed precision with the copies in bfloat16 of those that are trained.
        gradients: Of the trained weights.
        moments: Of AdamW.
        activations: Of the language model, and of an encoder that is trained.
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


def _depth(encoder: nn.Module) -> int:
    lists = (each for each in encoder.modules() if isinstance(each, (nn.ModuleList, nn.Sequential)))
    return max((len(each) for each in lists), default=1)


def _encoder_shape(model: FaceKitForConditionalGeneration) -> EncoderShape:
    return EncoderShape.of_native(model) if is_native(model) else EncoderShape.of(model.encoder)


def text_shape(config: PreTrainedConfig) -> dict[str, int]:
    """Return the fields of ``ModelShape`` that a language model's configuration gives."""
    values: Any = config
    heads = values.num_attention_heads
    head_width = getattr(values, "head_dim", None) or values.hidden_size // heads
    return {
        "width": values.hidden_size,
        "layers": values.num_hidden_layers,
        "mlp_width": getattr(values, "intermediate_size", None) or 4 * values.hidden_size,
        "kv_width": (getattr(values, "num_key_value_heads", None) or heads) * head_width,
        "vocabulary": values.vocab_size,
    }


def estimate_training(
    shape: ModelShape,
    *,
    batch_size: int,
    tokens: int,
    precision: Precision = "float32",
    gradient_checkpointing: bool = False,
    all_logits: bool = False,
    fused_loss: bool = False,
) -> MemoryEstimate:
    """Estimate what training with AdamW needs.

    With ``n`` trained parameters: weights ``frozen + n · w`` where ``w`` is 4 bytes under mixed precision (and 2 more
    for autocast's copies) and as loaded otherwise; gradients ``n · w``; moments ``2 · n · w``; activations per token of
    a decoder layer ``20 · width + 4 · kv + 8 · mlp`` bytes in 16 bits, ``30``, ``4`` and ``8`` under mixed precision
    where the embedding is float32, ``32``, ``8`` and ``16`` in float32, or with checkpointing each layer's input and
    the activations of one layer; and logits ``12`` bytes per labelled token and entry of the vocabulary.

    Args:
        shape: Of the model.
        batch_size: Sequences at a time.
        tokens: Length of each, visual tokens included.
        precision: Of the run.
        gradient_checkpointing: Whether layers are computed again in the backward pass.
        all_logits: Whether the logits of visual tokens are computed too.
        fused_loss: Whether logits are never held.
    """
    is_mixed = precision == "bfloat16"
    each = _FLOAT32 if is_mixed else shape.trained_bytes
    layer = _layer_bytes(shape, is_mixed)
    at_once = 1 if gradient_checkpointing else shape.layers
    activations = batch_size * tokens * layer.count(shape) * at_once
    if gradient_checkpointing:
        activations += batch_size * tokens * layer.input * shape.width * shape.layers
    if shape.encoder is not None:
        activations += _encoder_activations(
            shape.encoder, batch_size, 2 if is_mixed else shape.trained_bytes, gradient_checkpointing
        )
    labelled = tokens if all_logits else max(1, tokens - shape.visual_tokens)
    return MemoryEstimate(
        batch_size=batch_size,
        tokens=tokens,
        weights=shape.frozen_bytes + shape.trained * (each + (2 if is_mixed else 0)),
        gradients=shape.trained * each,
        moments=shape.trained * each * _ADAM_MOMENTS,
        activations=activations,
        logits=0 if fused_loss else _LOGITS * batch_size * labelled * shape.vocabulary,
    )


def estimate_generation(shape: ModelShape, *, batch_size: int, tokens: int, bytes_per_value: int) -> int:
    """Estimate the bytes that generation needs.

    Weights as they are, plus keys and values ``2 · layers · kv · bytes`` and one layer's working memory
    ``(8 · width + 3 · mlp) · bytes`` per token, plus the logits of the last position in float32.

    Args:
        shape: Of the model.
        batch_size: Sequences at a time.
        tokens: Length of each, visual tokens and the answer included.
        bytes_per_value: Of the language model's floating type.
    """
    cache = 2 * shape.layers * shape.kv_width
    layer = 8 * shape.width + 3 * shape.mlp_width
    weights = shape.frozen_bytes + shape.trained * shape.trained_bytes
    return weights + batch_size * tokens * (cache + layer) * bytes_per_value + _FLOAT32 * batch_size * shape.vocabulary


def format_bytes(size: int) -> str:
    """A size in words, in decimal units."""
    if size >= 10 * _GIGABYTE:
        return f"{size / _GIGABYTE:.0f} GB"
    return f"{size / _GIGABYTE:.1f} GB" if size >= 0.1 * _GIGABYTE else f"{size / 1e6:.1f} MB"


def _encoder_activations(encoder: EncoderShape, batch_size: int, size: int, gradient_checkpointing: bool) -> int:
    channels = batch_size * encoder.tokens * encoder.width
    layer = _ENCODER_LAYER * channels * size // 2
    return size * channels * encoder.layers + layer if gradient_checkpointing else layer * encoder.layers


def _layer_bytes(shape: ModelShape, is_mixed: bool) -> _LayerBytes:
    is_float32 = shape.text_bytes == _FLOAT32 or (is_mixed and shape.trains_text)
    if not is_float32:
        return _PURE_16_BIT
    return _MIXED if is_mixed else _PURE_32_BIT
