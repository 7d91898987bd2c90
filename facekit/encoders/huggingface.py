"""Vision models in the Hugging Face layout: CLIP, SigLIP, DINO and InternViT, by hub id or folder.

Only the architectures in the table below are built, from transformers' own classes; code that comes with a
checkpoint is never run.
"""

from __future__ import annotations

import json
import logging
import math
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
import transformers
from einops import rearrange
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, PretrainedConfig
from transformers.image_processing_utils import BaseImageProcessor
from transformers.utils import logging as transformers_logging

from facekit.counted import counted
from facekit.encoders.base import VisionEncoder
from facekit.encoders.internvit import OFFICIAL_KIND, load_internvit, translate_settings
from facekit.encoders.layers import resolve_layer
from facekit.encoders.transform import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, ImageTransform
from facekit.errors import CheckpointError, ConfigurationError, InvalidSpecError, configuration_guard, first_line
from facekit.hub import fetch_folder, pinned_revision
from facekit.spec import PositiveInt

logger = logging.getLogger(__name__)

# Configuration and model of each, by their names in transformers, which imports an architecture when it is first used.
_ARCHITECTURES = {
    "clip_vision_model": ("CLIPVisionConfig", "CLIPVisionModel"),
    "siglip_vision_model": ("SiglipVisionConfig", "SiglipVisionModel"),
    "siglip2_vision_model": ("Siglip2VisionConfig", "Siglip2VisionModel"),
    "dinov2": ("Dinov2Config", "Dinov2Model"),
    "dinov2_with_registers": ("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel"),
    "dinov3_vit": ("DINOv3ViTConfig", "DINOv3ViTModel"),
    "internvl_vision": ("InternVLVisionConfig", "InternVLVisionModel"),
}
_FIXED_SETTINGS: dict[str, dict[str, Any]] = {
    "siglip_vision_model": {"vision_use_head": False},
    "siglip2_vision_model": {"vision_use_head": False},
    # Random shifts and scales of the positions in training would make a frame's tokens differ from call to call.
    "dinov3_vit": {"pos_embed_shift": None, "pos_embed_jitter": None, "pos_embed_rescale": None},
}
_RESIZED_ON_REQUEST = ("clip_vision_model", "siglip_vision_model")
_DEFAULT_LAYER = {"internvl_vision": -1}
_BACKBONE_OUTPUTS = {"out_features", "out_indices", "stage_names"}
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_NORMALISATION = {
    "clip_vision_model": (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD),
    "siglip_vision_model": _HALF,
    "siglip2_vision_model": _HALF,
    "dinov2": _IMAGENET,
    "dinov2_with_registers": _IMAGENET,
    "dinov3_vit": _IMAGENET,
    "internvl_vision": _IMAGENET,
}
_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


