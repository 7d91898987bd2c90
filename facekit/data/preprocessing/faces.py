"""Preprocessing of one record: its face crops, or the reason why there are none."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from facekit.data.preprocessing.settings import PreprocessSettings
from facekit.data.records import FaceRecord
from facekit.errors import ConfigurationError, FaceKitError, MissingExtraError, UnknownPartError
from facekit.faces.clips import prepare_clip
from facekit.faces.crop import CroppedFace, crop_face
from facekit.faces.images import open_image
from facekit.faces.landmarker import DetectedFace, Landmarker, landmark_bounds, load_landmarker
from facekit.faces.prepare import prepare_face
from facekit.faces.video import Clip, read_clip

MEDIA_FOLDER = "media"
_FATAL = (ConfigurationError, MissingExtraError, UnknownPartError)
_OF_ONE_RECORD = (FaceKitError, OSError, ValueError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class RecordFailure:
    """A record that has no crop.

    Args:
        id: The record's id.
        media: Its picture or clip, as the record names it.
        kind: The error's class, by which failures are counted.
        reason: One sentence.
    """

    id: str
    media: str
    kind: str
    reason: str


@dataclass(frozen=True)
class PreparedRecord:
    """A record whose media are crops.

    Args:
        record: Its paths name the files.
        files: The bytes of each file, by the path in the record.
    """

    record: FaceRecord
    files: dict[str, bytes]


def prepare_records(
    records: Sequence[FaceRecord], first: int, folder: Path, settings: PreprocessSettings
) -> list[PreparedRecord | RecordFailure]:
    """Prepare records one after the other; a failure of one is no failure of the others.

    Args:
        records: The records.
        first: Number of the first in the whole input, from which the crops are named.
        folder: The folder that their paths are relative to.
        settings: What is done.

    Raises:
        ConfigurationError: The settings cannot be used, whatever the record.
        MissingExtraError: A package is not installed.
        UnknownPartError: There is no such landmarker.
    """
    landmarker = shared_landmarker(settings.landmarker)
    results: list[PreparedRecord | RecordFailure] = []
    for number, record in enumerate(records, first):
        try:
            results.append(_prepare(record, number, folder, settings, landmarker))
        except _FATAL:
            raise
        except _OF_ONE_RECORD as error:
            results.append(describe_failure(record, type(error).__name__, str(error)))
    return results


def describe_failure(record: FaceRecord, kind: str, reason: str) -> RecordFailure:
    """A failure of a record, the reason as one line."""
    names = record.image or record.video or ""
    return RecordFailure(record.id, names if isinstance(names, str) else names[0], kind, " ".join(reason.split()))


@lru_cache(maxsize=2)
def shared_landmarker(spec: str) -> Landmarker:
    """The landmarker of this process, loaded once."""
    return load_landmarker(spec)


def _prepare(
    record: FaceRecord, number: int, folder: Path, settings: PreprocessSettings, landmarker: Landmarker
) -> PreparedRecord:
    name = f"{MEDIA_FOLDER}/{number:09d}"
    if record.image is not None:
        crop = _crop_picture(record, folder, settings, landmarker)
        path = f"{name}.jpg"
        points = None if crop.landmarks is None else np.round(crop.landmarks.astype(float), 5).tolist()
        changes = {"image": path, "landmarks": points, "source": _origin(record, crop)}
        return PreparedRecord(record.model_copy(update=changes), {path: _to_jpeg(crop.image, settings)})
    crops = _crop_clip(record, folder, settings, landmarker)
    files = {f"{name}.{place:04d}.jpg": _to_jpeg(crop.image, settings) for place, crop in enumerate(crops)}
    changes = {"video": list(files), "frames": None, "landmarks": None, "source": _origin(record, crops[0])}
    if any(crop.landmarks is not None for crop in crops):
        changes["landmarks"] = f"{name}.landmarks.npy"
        stacked = io.BytesIO()
        np.save(stacked, np.stack([crop.landmarks_or_absent for crop in crops]).astype(np.float32), allow_pickle=False)
        files[f"{name}.landmarks.npy"] = stacked.getvalue()
    return PreparedRecord(record.model_copy(update=changes), files)


def _crop_picture(
    record: FaceRecord, folder: Path, settings: PreprocessSettings, landmarker: Landmarker
) -> CroppedFace:
    path = record.image_path(folder)
    points = record.landmark_array(folder) if settings.given_landmarks else None
    if points is not None:
        image = open_image(path, max_pixels=settings.max_pixels)
        return crop_face(image, _given_face(points, image), margin=settings.margin)
    return prepare_face(
        path,
        landmarker,
        margin=settings.margin,
        on_no_face=_when_no_face(settings),
        min_face_size=settings.min_face_size,
        max_pixels=settings.max_pixels,
    )


def _given_face(points: np.ndarray, image: Image.Image) -> DetectedFace:
    landmarks = points.reshape(-1, 2) * np.array(image.size, dtype=np.float32)
    return DetectedFace(landmark_bounds(landmarks), 1.0, landmarks)


def _crop_clip(
    record: FaceRecord, folder: Path, settings: PreprocessSettings, landmarker: Landmarker
) -> tuple[CroppedFace, ...]:
    paths = record.media_paths(folder)
    source: list[str | Path | Image.Image] | Clip = [*paths]
    if isinstance(record.video, str):
        source = read_clip(paths[0], settings.frames, among=record.frames, max_pixels=settings.max_pixels)
    clip = prepare_clip(
        source,
        landmarker,
        num_frames=settings.frames,
        margin=settings.margin,
        on_no_face=_when_no_face(settings),
        min_face_size=settings.min_face_size,
    )
    return clip.frames


def _when_no_face(settings: PreprocessSettings) -> str:
    return "raise" if settings.on_no_face == "skip" else settings.on_no_face


def _to_jpeg(image: Image.Image, settings: PreprocessSettings) -> bytes:
    side = (settings.size, settings.size)
    small = image if image.size == side else image.resize(side, Image.Resampling.LANCZOS, reducing_gap=3.0)
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=settings.jpeg_quality, comment=b"")
    return encoded.getvalue()


def _origin(record: FaceRecord, crop: CroppedFace) -> dict[str, str | int | float | bool | None]:
    """Where the record came from, with the file and the square in pixels that the (first) crop was cut from."""
    known = dict(record.source) if isinstance(record.source, dict) else {"dataset": record.source}
    original = describe_failure(record, "", "").media
    return {**{key: value for key, value in known.items() if value is not None},
            "original": original, "crop": ",".join(map(str, crop.box))}  # fmt: skip
