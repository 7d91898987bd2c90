"""``measure_tiles``: which part of a picture each tile shows that a base's own processor makes of it.

No family is known by name here: the processor is given a picture whose colours are its coordinates, and they are read
off the tiles.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facekit.errors import ConfigurationError

_TOLERANCE = 0.05  # of a tile's side: eight bits and resampling move what is read by about a hundredth


class Tiles(NamedTuple):
    """The tiles of a picture, in the order in which the model encodes them.

    Attributes:
        origins: ``(n, 2)``, the upper left corners, x then y in ``[0, 1]`` of the picture.
        sides: ``(n, 2)``, widths and heights.
    """

    origins: Tensor
    sides: Tensor

    def map_landmarks(self, landmarks: Tensor) -> Tensor:
        """Return the landmarks of pictures as each of their tiles sees them.

        Args:
            landmarks: ``(B, 68, 2)``, x then y in ``[0, 1]`` of the picture; NaN rows are absent.

        Returns:
            ``(B * n, 68, 2)``, picture by picture: in ``[0, 1]`` of the tile where it shows them, outside elsewhere.
        """
        origins, sides = self.origins.to(landmarks), self.sides.to(landmarks)
        mapped = (landmarks[:, None] - origins[:, None]) / sides[:, None]
        return mapped.flatten(0, 1)

    @property
    def whole(self) -> int:
        """Index of the first tile that shows the whole picture; -1 where none does."""
        found = (self.sides == 1).all(dim=-1).nonzero()
        return int(found[0]) if len(found) else -1


def measure_tiles(image_processor: Any, side: int) -> Tiles:
    """Measure the tiles of a square picture.

    Args:
        image_processor: The base's own. One that gives patches with a grid shows the picture whole.
        side: Of the picture, in pixels.

    Raises:
        ConfigurationError: Its tiles are no parts of a regular division of the picture.
    """
    ramp = np.broadcast_to(np.rint((np.arange(side) + 0.5) * 255 / side).astype(np.uint8), (side, side))
    coloured = Image.fromarray(np.stack([ramp, ramp.T, np.zeros_like(ramp)], axis=-1))
    made = image_processor(images=[coloured], return_tensors="pt")
    if "image_grid_thw" in made:
        return Tiles(torch.zeros(1, 2), torch.ones(1, 2))
    name = type(image_processor).__name__
    dark, bright = (_tiles_of(image_processor, Image.new("RGB", (side, side), (level,) * 3)) for level in (0, 255))
    tiles = _tiles_of(image_processor, coloured)
    if dark.shape != tiles.shape:
        raise ConfigurationError(f"{name} divides pictures by their contents, which region attention cannot follow")
    place = (tiles - dark) / (bright - dark)
    lines = [place[:, 0].mean(dim=1), place[:, 1].mean(dim=2)]  # x along columns, y along rows
    begins, widths = zip(*(_fit(line) for line in lines), strict=True)
    origins, sides = torch.stack(begins, dim=-1), torch.stack(widths, dim=-1)
    parts = (1 / sides).round()
    steps = (origins * parts).round()
    strays = torch.maximum((1 / sides - parts).abs(), (origins * parts - steps).abs())
    if not bool((strays < _TOLERANCE).all()) or bool((parts < 1).any()):
        raise ConfigurationError(
            f"{name} cuts pictures of {side} px into tiles that facekit cannot place, so region attention cannot go "
            "onto this base; leave it out, or choose another image_size"
        )
    return Tiles(steps / parts + 0.0, 1 / parts)  # no minus zeros


def _tiles_of(image_processor: Any, picture: Image.Image) -> Tensor:
    """The tiles ``(n, 3, h, w)`` of a picture."""
    pixels: Tensor = image_processor(images=[picture], return_tensors="pt")["pixel_values"]
    return pixels.float().reshape(-1, *pixels.shape[-3:])


def _fit(line: Tensor) -> tuple[Tensor, Tensor]:
    """Where each tile begins and how long it is, from the coordinates ``(n, w)`` along its pixels.

    The outer quarters are left out, where resampling mixes in what lies beyond the tile.
    """
    width = line.shape[1]
    inner = slice(width // 4, width - width // 4)
    centres = (torch.arange(width)[inner] + 0.5) / width
    values, offsets = line[:, inner], centres - centres.mean()
    slope = (values * offsets).sum(dim=1) / offsets.square().sum()
    return values.mean(dim=1) - slope * centres.mean(), slope
