"""Requests that ask for no words: every face of a picture, and what its regions are looked at by.

``POST /facekit/faces`` and ``POST /facekit/region_maps``; the page speaks to both, and so may other clients.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import Field, StrictBool, StrictInt, StrictStr

from facekit.counted import counted
from facekit.errors import ConfigurationError, FaceNotFoundError
from facekit.faces import REGION_LABELS, CroppedClip, CroppedFace
from facekit.faces.describing import describe_face
from facekit.models.image_processing import Medium
from facekit.models.region_maps import RegionMaps, region_maps
from facekit.reports.images import image_url
from facekit.serving.protocol import ImagePart, Landmarks, StrictModel, VideoPart
from facekit.serving.request_error import RequestError
from facekit.serving.served import ServedModel

MAX_FACES = 32
"""Faces of a picture that are told, largest first; crops of more would make a reply without bounds."""
_FRAME_SIDE = 384
_MOST_FRAMES = 64

Frames = Annotated[StrictInt, Field(ge=1, le=_MOST_FRAMES)]
Index = Annotated[StrictInt, Field(ge=0, lt=2**31)]
Picture = Annotated[ImagePart | VideoPart, Field(discriminator="type")]


class FacesRequest(StrictModel):
    """The body of ``POST /facekit/faces``.

    Args:
        model: The model whose landmarker looks.
        medium: A picture or clip, as a message of a chat has it.
        num_frames: Frames to choose of a clip.
    """

    model: StrictStr
    medium: Picture
    num_frames: Frames | None = None


class RegionMapsRequest(StrictModel):
    """The body of ``POST /facekit/region_maps``.

    Args:
        model: The model.
        medium: A picture or clip, as a message of a chat has it.
        landmarks: Of a picture that is cropped to the face already, 68 points ``[x, y]`` in [0, 1] of it.
        num_frames: Frames to choose of a clip.
        frame: Which of these the maps are of.
        draw: Whether the reply has a picture of the maps, too.
        head: Which head the picture shows; the mean over heads without it.
    """

    model: StrictStr
    medium: Picture
    landmarks: Landmarks | None = None
    num_frames: Frames | None = None
    frame: Index = 0
    draw: StrictBool = False
    head: Index | None = None


def describe_faces(served: ServedModel, asked: FacesRequest) -> dict[str, Any]:
    """Find every face of a picture, or the face that is followed through a clip.

    Raises:
        RequestError: The picture or clip cannot be used.
    """
    if isinstance(asked.medium, ImagePart):
        picture, faces = served.reader.find_faces(asked.medium, param="medium")
        listed = [{**describe_crop(face), "image": _lossless_url(face.image)} for face in faces[:MAX_FACES]]
        return {"type": "image", "width": picture.width, "height": picture.height, "faces": listed}
    clip = served.reader.read_medium(asked.medium, num_frames=asked.num_frames, param="medium")
    assert isinstance(clip, CroppedClip)
    frames = [
        {"index": index, **describe_crop(face), "image": image_url(face.image, side=_FRAME_SIDE)}
        for index, face in zip(clip.indices, clip.frames, strict=True)
    ]
    return {"type": "video", "frames": frames, "most_faces": clip.most_faces}


def describe_crop(face: CroppedFace) -> dict[str, Any]:
    """A crop and its face as replies have it, with the landmarks in [0, 1] of the crop, too."""
    points = None if face.landmarks is None else face.landmarks.tolist()
    return {**describe_face(face), "crop_landmarks": points}


def read_subject(served: ServedModel, asked: RegionMapsRequest) -> Medium:
    """Open the picture or clip that maps are asked of.

    Raises:
        RequestError: It cannot be used.
    """
    if asked.landmarks is not None and isinstance(asked.medium, VideoPart):
        raise RequestError(400, "landmarks belong to a picture; leave them out for a clip", param="landmarks")
    points = None if asked.landmarks is None else np.asarray(asked.landmarks, np.float32)
    return served.reader.read_medium(asked.medium, points, asked.num_frames, param="medium")


def find_maps(served: ServedModel, medium: Medium) -> Callable[[], RegionMaps]:
    """The work of an engine's thread that gives the maps of a picture or clip."""

    def work() -> RegionMaps:
        try:
            return region_maps(served.engine.model, served.engine.processor, medium)
        except (ConfigurationError, FaceNotFoundError) as error:
            raise RequestError(400, str(error), param="model", code="no_region_maps") from error

    return work


def describe_maps(maps: RegionMaps, asked: RegionMapsRequest) -> dict[str, Any]:
    """The maps of one frame as a reply.

    Raises:
        RequestError: There is no such frame or head, or it shows no face.
    """
    frames, heads = maps.values.shape[:2]
    if asked.frame >= frames:
        raise RequestError(
            400, f"the maps have {counted(frames, 'frame')}, counted from 0; give one of them", param="frame"
        )
    if asked.head is not None and asked.head >= heads:
        raise RequestError(
            400, f"the maps have {counted(heads, 'head')}, counted from 0; give one of them", param="head"
        )
    values = maps.values[asked.frame]
    if not np.isfinite(values).all():
        raise RequestError(400, f"frame {asked.frame} shows no face; take another one", param="frame")
    found: dict[str, Any] = {
        "frame": asked.frame,
        "frames": frames,
        "regions": [{"name": name, "label": REGION_LABELS[name]} for name in maps.regions],
        "values": values.astype(float).round(4).tolist(),
    }
    if asked.draw:
        found["picture"] = _lossless_url(maps.draw(asked.frame, head=asked.head))
    return found


def _lossless_url(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=3)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
