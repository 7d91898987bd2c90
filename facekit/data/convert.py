"""Conversion of a dataset or records file into records of any format, as a stream: ``facekit convert``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from facekit.counted import counted
from facekit.data.confinement import move_noted_folders
from facekit.data.copied_media import CopiedMedia
from facekit.data.counting import RecordCounts
from facekit.data.duplicates.finding import DISTANCE, Duplicates, find_duplicates
from facekit.data.duplicates.report import check_report_place, write_report
from facekit.data.formats import CardDetails, check_card_place, write_card, write_records
from facekit.data.formats.card import CARD_NAME
from facekit.data.formats.chat import DATASET_INFO
from facekit.data.formats.folders import replace_folder
from facekit.data.merging import MergedSet, Merger
from facekit.data.origins import describe_nothing, open_records
from facekit.data.records import FaceRecord
from facekit.data.sources import SourceSummary
from facekit.data.sources.summary import Problems
from facekit.errors import ConfigurationError, RecordError
from facekit.remote.addresses import address_of, is_mirrored, is_remote_address, mirrored, share_file_system
from facekit.remote.mirror import file_is_there
from facekit.remote.uploads import output_place, upload_files, upload_folder
from facekit.reports import ProgressListener
from facekit.spec import PartSpec

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
        merged: What was taken of each of several sets.
        duplicates: The near copies that were dropped, where they were looked for.
        missing: Media that the records of a file name and that are not there; a dataset's are in its summary.
    """

    path: Path
    counts: RecordCounts
    summary: SourceSummary | None = None
    card: Path | None = None
    merged: tuple[MergedSet, ...] = ()
    duplicates: Duplicates | None = None
    missing: Problems = field(default_factory=Problems)


def convert(
    origin: str | Sequence[str],
    output: str | Path,
    format: str | None = None,
    *,
    split: str | None = None,
    media_folder: str | Path | None = None,
    check_images: bool = False,
    card: bool = False,
    overwrite: bool = False,
    weights: Sequence[float] | None = None,
    seed: int = 0,
    drop_duplicates: bool = False,
    distance: int = DISTANCE,
    on_progress: ProgressListener | None = None,
) -> Conversion:
    """Read records from anywhere and write them in a format; several sets are merged into one.

    What is read is never written over. Where input and output are on different file systems, the media are copied
    along, to the names that they have beside the output (of several sets, in a folder of each).

    Args:
        origin: A path, an address, or ``name:root``, see ``open_records``; or several, see
            ``facekit.data.merging.Merger``.
        output: The file or folder to write, or the address of one; paths inside become relative to the folder it lies
            in.
        format: One of ``facekit.data.formats.FORMATS``; None for JSON lines where the output ends in ``.jsonl``.
        split: Only the records of one split.
        media_folder: See ``open_records``; of one set only.
        check_images: For a dataset, leave out pictures that cannot be opened.
        card: Also write a dataset card beside the output.
        overwrite: Replace what an earlier conversion wrote there, and media that were unpacked there.
        weights: Shares of several sets, such as ``(4, 2, 1)``; None takes all records of each.
        seed: Decides which records are taken by weight.
        drop_duplicates: Leave out near copies, before shares are taken; see ``facekit.data.duplicates.finding``. A
            report is written beside the output.
        distance: Bits of 64 in which the hashes of near copies differ at most.
        on_progress: Called with a ``Progress`` while pictures are hashed.

    Returns:
        What was done.

    Raises:
        RecordError: The input is not as expected, or has no record; nothing is written then.
        ConfigurationError: A format, option or split does not exist, or the output would replace something.
        UnknownPartError: There is no such dataset.
        MissingExtraError: A format needs a package that is not installed.
    """
    origins = (origin,) if isinstance(origin, str) else tuple(origin)
    address, output = output, output_place(output).expanduser()
    for each in origins:
        check_place(each, output, overwrite=overwrite)
    counts, summary, missing = RecordCounts(), None, Problems()
    found = None
    report = output.with_name(f"{output.stem}-duplicates.json")
    if card:
        _as_it_is(output.with_name(CARD_NAME))
        check_card_place(output.parent)
    if drop_duplicates:
        for place in (report, report.with_suffix(".html")):
            _as_it_is(place)
        check_report_place(report, origins)
        found = find_duplicates(
            origins, distance=distance, split=split, check_images=check_images, on_progress=on_progress
        )
    if len(origins) == 1 and weights is None and found is None:
        records, folder, summary = open_records(
            origins[0], split=split, media_folder=media_folder, check_images=check_images, overwrite_media=overwrite
        )
        merger = None
        copied = [CopiedMedia(folder, output.parent, overwrite=overwrite)]
        records = _some(records, lambda: describe_nothing(origins[0], split, summary))
        if format != "webdataset" and not share_file_system(folder, output):
            records, folder = copied[0].along(records), output.parent
        elif format != "webdataset" and summary is None and not is_mirrored(folder):
            records = _noting_missing(records, folder, missing)
    else:
        if media_folder is not None:
            raise ConfigurationError(
                "a media folder is that of one set; convert sets that need one by themselves first"
            )
        dropped = () if found is None else [found.dropped_rows(number) for number in range(len(origins))]
        merger = Merger(
            origins, weights, split=split, check_images=check_images, seed=seed, dropped=dropped, overwrite=overwrite
        )
        records, folder = merger.records(output.parent, copy=format != "webdataset"), output.parent
    if format == "sharegpt":
        _as_it_is(output.with_name(DATASET_INFO))
    _write(counts.watch(records), output, format, folder)
    merged = () if merger is None else tuple(merger.sets)
    if merger is not None:
        copied = merger.copied
    beside = [path for each in copied for path in each.paths]
    if format == "sharegpt":
        beside.append(output.with_name(DATASET_INFO))
    if found is not None:
        beside += write_report(found, report)
    written = None
    if card:
        steps = _describe_steps(origins[0], summary, merged)
        written = write_card(output.parent, counts, CardDetails(title=output.stem, how_made=steps))
        beside.append(written)
    _upload(output, beside)
    return Conversion(
        Path(address) if is_mirrored(output) else output, counts, summary, written, merged, found, missing
    )


