"""Conversion of a dataset or records file into records of any format, as a stream: ``facekit convert``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facekit.catalog import current_registry
from facekit.data.confinement import move_noted_folders
from facekit.data.copied_media import CopiedMedia
from facekit.data.counting import RecordCounts
from facekit.data.formats import CardDetails, base_folder, detect_format, read_records, write_card, write_records
from facekit.data.formats.chat import DATASET_INFO
from facekit.data.formats.folders import replace_folder
from facekit.data.records import FaceRecord
from facekit.data.sources import SourceSummary, read_source
from facekit.errors import ConfigurationError, RecordError
from facekit.remote.addresses import is_mirrored, is_remote_address, mirrored, share_file_system
from facekit.remote.mirror import local_copy
from facekit.remote.uploads import output_place, upload_files, upload_folder
from facekit.spec import PartSpec, closest_match_hint

__all__ = ["Conversion", "convert", "describe_nothing", "open_records"]

_FOLDER_FILES = {
    "webdataset": r"shard-\d+\.tar|manifest\.json|README\.md",
    "datasets": r"data-\d+-of-\d+\.arrow|state\.json|dataset_info\.json|README\.md",
}


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Args:
        path: What was written.
        counts: Counts over the records.
        summary: The report on the source, where the input was a dataset.
        card: The dataset card, where one was written.
    """

    path: Path
    counts: RecordCounts
    summary: SourceSummary | None = None
    card: Path | None = None


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
        if media_folder is not None and detect_format(path) == "webdataset":
            folder = Path(media_folder)
        return (_of_split(records, split) if split else records), folder, None
    spec = PartSpec.parse(str(origin))
    if spec.argument is None:
        hint = closest_match_hint(spec.name, current_registry().names("dataset"))
        raise RecordError(f"there is no file {origin}; give a path, or a dataset as name:folder{hint}")
    options: dict[str, Any] = {"split": split, "check_images": check_images} | dict(spec.options)
    root = local_copy(spec.argument).expanduser()
    found, summary = read_source(spec.name, root, **options)
    return found, root.parent if root.is_file() else root, summary


def convert(
    origin: str,
    output: str | Path,
    format: str | None = None,
    *,
    split: str | None = None,
    media_folder: str | Path | None = None,
    check_images: bool = False,
    card: bool = False,
    overwrite: bool = False,
) -> Conversion:
    """Read records from anywhere and write them in a format.

    What is read is never written over. Where input and output are on different file systems, the media are copied
    along, to the names that they have beside the output.

    Args:
        origin: A path, an address, or ``name:root``; see ``open_records``.
        output: The file or folder to write, or the address of one; paths inside become relative to the folder it lies
            in.
        format: One of ``facekit.data.formats.FORMATS``; None for JSON lines where the output ends in ``.jsonl``.
        split: Only the records of one split.
        media_folder: See ``open_records``.
        check_images: For a dataset, leave out pictures that cannot be opened.
        card: Also write a dataset card beside the output.
        overwrite: Replace what an earlier conversion wrote there, and media that were unpacked there.

    Returns:
        What was done.

    Raises:
        RecordError: The input is not as expected, or has no record; nothing is written then.
        ConfigurationError: A format, option or split does not exist, or the output would replace something.
        UnknownPartError: There is no such dataset.
        MissingExtraError: A format needs a package that is not installed.
    """
    address, output = output, output_place(output).expanduser()
    check_place(origin, output, overwrite=overwrite)
    records, folder, summary = open_records(
        origin, split=split, media_folder=media_folder, check_images=check_images, overwrite_media=overwrite
    )
    counts = RecordCounts()
    watched = _some(counts.watch(records), lambda: describe_nothing(origin, split, summary))
    copied = CopiedMedia(folder, output.parent)
    if format != "webdataset" and not share_file_system(folder, output):
        watched, folder = copied.along(watched), output.parent
    if output.is_dir() and any(output.iterdir()):
        _check_folder(output, format)
        with replace_folder(output) as fresh:
            write_records(watched, fresh, format, media_folder=folder)
            move_noted_folders(fresh, output)
    else:
        write_records(watched, output, format, media_folder=folder)
    if not card:
        _upload(output, copied.paths)
        return Conversion(_shown(output, address), counts, summary)
    steps = [f"Read from {Path(origin).name if summary is None else summary.name} and converted by facekit."]
    if summary is not None:
        left_out = summary.missing.count + summary.broken.count + summary.repeated.count
        steps.append(f"{left_out:,} entries were left out because their files were missing, broken or listed twice.")
        steps += [
            f"Label without a counterpart: {name}, {number:,} times." for name, number in summary.unmapped.items()
        ]
    written = write_card(output.parent, counts, CardDetails(title=output.stem, how_made=steps))
    _upload(output, [*copied.paths, written])
    return Conversion(_shown(output, address), counts, summary, written)


