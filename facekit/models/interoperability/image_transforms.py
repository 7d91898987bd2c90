"""Conversion between transformers' image processors and facekit's ``ImageTransform``, to the same pixels.

Both directions agree; what cannot be expressed is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from transformers.image_processing_utils import BaseImageProcessor

from facekit.encoders.transform import ImageTransform
from facekit.errors import CheckpointError, configuration_guard

_INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
_RESAMPLING = {name: number for number, name in _INTERPOLATIONS.items()}
_FILES = ("preprocessor_config.json", "processor_config.json")


def read_image_transform(folder: Path) -> ImageTransform | None:
    """Describe a checkpoint's image processor, or return None where it has none.

    Of InternVL's tiles only the whole picture is described, as with ``crop_to_patches=False``.

    Raises:
        CheckpointError: It cannot be loaded, or does what ``ImageTransform`` cannot express.
    """
    if not any((folder / name).is_file() for name in _FILES):
        return None
    with configuration_guard(CheckpointError, f"the image processor in '{folder}' cannot be loaded"):
        processor = transformers.AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
    return describe_image_processor(processor)


def describe_image_processor(processor: BaseImageProcessor) -> ImageTransform:
    """Return the transform that gives the same pixels as an image processor.

    Raises:
        CheckpointError: The processor does what ``ImageTransform`` cannot express.
    """
    values: dict[str, Any] = {name: value for name, value in processor.to_dict().items() if value is not None}
    name = type(processor).__name__
    skipped = [step for step in ("do_resize", "do_rescale", "do_normalize") if not values.get(step, False)]
    if skipped or abs(values.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9:
        what = f"has {skipped[0]} off" if skipped else f"scales by {values['rescale_factor']}"
        raise CheckpointError(f"the image processor {name} {what}, which facekit's image transform does not express")
    size, framing = dict(values["size"]), "stretch"
    side = size.get("height")
    if values.get("do_pad", False) and name.startswith("Llava"):
        framing = "pad"
    elif "shortest_edge" in size and values.get("do_center_crop", False):
        framing = "crop"
    if framing != "stretch":
        side = dict(values["crop_size"])["height"] if values.get("do_center_crop", False) else size.get("shortest_edge")
    if not _is_square(values, framing, side):
        raise CheckpointError(
            f"the image processor {name} makes pictures of size {size}, cropped to {values.get('crop_size')}; "
            "facekit's encoders take squares"
        )
    edge = size.get("shortest_edge")
    return ImageTransform(
        int(side),  # type: ignore[arg-type]
        tuple(values["image_mean"]),
        tuple(values["image_std"]),
        _INTERPOLATIONS.get(int(values.get("resample", 3)), "bicubic"),  # type: ignore[arg-type]
        framing,  # type: ignore[arg-type]
        edge if framing == "crop" and edge != side else None,
        "torchvision" if getattr(processor, "backend", "pil") == "torchvision" else "pil",
    )


def build_image_processor(transform: ImageTransform) -> BaseImageProcessor:
    """Return an image processor of transformers that gives the same pixels as a transform.

    Pixels of a transform with ``resizer="pil"`` differ from torchvision's by a rounding.
    """
    values: dict[str, Any] = {
        "image_mean": list(transform.mean),
        "image_std": list(transform.std),
        "resample": _RESAMPLING[transform.interpolation],
        "crop_size": {"height": transform.image_size, "width": transform.image_size},
    }
    if transform.framing == "stretch":
        side = values.pop("crop_size")
        return transformers.SiglipImageProcessor(size=side, **values)
    edge = transform.shortest_edge or transform.image_size
    if transform.framing == "pad":
        return transformers.LlavaImageProcessor(size={"shortest_edge": edge}, do_pad=True, **values)
    return transformers.CLIPImageProcessor(size={"shortest_edge": edge}, **values)


def _is_square(values: dict[str, Any], framing: str, side: int | None) -> bool:
    size, crop = dict(values["size"]), dict(values.get("crop_size") or {})
    if side is None:
        return False
    if framing == "stretch":
        cropped = values.get("do_center_crop", False) and (crop.get("height"), crop.get("width")) != (side, side)
        return size.get("width") == side and not cropped
    if framing == "crop":
        return crop.get("height") == crop.get("width") and size["shortest_edge"] >= side
    return size.get("shortest_edge") == side