def _write(records: Iterable[FaceRecord], output: Path, format: str | None, folder: Path) -> None:
    """Write records whose paths are relative to a folder; a folder of an earlier conversion is replaced as a whole."""
    if not (output.is_dir() and any(output.iterdir())):
        write_records(records, output, format, media_folder=folder)
        return
    _check_folder(output, format)
    with replace_folder(output) as fresh:
        write_records(records, fresh, format, media_folder=folder)
        move_noted_folders(fresh, output)


def _describe_steps(origin: str, summary: SourceSummary | None, merged: Sequence[MergedSet]) -> list[str]:
    """One sentence for each step, for the card."""
    if merged:
        return [f"Merged by facekit from {len(merged)} sets.", *(f"{each}." for each in merged)]
    steps = [f"Read from {Path(origin).name if summary is None else summary.name} and converted by facekit."]
    if summary is not None:
        left_out = summary.missing.count + summary.broken.count + summary.repeated.count
        steps.append(f"Left out because files were missing, broken or listed twice: {counted(left_out, 'entry')}.")
        steps += [
            f"Label without a counterpart: {name}, {counted(number, 'time')}."
            for name, number in summary.unmapped.items()
        ]
    return steps


def _upload(output: Path, beside: Sequence[Path]) -> None:
    """Bring a remote output, and what was written beside it, to where they belong."""
    if not is_mirrored(output):
        return
    if output.is_dir():
        upload_folder(output)
    upload_files([each for each in (output, *beside) if each.is_file()])


def _as_it_is(beside: Path) -> Path:
    """The path of a file beside the output; of a remote one as it is there now, or not at all."""
    return output_place(address_of(beside)) if is_mirrored(beside) else beside


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


def _noting_missing(records: Iterable[FaceRecord], folder: Path, missing: Problems) -> Iterator[FaceRecord]:
    for record in records:
        for path in record.media_paths(folder):
            try:
                is_there = file_is_there(path)
            except (OSError, ValueError):  # a name that no file can have
                is_there = False
            if not is_there:
                missing.add(path)
        yield record


def _some(records: Iterable[FaceRecord], describe: Callable[[], str]) -> Iterator[FaceRecord]:
    empty = True
    for record in records:
        empty = False
        yield record
    if empty:
        raise RecordError(describe())
