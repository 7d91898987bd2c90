"""``RegionBehindProjector``: what a model in its own class does for region attention behind its projector.

Pictures and landmarks reach it by any of their ways, and go on to the hook of ``facekit.models.native.region``.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from facekit.compat.transformers_model import ComposedModel
from facekit.connectors.region_gated import RegionEnrichment
from facekit.errors import ConfigurationError
from facekit.models.landmark_rows import read_media
from facekit.models.native.processing import NativeProcessor
from facekit.models.native.region import (
    REGION,
    check_reached,
    enrich_tiles,
    image_tokens_through,
    record_maps,
    remove_region,
    watch_image_tokens,
    write_region,
)
from facekit.models.native.tiles import Tiles, measure_tiles

logger = logging.getLogger(__name__)


class RegionBehindProjector(ComposedModel):
    """The base of ``NativeModel``: its region attention, where it has some.

    Attributes:
        native: The model in its own class.
        connector: The modules of its projector, by name; with ``add_region`` also ``region``.
        processor: Its processor.
    """

    native: Any
    connector: nn.ModuleDict
    processor: NativeProcessor

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._tiles: dict[int, Tiles] = {}
        self._has_told = False

    if TYPE_CHECKING:

        def _picture_inputs(self, pictures: Tensor | None) -> dict[str, Any]: ...

        def _token_types(self, input_ids: Tensor) -> dict[str, Tensor]: ...

    def add_region(self, region: RegionEnrichment) -> None:
        """Put region attention behind the model's projector; it sees the landmarks of pictures from then on.

        Args:
            region: FRLP and FRGCA; moved to the model's device and floating type.

        Raises:
            ConfigurationError: The model's family is not reached, has another width, or its tiles cannot be placed.
        """
        check_reached(self.native)
        width = self.config.get_text_config().hidden_size
        if region.width != width:
            raise ConfigurationError(f"the region attention has width {region.width}, but the model has width {width}")
        self._find_tiles()
        if self.region is None:
            watch_image_tokens(self.native)
        self.connector[REGION] = region.to(self.device, self.dtype)

    @property
    def region(self) -> RegionEnrichment | None:
        """The region attention behind the projector, or None."""
        found = dict(self.connector.items()).get(REGION)
        return found if isinstance(found, RegionEnrichment) else None

    def region_maps(self, pixel_values: Tensor, landmarks: Tensor) -> Tensor:
        """How much each image token of whole pictures attends to each face region.

        Args:
            pixel_values: ``(B_media, 1, 3, S, S)`` in [0, 1].
            landmarks: ``(B_media, 1, 68, 2)``; NaN rows are absent.

        Returns:
            ``(B_media, H, 9, rows, columns)``; NaN for pictures without landmarks.

        Raises:
            ConfigurationError: The model has no region attention, or no tile shows the whole picture.
        """
        tiles = self._find_tiles()
        if self.region is None or tiles.whole < 0:
            what = "no region attention" if self.region is None else "no tile that shows a picture whole"
            raise ConfigurationError(f"{type(self.native).__name__} has {what}, so there are no maps of it")
        maps: list[Tensor] = []
        ids = torch.tensor(self.processor.tokenize([self.processor.image_token])["input_ids"], device=self.device)
        for picture, points in zip(pixel_values, landmarks, strict=True):
            arguments = self._picture_inputs(picture) | self._token_types(ids)
            with image_tokens_through(record_maps(self.region, tiles, points, maps.append)):
                self.native(input_ids=ids, logits_to_keep=1, **arguments)
        return torch.cat(maps)

    def save_region(self, folder: str | Path) -> None:
        """Write the region attention alone, where the model has it, as beside an adapter."""
        if self.region is None:
            remove_region(Path(folder))
        else:
            write_region(self.region, Path(folder))

    def read_pictures(
        self, pixel_values: Tensor | None, image_features: Tensor | None, landmarks: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Squares of pixels ``(B_media, 1, 3, S, S)`` and their landmarks, from whatever carries them."""
        given = pixel_values if image_features is None else image_features.unflatten(1, (1, 3, -1))
        if given is None or not len(given):
            return None, None
        media = read_media(given, landmarks, None)
        return media["pixel_values"], media["landmarks"]

    def seeing(self, pictures: Tensor | None, landmarks: Tensor | None) -> AbstractContextManager[None]:
        """Enrich the image tokens of pictures by their landmarks inside the ``with`` block, where there is a way."""
        if self.region is None or pictures is None:
            return nullcontext()
        if landmarks is None:
            if not self._has_told:
                self._has_told = True
                logger.warning("pictures came without landmarks, so region attention sees no face geometry")
            return nullcontext()
        return image_tokens_through(enrich_tiles(self.region, self._find_tiles(), landmarks.flatten(0, -3)))

    def _find_tiles(self) -> Tiles:
        """The tiles of a picture of the size in use."""
        side = self.processor.image_processor.image_size
        if side not in self._tiles:
            self._tiles[side] = measure_tiles(self.processor.native.image_processor, side)
        return self._tiles[side]
