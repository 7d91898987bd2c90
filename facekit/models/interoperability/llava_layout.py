"""LLaVA-1.5 and InternVL in the Hugging Face layout: parameter names of vision tower, projector and LM.

Both classes of transformers name their parts alike, so reading and writing names is written once here. On disk there
are two habits, ``language_model.model.…`` and the newer ``model.language_model.…``; both are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig

from facekit.encoders.huggingface import architecture_values, square_side, vision_classes
from facekit.encoders.transform import ImageTransform
from facekit.errors import CheckpointError, configuration_guard
from facekit.models.interoperability.composition import Composition
from facekit.models.interoperability.image_transforms import read_image_transform
from facekit.models.interoperability.recognition import CheckpointFormat, Recognition
from facekit.models.interoperability.weights import TensorHeader

_VISION_LAYER = re.compile(r"encoder\.(layers?)\.(\d+)\.(.*)")
_COMPUTED = ("rotary_emb.inv_freq", "position_ids")
_HEAD = "language_model.lm_head.weight"
LLAVA_PROJECTOR = {"linear_1": 0, "linear_2": 2}
INTERNVL_PROJECTOR = {"layer_norm": 0, "linear_1": 1, "linear_2": 3}
LLAVA_TOWERS = ("clip_vision_model", "siglip_vision_model")


@dataclass(frozen=True)
class TensorNames:
    """Tensor names on both sides.

    Args:
        projector: Index in facekit's connector of each layer of the projector.
        num_vision_layers: Layers of the vision tower in use; later ones are kept, but not run.
        vision_prefix: ``vision_model.`` where this version of transformers has the tower's tensors below that.
    """

    projector: dict[str, int]
    num_vision_layers: int
    vision_prefix: str = ""

    def to_facekit(self, name: str) -> str | None:
        """Return facekit's name of a checkpoint's tensor, or None for one that is computed."""
        if name.endswith(_COMPUTED):
            return None
        if name == "lm_head.weight":
            return _HEAD
        if name.startswith("model.language_model."):
            return "language_model.model." + name.removeprefix("model.language_model.")
        name = name.removeprefix("model.")
        if name.startswith("vision_tower."):
            return self._vision_to_facekit(name.removeprefix("vision_tower.").removeprefix("vision_model."))
        part, _, rest = name.removeprefix("multi_modal_projector.").partition(".")
        if name.startswith("multi_modal_projector.") and part in self.projector:
            return f"connector.layers.{self.projector[part]}.{rest}"
        return name

    def from_facekit(self, name: str) -> str:
        """Return the checkpoint's name of one of facekit's tensors."""
        if name.startswith("connector.layers."):
            index, _, rest = name.removeprefix("connector.layers.").partition(".")
            part = next(part for part, layer in self.projector.items() if layer == int(index))
            return f"multi_modal_projector.{part}.{rest}"
        if name.startswith("encoder.unused_layers."):
            index, _, rest = name.removeprefix("encoder.unused_layers.").partition(".")
            word = "layers" if self.projector is LLAVA_PROJECTOR else "layer"
            layer = self.num_vision_layers + int(index)
            return f"vision_tower.{self._published_prefix}encoder.{word}.{layer}.{rest}"
        if not name.startswith("encoder.model."):
            return name
        return (
            f"vision_tower.{self._published_prefix}{name.removeprefix('encoder.model.').removeprefix('vision_model.')}"
        )

    @property
    def _published_prefix(self) -> str:
        """As LLaVA is published, which engines want and every version of transformers reads."""
        return "vision_model." if self.projector is LLAVA_PROJECTOR else ""

    def _vision_to_facekit(self, name: str) -> str | None:
        if name.startswith("head."):  # SigLIP's pooling, which no patch goes through
            return None
        layer = _VISION_LAYER.fullmatch(name)
        if layer and int(layer[2]) >= self.num_vision_layers:
            return f"encoder.unused_layers.{int(layer[2]) - self.num_vision_layers}.{layer[3]}"
        return f"encoder.model.{self.vision_prefix}{name}"


def describe_llava(recognised: Recognition, headers: dict[str, TensorHeader]) -> tuple[Composition, ImageTransform]:
    """Describe a LLaVA-1.5 or InternVL checkpoint in facekit's parts, with its image transform.

    Args:
        recognised: The folder and its format.
        headers: Of its tensors: they show whether the head is the embedding.

    Raises:
        CheckpointError: It is built in a way that facekit's parts do not have; the message says which.
    """
    with configuration_guard(CheckpointError, f"'{recognised.folder}/config.json' cannot be read"):
        config: Any = AutoConfig.from_pretrained(recognised.folder, trust_remote_code=False)
    is_internvl = recognised.format is CheckpointFormat.INTERNVL
    vision, used = config.vision_config, _count_used_layers(config)
    _check_llava(config, vision, is_internvl, used)
    transform = read_image_transform(recognised.folder) or ImageTransform(
        square_side(vision.image_size), framing="crop"
    )
    total = vision.num_hidden_layers
    encoder: dict[str, Any] = {
        "name": "hf",
        "vision_config": {**architecture_values(vision), "num_hidden_layers": used},
        "transform": transform.to_config(),
    }
    if total > used:
        encoder["num_unused_layers"] = total - used
    names = TensorNames(INTERNVL_PROJECTOR if is_internvl else LLAVA_PROJECTOR, used, vision_prefix(encoder))
    return Composition(
        encoder=encoder,
        connector=_describe_connector(config, is_internvl),
        text_config=_describe_text(config, headers, names.to_facekit),
        image_token_id=config.image_token_id,
        rename=names.to_facekit,
    ), transform


def vision_prefix(encoder: dict[str, Any]) -> str:
    """Return what this version of transformers puts before the names of a vision model's tensors."""
    settings, model_class = vision_classes({**encoder["vision_config"], "num_hidden_layers": 1})
    with torch.device("meta"):
        names = model_class(settings).state_dict()
    return "vision_model." if all(name.startswith("vision_model.") for name in names) else ""


