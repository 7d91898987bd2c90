"""Presets: named sets of the same arguments that ``facekit.create`` takes.

They are plain data, apart from the function that reads them, so that a plugin can add its own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """A named choice of parts.

    Args:
        encoder: Spec of the vision encoder.
        connector: Spec of the connector.
        backbone: Spec of the language model.
        summary: One line on what it is for.
        landmarker: Spec of what finds the face and its landmarks.
    """

    encoder: str
    connector: str
    backbone: str
    summary: str
    landmarker: str = "dlib"


FACEKIT_TINY = Preset(
    encoder="tiny?pretrained=synthetic-faces",
    connector="region",
    backbone="tiny?width=192&depth=3",
    summary="the demo's model: learns drawn faces on two CPU cores in minutes",
)
