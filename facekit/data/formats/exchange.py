"""Reading, writing and recognising records in every format."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from facekit.data.confinement import Confinement, OutsideFolders
from facekit.data.formats.arrow_files import SUFFIXES, list_tables
from facekit.data.formats.chat import DATASET_INFO, find_layout, read_chat, write_chat
from facekit.data.formats.extras import KEY
from facekit.data.formats.hub import read_hub_dataset, require_datasets, write_hub_dataset
from facekit.data.formats.json_stream import iterate_json_objects
from facekit.data.formats.shards import MANIFEST, read_shards, require_webdataset, write_shards
from facekit.data.formats.tables import holds_media, read_tables
from facekit.data.records import FaceRecord, iterate_records
from facekit.data.records import write_records as write_lines
from facekit.errors import ConfigurationError, RecordError, first_line
from facekit.remote.mirror import file_is_there
from facekit.spec import closest_match_hint

__all__ = ["FORMATS", "base_folder", "detect_format", "read_records", "require_format", "write_records"]

FORMATS: dict[str, str] = {
    "records": "facekit's JSON lines",
    "llava": "LLaVA JSON",
    "sharegpt": "ShareGPT JSON with dataset_info.json for LLaMA-Factory",
    "datasets": "a folder for datasets.load_from_disk",
    "webdataset": "WebDataset tar shards with the media inside",
}
"""Name to what it is."""

READ_FORMATS: dict[str, str] = {**FORMATS, "tables": "Parquet or Arrow files, or any folder of the datasets library"}
"""The same with what is read and not written."""


def write_records(
    records: Iterable[FaceRecord],
    path: str | Path,
    format: str | None = None,
    *,
    media_folder: str | Path | None = None,
) -> Path:
    """Write records in a format; an interrupted write leaves nothing, or the old file.

    Args:
        records: The records; they may be a stream.
        path: The file, or the folder for ``datasets`` and ``webdataset``.
        format: One of ``FORMATS``; None for ``records`` where the path ends in ``.jsonl``.
        media_folder: The folder that the records' paths are relative to; None for ``base_folder`` of the path. Other
            formats than ``webdataset``, which takes the media in, get paths relative to ``base_folder``.

    Returns:
        The path.

    Raises:
        ConfigurationError: There is no such format, the folder to write holds something, or path and records are
            exchanged.
        MissingExtraError: The format needs a package that is not installed.
        RecordError: A record cannot be held by the format, or (``webdataset``) its files are not there.
    """
    if isinstance(records, str | Path):
        raise ConfigurationError(
            f"the records come before the path {records}; facekit.data.write_records takes them the other way"
        )
    path = Path(path)
    if format is None and path.suffix == ".jsonl":
        format = "records"
    if format not in FORMATS:
        raise ConfigurationError(_unknown_format(format))
    base = base_folder(path)
    if format == "webdataset":
        write_shards(records, path, media_folder=base if media_folder is None else Path(media_folder))
        return path
    if media_folder is not None and Path(media_folder).resolve() != base.resolve():
        records = (record.rebased(media_folder, base) for record in records)
    if format == "records":
        write_lines(path, records)
        return path
    outside = OutsideFolders(path)
    records = _noting(records, outside)
    if format == "datasets":
        write_hub_dataset(records, path)
    else:
        write_chat(records, path, for_llama_factory=format == "sharegpt")
    outside.write()
    return path


def read_records(
    path: str | Path,
    format: str | None = None,
    *,
    media_folder: str | Path | None = None,
    check_files: bool = False,
    overwrite_media: bool = True,
) -> Iterator[FaceRecord]:
    """Read records in a format, one at a time.

    Args:
        path: The file or folder.
        format: One of ``READ_FORMATS``; None to look.
        media_folder: The folder that the paths in the file are relative to; None for ``base_folder`` of the path. For
            ``webdataset``, and tables with pictures inside, the media are extracted there; None reads the records alone
            of the one and is an error for the other.
        check_files: Also require that the media are there.
        overwrite_media: Whether unpacking ``webdataset`` may replace files that have other contents.

    Returns:
        The records, with paths relative to ``base_folder`` of the path (``webdataset``: to ``media_folder``).

    Raises:
        ConfigurationError: There is no such format.
        MissingExtraError: The format needs a package that is not installed.
        RecordError: There is nothing, its format is unknown, or (while reading) a record is malformed or names a file
            that leads out of the folder; see ``facekit.data.confinement``.
    """
    path = Path(path)
    format = format or detect_format(path)
    if format not in READ_FORMATS:
        raise ConfigurationError(_unknown_format(format))
    base = base_folder(path)
    media = None if media_folder is None else Path(media_folder)
    if format == "webdataset":
        shards = read_shards(path, extract_to=media, overwrite=overwrite_media)
        records, base = _confined(shards, path, media or base), media or base
    elif format == "records":
        records = iterate_records(path, check_files=False, media_folder=media)
    elif format == "datasets":
        records = _confined(read_hub_dataset(path), path, media or base)
    elif format == "tables":
        tables = read_tables(path, extract_to=media)
        records, base = _confined(tables, path, media or base), media if media and holds_media(path) else base
    else:
        records = _confined(read_chat(path, media_folder=media), path, media or base)
    if media is not None and format != "webdataset" and media.resolve() != base.resolve():
        records = (record.rebased(media, base) for record in records)
    if not check_files:
        return records
    packed = f"shards have their media inside: facekit convert {path} records.jsonl --media FOLDER unpacks them"
    return _checked(records, base, packed if format == "webdataset" and media is None else "name the media folder")


def _unknown_format(format: str | None) -> str:
    if format is None:
        return f"the output's name says no format; add --format, one of {', '.join(FORMATS)}"
    return f"there is no format '{format}'{closest_match_hint(format, FORMATS)}"


def require_format(format: str) -> None:
    """Make sure that a format can be written.

    Raises:
        ConfigurationError: There is no such format.
        MissingExtraError: It needs a package that is not installed.
    """
    if format not in FORMATS:
        raise ConfigurationError(_unknown_format(format))
    if format == "datasets":
        require_datasets()
    elif format == "webdataset":
        require_webdataset()


def detect_format(path: str | Path) -> str:
    """Recognise the format of a file or folder.

    Raises:
        RecordError: There is nothing, or nothing that is known.
    """
    path = Path(path)
    if path.is_dir():
        if (path / "state.json").is_file() and (path / DATASET_INFO).is_file():
            return "datasets" if _is_own(path) else "tables"
        if (path / MANIFEST).is_file() or any(path.glob("*.tar")):
            return "webdataset"
        if list_tables(path):
            return "tables"
        raise RecordError(
            f"{path} is neither a folder of the datasets library nor one with WebDataset shards or tables; for a "
            f"folder of pictures write {shlex.quote(f'folder:{path}')}"
        )
    if not path.is_file():
        raise RecordError(f"there is no file or folder {path}; check the path")
    if path.suffix == ".tar":
        return "webdataset"
    if path.suffix in SUFFIXES:
        return "tables"
    if find_layout(path) is not None:
        return "sharegpt"
    first = next(iterate_json_objects(path), (0, {}))[1]
    turns = first.get("conversations")
    ours = "messages" not in first and (
        not isinstance(turns, list) or not turns or (isinstance(turns[0], dict) and "role" in turns[0])
    )
    return "records" if path.suffix == ".jsonl" and ours else "llava"


def _is_own(path: Path) -> bool:
    """Whether a folder of ``datasets`` has the columns that facekit writes."""
    try:
        return KEY in json.loads((path / DATASET_INFO).read_text(encoding="utf-8"))["features"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{path / DATASET_INFO} cannot be read ({first_line(error)}); copy the folder again"
        ) from error


def base_folder(path: str | Path) -> Path:
    """The folder that the paths in a file or folder are relative to, in every format: the one it lies in."""
    return Path(path).parent


def _noting(records: Iterable[FaceRecord], outside: OutsideFolders) -> Iterator[FaceRecord]:
    for record in records:
        outside.add(record.file_names())
        yield record


def _confined(records: Iterable[FaceRecord], path: Path, folder: Path) -> Iterator[FaceRecord]:
    confinement = Confinement(folder, path)
    for record in records:
        confinement.check(record.file_names(), f"{path}, record {record.id!r}")
        yield record


def _checked(records: Iterable[FaceRecord], base: Path, remedy: str) -> Iterator[FaceRecord]:
    for record in records:
        for name in record.media_paths(base):
            if not file_is_there(name):
                raise RecordError(f"record {record.id!r}: there is no file {name}; {remedy}")
        yield record
