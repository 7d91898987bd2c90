"""The iBUG-68 layout: how many landmarks there are and which of them make up each region of the face.

Constants alone, so that drawing and cropping need no tensor library.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NUM_LANDMARKS = 68
"""Points of a face in iBUG-68, the annotation of 300-W."""

FACE_REGIONS: Mapping[str, range] = MappingProxyType(
    {
        "face": range(0, 17),
        "eyebrow1": range(17, 22),
        "eyebrow2": range(22, 27),
        "nose": range(27, 31),
        "nostril": range(31, 36),
        "eye1": range(36, 42),
        "eye2": range(42, 48),
        "lips": range(48, 60),
        "teeth": range(60, 68),
    }
)
"""Landmarks of each region, ``start`` to ``stop``; names and order are those of the released Face-LLaVA weights."""

REGION_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "face": "face contour",
        "eyebrow1": "right brow",
        "eyebrow2": "left brow",
        "nose": "nose bridge",
        "nostril": "nostrils",
        "eye1": "right eye",
        "eye2": "left eye",
        "lips": "outer lips",
        "teeth": "inner lips",
    }
)
"""What a region is called in pictures; right and left are the person's own."""
