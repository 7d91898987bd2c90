"""Checks of records: every line, unique ids, files that are there and, on demand, can be opened."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from facekit.counted import counted
from facekit.data.confinement import Confinement
from facekit.data.formats import base_folder, read_records
from facekit.data.formats.shards import sample_fields
from facekit.data.records import FaceRecord, parse_line
from facekit.data.streaming import rename_files
from facekit.data.verification.checked import Checked
from facekit.errors import FaceKitError, RecordError
from facekit.faces.images import open_image
from facekit.faces.video import read_clip
from facekit.remote.addresses import place_of
from facekit.remote.mirror import file_is_there

__all__ = ["UniqueIds", "check_other_records", "check_record_lines", "check_record_media", "check_stored_media"]


class UniqueIds:
    """Finds ids that occur twice."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def check(self, record: FaceRecord, report: Checked) -> None:
        """Note an id that another record has."""
        if record.id in self._seen:
            report.add(f"{report.path}: two records have the id {record.id!r}")
        self._seen.add(record.id)


def check_record_lines(path: Path, *, open_media: bool = False) -> Checked:
    """Check a file of JSON lines, going on after every fault.

    Args:
        path: The file.
        open_media: Also decode every picture, and a frame of every clip.
    """
    report, ids = Checked(path, "records", "records"), UniqueIds()
    confinement = Confinement(path.parent, path)
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                report.count += 1
                try:
                    record = parse_line(line, path, number, confinement, check_files=True)
                    ids.check(record, report)
                    check_record_media(record, path.parent, open_media=open_media)
                except FaceKitError as error:
                    report.add(error)
    except (OSError, UnicodeDecodeError) as error:
        report.add(f"{path} cannot be read to its end ({error})")
    if not report.count and not report.faults:
        report.add(f"{path} has no record")
    return report


def check_other_records(path: Path, kind: str, *, open_media: bool = False) -> Checked:
    """Check records in another format, up to the first that is malformed."""
    report, ids = Checked(path, kind, "records"), UniqueIds()
    try:
        for record in read_records(path):
            report.count += 1
            ids.check(record, report)
            try:
                for name in record.media_paths(base_folder(path)):
                    if not file_is_there(name):
                        raise RecordError(f"{path}, record {record.id!r}: no file {name}")
                check_record_media(record, base_folder(path), open_media=open_media)
            except FaceKitError as error:
                report.add(error)
    except (FaceKitError, OSError, ValueError) as error:
        report.add(error)
    return report


def check_record_media(record: FaceRecord, folder: Path, *, open_media: bool) -> None:
    """Check the landmarks of a record and, if wanted, open its media.

    Raises:
        FaceKitError: Something is wrong with them.
    """
    points = record.landmark_array(folder)
    pictures = record.images or (record.video if isinstance(record.video, list) else None)
    if points is not None and pictures is not None and points.ndim == 3 and len(points) != len(pictures):
        raise RecordError(
            f"record {record.id!r} has {counted(len(pictures), 'picture')} but landmarks for {len(points)}"
        )
    if not open_media:
        return
    if isinstance(record.video, str):
        read_clip(place_of(folder, record.video), 1)
        return
    for path in record.media_paths(folder):
        open_image(path)


def check_stored_media(record: FaceRecord, content: Mapping[str, bytes], where: str, *, open_media: bool) -> None:
    """Check that a sample of a shard holds what its record names.

    Raises:
        FaceKitError: A file is missing, is empty or, if opened, cannot be used.
    """
    fields = sample_fields(record)
    for field in fields:
        if not content.get(field):
            raise RecordError(f"{where}: there is no .{field}" + (" with anything in it" if field in content else ""))
    if not open_media and not isinstance(record.landmarks, str):
        return
    with tempfile.TemporaryDirectory(prefix="facekit-verify-") as name:
        folder = Path(name)
        for field in fields:
            (folder / f"sample.{field}").write_bytes(content[field])
        renamed = rename_files(record, [f"sample.{field}" for field in fields])
        try:
            check_record_media(renamed, folder, open_media=open_media)
        except FaceKitError as error:
            raise RecordError(f"{where}: {str(error).replace(f'{folder}/', '')}") from error
