"""Any timm model with spatial features: vision transformers and hierarchical networks.

timm reports a model's intermediate features through one method, ``forward_intermediates``, whatever the family; this
file turns what it returns into prefix tokens and row-major patches. The open_clip encoder shares it for towers that
are timm models.
"""

from __future__ import annotations

import inspect
import logging
import math
from typing import Any, Self

import timm
import torch
from einops import rearrange
from safetensors import SafetensorError
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from facekit.encoders.base import VisionEncoder
from facekit.encoders.checkpoints import load_strictly, read_weights
from facekit.encoders.layers import resolve_layer
from facekit.encoders.transform import ImageTransform
from facekit.errors import CheckpointError, ConfigurationError, InvalidSpecError, first_line
from facekit.hub import HUB_FAULTS, explain, is_hub_fault
from facekit.spec import PositiveInt, closest_match_hint

logger = logging.getLogger(__name__)

_FAMOUS = ("vit_base_patch16_224", "vit_small_patch14_dinov2", "resnet50", "convnext_tiny")


class TimmEncoder(VisionEncoder):
    """Features of one layer of a timm model.

    For a vision transformer a layer is a block, and its output is taken as it is (the residual stream, without the
    final norm unless ``norm`` says so). For a hierarchical network a layer is an entry of the model's
    ``feature_info``: a stage, each with its own width and grid. What comes after the layer is removed.

    Args:
        model: A model from ``create_timm_model``; it is changed in place.
        model_name: timm's name, with or without a weights tag: ``vit_base_patch16_clip_224.openai``.
        image_size: Height and width in pixels; the model's own by default.
        layer: 1 is the first layer, -1 the last, -2 the one before.
        norm: Whether the model's final norm is applied (vision transformers).
        class_token: Whether class and register tokens, where the model has any, are given out.
        transform: How pictures become pixels; what timm has on record for the model by default. timm's evaluation
            crops the margin (``crop_pct``); this transform does not, because landmarks refer to the whole picture.

    Raises:
        InvalidSpecError: The model has no such layer or cannot take the size.
    """

    def __init__(
        self,
        model: Any,
        model_name: str,
        *,
        image_size: int | None = None,
        layer: int = -1,
        norm: bool = False,
        class_token: bool = True,
        transform: ImageTransform | None = None,
    ) -> None:
        super().__init__()
        source = resolve_model_data_config(model)
        self.image_size = set_image_size(model, model_name, image_size, source["input_size"])
        self.model_name, self.layer, self.norm = model_name, layer, norm
        self.features = TimmFeatures(model, f"timm:{model_name}", layer, self.image_size, norm=norm)
        self.transform = transform or ImageTransform(
            self.image_size, source["mean"], source["std"], known_interpolation(source["interpolation"])
        )
        self.class_token = class_token
        self.describe_features(self.features, class_token=class_token)

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Encode frames ``(F, 3, H, W)`` to ``(F, P + N, C)``."""
        return self.features(frames)

    @classmethod
    def from_spec(
        cls,
        argument: str | None = None,
        *,
        pretrained: bool = False,
        checkpoint: str | None = None,
        layer: int = -1,
        image_size: PositiveInt | None = None,
        norm: bool = False,
        class_token: bool = True,
    ) -> Self:
        """Build ``timm:MODEL[?pretrained=true&checkpoint=PATH&layer=-1&image_size=224&norm=false&class_token=true]``.

        Weights are random unless ``pretrained=true`` (timm downloads them or finds them in its cache) or
        ``checkpoint`` names a local file with timm's names.

        Raises:
            InvalidSpecError: The model is unknown, or an option does not fit it.
            CheckpointError: The weights are missing or do not fit.
        """
        if argument is None:
            raise InvalidSpecError("encoder 'timm' needs a model name, such as 'timm:vit_base_patch16_224'")
        if pretrained and checkpoint:
            raise InvalidSpecError("encoder 'timm' takes pretrained=true or checkpoint=PATH, not both")
        model = create_timm_model(argument, pretrained=pretrained)
        if checkpoint:
            load_backbone(model, read_weights(checkpoint), checkpoint)
        return cls(model, argument, layer=layer, image_size=image_size, norm=norm, class_token=class_token)

    def to_config(self) -> dict[str, Any]:
        """Return timm's name, the layer, the size and the transform."""
        return {
            "model_name": self.model_name,
            "image_size": self.image_size,
            "layer": self.layer,
            "norm": self.norm,
            "class_token": self.class_token,
            "transform": self.transform.to_config(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build the architecture with untrained weights."""
        settings = {**config, "transform": ImageTransform(**config["transform"])}
        return cls(create_timm_model(config["model_name"]), **settings)


class TimmFeatures(nn.Module):
    """A timm model cut after one layer, giving that layer's prefix tokens and row-major patches.

    Args:
        model: The model; it is changed in place.
        name: Spec of the model, for messages.
        layer: 1 is the first layer, -1 the last.
        image_size: Height and width in pixels of the frames.
        norm: Whether the model's final norm is applied.

    Raises:
        InvalidSpecError: The model has no intermediate features, no such layer, or no final norm where one is asked.
    """

    hidden_size: int
    grid: tuple[int, int]
    num_prefix_tokens: int

    def __init__(self, model: Any, name: str, layer: int, image_size: int, *, norm: bool = False) -> None:
        super().__init__()
        if not hasattr(model, "forward_intermediates"):
            raise InvalidSpecError(f"'{name}' does not report spatial features; choose another")
        accepted = inspect.signature(model.forward_intermediates).parameters
        self.name = name
        self.returns_prefix = "return_prefix_tokens" in accepted
        if norm and not self.returns_prefix:
            raise InvalidSpecError(f"'{name}' has no final norm of its tokens; leave norm=true out")
        self.norm = norm
        stages = list(model.feature_info)
        self.index = resolve_layer(name, layer, len(stages))
        self.hidden_size = stages[self.index]["num_chs"]
        side = math.ceil(image_size / stages[self.index]["reduction"])
        if self.returns_prefix:
            side = image_size // stages[self.index]["reduction"]
        self.grid = (side, side)
        self.num_prefix_tokens = model.num_prefix_tokens if self.returns_prefix else 0
        model.prune_intermediate_layers([self.index], prune_norm=not norm, prune_head=True)
        self.model: Any = model

    def forward(self, frames: Tensor) -> Tensor:
        """Turn ``(F, 3, H, W)`` into ``(F, P + N, C)``.

        Raises:
            ConfigurationError: The model's features have another grid than timm's table says.
        """
        frames = frames.to(next(self.model.parameters()).dtype)
        options: dict[str, Any] = {"return_prefix_tokens": True} if self.num_prefix_tokens else {}
        (features,) = self.model.forward_intermediates(
            frames, indices=[self.index], norm=self.norm, stop_early=True, intermediates_only=True, **options
        )
        prefix = None
        if isinstance(features, tuple):
            features, prefix = features
        if tuple(features.shape[1:]) != (self.hidden_size, *self.grid):
            raise ConfigurationError(
                f"'{self.name}' gave features {tuple(features.shape[1:])} where its table says "
                f"{(self.hidden_size, *self.grid)}; choose another layer or image_size"
            )
        patches = rearrange(features, "f c rows cols -> f (rows cols) c")
        return patches if prefix is None else torch.cat([prefix, patches], dim=1)


def create_timm_model(name: str, *, pretrained: bool = False) -> Any:
    """Create a timm model without classifier.

    Raises:
        InvalidSpecError: timm has no model or no weights tag of that name.
        CheckpointError: The weights cannot be had.
    """
    base = name.partition(".")[0]
    if not timm.is_model(name):
        raise InvalidSpecError(f"timm has no model '{name}'{closest_match_hint(base, nearby_models(base))}")
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0)
    except (RuntimeError, OSError, SafetensorError, *HUB_FAULTS) as error:
        if is_hub_fault(error):
            config = timm.get_pretrained_cfg(name)
            reason = explain(error, (config and config.hf_hub_id) or name, is_named=False)
            raise CheckpointError(f"timm has no weights of '{name}' here: {reason}") from error
        if isinstance(error, RuntimeError):
            raise InvalidSpecError(f"timm cannot create '{name}': {first_line(error)}") from error
        raise CheckpointError(f"timm cannot read the weights of '{name}': {first_line(error)}") from error


def nearby_models(name: str) -> list[str]:
    """Return timm's models of the same family as a name, or a few well-known ones where the family is unknown."""
    return timm.list_models(f"{name.partition('_')[0]}*") or list(_FAMOUS)


def set_image_size(model: Any, name: str, wanted: int | None, own: tuple[int, int, int]) -> int:
    """Prepare a timm model for square frames and return their size.

    Args:
        model: The model; position embeddings are resampled in place.
        name: Its name, for messages.
        wanted: The size asked for, or None for the model's own.
        own: The model's own input size: channels, height, width.

    Raises:
        InvalidSpecError: The model takes frames of one size only, or its own frames are not square RGB.
    """
    if own[0] != 3 or own[1] != own[2]:
        raise InvalidSpecError(f"timm model '{name}' takes inputs of shape {own}, not square RGB pictures")
    if wanted is None or wanted == own[1]:
        return own[1]
    patch = model.feature_info[0]["reduction"]
    if hasattr(model, "num_prefix_tokens") and wanted % patch:
        raise InvalidSpecError(f"timm model '{name}' cannot take image_size={wanted}: it is no multiple of {patch}")
    if hasattr(model, "set_input_size"):
        try:
            model.set_input_size(img_size=(wanted, wanted))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise InvalidSpecError(
                f"timm model '{name}' cannot take image_size={wanted}: {first_line(error)}"
            ) from error
    elif model.pretrained_cfg.get("fixed_input_size", False):
        raise InvalidSpecError(f"timm model '{name}' takes image_size={own[1]} only, not {wanted}")
    return wanted


def load_backbone(model: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Load weights into a model without classifier; weights of the classifier are left out.

    Raises:
        CheckpointError: Weights of the model are missing or of another shape.
    """
    expected = model.state_dict()
    left_out = sorted(weights.keys() - expected.keys())
    if left_out:
        logger.info("left out %d weights of %s, first '%s'", len(left_out), source, left_out[0])
    load_strictly(model, {name: weights[name] for name in weights if name in expected}, source)


def known_interpolation(name: str) -> Any:
    """Return a library's name of an interpolation, or ``bicubic`` where the transform has none of that name."""
    return name if name in ("nearest", "bilinear", "bicubic", "lanczos") else "bicubic"