def _count_used_layers(config: Any) -> int:
    layer, total = config.vision_feature_layer, config.vision_config.num_hidden_layers
    if not isinstance(layer, int):
        raise CheckpointError(f"config.json joins the vision layers {list(layer)}; facekit reads one layer")
    used = layer if layer >= 0 else total + 1 + layer
    if not 1 <= used <= total:
        raise CheckpointError(f"config.json reads vision layer {layer}, but the tower has layers 1 to {total}")
    return used


def _check_llava(config: Any, vision: PreTrainedConfig, is_internvl: bool, used: int) -> None:
    known = ("internvl_vision",) if is_internvl else LLAVA_TOWERS
    problems = (
        (
            vision.model_type not in known,
            f"has a vision tower '{vision.model_type}', where {' or '.join(known)} is read",
        ),
        (config.projector_hidden_act != "gelu", f"has '{config.projector_hidden_act}' in its projector, not 'gelu'"),
        (not getattr(config, "multimodal_projector_bias", True), "has a projector without biases"),
        (
            is_internvl and used == vision.num_hidden_layers and not vision.use_mean_pooling,
            "normalises the last vision layer (use_mean_pooling is false)",
        ),
        (
            is_internvl and config.vision_feature_select_strategy != "default",
            "keeps the class token before its pixel shuffle",
        ),
        (
            vision.model_type == "siglip_vision_model" and config.vision_feature_select_strategy != "full",
            "drops the first patch of SigLIP, which has no class token (vision_feature_select_strategy is 'default')",
        ),
    )
    for is_there, what in problems:
        if is_there:
            raise CheckpointError(f"the {config.model_type} checkpoint {what}; facekit has no part for that")


def _describe_connector(config: Any, is_internvl: bool) -> dict[str, Any]:
    widths = {"input_width": config.vision_config.hidden_size, "output_width": config.text_config.hidden_size}
    if is_internvl:
        factor = round(1 / config.downsample_ratio)
        if abs(factor * config.downsample_ratio - 1) > 1e-6:
            raise CheckpointError(f"downsample_ratio {config.downsample_ratio} is not one over a whole number")
        return {"name": "pixel-shuffle", **widths, "factor": factor}
    keeps = config.vision_feature_select_strategy == "full"
    return {"name": "mlp", **widths, "depth": 2, "keep_prefix_tokens": keeps}


def _describe_text(
    config: Any, headers: dict[str, TensorHeader], rename: Callable[[str], str | None]
) -> PreTrainedConfig:
    text_config: PreTrainedConfig = config.text_config
    # As in transformers, the whole model's entry decides; a head of its own in the file outranks it.
    has_head = any(rename(name) == _HEAD for name in headers)
    text_config.tie_word_embeddings = bool(config.tie_word_embeddings) and not has_head
    return text_config
