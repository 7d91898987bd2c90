"""``region_maps``: which patches of a face attend to which of its nine regions, by head, and as a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from facekit.connectors.region import LandmarkGuidedConnector
from facekit.connectors.region_gated import RegionEnrichment
from facekit.counted import counted
from facekit.errors import ConfigurationError, FaceNotFoundError
from facekit.faces import FACE_REGIONS, REGION_LABELS, CroppedClip, CroppedFace, draw_overlay
from facekit.faces.heat_map import draw_heat_maps
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.native.modeling import is_native
from facekit.models.processing import FaceKitProcessor
from facekit.models.sessions.encoding import answering_mode
from facekit.models.sessions.session import AnyMedium, medium_tensors, take_medium


@dataclass(frozen=True, eq=False)
class RegionMaps:
    """How much the patches of each frame attend to each face region.

    Args:
        values: ``(T, H, 9, rows, columns)`` float32: of frame, head, region and patch the probability that the patch
            gives the region; those of a patch sum to one. NaN in frames without a face.
        faces: The T crops that the patches cover, row by row.
    """

    values: np.ndarray
    faces: tuple[CroppedFace, ...]

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions in their order."""
        return tuple(FACE_REGIONS)

    def mean(self) -> np.ndarray:
        """The mean over heads, ``(T, 9, rows, columns)``."""
        mean: np.ndarray = self.values.mean(axis=1)
        return mean

    def draw(
        self,
        frame: int = 0,
        *,
        head: int | None = None,
        panel: int = 240,
        columns: int = 3,
        with_face: bool = False,
    ) -> Image.Image:
        """Draw the nine maps of a frame over its face, for a page or a paper.

        Args:
            frame: Which frame.
            head: Which head; by default the mean over heads.
            panel: Side of a panel in pixels.
            columns: Panels in a row.
            with_face: Whether a first panel shows the face with its landmarks.

        Raises:
            ConfigurationError: There is no such frame or head, or a number is below its range.
            FaceNotFoundError: The frame shows no face.
        """
        frames, heads = self.values.shape[:2]
        if not 0 <= frame < frames or (head is not None and not 0 <= head < heads):
            raise ConfigurationError(
                f"the maps have {counted(frames, 'frame')} and {counted(heads, 'head')}, counted from 0"
            )
        maps = self.mean()[frame] if head is None else self.values[frame, head]
        if not np.isfinite(maps).all():
            raise FaceNotFoundError(f"frame {frame} shows no face, so its patches attend to no region")
        titles = [f"{REGION_LABELS[name]}: {100 * maps[row].mean():.0f} %" for row, name in enumerate(self.regions)]
        face = self.faces[frame]
        before = draw_overlay(face.image, face.landmarks, size=2 * panel, legend=False) if with_face else None
        return draw_heat_maps(face.image, maps, titles, columns=columns, panel=panel, before=before)


def region_connector(model: FaceKitForConditionalGeneration) -> LandmarkGuidedConnector | RegionEnrichment | None:
    """Return the connector of a model whose attention to regions can be shown; None where there is none."""
    if is_native(model):
        return model.region
    connector = getattr(model, "connector", None)
    return connector if isinstance(connector, LandmarkGuidedConnector) else None


def region_maps(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    image: AnyMedium,
    *,
    landmarks: ArrayLike | None = None,
    num_frames: int | None = None,
) -> RegionMaps:
    """Return how much each patch of a picture or clip attends to each of the nine face regions.

    These are the probabilities of Face-Region Guided Cross-Attention (Face-LLaVA, arXiv 2504.07198, section 4), the
    proximity mask included where the connector has it. They say where region tokens flow, not why an answer was given.

    Args:
        model: A model whose connector is ``region`` or ``region-released``, or a base in its own class with region
            attention behind its projector; of its tiles the maps are those of the whole picture.
        processor: Its processor.
        image: As in ``facekit.ask``, one picture or clip.
        landmarks: As in ``facekit.ask``.
        num_frames: Frames to choose of a clip.

    Raises:
        ConfigurationError: The connector has no region attention.
        ImageError: The picture or clip cannot be opened.
        FaceNotFoundError: It shows no face.

    Examples:
        >>> import facekit
        >>> model, processor = facekit.load("runs/demo")
        >>> maps = facekit.region_maps(model, processor, "photo.jpg")
        >>> maps.draw().save("maps.png")
    """
    connector = region_connector(model)
    if connector is None:
        what = "the base's own projector" if is_native(model) else f"the connector '{type(model.connector).__name__}'"
        raise ConfigurationError(f"{what} has no region attention; take a model with connector=region")
    medium = take_medium(processor.image_processor, image, landmarks, num_frames)
    faces = medium.frames if isinstance(medium, CroppedClip) else (medium,)
    if all(face.landmarks is None for face in faces):
        raise FaceNotFoundError("there is no face with landmarks, so no patch attends to a region")
    tensors = medium_tensors(processor.image_processor, medium)
    if is_native(model):
        pixels, points = (each[:, None].to(model.device) for each in (tensors.pixel_values, tensors.landmarks))
        with answering_mode(model):
            return RegionMaps(model.region_maps(pixels, points).float().cpu().numpy(), faces)
    assert isinstance(connector, LandmarkGuidedConnector)
    encoder = model.encoder_for(len(faces))
    parameter = next(encoder.parameters())
    with answering_mode(model):
        tokens = encoder(tensors.pixel_values[None].to(parameter.device, parameter.dtype))
        maps = connector.attention_maps(tokens, encoder.grid, tensors.landmarks[None].to(tokens.device))
    return RegionMaps(maps[0].float().cpu().numpy(), faces)
