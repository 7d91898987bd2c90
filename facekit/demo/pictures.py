"""Pictures of the demo's records, for its page."""

from __future__ import annotations

from facekit.data.dataset import RecordSet
from facekit.data.records import FaceRecord
from facekit.faces import draw_overlay, open_image
from facekit.reports import image_url


def record_picture(record: FaceRecord, records: RecordSet, *, size: int = 240, overlay: bool = True) -> str:
    """A record's picture as a data URL, ``size`` pixels wide, with its landmarks and regions drawn if asked for."""
    picture = open_image(record.image_path(records.folder))
    landmarks = record.landmark_array(records.folder) if overlay else None
    return image_url(draw_overlay(picture, landmarks, size=size, legend=False), quality=88)
