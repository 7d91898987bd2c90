"""Checks of shards: manifest, checksums, every sample, and the notes of preprocessing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from facekit.counted import counted
from facekit.data.formats.shards import MANIFEST, plain_name
from facekit.data.records import FaceRecord, describe_problem
from facekit.data.shard_index import ShardSample, list_samples
from facekit.data.verification.checked import Checked
from facekit.data.verification.records import UniqueIds, check_stored_media
from facekit.errors import FaceKitError, RecordError

__all__ = ["check_shards"]

_NOTES, _FAILURES = "units", "failures.jsonl"


def check_shards(path: Path, *, open_media: bool = False) -> Checked:
    """Check a folder of shards, or one shard.

    Args:
        path: The folder, or a ``.tar``.
        open_media: Also decode every picture, and a frame of every clip.
    """
    report, ids = Checked(path, "shards", "samples"), UniqueIds()
    found = [path] if path.is_file() else sorted(path.glob("*.tar"))
    manifest = {} if path.is_file() else _read_manifest(path, report)
    announced = {str(shard["name"]): shard for shard in manifest.get("shards", [])}
    for shard in found:
        before = report.count
        _check_samples(shard, report, ids, open_media=open_media)
        if shard.name in announced:
            _check_announced(shard, announced.pop(shard.name), report.count - before, report)
        elif manifest:
            report.add(f"{shard} is not in the manifest")
    for name in announced:
        report.add(f"{path}: the manifest names {name}, which is not there; copy the folder again")
    if manifest:
        _check_totals(path, manifest, report)
    return report


def _read_manifest(folder: Path, report: Checked) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        if (folder / _NOTES).is_dir():
            report.add(f"{folder} has notes of a run and no {MANIFEST}: the run did not end; start it again")
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        for shard in manifest["shards"]:
            plain_name(shard["name"])
        return dict(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        report.add(f"{path} cannot be read as a manifest of shards ({error})")
        return {}


def _check_samples(shard: Path, report: Checked, ids: UniqueIds, *, open_media: bool) -> None:
    try:
        for sample in list_samples(shard):
            report.count += 1
            try:
                record = _parse(sample)
                ids.check(record, report)
                check_stored_media(record, sample.read(), f"{shard}, sample {sample.key}", open_media=open_media)
            except FaceKitError as error:
                report.add(error)
    except (FaceKitError, OSError) as error:
        report.add(error)


def _parse(sample: ShardSample) -> FaceRecord:
    where = f"{sample.shard}, sample {sample.key}"
    content = sample.read(["json"])
    if "json" not in content:
        raise RecordError(f"{where}: there is no .json with the record")
    try:
        return FaceRecord.model_validate_json(content["json"])
    except ValidationError as error:
        raise RecordError(f"{where}: {describe_problem(error)}") from error


def _check_announced(shard: Path, announced: dict[str, Any], samples: int, report: Checked) -> None:
    with shard.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    if checksum != announced.get("sha256"):
        report.add(f"{shard} differs from its checksum in the manifest; copy it again, or run preprocess again")
    if announced.get("records", samples) != samples:
        report.add(f"{shard} has {counted(samples, 'sample')}, not {announced['records']} as in the manifest")


def _check_totals(folder: Path, manifest: dict[str, Any], report: Checked) -> None:
    if manifest.get("records") != report.count:
        report.add(f"{folder} has {counted(report.count, 'sample')}, not {manifest.get('records')} as in the manifest")
    path = folder / _FAILURES
    if "failures" not in manifest or not path.is_file():
        return
    listed = sum(1 for line in path.read_text(encoding="utf-8").split("\n") if line)
    failed = sum(manifest["failures"].values())
    if listed != failed:
        report.add(f"{path} lists {counted(listed, 'failure')}, not {failed} as in the manifest")
