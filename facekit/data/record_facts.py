"""What is known of every record without reading it again: numbers that a data set asks of all records at its start.

They are kept in the index of a large records file (``facekit.data.record_index``), so that a run over a million records
begins without reading one of them; of records in memory they are counted when somebody asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from facekit.data.records import FaceRecord

__all__ = ["FACTS", "fact_of", "facts_of", "frame_counts", "hash_id", "identity_line", "is_dialogue", "shows_several"]

FACTS = np.dtype([("id", "<u8"), ("words", "<u4"), ("turns", "<u2"), ("frames", "<u2"), ("kind", "u1")])
"""Of a record: the hash of its id; words and turns of its conversation; its pictures, or the frames that it names of a
video file (0 for all of them); and ``_VIDEO``, ``_SEVERAL`` and ``_INDEPENDENT`` as bits."""

_TERMS = {"license", "consent"}
_VIDEO, _SEVERAL, _INDEPENDENT = 1, 2, 4
_MOST = np.iinfo(np.uint16).max
_MOST_WORDS = np.iinfo(np.uint32).max


def hash_id(identity: str) -> int:
    """64 bits of the BLAKE2b digest of a record's id."""
    return int.from_bytes(hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def identity_line(record: FaceRecord) -> str:
    """The JSON line by which the records of a run are compared with those of an earlier one: what a model learns of.

    A field that is newer than the first runs is in it only where it says something, so that these still go on.
    """
    return record.model_dump_json(exclude=_TERMS if record.same is not None else _TERMS | {"same"})


def fact_of(record: FaceRecord) -> tuple[int, int, int, int, int]:
    """The facts of a record, in the order of ``FACTS``; counts that are too large for it are cut off."""
    turns = record.conversations
    words = sum(len(turn.content.split()) for turn in turns)
    if isinstance(record.video, str):
        frames, kind = len(record.frames or ()), _VIDEO
    else:
        frames, kind = len(record.media_paths("")), _SEVERAL if record.images is not None else 0
    if record.independent_questions:
        kind |= _INDEPENDENT
    return hash_id(record.id), min(words, _MOST_WORDS), min(len(turns), _MOST), min(frames, _MOST), kind


def facts_of(records: Sequence[FaceRecord]) -> np.ndarray:
    """The facts of all records, ``(N,)`` of ``FACTS``, in their order.

    Args:
        records: In memory; or with an attribute ``facts``, as those that stay in their file have.
    """
    known: Any = getattr(records, "facts", None)
    return count_facts(records) if known is None else known


def count_facts(records: Iterable[FaceRecord]) -> np.ndarray:
    """The facts of records, read one by one."""
    return np.array([fact_of(record) for record in records], FACTS)


def frame_counts(facts: np.ndarray, num_frames: int) -> np.ndarray:
    """How many frames the example of each record has, as ``facekit.data.record_media.count_frames`` says.

    Args:
        facts: Of the records.
        num_frames: Frames of a clip.

    Returns:
        int64 of shape ``(N,)``.
    """
    frames = facts["frames"].astype(np.int64)
    chosen = np.where(frames == 0, num_frames, np.minimum(frames, num_frames))
    return np.where(facts["kind"] & _VIDEO, chosen, frames)


def is_dialogue(facts: np.ndarray) -> np.ndarray:
    """Whether each record has several questions that nobody said stand alone; bool of shape ``(N,)``."""
    found: np.ndarray = (facts["kind"] & _INDEPENDENT == 0) & (facts["turns"] > 3)
    return found


def shows_several(facts: np.ndarray) -> np.ndarray:
    """Whether each record is about several pictures, rather than a picture or a clip; bool of shape ``(N,)``."""
    found: np.ndarray = (facts["kind"] & _SEVERAL) != 0
    return found