class HuggingFaceEncoder(VisionEncoder):
    """The last hidden state of a vision model that ends at the chosen layer, before any final norm.

    CLIP and InternViT give one prefix token, DINOv2 and DINOv3 one and their registers, SigLIP none. A SigLIP 2 of free
    resolution (NaFlex) gets square frames like the others.

    Args:
        model: One of transformers' vision models, with as many layers as are used and ``num_unused_layers`` after them.
        transform: How pictures become pixels; its size may differ from the one the model was trained at, and position
            embeddings are then interpolated.
        num_unused_layers: Layers at the end that are kept, so that a checkpoint can be written back whole, but not run;
            they become the module ``unused_layers``, without gradients.
        class_token: Whether class and register tokens, where the model has any, are given out.

    Raises:
        InvalidSpecError: The model is of another architecture.
        ConfigurationError: The size is no multiple of the patch size.
    """

    def __init__(
        self, model: nn.Module, transform: ImageTransform, num_unused_layers: int = 0, *, class_token: bool = True
    ) -> None:
        super().__init__()
        settings: Any = model.config
        kind = architecture_name(settings)
        patch_size = square_side(settings.patch_size)
        if transform.image_size % patch_size:
            raise ConfigurationError(
                f"encoder 'hf' takes an image_size that is a multiple of {patch_size} for this model, "
                f"not {transform.image_size}"
            )
        self.model = model
        self.unused_layers = take_last_layers(model, num_unused_layers)
        self.settings = settings
        self.transform = transform
        self.image_size = transform.image_size
        self.hidden_size = settings.hidden_size
        side = self.image_size // patch_size
        self.grid = (side, side)
        self.num_prefix_tokens = 0 if kind.startswith("siglip") else 1
        self.num_prefix_tokens += getattr(settings, "num_register_tokens", 0)
        self.interpolates = kind in _RESIZED_ON_REQUEST and self.image_size != settings.image_size
        self.takes_patches = kind == "siglip2_vision_model"
        self.class_token = class_token
        if not class_token:
            self.leave_out_prefix_tokens()

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Encode frames ``(F, 3, H, W)`` to ``(F, P + N, C)``."""
        options: dict[str, Any] = {"interpolate_pos_encoding": True} if self.interpolates else {}
        frames = frames.to(next(self.model.parameters()).dtype)
        if self.takes_patches:
            (rows, columns), count = self.grid, frames.shape[0]
            frames = rearrange(frames, "f c (rows p) (cols q) -> f (rows cols) (p q c)", rows=rows, cols=columns)
            options["pixel_attention_mask"] = torch.ones(frames.shape[:2], dtype=torch.int32, device=frames.device)
            options["spatial_shapes"] = torch.tensor([self.grid], device=frames.device).expand(count, 2)
        return self.model(frames, output_hidden_states=True, return_dict=True, **options).hidden_states[-1]

    @classmethod
    def from_spec(
        cls,
        argument: str | None = None,
        *,
        layer: int | None = None,
        class_token: bool = True,
        image_size: PositiveInt | None = None,
        revision: str = "main",
        pretrained: bool = True,
    ) -> Self:
        """Build ``hf:PATH_OR_ID[?layer=-2&class_token=true&image_size=224&revision=main&pretrained=true]``.

        A checkpoint of a whole CLIP, SigLIP or InternVL model gives its vision part; InternViT and InternVL are read in
        the authors' own layout too, without their code. The default layer, the one before the last, is what LLaVA and
        Face-LLaVA read; InternViT's is the last, which InternVL reads. The size and normalisation come from
        ``preprocessor_config.json``
        where there is one; its margin crop is not done, because landmarks refer to the whole picture.
        ``pretrained=false`` reads the configuration only and leaves the weights random.

        Raises:
            InvalidSpecError: The argument is missing, or the architecture or layer is not there.
            CheckpointError: The checkpoint is missing, incomplete, does not fit, or holds pickled code.
        """
        if argument is None:
            raise InvalidSpecError("encoder 'hf' needs a hub id or a folder, such as 'hf:openai/clip-vit-base-patch16'")
        folder = fetch_folder(argument, revision, weights=False)
        settings = read_vision_config(folder, argument)
        layer = _DEFAULT_LAYER.get(settings.model_type, -2) if layer is None else layer
        index = resolve_layer(f"hf:{argument}", layer, settings.num_hidden_layers)
        settings, model_class = vision_classes({**architecture_values(settings), "num_hidden_layers": index + 1})
        if pretrained:
            model = load_vision_model(argument, pinned_revision(folder, revision), settings, model_class)
        else:
            model = model_class(settings)
        transform = read_transform(folder, argument, settings, image_size)
        return cls(model, transform, class_token=class_token)

    def to_config(self) -> dict[str, Any]:
        """Return the vision model's configuration, cut to the layers in use, the transform, and the class token."""
        values = {
            "vision_config": architecture_values(self.settings),
            "transform": self.transform.to_config(),
            "class_token": self.class_token,
        }
        return values | ({"num_unused_layers": len(self.unused_layers)} if len(self.unused_layers) else {})

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build the architecture with untrained weights."""
        unused = config.get("num_unused_layers", 0)
        values = dict(config["vision_config"])
        settings, model_class = vision_classes({**values, "num_hidden_layers": values["num_hidden_layers"] + unused})
        transform = ImageTransform(**config["transform"])
        return cls(model_class(settings), transform, unused, class_token=config.get("class_token", True))


def architecture_name(settings: PretrainedConfig) -> str:
    """Return the ``model_type`` of a vision configuration.

    Raises:
        InvalidSpecError: It is not one of the architectures that this encoder builds.
    """
    kind = settings.model_type
    if kind not in _ARCHITECTURES:
        raise InvalidSpecError(f"encoder 'hf' reads {', '.join(_ARCHITECTURES)}, not '{kind}'")
    return kind


def architecture_values(settings: PretrainedConfig) -> dict[str, Any]:
    """Return the entries of a vision configuration that describe the architecture, ``model_type`` among them."""
    common = PretrainedConfig().to_dict().keys() - {"model_type"}
    values = {name: value for name, value in settings.to_dict().items() if name not in common | _BACKBONE_OUTPUTS}
    return json.loads(json.dumps(values))


def vision_classes(values: dict[str, Any]) -> tuple[PretrainedConfig, Any]:
    """Return the configuration that ``architecture_values`` describes, and the model class for it."""
    values = dict(values)
    kind = values.pop("model_type")
    config_class, model_class = (getattr(transformers, name) for name in _ARCHITECTURES[kind])
    return config_class(**values | _FIXED_SETTINGS.get(kind, {})), model_class


def square_side(size: int | list[int] | tuple[int, int]) -> int:
    """Return the side of a size that a configuration gives as a number or as height and width.

    Raises:
        InvalidSpecError: Height and width differ.
    """
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise InvalidSpecError(f"encoder 'hf' takes square pictures and patches, not {tuple(sides)}")
    return sides.pop()


def take_last_layers(model: Any, count: int) -> nn.ModuleList:
    """Cut layers off the end of a vision model, its configuration included, and return them without gradients."""
    if count == 0:
        return nn.ModuleList()
    depth = model.config.num_hidden_layers
    layers = next(each for each in model.modules() if isinstance(each, nn.ModuleList) and len(each) == depth)
    unused = nn.ModuleList(layers[len(layers) - count :])
    del layers[len(layers) - count :]
    model.config.num_hidden_layers = len(layers)
    return unused.requires_grad_(False)


def read_vision_config(folder: Path, source: str) -> PretrainedConfig:
    """Read a configuration, the vision half of it where the model has two.

    Args:
        folder: The checkpoint.
        source: Where it comes from, for messages.

    Raises:
        CheckpointError: There is none, or it is not a configuration that transformers knows without remote code.
        InvalidSpecError: It is of an architecture that this encoder does not build.
    """
    with configuration_guard(CheckpointError, f"encoder 'hf' cannot read the configuration of '{source}'"):
        values, _ = PretrainedConfig.get_config_dict(folder)
        values = values.get("vision_config", values)
        if isinstance(values, dict) and values.get("model_type") == OFFICIAL_KIND:
            return transformers.InternVLVisionConfig(**translate_settings(values, source))
        settings = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    settings = getattr(settings, "vision_config", settings)
    architecture_name(settings)
    return settings


def load_vision_model(source: str, revision: str, settings: PretrainedConfig, model_class: Any) -> nn.Module:
    """Load the weights of the layers in use, as float32; those of later layers and of a text half are left out.

    Args:
        source: Hub id or folder.
        revision: Revision on the hub.
        settings: The configuration, cut to the layers in use.
        model_class: The class of transformers that it belongs to.

    Raises:
        CheckpointError: Weights are missing or of another shape, or the file holds pickled code.
    """
    if settings.model_type == "internvl_vision":
        untrained: nn.Module = model_class(settings)
        load_internvit(untrained, source, revision)
        return untrained
    folder = fetch_folder(source, revision)
    try:
        with errors_only():
            model, report = model_class.from_pretrained(
                folder, config=settings, dtype=torch.float32, output_loading_info=True
            )
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"the weights of '{source}' hold pickled code, which is refused; use safetensors"
        ) from error
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"encoder 'hf' cannot load weights from '{source}': {first_line(error)}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise CheckpointError(
            f"the weights of '{source}' lack {counted(len(missing), 'tensor')}, first '{missing[0]}'; fetch them again"
        )
    return model


def read_transform(
    folder: Path, source: str, settings: PretrainedConfig, image_size: int | None = None
) -> ImageTransform:
    """Describe how pictures become pixels, from ``preprocessor_config.json`` or the architecture's own values.

    Args:
        folder: The checkpoint.
        source: Where it comes from, for messages.
        settings: The vision configuration.
        image_size: Overrides the size.

    Raises:
        InvalidSpecError: The preprocessing is for pictures that are not square.
        CheckpointError: ``preprocessor_config.json`` cannot be read.
    """
    mean, std = _NORMALISATION[architecture_name(settings)]
    try:
        values, _ = BaseImageProcessor.get_image_processor_dict(folder)
    except OSError as error:
        if (folder / "preprocessor_config.json").is_file():
            raise CheckpointError(f"the preprocessing of '{source}' cannot be read: {first_line(error)}") from error
        logger.info("'%s' has no preprocessor_config.json; the architecture's own values are used", source)
        values = {}
    values = values.get("image_processor", values)
    trained_size = trained_image_size(settings)
    size = image_size or side_of(values.get("crop_size") or values.get("size")) or trained_size
    if not isinstance(size, int):
        raise InvalidSpecError(f"encoder 'hf' takes square pictures; '{source}' is set to {size}")
    return ImageTransform(
        size,
        tuple(values.get("image_mean") or mean),
        tuple(values.get("image_std") or std),
        _RESAMPLING.get(values.get("resample", 3), "bicubic"),  # type: ignore[arg-type]
    )


def trained_image_size(settings: Any) -> int:
    """Return the height and width that a vision model was trained at; of a free resolution, that of its positions."""
    if hasattr(settings, "image_size"):
        return square_side(settings.image_size)
    return math.isqrt(settings.num_patches) * settings.patch_size


def side_of(size: int | dict[str, int] | None) -> Any:
    """Return the side of a processor's ``size`` entry, which is a number, or a table of edges; None where absent."""
    if not isinstance(size, dict):
        return size
    if "height" in size:
        return size["height"] if size["height"] == size["width"] else (size["height"], size["width"])
    return size.get("shortest_edge")


@contextmanager
def errors_only() -> Iterator[None]:
    """Keep transformers from listing every weight that is left out on purpose; what is missing is checked here."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
