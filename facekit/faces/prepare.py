"""Preparing a picture in one call: open, detect, choose and crop the face.

The processor, the command line and data generation all go this way, so that they treat a picture alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from PIL import Image

from facekit.counted import counted
from facekit.errors import ConfigurationError, FaceNotFoundError
from facekit.faces.crop import DEFAULT_MARGIN, CroppedFace, crop_face, pad_to_square
from facekit.faces.images import MAX_PIXELS, ImageSource, open_image
from facekit.faces.landmarker import DetectedFace, Landmarker
from facekit.faces.sources import describe_source

Selection: TypeAlias = Literal["largest", "all"] | int
ON_NO_FACE = ("raise", "whole-image")
MIN_FACE_SIZE = 24.0
"""In pixels: 68 landmarks on a smaller face lie less than a pixel apart."""


def prepare_face(
    source: ImageSource,
    landmarker: Landmarker,
    *,
    margin: float = DEFAULT_MARGIN,
    select: Literal["largest"] | int = "largest",
    on_no_face: str = "raise",
    min_face_size: float = MIN_FACE_SIZE,
    max_pixels: int = MAX_PIXELS,
) -> CroppedFace:
    """Open a picture and return the square crop of one face with its landmarks.

    Args:
        source: What ``open_image`` takes.
        landmarker: What finds faces and landmarks.
        margin: Added on each side of the face, as a fraction of it.
        select: ``largest``, or a face's index among those found, from 0, largest first.
        on_no_face: ``raise``, or ``whole-image``: the whole picture, padded to a square, without landmarks.
        min_face_size: A face whose box is smaller, in pixels on its longer side, counts as not found.
        max_pixels: The bound of ``open_image``.

    Returns:
        The crop; ``landmarks`` is None only where ``on_no_face`` is ``whole-image`` and no face was found.

    Raises:
        ImageError: The picture cannot be opened.
        FaceNotFoundError: There is no such face and ``on_no_face`` is ``raise``.
        ConfigurationError: An argument is out of its range.

    Examples:
        >>> from facekit.faces import load_landmarker, prepare_face
        >>> face = prepare_face("photo.jpg", load_landmarker("dlib"))
        >>> face.landmarks.shape
        (68, 2)
    """
    if select == "all":  # type: ignore[comparison-overlap]  # of callers without a type checker
        raise ConfigurationError("prepare_face returns one face; call prepare_faces for select='all'")
    faces = prepare_faces(
        source,
        landmarker,
        margin=margin,
        select=select,
        on_no_face=on_no_face,
        min_face_size=min_face_size,
        max_pixels=max_pixels,
    )
    return faces[0]


def prepare_faces(
    source: ImageSource,
    landmarker: Landmarker,
    *,
    margin: float = DEFAULT_MARGIN,
    select: Selection = "all",
    on_no_face: str = "raise",
    min_face_size: float = MIN_FACE_SIZE,
    max_pixels: int = MAX_PIXELS,
) -> list[CroppedFace]:
    """Open a picture and return square crops of the faces selected, largest first; the rest as ``prepare_face``.

    Raises:
        ImageError: The picture cannot be opened.
        FaceNotFoundError: There is no such face and ``on_no_face`` is ``raise``.
        ConfigurationError: An argument is out of its range.
    """
    if on_no_face not in ON_NO_FACE:
        raise ConfigurationError(f"on_no_face is one of {', '.join(ON_NO_FACE)}, not '{on_no_face}'")
    image = open_image(source, max_pixels=max_pixels)
    faces = _find_faces(image, landmarker, select)
    try:
        chosen = select_faces(faces, select, min_face_size=min_face_size, name=describe_source(source))
    except FaceNotFoundError:
        if on_no_face == "raise":
            raise
        return [pad_to_square(image)]
    return [crop_face(image, faces[index], margin=margin, index=index) for index in chosen]


def _find_faces(image: Image.Image, landmarker: Landmarker, select: Selection) -> list[DetectedFace]:
    if select != "largest":
        return landmarker.detect(image)
    largest = landmarker.detect_largest(image)
    return [] if largest is None else [largest.face]


def select_faces(
    faces: Sequence[DetectedFace],
    select: Selection = "largest",
    *,
    min_face_size: float = MIN_FACE_SIZE,
    name: str = "the picture",
) -> list[int]:
    """Return the indices of the faces selected.

    Args:
        faces: As a landmarker returns them, largest first.
        select: ``largest``, ``all``, or an index from 0.
        min_face_size: The least longer side of a face's box, in pixels.
        name: What messages call the picture.

    Returns:
        One index, or for ``all`` those of every face that is large enough; never an empty list.

    Raises:
        FaceNotFoundError: No face was found, all are too small, or the index is beyond them.
        ConfigurationError: ``select`` is something else, or ``min_face_size`` is negative.
    """
    if isinstance(select, bool) or not (select in ("largest", "all") or (isinstance(select, int) and select >= 0)):
        raise ConfigurationError(f"select is 'largest', 'all' or a face's index from 0, not {select!r}")
    if min_face_size < 0:
        raise ConfigurationError(f"min_face_size is a number of pixels from 0, not {min_face_size}")
    if not faces:
        raise FaceNotFoundError(
            f"no face was found in {name}; give a picture in which a face looks roughly at the camera, upright, "
            "or use the whole picture with on_no_face='whole-image' (--on-no-face whole-image)"
        )
    large_enough = [index for index, face in enumerate(faces) if face.size >= min_face_size]
    if not large_enough:
        raise FaceNotFoundError(
            f"the largest face in {name} is {max(face.size for face in faces):.0f} pixels wide, below min_face_size "
            f"{min_face_size:g}; give a larger picture of it, or lower min_face_size"
        )
    if select == "all":
        return large_enough
    if select == "largest":
        return [max(large_enough, key=lambda index: faces[index].size)]
    if select not in large_enough:
        raise FaceNotFoundError(
            f"{name} has {counted(len(large_enough), 'face')} of at least {min_face_size:g} pixels, so no face "
            f"{select}; choose an index from 0 to {max(large_enough)}"
        )
    return [int(select)]
