"""Opening what records come from: a file in any format, a dataset in its own layout, here or at an address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from facekit.catalog import current_registry
from facekit.data.formats import base_folder, detect_format, read_records
from facekit.data.formats.tables import holds_media
from facekit.data.records import FaceRecord
from facekit.data.sources import SourceSummary, read_source
from facekit.data.sources.columns import describe_lacking_split, split_name
from facekit.errors import RecordError
from facekit.remote.mirror import local_copy
from facekit.spec import PartSpec, closest_match_hint

__all__ = ["describe_nothing", "open_records"]


def open_records(
    origin: str,
    *,
    split: str | None = None,
    media_folder: str | Path | None = None,
    check_images: bool = False,
    overwrite_media: bool = True,
) -> tuple[Iterator[FaceRecord], Path, SourceSummary | None]:
    """Open a file of records in any format, or a dataset in its own layout.

    Args:
        origin: A path or an address (``s3://bucket/records.jsonl``), or ``name:root`` with options, such as
            ``dfew:/data/DFEW?fold=2``.
        split: Only the records of one split.
        media_folder: The folder that the paths in a file are relative to, or that shards are unpacked to; see
            ``facekit.data.formats.read_records``.
        check_images: For a dataset, leave out pictures that cannot be opened.
        overwrite_media: Whether unpacking shards may replace files that have other contents.

    Returns:
        The records, the folder that their paths are relative to, and for a dataset its summary.

    Raises:
        RecordError: There is no such file, or it or the dataset is not as expected.
        UnknownPartError: There is no such dataset; the message has the closest one.
        InvalidSpecError: The dataset has no such option, or it cannot be read.
        ConfigurationError: The dataset has no such split.
    """
    path = local_copy(origin).expanduser()
    if path.exists():
        records = read_records(path, media_folder=media_folder, overwrite_media=overwrite_media)
        folder = base_folder(path)
        format = detect_format(path) if media_folder is not None else None
        if media_folder is not None and (format == "webdataset" or (format == "tables" and holds_media(path))):
            folder = Path(media_folder)
        return (_of_split(records, split, path) if split else records), folder, None
    spec = PartSpec.parse(str(origin))
    if spec.argument is None:
        hint = closest_match_hint(spec.name, current_registry().names("dataset"))
        raise RecordError(f"there is no file {origin}; give a path, or a dataset as name:folder{hint}")
    options: dict[str, Any] = {"split": split, "check_images": check_images} | dict(spec.options)
    root = local_copy(spec.argument).expanduser()
    found, summary = read_source(spec.name, root, **options)
    return found, root.parent if root.is_file() else root, summary


def describe_nothing(origin: str, split: str | None, summary: SourceSummary | None) -> str:
    """The sentence about an input without a single record: what there was instead."""
    wanted = "" if split is None else f" of the split {split!r}"
    rest = {name: number for name, number in (summary.count_outcomes() if summary else {}).items() if number}
    instead = f"; of what is there: {', '.join(f'{name} {number:,}' for name, number in rest.items())}" if rest else ""
    missing = summary.missing.examples[:1] if summary else []
    example = f"; there is no {missing[0]}" if missing else ""
    if missing and "\\" in missing[0]:
        example += ", in which '/' has to stand in place of '\\'"
    return f"{origin} has no record{wanted}{instead}{example}"


def _of_split(records: Iterable[FaceRecord], split: str, path: Path) -> Iterator[FaceRecord]:
    wanted, found = split_name(split), set[str]()
    for record in records:
        name = split_name(record.split)
        found.update([name] if name else [])
        if name == wanted:
            yield record
    if wanted not in found:
        raise RecordError(describe_lacking_split(path, split, found))
