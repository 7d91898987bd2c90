"""Settings of preprocessing. Two runs with equal settings and input write equal bytes."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from facekit.catalog import DEFAULT_LANDMARKER
from facekit.faces.crop import DEFAULT_MARGIN, LARGEST_CROP_SIDE, LARGEST_MARGIN
from facekit.faces.frames import FRAMES_PER_CLIP
from facekit.faces.images import MAX_PIXELS
from facekit.faces.prepare import MIN_FACE_SIZE

SHARD_VERSION = 3
"""Raised when equal settings give other bytes than before, so that older shards are not mixed with newer ones."""


class PreprocessSettings(BaseModel):
    """Settings of preprocessing.

    Attributes:
        landmarker: Spec of the landmarker.
        size: Side of the stored crops in pixels; Face-LLaVA's data have 256.
        margin: Added on each side of the face, as a fraction of it.
        frames: Frames taken of a clip, evenly spaced.
        faces: ``largest``: a record is about the largest face of its picture; ``all``: every face that is large enough
            becomes a record, with its index in the id. What the input says about a picture is about one face, so only
            the largest keeps labels, groups and conversations. Of a clip one face is followed in either case.
        on_no_face: ``skip``: the record is a failure, with the reason; ``whole-image``: it is kept whole, padded to a
            square, without landmarks.
        given_landmarks: Crop by the landmarks that a picture's record has, in place of detecting any.
        min_face_size: A smaller face, in pixels on its longer side, counts as not found.
        max_pixels: The largest picture or frame that is opened.
        jpeg_quality: From 1 to 100.
        records_per_shard: Records of the input that make a shard, which is also what an interruption can lose.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    landmarker: str = DEFAULT_LANDMARKER
    size: int = Field(default=256, ge=16, le=LARGEST_CROP_SIDE)
    margin: float = Field(default=DEFAULT_MARGIN, ge=0, le=LARGEST_MARGIN)
    frames: int = Field(default=FRAMES_PER_CLIP, ge=1, le=256)
    faces: Literal["largest", "all"] = "largest"
    on_no_face: Literal["skip", "whole-image"] = "skip"
    given_landmarks: bool = True
    min_face_size: float = Field(default=MIN_FACE_SIZE, ge=0)
    max_pixels: int = Field(default=MAX_PIXELS, ge=1)
    jpeg_quality: int = Field(default=95, ge=1, le=100)
    records_per_shard: int = Field(default=500, ge=1, le=100_000)

    @property
    def fingerprint(self) -> str:
        """A checksum that differs where the output would."""
        return hashlib.sha256(f"{SHARD_VERSION} {self.model_dump_json()}".encode()).hexdigest()
