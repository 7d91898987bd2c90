"""Image encoders of open_clip models, transformers and ResNets, without their text encoders.

open_clip keeps architectures as JSON; what this encoder saves is that JSON's picture part, so that it can be rebuilt
without open_clip's tables.
"""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import open_clip
import torch
from einops import rearrange
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from facekit.encoders.base import VisionEncoder
from facekit.encoders.checkpoints import load_strictly, read_weights
from facekit.encoders.layers import resolve_layer
from facekit.encoders.positions import resample_patch_positions
from facekit.encoders.timm import TimmFeatures, known_interpolation
from facekit.encoders.transform import ImageTransform
from facekit.errors import CheckpointError, InvalidSpecError, first_line
from facekit.hub import HUB_FAULTS, explain, is_hub_fault
from facekit.spec import PositiveInt, closest_match_hint

logger = logging.getLogger(__name__)

_TOWER_KEYS = ("embed_dim", "vision_cfg", "quick_gelu")
_RESNET_STRIDE = 32
_HUB_PREFIX, _FOLDER_PREFIX = "hf-hub:", "local-dir:"
_LEAST_TEXT = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}


@dataclass(frozen=True)
class OpenClipArchitecture:
    """The picture side of an open_clip model configuration.

    Args:
        tower: The entries ``embed_dim``, ``vision_cfg`` and ``quick_gelu``.
        preprocess: Entries of ``preprocess_cfg`` that differ from open_clip's defaults.
    """

    tower: dict[str, Any]
    preprocess: dict[str, Any]


