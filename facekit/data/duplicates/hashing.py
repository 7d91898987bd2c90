"""Perceptual hashes of the pictures of records; needs the extra ``duplicates`` (the package ImageHash)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facekit.cores import count_usable_cores
from facekit.data.records import FaceRecord
from facekit.data.skipping import RECORD_FAULTS
from facekit.errors import MissingExtraError, first_line
from facekit.faces import open_image, read_clip
from facekit.remote.addresses import place_of

__all__ = ["FRAMES", "HashedRecord", "hash_records", "picture_hash", "require_imagehash"]

FRAMES = 3
"""Frames of a video file that are compared, evenly spaced."""

_AHEAD = 64


@dataclass(frozen=True)
class HashedRecord:
    """A record's pictures as hashes.

    Args:
        record: The record.
        hashes: uint64, one for each picture or frame; empty for text alone, and where it cannot be opened.
        fault: Why it cannot be opened; None where it can.
    """

    record: FaceRecord
    hashes: tuple[int, ...]
    fault: str | None = None


def picture_hash(picture: Image.Image) -> int:
    """The 64-bit DCT hash (pHash) of a picture: alike for copies of another size, compression or brightness.

    Source: Zauner, *Implementation and Benchmarking of Perceptual Image Hash Functions*, 2010, as ImageHash has it.

    Raises:
        MissingExtraError: ImageHash is not installed.
    """
    bits = require_imagehash().phash(picture, hash_size=8).hash
    return int.from_bytes(np.packbits(bits.reshape(-1)).tobytes(), "big")


def hash_records(
    records: Iterable[FaceRecord],
    folder: Path,
    *,
    workers: int | None = None,
    hasher: Callable[[Image.Image], int] = picture_hash,
) -> Iterator[HashedRecord]:
    """Hash the pictures of records, in several threads and in the order of the records.

    Args:
        records: The records.
        folder: The folder that their paths are relative to.
        workers: Threads; None for the cores of this process.
        hasher: Gives a picture its hash.

    Raises:
        MissingExtraError: A package is not installed.
    """
    stream = iter(records)
    with ThreadPoolExecutor(workers or count_usable_cores()) as pool:
        waiting: list[Future[HashedRecord]] = []
        while True:
            waiting += [pool.submit(_hash, record, folder, hasher) for record in islice(stream, _AHEAD - len(waiting))]
            if not waiting:
                return
            yield waiting.pop(0).result()


def _hash(record: FaceRecord, folder: Path, hasher: Callable[[Image.Image], int]) -> HashedRecord:
    try:
        if isinstance(record.video, str):
            clip = read_clip(place_of(folder, record.video), FRAMES, among=record.frames)
            pictures: Iterable[Image.Image] = dict(zip(clip.indices, clip.frames, strict=True)).values()
        else:
            pictures = (open_image(path) for path in record.media_paths(folder))
        return HashedRecord(record, tuple(hasher(picture) for picture in pictures))
    except MissingExtraError:
        raise
    except RECORD_FAULTS as error:
        return HashedRecord(record, (), first_line(error))


def require_imagehash() -> Any:
    """The package; raises ``MissingExtraError`` where it is not installed."""
    try:
        import imagehash
    except ImportError as error:
        raise MissingExtraError("perceptual hashes need ImageHash; pip install 'facekit-mllm[duplicates]'") from error
    return imagehash