def _upload(output: Path, beside: Sequence[Path]) -> None:
    """Bring a remote output, and what was written beside it, to where they belong."""
    if not is_mirrored(output):
        return
    if output.is_dir():
        upload_folder(output)
    described = output.with_name(DATASET_INFO)
    upload_files([each for each in (output, described, *beside) if each.is_file()])


def _shown(output: Path, address: str | Path) -> Path:
    """What a result names: a path, or the address as it was given."""
    return Path(address) if is_mirrored(output) else output


def check_place(origin: str, output: Path, *, overwrite: bool) -> None:
    """Make sure that a conversion may write where it is to.

    Raises:
        ConfigurationError: It would write over what it reads, or replace something that ``overwrite`` does not allow.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    target, path = output.resolve(), _place(origin)
    is_dataset = not path.exists()
    source = _place(PartSpec.parse(origin).argument or origin) if is_dataset else path
    if target == source.resolve() or target in source.resolve().parents:
        raise ConfigurationError(f"{output} is what is read, and would be written over; name another output")
    if source.is_dir() and target.is_relative_to(source.resolve()):
        raise ConfigurationError(f"{output} lies in {source}, which is read, and exists; name another output")
    if not overwrite:
        raise ConfigurationError(
            f"{output} exists; name another output, or replace it with --overwrite (in Python, overwrite=True)"
        )


def _place(origin: str | Path) -> Path:
    return mirrored(origin) if is_remote_address(origin) else Path(origin).expanduser()


def _check_folder(output: Path, format: str | None) -> None:
    """Replace only a folder that holds a dataset of the format and nothing else."""
    if format not in _FOLDER_FILES:
        raise ConfigurationError(f"{output} is a folder; name the file to write")
    names = (entry.name for entry in output.iterdir() if not is_mirrored(entry) or not entry.name.startswith("."))
    foreign = [name for name in names if not re.fullmatch(_FOLDER_FILES[format], name)]
    if foreign:
        raise ConfigurationError(f"{output} holds {foreign[0]}, which would be lost; name another output")


def _some(records: Iterable[FaceRecord], describe: Callable[[], str]) -> Iterator[FaceRecord]:
    empty = True
    for record in records:
        empty = False
        yield record
    if empty:
        raise RecordError(describe())


def describe_nothing(origin: str, split: str | None, summary: SourceSummary | None) -> str:
    """The sentence about an input without a single record: what there was instead."""
    wanted = "" if split is None else f" of the split {split!r}"
    rest = {name: number for name, number in (summary.count_outcomes() if summary else {}).items() if number}
    instead = f"; of what is there: {', '.join(f'{name} {number:,}' for name, number in rest.items())}" if rest else ""
    return f"{origin} has no record{wanted}{instead}"


def _of_split(records: Iterable[FaceRecord], split: str) -> Iterator[FaceRecord]:
    return (record for record in records if record.split == split)
