"""The extra key ``facekit``, which carries what another format has no field for.

The media, the words and the id stand in the format's own fields and are read from there, so that a file that was
edited with other tools is read as edited.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from facekit.data.records import FaceRecord, Turn, describe_problem
from facekit.errors import RecordError

__all__ = ["KEY", "build_record", "extras_of", "read_extras"]

KEY = "facekit"
_NATIVE = {"id", "image", "images", "video", "conversations"}


def extras_of(record: FaceRecord) -> dict[str, Any]:
    """What a record holds beside its id, its medium and its words; ``tasks`` are those of the turns, in order."""
    extras = record.model_dump(mode="json", exclude_defaults=True, exclude=_NATIVE)
    if isinstance(record.video, list):
        extras["clip"] = "frames"
    if any(turn.task is not None for turn in record.conversations):
        extras["tasks"] = [turn.task for turn in record.conversations]
    return extras


def read_extras(value: Any, where: str) -> dict[str, Any] | None:
    """The extras under the key, as an object or as JSON text; None where there are none."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise RecordError(f"{where}: the field '{KEY}' is not JSON ({error.msg})") from error
    if not isinstance(value, dict):
        raise RecordError(f"{where}: the field '{KEY}' must be an object, not {type(value).__name__}")
    return dict(value)


def build_record(
    where: str,
    identity: str,
    media: dict[str, Any],
    turns: Sequence[tuple[str, str]],
    extras: dict[str, Any] | None,
) -> FaceRecord:
    """Put a record together again.

    Args:
        where: File and line, for messages.
        identity: The record's id.
        media: ``image``, ``images`` or ``video``; empty for text alone.
        turns: Role and words of each message.
        extras: What ``extras_of`` gave, or None.

    Raises:
        RecordError: The values do not make a record; the message has file, line and field.
    """
    rest = dict(extras or {})
    rest.pop("clip", None)
    tasks = rest.pop("tasks", None)
    if tasks is None or len(tasks) != len(turns):
        tasks = [None] * len(turns)
    try:
        conversations = [
            Turn.model_validate({"role": role, "content": content, "task": task})
            for (role, content), task in zip(turns, tasks, strict=True)
        ]
        return FaceRecord.model_validate({**rest, "id": identity, **media, "conversations": conversations})
    except ValidationError as error:
        raise RecordError(f"{where}: {describe_problem(error)}") from error
