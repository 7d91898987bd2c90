"""How faces are found by the model of a command: what finds them, and what becomes of a picture without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from facekit.models.processing import FaceKitProcessor

OnNoFace = Annotated[str | None, typer.Option(help="raise, or whole-image; by default as the model was saved.")]


def check_face_finding(landmarker: str | None, on_no_face: str | None) -> None:
    """Refuse a landmarker that cannot be used, or a rule that there is not, before a model is loaded.

    Raises:
        UnknownPartError: There is no such landmarker.
        InvalidSpecError, MissingExtraError: It cannot be used; see ``facekit.faces.landmarker.load_landmarker``.
        ConfigurationError: There is no such rule.
    """
    from facekit.errors import ConfigurationError
    from facekit.faces.landmarker import load_landmarker
    from facekit.faces.prepare import ON_NO_FACE
    from facekit.models.image_processing import NO_LANDMARKER

    if landmarker not in (None, NO_LANDMARKER):
        _ = load_landmarker(landmarker)
    if on_no_face is not None and on_no_face not in ON_NO_FACE:
        raise ConfigurationError(f"--on-no-face is one of {', '.join(ON_NO_FACE)}, not '{on_no_face}'")


def choose_face_finding(processor: FaceKitProcessor, landmarker: str | None, on_no_face: str | None) -> None:
    """Take what was given in place of what the model was saved with."""
    if landmarker is not None:
        processor.image_processor.landmarker = landmarker
    if on_no_face is not None:
        processor.image_processor.on_no_face = on_no_face