class OpenClipEncoder(VisionEncoder):
    """The output of one block of an open_clip vision transformer, with its class token, or of one stage of a ResNet.

    The default, the block before the last, is what LLaVA and Face-LLaVA read from CLIP. Blocks after it, the final
    norm and the projection are removed.

    Args:
        visual: The picture side, an open_clip ``VisionTransformer`` or ``ModifiedResNet``, or a ``TimmModel`` around
            any timm model with spatial features; it is changed in place.
        tower: The part of open_clip's configuration that it was built from.
        layer: 1 is the output of the first block, -1 of the last, -2 of the one before.
        preprocess: Entries of ``preprocess_cfg`` that differ from open_clip's defaults.
        class_token: Whether the class token (and register tokens of a timm tower) are given out.

    Raises:
        InvalidSpecError: The model is of another kind, its pictures are not square, or it has no such layer.
    """

    def __init__(
        self,
        visual: nn.Module,
        tower: dict[str, Any],
        layer: int = -2,
        preprocess: dict[str, Any] | None = None,
        *,
        class_token: bool = True,
    ) -> None:
        super().__init__()
        self.tower, self.layer = tower, layer
        self.preprocess = preprocess or {}
        self.transform = transform_of(visual, self.preprocess)
        self.image_size = self.transform.image_size
        self.features: TimmFeatures | OpenClipFeatures | OpenClipResNetFeatures
        if isinstance(visual, TimmModel):
            name = tower["vision_cfg"]["timm_model_name"]
            self.features = TimmFeatures(visual.trunk, f"openclip tower {name}", layer, self.image_size)
        elif isinstance(visual, VisionTransformer):
            self.features = OpenClipFeatures(visual, layer)
        elif isinstance(visual, ModifiedResNet):
            self.features = OpenClipResNetFeatures(visual, layer)
        else:
            raise InvalidSpecError(
                f"encoder 'openclip' reads vision transformers and ResNets, not {type(visual).__name__}"
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
        pretrained: str | None = None,
        config: str | None = None,
        layer: int = -2,
        class_token: bool = True,
        image_size: PositiveInt | None = None,
    ) -> Self:
        """Build ``openclip:MODEL[?pretrained=TAG_OR_PATH&layer=-2&class_token=true&image_size=224&config=PATH]``.

        Weights are random unless ``pretrained`` names one of open_clip's tags, which are downloaded, or a local
        checkpoint of the whole model or its picture side, as safetensors or a PyTorch file of tensors.
        ``config`` names a JSON file in open_clip's format and replaces MODEL; ``local-dir:FOLDER`` as MODEL takes
        ``open_clip_config.json`` and the weights from a folder. Local weights from OpenAI, as well as others trained
        with QuickGELU, want the model name that ends in ``-quickgelu``; with a tag this is done for you. An
        ``image_size`` other than the model's resamples its position embeddings.

        Raises:
            InvalidSpecError: The model or the tag is unknown, or an option does not fit.
            CheckpointError: The weights are missing or do not fit.
        """
        if (argument is None) == (config is None):
            raise InvalidSpecError("encoder 'openclip' takes a model name, such as 'openclip:ViT-B-16', or config=PATH")
        if argument is not None and argument.startswith(_HUB_PREFIX):
            raise InvalidSpecError(f"download '{argument}' to a folder and use 'openclip:local-dir:FOLDER'")
        if argument is not None and argument.startswith(_FOLDER_PREFIX):
            folder = Path(argument.removeprefix(_FOLDER_PREFIX))
            config, pretrained = str(folder / "open_clip_config.json"), pretrained or str(weights_in(folder))
        architecture = read_architecture(config) if config else named_architecture(str(argument))
        if pretrained is None or Path(pretrained).is_file():
            visual = build_tower(architecture.tower)
            if pretrained:
                load_tower(visual, read_weights(pretrained), pretrained)
        elif argument is None or config is not None:
            raise CheckpointError(f"there is no weights file {pretrained}; check the path")
        else:
            visual, architecture = download_tower(argument, pretrained, architecture)
        resize_tower(visual, image_size)
        return cls(visual, architecture.tower, layer, architecture.preprocess, class_token=class_token)

    def to_config(self) -> dict[str, Any]:
        """Return the picture part of open_clip's configuration, and what was chosen beside it."""
        return {
            "tower": copy.deepcopy(self.tower),
            "layer": self.layer,
            "preprocess": dict(self.preprocess),
            "class_token": self.class_token,
            "image_size": self.image_size,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build the architecture with untrained weights."""
        visual, class_token = build_tower(config["tower"]), config.get("class_token", True)
        resize_tower(visual, config.get("image_size"))
        return cls(visual, config["tower"], config["layer"], config["preprocess"], class_token=class_token)


class OpenClipFeatures(nn.Module):
    """An open_clip vision transformer cut after one block.

    Args:
        visual: The transformer; it is changed in place.
        layer: 1 is the output of the first block, -1 of the last.

    Raises:
        InvalidSpecError: There is no such layer.
    """

    num_prefix_tokens = 1

    def __init__(self, visual: VisionTransformer, layer: int) -> None:
        super().__init__()
        self.index = resolve_layer("openclip", layer, len(visual.transformer.resblocks))
        visual.prune_intermediate_layers([self.index], prune_norm=True, prune_head=True)
        visual.attn_pool = None
        visual.patch_dropout = nn.Identity()
        self.hidden_size = visual.conv1.out_channels
        self.grid = tuple(visual.grid_size)
        self.visual = visual

    def forward(self, frames: Tensor) -> Tensor:
        """Turn ``(F, 3, H, W)`` into ``(F, 1 + N, C)``."""
        found = self.visual.forward_intermediates(
            frames.to(self.visual.conv1.weight.dtype),
            indices=[self.index],
            stop_early=True,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        return torch.cat([found["image_intermediates_prefix"][0], found["image_intermediates"][0]], dim=1)


class OpenClipResNetFeatures(nn.Module):
    """A CLIP ResNet (Radford et al. 2021, section 2.4) cut after one of its four stages.

    Args:
        visual: The network; it is changed in place.
        layer: A stage: 1 is the first, -1 the last.

    Raises:
        InvalidSpecError: There is no such stage.
    """

    num_prefix_tokens = 0

    def __init__(self, visual: Any, layer: int) -> None:
        super().__init__()
        stages = [visual.layer1, visual.layer2, visual.layer3, visual.layer4]
        index = resolve_layer("openclip", layer, len(stages))
        side = visual.image_size // (4 * 2**index)
        self.grid = (side, side)
        self.hidden_size = stages[index][-1].bn3.num_features
        for later in range(index + 1, len(stages)):
            setattr(visual, f"layer{later + 1}", nn.Identity())
        visual.attnpool = nn.Identity()
        self.visual = visual

    def forward(self, frames: Tensor) -> Tensor:
        """Turn ``(F, 3, H, W)`` into ``(F, N, C)``."""
        features = self.visual(frames.to(self.visual.conv1.weight.dtype))
        return rearrange(features, "f c rows cols -> f (rows cols) c")


def named_architecture(name: str) -> OpenClipArchitecture:
    """Return the architecture that open_clip has under a name.

    Raises:
        InvalidSpecError: It has none.
    """
    config = open_clip.get_model_config(name.replace("/", "-"))
    if config is None:
        near = [known for known in open_clip.list_models() if known[:3].lower() == name[:3].lower()]
        hint = closest_match_hint(name, near or ["ViT-B-32", "ViT-B-16", "ViT-L-14"])
        raise InvalidSpecError(f"open_clip has no model '{name}'{hint}")
    return architecture_of(config)


def read_architecture(path: str | Path) -> OpenClipArchitecture:
    """Read a model configuration, or an ``open_clip_config.json`` that holds one with its preprocessing.

    Raises:
        InvalidSpecError: The file is missing or is no such configuration.
    """
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidSpecError(f"{path} cannot be read as an open_clip configuration: {first_line(error)}") from error
    preprocess = config.get("preprocess_cfg", {}) if isinstance(config, dict) else {}
    config = config.get("model_cfg", config) if isinstance(config, dict) else {}
    if not {"embed_dim", "vision_cfg"} <= config.keys():
        raise InvalidSpecError(f"{path} is no open_clip configuration: it has no embed_dim or no vision_cfg")
    return architecture_of(config, preprocess)


def architecture_of(config: dict[str, Any], preprocess: dict[str, Any] | None = None) -> OpenClipArchitecture:
    """Take the picture part out of a model configuration."""
    tower = {key: copy.deepcopy(config[key]) for key in _TOWER_KEYS if key in config}
    return OpenClipArchitecture(tower, dict(preprocess or {}))


def build_tower(tower: dict[str, Any]) -> nn.Module:
    """Build the picture side with random weights.

    Raises:
        InvalidSpecError: open_clip does not take the configuration.
    """
    vision = {**tower["vision_cfg"], "timm_model_pretrained": False}
    try:
        return open_clip.CLIP(tower["embed_dim"], vision, _LEAST_TEXT, tower.get("quick_gelu", False)).visual
    except (TypeError, AssertionError, RuntimeError, ValueError) as error:
        raise InvalidSpecError(f"open_clip cannot build the vision_cfg {vision}: {first_line(error)}") from error


def resize_tower(visual: Any, image_size: int | None) -> None:
    """Prepare a picture side for frames of another size, its position embeddings resampled in place.

    Args:
        visual: The picture side with its weights.
        image_size: Height and width wanted, or None for the model's own.

    Raises:
        InvalidSpecError: The size is no multiple of the patch size, or the model takes one size only.
    """
    size = (image_size, image_size)
    if image_size is None or visual.image_size in (image_size, size):
        return
    if isinstance(visual, TimmModel):
        try:
            visual.trunk.set_input_size(size)
        except (AttributeError, AssertionError, RuntimeError, ValueError) as error:
            raise InvalidSpecError(
                f"this open_clip model cannot take image_size={image_size}: {first_line(error)}"
            ) from error
        visual.image_size = size
    elif isinstance(visual, ModifiedResNet):
        if image_size % _RESNET_STRIDE:
            raise InvalidSpecError(
                f"this open_clip model cannot take image_size={image_size}: it is no multiple of {_RESNET_STRIDE}"
            )
        visual.image_size = image_size
    elif isinstance(visual, VisionTransformer):
        patch = visual.patch_size[0]
        if image_size % patch:
            raise InvalidSpecError(
                f"this open_clip model cannot take image_size={image_size}: it is no multiple of {patch}"
            )
        grid = (image_size // patch, image_size // patch)
        visual.positional_embedding = nn.Parameter(resample_patch_positions(visual.positional_embedding.detach(), grid))
        visual.grid_size, visual.image_size = grid, size


def load_tower(visual: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Load the picture side from weights of the whole model (names begin with ``visual.``) or of that side alone.

    Raises:
        CheckpointError: Weights are missing, left over or of another shape.
    """
    inside = {name.removeprefix("visual."): value for name, value in weights.items() if name.startswith("visual.")}
    load_strictly(visual, inside or weights, source)


def download_tower(name: str, tag: str, architecture: OpenClipArchitecture) -> tuple[nn.Module, OpenClipArchitecture]:
    """Have open_clip download the weights of a tag, and return the picture side and how it was trained.

    Raises:
        InvalidSpecError: The model has no such tag, and there is no such file.
        CheckpointError: The download or the loading failed.
    """
    name = name.replace("/", "-")
    settings = open_clip.get_pretrained_cfg(name, tag)
    if not settings:
        tags = open_clip.list_pretrained_tags_by_model(name)
        raise InvalidSpecError(
            f"there is no file '{tag}', and open_clip has no such weights{closest_match_hint(tag, tags)}"
        )
    quick_gelu = bool(settings.get("quick_gelu", False))
    if quick_gelu and not architecture.tower.get("quick_gelu", False):
        logger.info("'%s' of %s was trained with QuickGELU, which is used", tag, name)
    try:
        model = open_clip.create_model(name, pretrained=tag, require_pretrained=True, force_quick_gelu=quick_gelu)
    except (RuntimeError, OSError, *HUB_FAULTS) as error:
        if not is_hub_fault(error):
            raise CheckpointError(f"open_clip cannot load weights '{tag}' of {name}: {first_line(error)}") from error
        reason = explain(error, str(settings.get("hf_hub") or name).rstrip("/"), is_named=False)
        raise CheckpointError(f"open_clip has no weights '{tag}' of {name} here: {reason}") from error
    preprocess = {
        key: value for key, value in model.visual.preprocess_cfg.items() if key in ("mean", "std", "interpolation")
    }
    tower = {**architecture.tower, "quick_gelu": quick_gelu or architecture.tower.get("quick_gelu", False)}
    return model.visual, OpenClipArchitecture(tower, preprocess)


def weights_in(folder: Path) -> Path:
    """Return the weights file of a folder as open_clip writes it, safetensors first.

    Raises:
        CheckpointError: There is none.
    """
    for name in (
        "open_clip_model.safetensors",
        "model.safetensors",
        "open_clip_pytorch_model.bin",
        "pytorch_model.bin",
    ):
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(f"{folder} has no open_clip weights such as open_clip_model.safetensors")


def transform_of(visual: Any, preprocess: dict[str, Any]) -> ImageTransform:
    """Describe how pictures become pixels for a picture side.

    Args:
        visual: open_clip's module, with an ``image_size``.
        preprocess: Entries of ``preprocess_cfg`` that differ from open_clip's defaults.

    Raises:
        InvalidSpecError: Its pictures are not square.
    """
    size = visual.image_size
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise InvalidSpecError(f"encoder 'openclip' takes models of square pictures, not {height} x {width} pixels")
    settings = open_clip.transform.PreprocessCfg()
    return ImageTransform(
        height,
        tuple(preprocess.get("mean", settings.mean)),
        tuple(preprocess.get("std", settings.std)),
        known_interpolation(preprocess.get("interpolation", settings.interpolation)),
    )
