"""Checking a record: whether its media open and its conversation can be encoded, and what of it is left out."""

from __future__ import annotations

from pathlib import Path

from facekit.data.dataset import DatasetOptions, usable_questions
from facekit.data.record_media import count_frames, open_frames
from facekit.data.records import FaceRecord
from facekit.data.skipping import RECORD_FAULTS
from facekit.data.usable import UsableQuestions
from facekit.errors import MissingExtraError, RecordError, first_line
from facekit.models.processing import FaceKitProcessor
from facekit.remote.mirror import file_is_there


def check_record(
    record: FaceRecord,
    folder: Path,
    processor: FaceKitProcessor,
    options: DatasetOptions,
    *,
    open_media: bool = True,
    with_answers: bool = True,
) -> UsableQuestions:
    """Make sure that a record can be trained on.

    Args:
        record: The record.
        folder: Folder of its records file.
        processor: The model's processor.
        options: How records become examples.
        open_media: Whether pictures and clips are opened; otherwise their files need only be there.
        with_answers: Whether its conversation is trained on; otherwise it needs none.

    Returns:
        The questions that are trained on, and why the others are not; none of either without answers.

    Raises:
        RecordError: It cannot be used, and why.
        MissingExtraError: A package that its media need is not installed, which is no fault of the record.
    """
    try:
        frames = _count_media(record, folder, processor, open_media=open_media)
        return usable_questions(record, processor, options, frames) if with_answers else UsableQuestions(())
    except MissingExtraError:
        raise
    except RECORD_FAULTS as error:
        raise RecordError(first_line(error).removeprefix(f"record {record.id!r}: ")) from error


def _count_media(record: FaceRecord, folder: Path, processor: FaceKitProcessor, *, open_media: bool) -> int:
    num_frames = processor.image_processor.num_frames
    if open_media:
        return len(open_frames(record, folder, num_frames))
    missing = next((path for path in record.media_paths(folder) if not file_is_there(path)), None)
    if missing is not None:
        raise RecordError(f"there is no file '{missing}'; paths are relative to the records file")
    record.landmark_array(folder)
    return count_frames(record, num_frames)
