"""The image transform of encoders: a square picture to normalised pixels.

Processors use it where no encoder is loaded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isqrt
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facekit.errors import ConfigurationError

OPENAI_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


FRAMINGS = ("pad", "stretch", "crop")
RESIZERS = ("pil", "torchvision")
LARGEST_IMAGE = 1 << 13
"""Pixels on a side: what a file of settings says of a size is bounded before memory is asked for it."""
_LARGEST_RESULT = 1 << 27
"""Pixels of a square or of a resized picture."""


@dataclass(frozen=True)
class ImageTransform:
    """Resize to a square, scale to [0, 1], normalise per channel.

    Landmarks keep their meaning for pictures that are square already, unless ``shortest_edge`` is above the size.

    Args:
        image_size: Height and width in pixels.
        mean: Subtracted per channel (red, green, blue), on the scale [0, 1].
        std: Divided by, per channel.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``.
        framing: What becomes of a picture that is not square. ``pad``: it is centred on a square of the mean colour,
            as Face-LLaVA does; ``stretch``: height and width are resized each for itself, as InternVL does; ``crop``:
            the shortest edge is resized and the middle is cut out, as CLIP and LLaVA-1.5 in transformers do.
        shortest_edge: What ``crop`` resizes the shortest edge to before it cuts; by default ``image_size``.
        resizer: ``pil``, or ``torchvision`` for the very pixels of transformers' image processors, which differ from
            Pillow's by a rounding.

    Raises:
        ConfigurationError: The size is not between 1 and ``LARGEST_IMAGE``, a deviation is not positive, the shortest
            edge is below the size or given for another framing, or the interpolation, framing or resizer is unknown.
    """

    image_size: int
    mean: tuple[float, float, float] = OPENAI_CLIP_MEAN
    std: tuple[float, float, float] = OPENAI_CLIP_STD
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    framing: Literal["pad", "stretch", "crop"] = "pad"
    shortest_edge: int | None = None
    resizer: Literal["pil", "torchvision"] = "pil"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        if not 1 <= self.image_size <= LARGEST_IMAGE:
            raise ConfigurationError(f"image_size is from 1 to {LARGEST_IMAGE} pixels, not {self.image_size}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ConfigurationError(f"mean and std are three numbers each, std above 0, not {self.mean}, {self.std}")
        if self.interpolation not in _RESAMPLING:
            raise ConfigurationError(f"unknown interpolation '{self.interpolation}'; known: {', '.join(_RESAMPLING)}")
        if self.framing not in FRAMINGS or self.resizer not in RESIZERS:
            raise ConfigurationError(
                f"framing is one of {', '.join(FRAMINGS)} and resizer one of {', '.join(RESIZERS)}, "
                f"not '{self.framing}' and '{self.resizer}'"
            )
        if self.shortest_edge is not None and (self.framing != "crop" or self.shortest_edge < self.image_size):
            raise ConfigurationError(
                f"shortest_edge={self.shortest_edge} goes with framing 'crop' and is at least the image_size of "
                f"{self.image_size}, not with '{self.framing}'"
            )

    def __call__(self, image: Image.Image) -> Tensor:
        """Return ``(3, image_size, image_size)`` float32 pixels of an RGB picture."""
        picture = self._bounded(image.convert("RGB"))
        if self.framing == "pad":
            picture = pad_to_square(picture, self.fill_colour)
        width, height = self._resized(*picture.size)
        if self.resizer == "torchvision":
            return self._normalise_as_torchvision(self._cut(_resize_tensor(picture, width, height, self.interpolation)))
        if picture.size != (width, height):
            picture = picture.resize((width, height), _RESAMPLING[self.interpolation])
        pixels = self._cut(torch.from_numpy(np.array(picture)).permute(2, 0, 1)).float().div_(255.0)
        return (pixels - torch.tensor(self.mean).view(3, 1, 1)) / torch.tensor(self.std).view(3, 1, 1)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after resizing, before the middle is cut out."""
        if self.framing != "crop":
            return self.image_size, self.image_size
        edge, shorter = self.shortest_edge or self.image_size, min(width, height)
        return (edge, int(edge * height / width)) if width == shorter else (int(edge * width / height), edge)

    def _bounded(self, picture: Image.Image) -> Image.Image:
        """A picture as it is; of one of a few columns or rows, whose square would fill the memory, a smaller one.

        Where the middle is cut out, that is what lies around it.
        """
        shorter, longer = sorted(picture.size)
        edge = self.shortest_edge or self.image_size
        if self.framing == "pad" and longer**2 > _LARGEST_RESULT:
            scale = min(4 * self.image_size, isqrt(_LARGEST_RESULT)) / longer
            width, height = (max(1, round(side * scale)) for side in picture.size)
            return picture.resize((width, height), _RESAMPLING[self.interpolation])
        if self.framing == "crop" and edge**2 * longer > _LARGEST_RESULT * shorter:
            left, top = (max(0, side - 8 * shorter) // 2 for side in picture.size)
            return picture.crop((left, top, picture.width - left, picture.height - top))
        return picture

    def _cut(self, pixels: Tensor) -> Tensor:
        top, left = ((side - self.image_size) // 2 for side in pixels.shape[-2:])
        return pixels[:, top : top + self.image_size, left : left + self.image_size]

    def _normalise_as_torchvision(self, pixels: Tensor) -> Tensor:
        # Scaling and normalising in one step, in the order of transformers' image processors.
        mean, std = (torch.tensor(values).mul(255.0).view(3, 1, 1) for values in (self.mean, self.std))
        return pixels.float().sub_(mean).div_(std)

    @property
    def fill_colour(self) -> tuple[int, int, int]:
        """The mean colour, 0 to 255 per channel, rounded down as Face-LLaVA and LLaVA do."""
        red, green, blue = (int(255 * value) for value in self.mean)
        return red, green, blue

    def to_config(self) -> dict[str, Any]:
        """Return JSON-ready values; ``ImageTransform(**values)`` rebuilds it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def _resize_tensor(picture: Image.Image, width: int, height: int, interpolation: str) -> Tensor:
    """Resize as torchvision does on bytes: ``(3, height, width)`` uint8."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as F

    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
    return F.resize(pixels, [height, width], interpolation=InterpolationMode(interpolation), antialias=True)


def pad_to_square(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """Centre a picture on a square of the given colour; a square picture comes back as it is."""
    width, height = image.size
    if width == height:
        return image
    side = max(width, height)
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square
