"""``verify``: everything under a folder that facekit writes, each file by the check that fits it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facekit.data.formats.chat import DATASET_INFO
from facekit.data.formats.shards import MANIFEST
from facekit.data.ledger import LEDGER_NAME
from facekit.data.verification.checked import Checked
from facekit.data.verification.files import (
    check_json,
    check_ledger,
    check_tensors,
    check_torch_file,
    check_weight_index,
    check_weights_are_there,
)
from facekit.data.verification.records import check_other_records, check_record_lines
from facekit.data.verification.shards import check_shards
from facekit.errors import RecordError

__all__ = ["Verification", "verify"]

_INDEX = ".safetensors.index.json"
_TORCH = (".pt", ".pth", ".bin", ".ckpt")
_NOTES = "units"
_LARGEST_JSON = 64 << 20
_HEAD = 1 << 16


@dataclass(frozen=True)
class Verification:
    """The result of a verification.

    Args:
        path: What was verified.
        checked: A report on each file, and on each folder that is one thing.
    """

    path: Path
    checked: tuple[Checked, ...]

    @property
    def faults(self) -> int:
        """How many things are wrong."""
        return sum(each.faults for each in self.checked)


def verify(
    path: str | Path, *, open_media: bool = False, on_checked: Callable[[Checked], None] | None = None
) -> Verification:
    """Check records, shards, feature caches, checkpoints and ledgers under a folder; nothing is changed.

    Records: every line, unique ids, files and landmarks that are there. Shards: checksums, counts, every sample with
    what its record names. Weights: that no file is cut off, and that an index finds all its tensors. A run of
    preprocessing that did not end is a fault.

    Args:
        path: A folder, or one file.
        open_media: Also decode every picture, and a frame of every clip.
        on_checked: Called with every report as it comes.

    Raises:
        RecordError: There is no such path, or nothing in it that can be checked.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise RecordError(f"there is no file or folder {path}; check the path")
    checked = []
    for report in _walk(path, open_media) if path.is_dir() else _check_file(path, open_media):
        checked.append(report)
        if on_checked is not None:
            on_checked(report)
    if not checked:
        raise RecordError(f"{path} holds nothing that can be verified: no records, shards, weights or ledger")
    return Verification(path, tuple(checked))


def _walk(folder: Path, open_media: bool) -> Iterator[Checked]:
    for name, folders, files in os.walk(folder):
        here = Path(name)
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        if _holds_shards(here, files):
            yield check_shards(here, open_media=open_media)
            folders[:] = [each for each in folders if each != _NOTES]
            files = [each for each in files if each != MANIFEST and not each.endswith(".tar")]
        elif {"state.json", DATASET_INFO} <= set(files):
            yield check_other_records(here, "datasets folder", open_media=open_media)
            continue
        for each in sorted(files):
            if not each.startswith("."):
                yield from _check_file(here / each, open_media)
        yield from check_weights_are_there(here, files)


def _holds_shards(folder: Path, files: list[str]) -> bool:
    return any(each.endswith(".tar") for each in files) or (folder / _NOTES).is_dir()


def _check_file(path: Path, open_media: bool) -> Iterator[Checked]:
    suffix = path.suffix.lower()
    if path.name.endswith(_INDEX):
        yield check_weight_index(path)
    elif suffix == ".safetensors":
        yield check_tensors(path)
    elif suffix in _TORCH:
        yield check_torch_file(path)
    elif suffix == ".tar":
        yield check_shards(path, open_media=open_media)
    elif path.name == LEDGER_NAME:
        yield check_ledger(path)
    elif suffix == ".jsonl" and _holds_records(path):
        yield check_record_lines(path, open_media=open_media)
    elif suffix in (".json", ".jsonl") and _holds_chat(path):
        yield check_other_records(path, "chat", open_media=open_media)
    elif suffix in (".json", ".jsonl") and path.stat().st_size <= _LARGEST_JSON:
        yield check_json(path)


def _holds_records(path: Path) -> bool:
    """Whether the first line that is an object is a record; where none is, whether one looks like a damaged record."""
    head = _head(path)
    for line in head.split(b"\n"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return bool({"image", "video"} & set(value)) and not _is_chat(value)
    return b'"image"' in head or b'"video"' in head


def _holds_chat(path: Path) -> bool:
    head = _head(path)
    return b'"conversations"' in head and (path.suffix == ".jsonl" or head.startswith(b"["))


def _is_chat(value: dict[str, Any]) -> bool:
    turns = value.get("conversations")
    return isinstance(turns, list) and any(isinstance(turn, dict) and "from" in turn for turn in turns)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD).lstrip()
