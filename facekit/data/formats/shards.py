"""Records with their media in WebDataset shards: tar files to be streamed, and a manifest with counts and checksums.

A sample ``000000007`` has ``.json`` (the record's line), the medium (``.jpg``, ``.mp4``, or ``.0000.jpg``,
``.0001.jpg`` and so on for frames and several pictures) and, where the landmarks are a file, ``.landmarks.npy``. Needs
the extra
``datasets``.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from facekit.data.atomic import explained_writes
from facekit.data.formats.folders import write_folder
from facekit.data.records import FaceRecord, describe_problem, format_record
from facekit.errors import ConfigurationError, MissingExtraError, RecordError, first_line
from facekit.remote.addresses import is_mirrored, place_of
from facekit.remote.mirror import require_here

__all__ = [
    "MANIFEST",
    "SHARD_TIME",
    "list_shards",
    "plain_name",
    "read_shards",
    "sample_fields",
    "verify_shards",
    "write_shards",
]

MANIFEST = "manifest.json"
PER_SHARD = 10_000
BYTES_PER_SHARD = 1 << 30
SHARD_TIME = 0
"""The time of every member of a shard, so that equal records give equal bytes. It is a whole number: a float costs each
member an extra header of one KiB."""

_NUMBERED = re.compile(r"media/(\d{9})\.")


def write_shards(
    records: Iterable[FaceRecord],
    path: Path,
    *,
    media_folder: Path,
    per_shard: int = PER_SHARD,
    bytes_per_shard: int = BYTES_PER_SHARD,
) -> None:
    """Write records and the files that they name into numbered tar files.

    Names that lead out of the folder, as ``../faces/1.jpg`` does, become ``media/000000000.jpg`` and so on, by their
    sample's number; so do names of that form that have the number of another.

    Args:
        records: The records.
        path: The folder for the shards; it must not hold anything yet.
        media_folder: The folder that the records' paths are relative to.
        per_shard: Most records in a shard.
        bytes_per_shard: Most bytes in a shard.

    Raises:
        MissingExtraError: ``webdataset`` is not installed.
        RecordError: A record names a file that is not there, or neighbours are about frames of one video.
        ConfigurationError: The folder is not empty.
    """
    webdataset = require_webdataset()
    with write_folder(path) as folder:
        pattern = str(folder / "shard-%06d.tar")
        count = 0
        with webdataset.ShardWriter(
            pattern, maxcount=per_shard, maxsize=bytes_per_shard, verbose=0, mtime=SHARD_TIME
        ) as sink:
            video = None
            for count, record in enumerate(records, 1):
                if record.frames is not None and record.video == video:
                    raise RecordError(
                        f"record {record.id!r} is about other frames of {video} than the record before it, and shards "
                        "would hold the video once for each; run facekit preprocess first"
                    )
                video = record.video
                sink.write(_to_sample(record, count - 1, media_folder))
        shards = [
            {"name": shard.name, "bytes": shard.stat().st_size, "sha256": _sha256(shard)}
            for shard in sorted(folder.glob("*.tar"))
        ]
        manifest = {"format": "facekit webdataset", "records": count, "shards": shards}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def read_shards(path: Path, *, extract_to: Path | None = None, overwrite: bool = True) -> Iterator[FaceRecord]:
    """Read the records of a folder of shards, or of one shard.

    Args:
        path: The folder, or one ``.tar``.
        extract_to: Write the media there, under the names that the records have; None reads the records only.
        overwrite: Whether that may replace files that have other contents.

    Raises:
        MissingExtraError: ``webdataset`` is not installed.
        RecordError: There is no shard, one is cut off, a sample is malformed, or a record names a file outside
            ``extract_to``.
        ConfigurationError: A file with other contents is in the way.
        OutputError: A medium cannot be written.
    """
    webdataset = require_webdataset()
    shards = [path] if path.is_file() else list_shards(path)
    if not shards:
        raise RecordError(f"{path} has no .tar file; give a folder of WebDataset shards")
    for shard in shards:
        require_here(shard, None)
        for sample in _samples(webdataset, shard):
            where = f"{shard}, sample {sample['__key__']}"
            if "json" not in sample:
                raise RecordError(f"{where}: there is no .json with the record; write shards with facekit convert")
            try:
                record = FaceRecord.model_validate_json(sample["json"])
            except ValidationError as error:
                raise RecordError(f"{where}: {describe_problem(error)}") from error
            if extract_to is not None:
                _extract(record, sample, extract_to, where, overwrite=overwrite)
            yield record


def _samples(webdataset: Any, shard: Path) -> Iterator[dict[str, Any]]:
    samples = iter(webdataset.WebDataset([str(shard)], shardshuffle=False, empty_check=False))
    while True:
        try:
            sample = next(samples, None)
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            first = next(iter(error.args), None)  # behind it the library puts notes of its own
            reason = first.partition(" @ ")[0] if isinstance(first, str) else first_line(error)
            raise RecordError(f"{shard} is cut off or damaged ({reason}); copy it again") from error
        if sample is None:
            return
        yield sample


def verify_shards(path: Path) -> int:
    """Compare every shard with the manifest.

    Args:
        path: The folder.

    Returns:
        How many records the manifest announces.

    Raises:
        RecordError: There is no manifest, or a shard is missing or differs.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        shards = {plain_name(shard["name"]): shard["sha256"] for shard in manifest["shards"]}
        records = int(manifest["records"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{path / MANIFEST} cannot be read as a manifest of shards ({error}); copy the folder again"
        ) from error
    for name, checksum in shards.items():
        if not (path / name).is_file():
            raise RecordError(f"{path}: the manifest names {name}, which is not there; copy the folder again")
        if _sha256(path / name) != checksum:
            raise RecordError(f"{path / name} differs from its checksum in the manifest; copy it again")
    return records


def list_shards(folder: Path) -> list[Path]:
    """The shards of a folder, in order; of one in the mirror those of its manifest too, which may not be here yet."""
    found = set(folder.glob("*.tar"))
    manifest = folder / MANIFEST
    if is_mirrored(folder) and manifest.is_file():
        shards = json.loads(manifest.read_text(encoding="utf-8")).get("shards", [])
        found |= {folder / plain_name(shard["name"]) for shard in shards}
    return sorted(found)


def plain_name(name: object) -> str:
    """A shard's name in a manifest; raises ``ValueError`` where it leads out of the folder of the manifest."""
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name:
        raise ValueError(f"a shard is named {name!r}, which is no name of a file beside the manifest")
    return name


def sample_fields(record: FaceRecord) -> dict[str, str]:
    """The field of a sample for each file that a record names; that of the landmarks comes last."""
    fields = {}
    if record.images is not None or isinstance(record.video, list):
        for index, name in enumerate(record.images or record.video or []):
            fields[f"{index:04d}{_suffix(name)}"] = name
    else:
        fields = {_suffix(name).removeprefix("."): name for name in (record.image, record.video) if name is not None}
    if isinstance(record.landmarks, str):
        fields["landmarks.npy"] = record.landmarks
    return fields


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower() or ".bin"


def _to_sample(record: FaceRecord, number: int, folder: Path) -> dict[str, Any]:
    key = f"{number:09d}"
    sample: dict[str, Any] = {"__key__": key, "json": format_record(_named_inside(record, key)).encode()}
    for field, name in sample_fields(record).items():
        try:
            path = place_of(folder, name)
            require_here(path)
            sample[field] = path.read_bytes()
        except OSError as error:
            reason = error.strerror or first_line(error)
            raise RecordError(f"record {record.id!r}: {folder / name} cannot be read ({reason})") from error
    return sample


def _named_inside(record: FaceRecord, key: str) -> FaceRecord:
    """The record with names in a folder ``media``, where its own lead out of the folder that shards are unpacked to.

    So has one whose own names another sample may get.
    """
    fields = sample_fields(record)
    if not any(_leads_out(name) or _is_numbered(name, key) for name in fields.values()):
        return record
    names = [f"media/{key}.{field}" for field in fields]
    changes: dict[str, Any] = {}
    if isinstance(record.landmarks, str):
        changes["landmarks"] = names.pop()
    if record.image is not None:
        changes["image"] = names[0]
    elif record.images is not None:
        changes["images"] = names
    elif names:
        changes["video"] = names if isinstance(record.video, list) else names[0]
    return record.model_copy(update=changes)


def _leads_out(name: str) -> bool:
    return "://" in name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts


def _is_numbered(name: str, key: str) -> bool:
    """Whether a name is one that ``_named_inside`` gives to another sample."""
    found = _NUMBERED.match(PurePosixPath(name).as_posix())
    return found is not None and found[1] != key


def _extract(record: FaceRecord, sample: dict[str, Any], folder: Path, where: str, *, overwrite: bool) -> None:
    for field, name in sample_fields(record).items():
        target = folder / name
        if "\0" in name or folder.resolve() not in target.resolve().parents:
            raise RecordError(f"{where}: the path {name!r} leads out of {folder}; the shard is not to be trusted")
        if field not in sample:
            raise RecordError(f"{where}: there is no .{field} for {name}")
        with explained_writes(f"{target} cannot be written"):
            target.parent.mkdir(parents=True, exist_ok=True)
            if not overwrite and target.exists() and target.read_bytes() != sample[field]:
                raise ConfigurationError(
                    f"{target} is there with other contents than in {where}; unpack to another folder, or replace it "
                    "with --overwrite"
                )
            target.write_bytes(sample[field])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_webdataset() -> Any:
    """The package; raises ``MissingExtraError`` where it is not installed."""
    try:
        import webdataset
    except ImportError as error:
        raise MissingExtraError("this format needs webdataset; pip install 'facekit-mllm[datasets]'") from error
    return webdataset
