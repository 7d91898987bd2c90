"""From a square picture to normalised pixels: the one image transform that every encoder describes itself with.

It is apart from the encoders because processors use it where no encoder is loaded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class ImageTransform:
    """Resize to a square, scale to [0, 1], normalise per channel.

    Args:
        image_size: Height and width in pixels.
        mean: Subtracted per channel (red, green, blue), on the scale [0, 1].
        std: Divided by, per channel.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``.

    Raises:
        ConfigurationError: The size is not positive, a deviation is not positive, or the interpolation is unknown.
    """

    image_size: int
    mean: tuple[float, float, float] = OPENAI_CLIP_MEAN
    std: tuple[float, float, float] = OPENAI_CLIP_STD
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        if self.image_size < 1:
            raise ConfigurationError(f"image_size must be positive, not {self.image_size}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ConfigurationError(f"mean and std are three numbers each, std above 0, not {self.mean}, {self.std}")
        if self.interpolation not in _RESAMPLING:
            raise ConfigurationError(f"unknown interpolation '{self.interpolation}'; known: {', '.join(_RESAMPLING)}")

    def __call__(self, image: Image.Image) -> Tensor:
        """Return ``(3, image_size, image_size)`` float32 pixels of an RGB picture.

        A picture that is not square is padded to one with the mean colour, centred, as the released Face-LLaVA does,
        so that landmarks keep their meaning only for pictures that are square already.
        """
        square = pad_to_square(image.convert("RGB"), self.fill_colour)
        if square.size != (self.image_size, self.image_size):
            square = square.resize((self.image_size, self.image_size), _RESAMPLING[self.interpolation])
        pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).float().div_(255.0)
        return (pixels - torch.tensor(self.mean).view(3, 1, 1)) / torch.tensor(self.std).view(3, 1, 1)

    @property
    def fill_colour(self) -> tuple[int, int, int]:
        """The mean colour, 0 to 255 per channel."""
        red, green, blue = (round(255 * value) for value in self.mean)
        return red, green, blue

    def to_config(self) -> dict[str, Any]:
        """Return JSON-ready values; ``ImageTransform(**values)`` rebuilds it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def pad_to_square(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """Centre a picture on a square of the given colour; a square picture comes back as it is."""
    width, height = image.size
    if width == height:
        return image
    side = max(width, height)
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square
