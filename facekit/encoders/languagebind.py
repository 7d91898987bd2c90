"""LanguageBind's image and video encoders, those of Video-LLaVA and Face-LLaVA, from the official checkpoints.

The transformer itself is in ``languagebind_tower``; here are the checkpoint's layout and the encoder interface.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, Self

from torch import Tensor

from facekit.encoders.base import VisionEncoder
from facekit.encoders.checkpoints import load_strictly, read_checkpoint
from facekit.encoders.languagebind_tower import LanguageBindSettings, LanguageBindTower
from facekit.encoders.layers import resolve_layer
from facekit.encoders.positions import resample_patch_positions
from facekit.encoders.transform import ImageTransform
from facekit.errors import CheckpointError, InvalidSpecError, first_line
from facekit.hub import fetch_file
from facekit.spec import PositiveInt

_TOWER_PREFIX = "vision_model."
_OTHER_HALVES = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")
_LAYER_NAME = re.compile(r"encoder\.layers\.(\d+)\.")
_POSITIONS = "embeddings.position_embedding.weight"


class LanguageBindEncoder(VisionEncoder):
    """One layer of a LanguageBind tower: of images frame by frame, of clips with attention over time.

    Face-LLaVA reads the layer before the last, without the class token for images and with it for each frame of a
    clip; connectors choose whether to keep it, and ``class_token=False`` leaves it out here.

    The video tower takes clips of any length; see ``languagebind_tower.Layer.attend_over_time``. Its frames depend on
    one another, so a clip must not be padded with empty frames.

    The module ``tower`` bears the names of the official state dict: a tensor ``vision_model.X`` of LanguageBind, or
    ``model.image_tower.image_tower.X`` and ``model.video_tower.video_tower.X`` of Video-LLaVA and Face-LLaVA, is
    ``tower.X`` here. ``tower_name`` says which are used, and ``load_tower`` loads them.

    Args:
        settings: The architecture, with all its layers.
        layer: 1 is the output of the first layer, -1 of the last, -2 of the one before.
        class_token: Whether the class token is given out.
        transform: How pictures become pixels; that of OpenAI's CLIP by default, as LanguageBind was trained.

    Raises:
        InvalidSpecError: There is no such layer.
        ConfigurationError: Sizes do not fit each other.
    """

    num_prefix_tokens = 1

    def __init__(
        self,
        settings: LanguageBindSettings,
        *,
        layer: int = -2,
        class_token: bool = True,
        transform: ImageTransform | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.layer = settings, layer
        self.layers_in_use = resolve_layer("languagebind", layer, settings.num_hidden_layers) + 1
        self.hidden_size = settings.hidden_size
        self.image_size = settings.image_size
        self.grid = settings.grid
        self.transform = transform or ImageTransform(settings.image_size)
        self.tower = LanguageBindTower(settings, self.layers_in_use)
        self.class_token = class_token
        if not class_token:
            self.leave_out_prefix_tokens()

    def encode_clips(self, clips: Tensor) -> Tensor:
        """Encode clips ``(B, T, 3, H, W)`` to ``(B, T, 1 + N, C)``; in the video tower frames see one another."""
        return self.tower(clips.to(self.tower.pre_layrnorm.weight.dtype))

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Encode frames ``(F, 3, H, W)``, each a clip of its own, to ``(F, 1 + N, C)``."""
        return self.encode_clips(frames.unsqueeze(1)).squeeze(1)

    @classmethod
    def from_spec(
        cls,
        argument: str | None = None,
        *,
        layer: int = -2,
        class_token: bool = True,
        image_size: PositiveInt | None = None,
        revision: str = "main",
        pretrained: bool = True,
    ) -> Self:
        """Build ``languagebind:PATH_OR_ID[?layer=-2&class_token=true&image_size=224&revision=main&pretrained=true]``.

        The folder or hub repository has ``config.json`` and the weights of the whole model or of the vision tower, such
        as ``LanguageBind/LanguageBind_Image`` and ``LanguageBind/LanguageBind_Video_merge``. Another ``image_size``
        resamples the position embeddings. ``pretrained=false`` reads the configuration only.

        Raises:
            InvalidSpecError: The argument is missing, or the layer is not there.
            CheckpointError: The checkpoint is missing, of another kind, does not fit, or holds pickled code.
            ConfigurationError: The image size does not fit the patches.
        """
        if argument is None:
            raise InvalidSpecError(
                "encoder 'languagebind' needs a folder or a hub id, such as "
                "'languagebind:LanguageBind/LanguageBind_Image'"
            )
        settings = read_languagebind_settings(argument, revision)
        settings = replace(settings, image_size=image_size or settings.image_size)
        encoder = cls(settings, layer=layer, class_token=class_token)
        if pretrained:
            encoder.load_tower(tower_weights(read_checkpoint(argument, revision)), argument)
        return encoder

    def tower_name(self, name: str) -> str | None:
        """Return the name in this encoder's state dict of a tensor of the official tower, or None for one not in use.

        Not in use are the layers after the one that is read, the norm after the last, and the table of position ids
        that old versions of transformers saved. A name that no tower has comes back as if it were in use, so that
        strict loading reports it.

        Args:
            name: Without prefix, such as ``encoder.layers.0.self_attn.q_proj.weight``.
        """
        layer = _LAYER_NAME.match(name)
        if layer and self.layers_in_use <= int(layer[1]) < self.settings.num_hidden_layers:
            return None
        if name.startswith("post_layernorm.") or name == "embeddings.position_ids":
            return None
        return f"tower.{name}"

    def load_tower(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Load the weights of an official tower, position embeddings resampled where the image size is another.

        Args:
            weights: Under the official names without prefix, such as ``pre_layrnorm.weight``.
            source: Where they come from, for messages.

        Raises:
            CheckpointError: Weights are missing, left over or of another shape; the message names some.
        """
        renamed = {self.tower_name(name): value for name, value in weights.items()}
        used = {name.removeprefix("tower."): value for name, value in renamed.items() if name is not None}
        if used.get(_POSITIONS) is not None:
            used[_POSITIONS] = resample_patch_positions(used[_POSITIONS], self.grid)
        load_strictly(self.tower, used, source)

    def to_config(self) -> dict[str, Any]:
        """Return the architecture, the layer, whether the class token is given out, and the transform."""
        return {
            "settings": asdict(self.settings),
            "layer": self.layer,
            "class_token": self.class_token,
            "transform": self.transform.to_config(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build the architecture with untrained weights."""
        return cls(
            LanguageBindSettings(**config["settings"]),
            layer=config["layer"],
            class_token=config["class_token"],
            transform=ImageTransform(**config["transform"]),
        )


def read_languagebind_settings(source: str, revision: str = "main") -> LanguageBindSettings:
    """Read the architecture from the ``config.json`` of a LanguageBind model or of its vision tower.

    Args:
        source: Folder or hub id.
        revision: Revision on the hub.

    Raises:
        CheckpointError: There is no such file, or it describes another kind of tower.
        ConfigurationError: Its sizes do not fit each other.
    """
    path = fetch_file(source, ("config.json",), revision)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as a configuration: {first_line(error)}") from error
    vision = values.get("vision_config", values) if isinstance(values, dict) else {}
    names = [field.name for field in fields(LanguageBindSettings)]
    missing = [name for name in names if name not in vision]
    if missing:
        raise CheckpointError(
            f"{path} describes no LanguageBind tower: its vision_config lacks {', '.join(missing)}; "
            "encoder 'hf' reads CLIP itself"
        )
    if vision.get("clip_type", "vl") != "vl" or vision.get("num_channels", 3) != 3:
        raise CheckpointError(
            f"{path} describes a tower of clip_type '{vision.get('clip_type', 'vl')}' with "
            f"{vision.get('num_channels', 3)} channels, where encoder 'languagebind' builds clip_type 'vl' with 3"
        )
    return LanguageBindSettings(**{name: vision[name] for name in names})


def tower_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the vision tower out of a whole model's weights and drop its prefix; a tower's own weights stay as they are.

    The text half, the projections and the logit scale are left out; any other name is kept, for strict loading to
    report.
    """
    vision = {name: value for name, value in weights.items() if not name.startswith(_OTHER_HALVES)}
    return {name.removeprefix(_TOWER_PREFIX): value for name, value in vision.items()}
