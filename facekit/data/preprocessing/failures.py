"""Records that have no crop: the reason of each, and whether it may pass by itself."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from facekit.data.records import FaceRecord

_PASSING = {
    errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY,
    errno.EINTR, errno.EACCES, errno.EPERM, errno.ECONNRESET, errno.ECONNREFUSED, errno.ENETDOWN, errno.ENETUNREACH,
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN, errno.EREMOTEIO, errno.ENODEV, errno.ENXIO,
}  # fmt: skip


@dataclass(frozen=True)
class RecordFailure:
    """A record that has no crop.

    Args:
        index: Its index in the input, from 0.
        id: The record's id.
        media: Its picture or clip, as the record names it.
        kind: The error's class, by which failures are counted.
        reason: One sentence.
        may_pass: Whether it failed for want of memory or by a disk or network, so that the next run tries it again.
    """

    index: int
    id: str
    media: str
    kind: str
    reason: str
    may_pass: bool = False


def describe_failure(record: FaceRecord, index: int, error: BaseException) -> RecordFailure:
    """The failure of a record by an error, the reason as one line."""
    return RecordFailure(
        index, record.id, first_medium(record), type(error).__name__, " ".join(str(error).split()), may_pass(error)
    )


def describe_crash(record: FaceRecord, index: int) -> RecordFailure:
    """The failure of a record during which the process died."""
    reason = "the process that worked on it died; the file may be damaged, or memory too small"
    return RecordFailure(index, record.id, first_medium(record), "Crash", reason, may_pass=True)


def may_pass(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is one of memory, a disk, a network or permissions."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _PASSING):
            return True
        error = error.__cause__
    return False


def first_medium(record: FaceRecord) -> str:
    """The picture, the video file, or the first of several, as the record names it; empty for text alone."""
    names = record.image or record.images or record.video or ""
    return names if isinstance(names, str) else names[0]
