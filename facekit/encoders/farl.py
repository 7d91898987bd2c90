"""FaRL, a CLIP ViT-B/16 trained on faces with captions, on open_clip's vision transformer.

Source: Zheng et al. 2022, "General Facial Representation Learning in a Visual-Linguistic Manner". Its checkpoints have
a training head inside the vision tower, which is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor

from facekit.encoders.checkpoints import load_strictly, read_weights
from facekit.encoders.openclip import OpenClipEncoder, build_tower, named_architecture, resize_tower
from facekit.errors import InvalidSpecError
from facekit.spec import PositiveInt

ARCHITECTURE = "ViT-B-16-quickgelu"
_PICTURE_SIDE = "visual."
_MASKED_MODELLING = ("lm_transformer.", "ln_lm.", "lm_head.", "mask_token")


class FarlEncoder(OpenClipEncoder):
    """One block of FaRL's picture side; everything beside the weights is as in ``OpenClipEncoder``."""

    @classmethod
    def from_spec(  # type: ignore[override]  # other options than open_clip's, whose tower it is
        cls,
        argument: str | None = None,
        *,
        layer: int = -2,
        class_token: bool = True,
        image_size: PositiveInt | None = None,
        pretrained: bool = True,
    ) -> Self:
        """Build ``farl:PATH[?layer=-2&class_token=true&image_size=224]``.

        PATH is an official checkpoint, such as ``FaRL-Base-Patch16-LAIONFace20M-ep64.pth``, or weights of its picture
        side alone, with or without ``visual.`` before their names. An ``image_size`` other than 224 resamples the
        position embeddings; the paper's face parsing uses 448. ``farl?pretrained=false`` leaves the weights random.

        Raises:
            InvalidSpecError: There is no path, or there is no such layer.
            CheckpointError: The weights are missing, do not fit, or hold pickled code.
        """
        if pretrained == (argument is None):
            raise InvalidSpecError("encoder 'farl' needs the path of FaRL's weights, or pretrained=false and no path")
        tower: dict[str, Any] = named_architecture(ARCHITECTURE).tower
        visual = build_tower(tower)
        if argument is not None:
            load_strictly(visual, picture_side(read_weights(argument)), argument)
        resize_tower(visual, image_size)
        return cls(visual, tower, layer, class_token=class_token)


def picture_side(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the picture side out of a FaRL checkpoint.

    The text side and the head that predicted masked patches in training are left out; any other name inside the
    picture side is kept, for strict loading to report.
    """
    inside = {n.removeprefix(_PICTURE_SIDE): value for n, value in weights.items() if n.startswith(_PICTURE_SIDE)}
    return {name: value for name, value in (inside or weights).items() if not name.startswith(_MASKED_MODELLING)}
