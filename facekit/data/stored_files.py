"""Whether the files that a large records file names are there, looked at once and not again while its folders stay.

To look for a million pictures takes longer than anything else about opening a set. A file can only come to lack, or
become a link to elsewhere, by a change of the folder that it is in, and a folder has the time of its last change. So
after all files were found, ``.facekit/NAME.files.json`` beside the records keeps those times, and the next process
compares them. Links to files elsewhere are the exception: what they lead to may go without a trace here.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from facekit.data.atomic import write_text_atomically
from facekit.data.confinement import Confinement, note_of
from facekit.data.record_index import index_folder
from facekit.data.records import require_files
from facekit.data.stored_records import StoredRecords
from facekit.errors import OutputError
from facekit.remote.addresses import place_of

__all__ = ["require_stored_files"]

logger = logging.getLogger(__name__)

_MOST_FOLDERS = 100_000


def require_stored_files(records: StoredRecords) -> None:
    """Make sure that the media and landmark files of records exist, and lie where the records may lead.

    Args:
        records: All records of a file.

    Raises:
        RecordError: A file is missing, or a path leads out of the folder; the message has the record's id.
    """
    path = records.path
    confinement = Confinement(path.parent, path)
    seen = _read(path)
    if seen is not None and seen["digest"] == records.file_index.digest and _is_as_it_was(seen, path, confinement):
        return
    # Times are taken before the files are looked for, so that what changes meanwhile is noticed the next time.
    times: dict[str, int] = {}
    folders: set[Path] = set()
    for record in records:
        where = f"{path}, record {record.id!r}"
        confinement.check(record.file_names(), where)
        for name in record.file_names():
            folder = place_of(path.parent, name).parent
            if folder not in folders:
                folders.add(folder)
                times[str(folder)] = _time_of(folder)
        require_files(record, path, where)
    if len(folders) > _MOST_FOLDERS:
        return
    content = {
        "digest": records.file_index.digest,
        "confined": not confinement.is_open,
        "noted": _time_of(note_of(path)),
        "folders": times,
    }
    try:
        write_text_atomically(_path_of(path), json.dumps(content) + "\n")
    except OutputError as error:
        logger.debug("the files of %s are looked for each time (%s)", path, error)


def _is_as_it_was(seen: dict[str, Any], path: Path, confinement: Confinement) -> bool:
    if not (seen["confined"] or confinement.is_open) or seen["noted"] != _time_of(note_of(path)):
        return False
    return all(time == _time_of(Path(folder)) for folder, time in seen["folders"].items())


def _time_of(path: Path) -> int:
    """Nanoseconds since the epoch at which a file or folder was last changed; 0 where there is none."""
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0


def _path_of(path: Path) -> Path:
    return index_folder(path) / f"{path.name}.files.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(_path_of(path).read_text(encoding="utf-8"))
        wanted = {"digest": str, "confined": bool, "noted": int, "folders": dict}
        return content if all(isinstance(content[name], kind) for name, kind in wanted.items()) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
