"""Preprocessing of one record: its face crops, or the reason why there are none."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facekit.data.labels import FaceLabels
from facekit.data.preprocessing.failures import RecordFailure, describe_failure, first_medium
from facekit.data.preprocessing.frames import FrameReader, is_picture_of_video
from facekit.data.preprocessing.settings import PreprocessSettings
from facekit.data.preprocessing.stamps import Stamps, stamp_record
from facekit.data.records import FaceRecord
from facekit.errors import (
    ConfigurationError,
    FaceKitError,
    FaceNotFoundError,
    MissingExtraError,
    RecordError,
    UnknownPartError,
)
from facekit.faces.clips import CroppedClip, prepare_clip
from facekit.faces.crop import CroppedFace, crop_face, pad_to_square
from facekit.faces.images import open_image
from facekit.faces.landmarker import DetectedFace, Landmarker, landmark_bounds, load_landmarker
from facekit.faces.layout import NUM_LANDMARKS
from facekit.faces.prepare import select_faces
from facekit.faces.sources import describe_source
from facekit.faces.video import Clip, read_clip

MEDIA_FOLDER = "media"
_FATAL = (ConfigurationError, MissingExtraError, UnknownPartError)
_OF_ONE_RECORD = (FaceKitError, OSError, ValueError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class PreparedRecord:
    """A record whose media are crops.

    Args:
        key: Its name in a shard: digits, of which the first nine are the index of the record in the input.
        record: Its paths name the files.
        files: The bytes of each file, by the path in the record.
    """

    key: str
    record: FaceRecord
    files: dict[str, bytes]


@dataclass(frozen=True)
class Outcome:
    """The outcome of an input record.

    Args:
        stamps: What its files were when they were read.
        faces: Its crops, one for each face that was taken.
        failure: Why there are none.
    """

    stamps: Stamps
    faces: tuple[PreparedRecord, ...] = ()
    failure: RecordFailure | None = None


def prepare_records(
    records: Sequence[tuple[int, FaceRecord]], folder: Path, settings: PreprocessSettings
) -> list[Outcome]:
    """Prepare records one after the other; a failure of one is no failure of the others.

    Args:
        records: Records, each with its index in the whole input, from which the crops are named.
        folder: The folder that their paths are relative to.
        settings: What is done.

    Raises:
        ConfigurationError: The settings cannot be used, whatever the record.
        MissingExtraError: A package is not installed.
        UnknownPartError: There is no such landmarker.
    """
    landmarker = shared_landmarker(settings.landmarker)
    frames = FrameReader(folder, settings.max_pixels)
    outcomes = []
    for index, record in records:
        stamps = stamp_record(record, folder)
        try:
            prepared = _prepare(record, index, folder, settings, landmarker, frames)
            outcomes.append(Outcome(stamps, tuple(prepared)))
        except _FATAL:
            raise
        except _OF_ONE_RECORD as error:
            outcomes.append(Outcome(stamps, failure=describe_failure(record, index, error)))
    return outcomes


@lru_cache(maxsize=2)
def shared_landmarker(spec: str) -> Landmarker:
    """The landmarker of this process, loaded once."""
    return load_landmarker(spec)


def _prepare(
    record: FaceRecord,
    index: int,
    folder: Path,
    settings: PreprocessSettings,
    landmarker: Landmarker,
    frames: FrameReader,
) -> list[PreparedRecord]:
    if record.images is not None:
        return [_prepare_several(record, f"{index:09d}", folder, settings, landmarker)]
    if record.image is None and record.video is None:
        return [PreparedRecord(f"{index:09d}", record, {})]
    image = frames.read(record) if is_picture_of_video(record) else None
    if image is None and record.image is None:
        return [_prepare_clip(record, f"{index:09d}", folder, settings, landmarker)]
    crops, found = _crop_picture(record, folder, settings, landmarker, image)
    every = settings.faces == "all"
    return [
        _prepare_picture(record, f"{index:09d}{rank:04d}" if every else f"{index:09d}", crop, found, rank, settings)
        for rank, crop in enumerate(crops)
    ]


def _prepare_picture(
    record: FaceRecord, key: str, crop: CroppedFace, found: int | None, rank: int, settings: PreprocessSettings
) -> PreparedRecord:
    path = f"{MEDIA_FOLDER}/{key}.jpg"
    points = None if crop.landmarks is None else np.round(crop.landmarks.astype(float), 5).tolist()
    changes: dict[str, Any] = {"image": path, "landmarks": points, "source": _origin(record, crop, found)}
    if record.frames is not None:
        changes |= {"video": None, "frames": None, "source": {"frame_index": record.frames[0], **changes["source"]}}
    if settings.faces == "all" and found and crop.index is not None:
        changes["id"] = f"{record.id}#{crop.index}"
    if rank:
        # The labels and the consent are those of another person.
        changes |= {"labels": FaceLabels(), "groups": {}, "conversations": [], "consent": None}
    return PreparedRecord(key, record.model_copy(update=changes), {path: _to_jpeg(crop.image, settings)})


def _prepare_clip(
    record: FaceRecord, key: str, folder: Path, settings: PreprocessSettings, landmarker: Landmarker
) -> PreparedRecord:
    name = f"{MEDIA_FOLDER}/{key}"
    clip = _crop_clip(record, folder, settings, landmarker)
    crops = clip.frames
    seen = next((crop for crop in crops if crop.index is not None), crops[0])
    files = {f"{name}.{number:04d}.jpg": _to_jpeg(crop.image, settings) for number, crop in enumerate(crops)}
    origin = {**_origin(record, crops[0], clip.most_faces), **({} if seen.index is None else {"face": seen.index})}
    changes: dict[str, Any] = {"video": list(files), "frames": None, "landmarks": None, "source": origin}
    if any(crop.landmarks is not None for crop in crops):
        changes["landmarks"] = f"{name}.landmarks.npy"
        stacked = io.BytesIO()
        np.save(stacked, np.stack([crop.landmarks_or_absent for crop in crops]).astype(np.float32), allow_pickle=False)
        files[f"{name}.landmarks.npy"] = stacked.getvalue()
    return PreparedRecord(key, record.model_copy(update=changes), files)


def _prepare_several(
    record: FaceRecord, key: str, folder: Path, settings: PreprocessSettings, landmarker: Landmarker
) -> PreparedRecord:
    """Prepare several pictures, each by its largest face."""
    paths = record.images or []
    given = record.landmark_array(folder) if settings.given_landmarks else None
    shapes = [None] * len(paths) if given is None else list(given.reshape(-1, NUM_LANDMARKS, 2))
    crops = []
    for path, shape in zip(paths, shapes, strict=True):
        points = None if shape is None or np.isnan(shape).any() else shape.tolist()
        alone = record.model_copy(update={"image": path, "images": None, "landmarks": points})
        crops.append(_crop_picture(alone, folder, settings, landmarker)[0][0])
    files = {
        f"{MEDIA_FOLDER}/{key}.{number:04d}.jpg": _to_jpeg(crop.image, settings) for number, crop in enumerate(crops)
    }
    found = [None if each.landmarks is None else np.round(each.landmarks.astype(float), 5).tolist() for each in crops]
    changes: dict[str, Any] = {
        "images": list(files),
        "landmarks": found if any(found) else None,
        "source": _origin(record, crops[0], None),
    }
    return PreparedRecord(key, record.model_copy(update=changes), files)


def _crop_picture(
    record: FaceRecord,
    folder: Path,
    settings: PreprocessSettings,
    landmarker: Landmarker,
    image: Image.Image | None = None,
) -> tuple[list[CroppedFace], int | None]:
    """The crops, and how many faces are large enough; None where the record says itself where its face is."""
    path = record.media_paths(folder)[0]
    points = _given_points(record, folder) if settings.given_landmarks else None
    image = open_image(path, max_pixels=settings.max_pixels) if image is None else image
    if points is not None:
        return [crop_face(image, _given_face(points, image), margin=settings.margin)], None
    faces, count = _find_faces(image, settings, landmarker)
    try:
        chosen = select_faces(faces, settings.faces, min_face_size=settings.min_face_size, name=describe_source(path))
    except FaceNotFoundError:
        if settings.on_no_face == "skip":
            raise
        return [pad_to_square(image)], 0
    crops = [crop_face(image, faces[index], margin=settings.margin, index=index) for index in chosen]
    return crops, count


def _find_faces(
    image: Image.Image, settings: PreprocessSettings, landmarker: Landmarker
) -> tuple[list[DetectedFace], int]:
    """The faces to choose from, and how many in the picture are large enough."""
    if settings.faces == "largest":
        largest = landmarker.detect_largest(image, min_face_size=settings.min_face_size)
        return ([], 0) if largest is None else ([largest.face], largest.count)
    faces = landmarker.detect(image)
    return faces, sum(face.size >= settings.min_face_size for face in faces)


def _given_points(record: FaceRecord, folder: Path) -> np.ndarray | None:
    """The landmarks that a picture's record has, ``(68, 2)``."""
    points = record.landmark_array(folder)
    if points is None or points.size == 2 * NUM_LANDMARKS:
        return points
    raise RecordError(f"record {record.id!r} has 1 frame but landmarks for {len(points)}")


