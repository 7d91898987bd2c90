"""What a record teaches about its pictures, in numbers: its questions, and the tasks that it has labels for.

A near copy that teaches nothing else is one too many; one that asks something else about the picture is not.
"""

from __future__ import annotations

import hashlib

from facekit.data.counting import labelled_tasks
from facekit.data.labels import VERIFICATION
from facekit.data.records import FaceRecord

__all__ = ["what_is_taught"]


def what_is_taught(record: FaceRecord) -> tuple[int, ...]:
    """A number for each question of a record, in any case and spacing, and for each task that it is labelled for."""
    questions = {" ".join(turn.content.casefold().split()) for turn in record.conversations if turn.role == "user"}
    tasks = [*labelled_tasks(record.labels), *([VERIFICATION] if record.same is not None else [])]
    return tuple(sorted({_number("question", each) for each in questions} | {_number("task", each) for each in tasks}))


def _number(kind: str, text: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{kind}\0{text}".encode("utf-8", "replace"), digest_size=7).digest(), "big")