def _given_face(points: np.ndarray, image: Image.Image) -> DetectedFace:
    landmarks = points.reshape(-1, 2) * np.array(image.size, dtype=np.float32)
    return DetectedFace(landmark_bounds(landmarks), 1.0, landmarks)


def _crop_clip(record: FaceRecord, folder: Path, settings: PreprocessSettings, landmarker: Landmarker) -> CroppedClip:
    paths = record.media_paths(folder)
    source: list[str | Path | Image.Image] | Clip = [*paths]
    if isinstance(record.video, str):
        source = read_clip(paths[0], settings.frames, among=record.frames, max_pixels=settings.max_pixels)
    return prepare_clip(
        source,
        landmarker,
        num_frames=settings.frames,
        margin=settings.margin,
        on_no_face="raise" if settings.on_no_face == "skip" else settings.on_no_face,
        min_face_size=settings.min_face_size,
    )


def _to_jpeg(image: Image.Image, settings: PreprocessSettings) -> bytes:
    side = (settings.size, settings.size)
    small = image if image.size == side else image.resize(side, Image.Resampling.LANCZOS, reducing_gap=3.0)
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=settings.jpeg_quality, comment=b"")
    return encoded.getvalue()


def _origin(record: FaceRecord, crop: CroppedFace, found: int | None) -> dict[str, str | int | float | bool | None]:
    """Where the record came from: file, square in pixels of the (first) crop, faces found, index of this one."""
    known = dict(record.source) if isinstance(record.source, dict) else {"dataset": record.source}
    facts = {"original": first_medium(record), "crop": ",".join(map(str, crop.box)), "faces": found}
    facts["face"] = crop.index if found else None
    return {key: value for key, value in {**known, **facts}.items() if value is not None}
